#!/bin/sh
# run.sh MODE NAME pass|fail FLAGS...   MODE: full (exhaustive) | bit (bitstate, approximate) | live (LTL, weak fairness)
# One verification in build/NAME; says ok when the outcome is the expected one. LIMIT seconds, MEM megabytes a run.
mode=$1 name=$2 want=$3; shift 3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/build/$name" && cd "$here/build/$name" || exit 2
rm -f ./*.trail
spin -a "$@" "$here/hvl.pml" >spin.out 2>&1 || { cat spin.out; exit 2; }
case $mode in
full) cc="-DSAFETY -DNOCLAIM -DCOLLAPSE" arg="-w24" ;;
bit)  cc="-DSAFETY -DNOCLAIM -DBITSTATE" arg="-w32 -k3" ;;
live) cc="-DCOLLAPSE -DNFAIR=4" arg="-a -f -N p1 -w24" ;;
esac
gcc -O2 -w $cc -DVECTORSZ=512 -DMEMLIM="${MEM:-4000}" -o pan pan.c || exit 2
timeout "${LIMIT:-300}" ./pan -m2000000 $arg >out 2>&1
rc=$?
states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
if [ $rc -eq 124 ]; then got=unfinished
elif grep -q 'errors: 0' out && ! grep -q 'Search not completed' out; then got=pass
elif grep -q 'errors: [1-9]' out; then got=fail
else got=unfinished; fi
[ "$got" = "$want" ] && verdict=ok || verdict="UNEXPECTED"
echo "$verdict $name: $got ($mode, $states states) $*"
[ "$verdict" = ok ]
