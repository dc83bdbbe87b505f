#!/bin/sh
# Is docs/pages/fields.txt, which the pages of the environments show, what tests/docs/fields.c prints?
#
#   tests/docs/fields.sh           compare
#   tests/docs/fields.sh --write   make it so
#
# Needs MuJoCo, any version; says so and is content without.
cd "$(dirname "$0")/../.." || exit 1
kept=docs/pages/fields.txt
tools/mujoco.sh tag >/dev/null 2>&1 || { echo "skip  $kept: no MuJoCo"; exit 0; }
mkdir -p build/docs-test || exit 1
# The words of the flags are split on purpose.
${CC:-cc} -std=gnu99 -O0 -Wall -Wextra -DBPRIOR_NO_SIMD -I. $(tools/mujoco.sh cflags) tests/docs/fields.c -o build/docs-test/fields \
    $(tools/mujoco.sh libs) -lm || exit 1
if [ "$1" = --write ]; then
    build/docs-test/fields >$kept && echo "wrote $kept"
elif build/docs-test/fields | diff $kept - >build/docs-test/fields.diff; then
    echo "ok    $kept"
else
    head -20 build/docs-test/fields.diff
    echo "FAIL  $kept is not what tests/docs/fields.c prints: tests/docs/fields.sh --write"
    exit 1
fi
