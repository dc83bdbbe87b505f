#!/bin/sh
# For the scripts that check many things one after the other: . tools/report.sh
#
#   ... >$out; report "what should be so" <$out     counts, and says "ok" or "FAIL" with the complaints, which come from stdin
#   verdict NAME                                    the last line, "NAME: N passed, N failed"; its status is the script's
passed=0 failed=0

report() {
    complaints=$(cat)
    if [ -z "$complaints" ]; then
        passed=$((passed + 1))
        echo "ok    $1"
    else
        failed=$((failed + 1))
        echo "FAIL  $1"
        echo "$complaints" | head -40 | sed 's/^/      | /'
    fi
}

verdict() {
    echo "$1: $passed passed, $failed failed"
    [ "$failed" = 0 ]
}
