#!/bin/sh
# What the examples print, kept in docs/lessons/output for the pages that show it, and the plots made from it.
#
#   tools/lesson-output.sh [NN_name ...]           run (default: all), write docs/lessons/output/NN_name.txt, plot
#   tools/lesson-output.sh --check [NN_name ...]   run, and compare with what is kept; status 1 if anything differs
#   tools/lesson-output.sh --plots                 only the plots: docs/lessons/plots/*.gp to *.svg, with gnuplot
#
# The examples print nothing that depends on the clock or on the machine: their networks use BP_KERNEL_REFERENCE, or they
# say "above" and "below" instead of digits. So the comparison is letter by letter, whatever the CPU; tests/docs/lessons.sh
# kernels shows that it may be. The example that needs MuJoCo is left out, and that is said, where there is none.
#
# LESSONS (default build/lessons) is where the programs are built, LESSON_FLAGS what they are built with besides CFLAGS.
cd "$(dirname "$0")/.." || exit 1
export LESSONS="${LESSONS:-build/lessons}" LESSON_FLAGS
out=docs/lessons/output
jobs=$(nproc 2>/dev/null || echo 2)
mkdir -p "$LESSONS" "$out" || exit 1

plots() {
    command -v gnuplot >/dev/null 2>&1 || { echo "no plots: gnuplot is missing"; return 0; }
    for gp in docs/lessons/plots/*.gp; do
        gnuplot -e "set terminal svg size 760,340 font 'sans,13' background '#ffffff'; set output '${gp%.gp}.svg'" "$gp" ||
            { echo "error: $gp"; failed=1; }
    done
}

failed=0
check=
case $1 in
--check) check=1; shift ;;
--plots) plots; exit $failed ;;
esac
[ $# -gt 0 ] || set -- $(ls examples/[0-9][0-9]_*.c | sed 's,.*/,,; s,\.c$,,')

make --no-print-directory -s -j"$jobs" _lessons || exit 1

# As many at once as there are processors; a program that fails leaves its status behind.
for name; do [ ! -x "$LESSONS/$name" ] || echo "$name"; done |
    xargs -n 1 -P "$jobs" sh -c 'rm -f "$0/$1.status"; "$0/$1" >"$0/$1.txt" || echo $? >"$0/$1.status"' "$LESSONS"

for name; do
    if [ ! -x "$LESSONS/$name" ]; then
        echo "skip  $name: needs MuJoCo, and there is none"
    elif [ -f "$LESSONS/$name.status" ]; then
        echo "error: $name ends with status $(cat "$LESSONS/$name.status")"
        failed=1
    elif [ -z "$check" ]; then
        cp "$LESSONS/$name.txt" "$out/$name.txt" && echo "wrote $out/$name.txt"
    elif cmp -s "$LESSONS/$name.txt" "$out/$name.txt"; then
        echo "ok    $name prints what its page shows"
    else
        echo "error: $name prints something else than $out/$name.txt"
        diff "$out/$name.txt" "$LESSONS/$name.txt" | head -8
        failed=1
    fi
done
[ -n "$check" ] || plots
exit $failed
