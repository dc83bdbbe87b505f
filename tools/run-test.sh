#!/bin/sh
# Run one test program, print one line about it, and leave its count in build/results/.
#
#   tools/run-test.sh ID COMMAND...      cmocka program; output to build/log/ID.log
#   tools/run-test.sh -c ID COMMAND...   one check: passes if the command's status is 0
#
# Always exits 0: tools/tally.sh adds up the results and decides.
one=
[ "$1" = -c ] && { one=1; shift; }
id=$1
shift
log=build/log/$id.log
result=build/results/$(echo "$id" | tr / +)
mkdir -p "$(dirname "$log")" build/results
limit=
case $id in asan* | tsan*) seconds=300 ;; portability* | paper*) seconds=300 ;; *) seconds=${BPRIOR_TEST_SECONDS:-120} ;; esac
command -v timeout >/dev/null 2>&1 && limit="timeout $seconds"

start=$(date +%s)
run() { CMOCKA_MESSAGE_OUTPUT=stdout $limit "$@" >"$log" 2>&1 </dev/null; }
run "$@"
status=$?
# ThreadSanitizer cannot live with the address layout of some kernels: ask for a plain one.
if [ $status != 0 ] && grep -q 'ThreadSanitizer: unexpected memory mapping' "$log"; then
    run setarch "$(uname -m)" -R "$@"
    status=$?
fi
took=$(($(date +%s) - start))

if [ -n "$one" ]; then
    passed=1 failed=0 skipped=0
    case $status in
    0) ;;
    77) passed=0 skipped=1 ;;
    *) passed=0 failed=1 ;;
    esac
else
    # "[==========] Running 4 test(s)." once per group, "[       OK ] name" once per test that passed.
    set -- $(awk '/^\[=+\].*Running [0-9]+ test/ { for (i = 1; i < NF; i++) if ($i == "Running") n += $(i + 1) }
        /^\[ +OK \]/ { ok++ }
        /^\[ RUN/ { running = $NF } # a skipped test is listed again at the end of its group
        /^\[  SKIPPED \]/ && $NF == running { skip++; running = "" }
        END { print n + 0, ok + 0, skip + 0 }' "$log")
    passed=$2 skipped=$3
    failed=$(($1 - $2 - $3))
    [ $failed -lt 0 ] && failed=0
    # A program that died, leaked or ran no test at all has failed, whatever it printed before.
    [ $failed = 0 ] && { [ $status != 0 ] || [ "$1" = 0 ]; } && failed=1
fi
echo "$passed $failed $skipped" >"$result"

word=ok note=
[ "$skipped" != 0 ] && note=", $skipped skipped"
[ -n "$one" ] && [ "$skipped" != 0 ] && { word=skip; note=": $(tail -n 1 "$log")"; }
if [ "$failed" != 0 ]; then
    word=FAIL note="$note, $failed failed (status $status): $log"
    [ $status = 124 ] && note="$note (killed after $seconds s)"
fi
if [ -n "$one" ]; then
    printf '%-4s  %-44s %s  %s s\n' "$word" "$id" "${note#, }" "$took"
else
    printf '%-4s  %-44s %s passed%s  %s s\n' "$word" "$id" "$passed" "$note" "$took"
fi
[ "$failed" = 0 ] || grep -E -h -m 12 'ERROR|error:|FAILED|Sanitizer|differ' "$log" | sed 's/^/      | /' | cut -c1-200
exit 0
