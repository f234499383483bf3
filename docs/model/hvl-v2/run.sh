#!/bin/sh
# run.sh MODEL MODE NAME pass|fail FLAGS...   MODE: full (exhaustive) | reverse (the same, the other way round) | bit (bitstate, approximate)
# One verification of MODEL.pml in build/NAME; says ok when the outcome is the expected one. LIMIT seconds, MEM megabytes a run.
model=$1 mode=$2 name=$3 want=$4; shift 4
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/build/$name" && cd "$here/build/$name" || exit 2
rm -f ./*.trail
spin -a "$@" "$here/$model.pml" >spin.out 2>&1 || { cat spin.out; exit 2; }
case $mode in
full) cc="-DCOLLAPSE" arg="-w24" ;;
reverse) cc="-DCOLLAPSE -DREVERSE" arg="-w24" ;;
bit) cc="-DBITSTATE" arg="-w33 -k3" ;;
esac
gcc -O2 -w -DSAFETY $cc -DMEMLIM="${MEM:-5500}" -o pan pan.c || exit 2
timeout "${LIMIT:-600}" ./pan -m2000000 $arg >out 2>&1
rc=$?
states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
if grep -q 'errors: [1-9]' out; then got=fail
elif [ $rc -eq 0 ] && grep -q 'errors: 0' out && ! grep -q 'Search not completed\|max search depth' out; then got=pass
else got=unfinished; fi
why=$(sed -n 's/^pan:1: //p' out)
[ "$got" = "$want" ] && verdict=ok || verdict=UNEXPECTED
echo "$verdict $name: $got ($model, $mode, $states states) $* $why"
[ "$verdict" = ok ]
