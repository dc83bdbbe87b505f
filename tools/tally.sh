#!/bin/sh
# Add up build/results/ for the test ids given as arguments; an id without a result did not build.
# The last line is "N passed, N failed".
passed=0 failed=0 skipped=0
for id; do
    file=build/results/$(echo "$id" | tr / +)
    if [ -f "$file" ]; then
        read -r p f s <"$file"
    else
        echo "FAIL  $id: not built"
        p=0 f=1 s=0
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
[ $# -gt 0 ] || { echo "no test matches"; failed=1; }
[ $skipped = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
