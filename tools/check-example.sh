#!/bin/sh
# tools/check-example.sh PROGRAM SOURCE: run an example and compare what it prints with its own comment:
#
#    Expected output:
#    *   lines that begin with blank, star and three blanks; "..." alone stands for any lines
#
# An example without such a comment only has to exit with status 0.
out=build/log/$(basename "$1").out
"$1" >"$out" || { echo "$1: exit status $?"; exit 1; }
awk -v got="$out" '
    FNR == NR && wanted && /^ \*   / { want[++n] = substr($0, 6); next }
    FNR == NR && wanted && /^ \*$/ && n == 0 { next }
    FNR == NR && wanted && /^ \*$/ { want[++n] = ""; next }
    FNR == NR && wanted { wanted = 0; closed = 1 }
    FNR == NR { if (/Expected output:/ && !closed) { wanted = 1; any = 1 } next }
    { have[++m] = $0 }
    function trim(s) { sub(/[ \t]+$/, "", s); return s }
    # do want[i..n] match have[j..m]?
    function match_from(i, j,   k) {
        for (; i <= n; i++) {
            if (trim(want[i]) == "...") {
                for (k = j; k <= m + 1; k++) if (match_from(i + 1, k)) return 1
                return 0
            }
            if (j > m || trim(want[i]) != trim(have[j])) {
                if (j > far) { far = j; expected = want[i] }
                return 0
            }
            j++
        }
        return j == m + 1
    }
    END {
        if (!any) exit 0
        while (n && trim(want[n]) == "") n--
        while (m && trim(have[m]) == "") m--
        if (match_from(1, 1)) exit 0
        print "error: output differs from the comment; first at line " far ":"
        print "  expected: " expected
        print "  printed:  " have[far]
        exit 1
    }' "$2" "$out"
