#!/bin/sh
# tools/check-paper.sh PROGRAM: an experiment of examples/paper keeps the promises that all of them make:
#
#    --help                       status 0; names --seed, --steps, --out and --quick
#    --no-such-option             status 2
#    --quick --out DIR            status 0, in a minute at most, and in DIR (its subdirectories included):
#        settings.txt             lines "name = value", the version of bprior and the seed among them
#        *.csv                    at least one; a header, then rows with as many cells, all of them filled
#        *.png                    at least one, if there is a gnuplot
#    and nothing in the text files that names a directory of this machine. A quick run that took less than 10 s is
#    made again: the CSV files must be the same bits, except for columns called "seconds".
name=$(basename "$1")
dir=build/paper-check/$name
rm -rf "$dir" && mkdir -p "$dir" || exit 1
bad() { echo "error: $name: $*"; exit 1; }

"$1" --help >"$dir/help" || bad "--help: status $?"
for option in --seed --steps --out --quick; do
    grep -q -e "$option" "$dir/help" || bad "--help does not mention $option"
done
"$1" --no-such-option >/dev/null 2>&1
[ $? = 2 ] || bad "an unknown option must end with status 2"

start=$(date +%s)
"$1" --quick --out "$dir/a" >"$dir/a.out" 2>"$dir/a.err" || { tail -n 5 "$dir/a.err"; bad "--quick: status not 0"; }
took=$(($(date +%s) - start))
[ "$took" -le 60 ] || echo "warning: --quick took $took s"

settings=$dir/a/settings.txt
[ -s "$settings" ] || bad "no settings.txt"
grep -q '^bprior = [0-9]' "$settings" || bad "settings.txt does not say the version: bprior = ..."
grep -q '^seed = [0-9]' "$settings" || bad "settings.txt does not say the seed: seed = ..."
grep -n -v -E '^[^=]+ = .+$' "$settings" && bad "settings.txt: these lines are not \"name = value\""

find "$dir/a" -name '*.csv' | sort >"$dir/csv"
[ -s "$dir/csv" ] || bad "no CSV file"
while read -r file; do
    awk -F, -v name="${file#"$dir/a/"}" '
        { sub(/\r$/, "") }
        NR == 1 { columns = NF }
        NF != columns { print name ": line " NR " has " NF " cells, the header " columns; wrong = 1; exit }
        { for (i = 1; i <= NF; i++) if ($i == "") { print name ": line " NR ", cell " i " is empty"; wrong = 1; exit } }
        END { if (!wrong && NR < 2) { print name ": no rows"; wrong = 1 } exit wrong }' "$file" || bad "malformed CSV"
done <"$dir/csv"

if command -v gnuplot >/dev/null 2>&1; then
    find "$dir/a" -name '*.png' >"$dir/png"
    [ -s "$dir/png" ] || bad "no plot"
    while read -r file; do
        [ "$(head -c 8 "$file" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || bad "$file is no PNG"
    done <"$dir/png"
fi
grep -r -n -I -F "$(pwd)/" "$dir/a" && bad "these lines name a directory of this machine"

[ "$took" -lt 10 ] || exit 0
"$1" --quick --out "$dir/b" >"$dir/b.out" 2>"$dir/b.err" || bad "--quick, again: status not 0"
# a CSV file without the columns that hold clock readings
steady() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) skip[i] = $i == "seconds" }
        { line = ""; for (i = 1; i <= NF; i++) if (!skip[i]) line = line "," $i; print line }' "$1"
}
while read -r file; do
    again=$dir/b/${file#"$dir/a/"}
    steady "$file" >"$dir/one" && steady "$again" >"$dir/two" && cmp "$dir/one" "$dir/two" ||
        bad "the same seed gave another ${file#"$dir/a/"}: the files differ"
done <"$dir/csv"
exit 0
