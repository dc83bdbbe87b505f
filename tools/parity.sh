#!/bin/sh
# The environments on MuJoCo against the reference's own numbers: one line for each comparison.
#
#   tools/parity.sh [kind...]     kinds: system wheel dir auto, as in tools/mujoco.sh. None: whatever MUJOCO and MUJOCO_DIR say,
#                                 and if they say nothing, the system's and the wheel
#
# Prints "ok" or "FAIL", what was compared, the largest difference (resets: chi-square of two samples), and what is allowed. The
# status is 0 if nothing was above that.
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
if [ $# = 0 ]; then
    if [ -n "$MUJOCO_DIR" ] || [ "${MUJOCO:-auto}" != auto ]; then set -- "${MUJOCO:-auto}"
    else set -- system wheel
    fi
fi
mkdir -p build/log
tried=$# ran=0 comparisons=0 above=0 broken=0
for kind; do
    if ! MUJOCO=$kind tools/deps.sh test || ! tag=$(MUJOCO=$kind tools/mujoco.sh tag); then
        echo "skip  no MuJoCo of this kind: $kind"
        continue
    fi
    log=build/log/parity-$tag.log
    echo "== $tag"
    MUJOCO=$kind ${MAKE:-make} --no-print-directory -s _parity || { broken=$((broken + 1)); continue; }
    ran=$((ran + 1))
    CMOCKA_MESSAGE_OUTPUT=stdout "build/test/double-$tag/test_mujoco_parity" >"$log" 2>&1 </dev/null
    status=$?
    grep -v -E '^\[ |^\[=|^$' "$log" # all but what cmocka says about test functions
    comparisons=$((comparisons + $(grep -c -E '^(ok  |FAIL)  ' "$log")))
    failed=$(grep -c '^FAIL  ' "$log")
    above=$((above + failed))
    # Stopped in the middle?
    if [ $status != 0 ] && [ "$failed" = 0 ]; then
        grep -E 'ERROR|error:' "$log"
        broken=$((broken + 1))
    fi
done
[ $ran -gt 0 ] || echo "no MuJoCo to compare with (tried $tried)"
echo "parity on $ran version(s) of MuJoCo: $comparisons comparisons, $above above what is allowed"
[ $ran -gt 0 ] && [ $above = 0 ] && [ $broken = 0 ]
