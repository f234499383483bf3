#!/bin/sh
# intr.sh NAME pass|fail FLAGS...: one exhaustive run of intr.pml in build/NAME. MEM megabytes.
name=$1 want=$2; shift 2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$here/build/$name" && cd "$here/build/$name" || exit 2
rm -f ./*.trail
spin -a "$@" "$here/intr.pml" >spin.out 2>&1 || { cat spin.out; exit 2; }
gcc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM="${MEM:-4000}" -o pan pan.c || exit 2
timeout "${LIMIT:-600}" ./pan -m2000000 -w22 >out 2>&1
rc=$?
states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
if [ $rc -eq 124 ]; then got=unfinished
elif grep -q 'errors: 0' out && ! grep -q 'Search not completed' out; then got=pass
elif grep -q 'errors: [1-9]' out; then got=fail
else got=unfinished; fi
[ "$got" = "$want" ] && verdict=ok || verdict="UNEXPECTED"
echo "$verdict $name: $got ($states states) $*"
[ "$verdict" = ok ]
