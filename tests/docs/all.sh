#!/bin/sh
# make docs-test: the documentation, before it is built, while it is built, and as a reader meets it.
#
#   tests/docs/all.sh          everything
#   tests/docs/all.sh lessons  only tests/docs/lessons.sh
#   tests/docs/all.sh TEXT     only the checks of tests/docs/site.js that have TEXT in their name
#
# A part that fails does not keep the others from running. The last line is "N passed, N failed" over all of them.
cd "$(dirname "$0")/../.." || exit 1
mkdir -p build/docs-test || exit 1
log=build/docs-test/log
passed=0 failed=0

# part COMMAND...: the last "N passed, N failed" that it prints counts, and without one its status does
part() {
    { "$@" 2>&1; echo $? >$log.status; } | tee $log
    status=$(cat $log.status)
    set -- $(grep -o -E '[0-9]+ passed, [0-9]+ failed' $log | tail -n 1) # words: N passed, N failed
    passed=$((passed + ${1:-0})) failed=$((failed + ${3:-0}))
    if [ $# = 0 ] && [ "$status" = 0 ]; then passed=$((passed + 1)); fi
    if [ "${3:-0}" = 0 ] && [ "$status" != 0 ]; then failed=$((failed + 1)); fi
}

[ -n "$1" ] || part tests/docs/fields.sh
case $1 in '' | lessons) part tests/docs/lessons.sh ;; esac
if [ "$1" != lessons ]; then
    part tools/docs.sh
    part node tests/docs/site.js ${1:+"$1"}
fi
echo "docs-test: $passed passed, $failed failed"
[ "$failed" = 0 ]
