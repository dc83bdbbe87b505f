#!/bin/sh
# What the examples print, kept in docs/lessons/output for the pages that show it, and the plots made from it.
#
#   tools/lesson-output.sh [NN_name ...]           run (default: all), write docs/lessons/output/NN_name.txt, plot
#   tools/lesson-output.sh --check [NN_name ...]   run, and compare with what is kept; status 1 if anything differs
#   tools/lesson-output.sh --plots                 only the plots: docs/lessons/plots/*.gp to *.svg, with gnuplot
#
# The examples print nothing that depends on the clock or on the machine. Those that need MuJoCo are left out, and that is
# said, where there is none.
cd "$(dirname "$0")/.." || exit 1
out=docs/lessons/output
mkdir -p build/lessons "$out" || exit 1

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

make --no-print-directory -s _lessons || exit 1
for name; do
    program=build/examples/$name
    if [ ! -x "$program" ]; then
        echo "skip  $name: needs MuJoCo, and there is none"
        continue
    fi
    "$program" >"build/lessons/$name.txt" || { echo "error: $name ends with status $?"; failed=1; continue; }
    if [ -z "$check" ]; then
        cp "build/lessons/$name.txt" "$out/$name.txt" && echo "wrote $out/$name.txt"
    elif cmp -s "build/lessons/$name.txt" "$out/$name.txt"; then
        echo "ok    $name prints what its page shows"
    else
        echo "error: $name prints something else than $out/$name.txt"
        diff "$out/$name.txt" "build/lessons/$name.txt" | head -8
        failed=1
    fi
done
[ -n "$check" ] || plots
exit $failed
