#!/bin/sh
# Do the annotated examples and the lessons say what is true?
#
#   tests/docs/lessons.sh          all of it
#   tests/docs/lessons.sh pages    only what can be seen without running anything
#
#   1. Every examples/NN_*.c has its page docs/lessons/NN_*.md, which shows every piece of it, once, in its order; no line of
#      code stands outside the pieces.                                   (so that a page cannot drift from its program)
#   2. Every page begins with a title and an id, and every id, file and snippet that it names exists.
#   3. What docs/lessons/output holds is what the examples print.
#   4. The answers of the programming exercises compile, run in ten seconds, and their claims hold; the skeletons compile, and
#      their claims do not hold.                                         (so that an exercise is one)
# Ends with "N passed, N failed".
cd "$(dirname "$0")/../.." || exit 1
CC=${CC:-cc}
passed=0 failed=0
mkdir -p build/lessons
out=build/lessons/out

# report WHAT: complaints from stdin
report() {
    complaints=$(cat)
    if [ -z "$complaints" ]; then
        passed=$((passed + 1))
        echo "ok    $1"
    else
        failed=$((failed + 1))
        echo "FAIL  $1"
        echo "$complaints" | head -20 | sed 's/^/      | /'
    fi
}

# ---- 1. pages and programs -----------------------------------------------------------------------

for source in examples/[0-9][0-9]_*.c; do
    name=$(basename "$source" .c)
    page=docs/lessons/$name.md
    if [ ! -f "$page" ]; then
        echo "there is no $page" >$out
        report "$name has its page" <$out
        continue
    fi
    # The pieces in the order of the program, and lines outside of them.
    awk -v page="$page" -v source="$source" '
        FILENAME == page && $1 == "@snippet" && $2 == source { shown[++n_shown] = $3 }
        FILENAME == page { next }
        FNR == 1 && /^\/\*/ { comment = 1 }
        comment { if (/\*\//) comment = 0; next }
        match($0, /^ *\/\* \[[a-z_0-9]+\] \*\/$/) {
            name = $2
            gsub(/[][]/, "", name)
            if (piece == "") {
                if (name in seen) print source ":" FNR ": a second piece called [" name "]"
                seen[name] = 1
                piece = name
                order[++n] = name
            } else if (piece == name) piece = ""
            else print source ":" FNR ": [" name "] inside of [" piece "]"
            next
        }
        piece == "" && !/^$/ { print source ":" FNR ": in no piece: " $0 }
        { for (name in seen) if (index($0, "[" name "]")) print source ":" FNR ": [" name "] would end the snippet of that name" }
        END {
            if (piece != "") print source ": [" piece "] does not end"
            for (i = 1; i <= n || i <= n_shown; i++)
                if (order[i] != shown[i]) {
                    print page ": piece " i " should be [" order[i] "], not [" shown[i] "]"
                    exit
                }
        }' "$page" "$source" >$out
report "$page shows every line of its program, in order" <$out
done

# ---- 2. pages ----------------------------------------------------------------------------------------

pages=$(ls docs/lessons/*.md docs/lessons/answers/*.md)
for page in $pages; do
    head -n 1 "$page" | grep -q '^# .* {#[a-z0-9_]*}$' || echo "$page: does not begin with \"# Title {#page_id}\""
done >$out
report "pages begin with a title and an id" <$out
awk 'FNR == 1 && /{#[a-z0-9_]*}$/ { sub(/.*{#/, ""); sub(/}$/, ""); print }' $pages docs/pages/*.md | sort >build/lessons/ids
uniq -d build/lessons/ids | sed 's/$/: used twice/' >$out
report "page ids are unique" <$out
# An id of this folder begins with ex_, lesson_ or answers_; the others belong to docs/pages.
grep -o -h '@\(sub\)*\(ref\|page\) \(ex_\|lesson_\|answers_\)[a-z0-9_]*' $pages | sed 's/.* //' | sort -u |
    grep -v -x -F -f build/lessons/ids | sed 's/$/: there is no such page/' >$out
report "pages refer to pages that exist" <$out
{
    grep -o -h '](\.\./[^)#]*' $pages | sed 's/^](//' | sort -u | while read -r link; do
        [ -e "docs/lessons/$link" ] || echo "there is no docs/lessons/$link"
    done
    sed -n 's/^@verbinclude //p' $pages | sort -u | while read -r file; do [ -s "$file" ] || echo "there is no $file"; done
    sed -n 's/^@snippet //p' $pages | sort -u | while read -r file name; do
        [ "$(grep -c -F "[$name]" "$file" 2>/dev/null)" = 2 ] || echo "$file: [$name] does not stand there twice"
    done
} >$out
report "links, listings and snippets exist" <$out
for gp in docs/lessons/plots/*.gp; do
    [ -s "${gp%.gp}.svg" ] || echo "${gp%.gp}.svg is missing: tools/lesson-output.sh --plots"
done >$out
report "every plot has been made" <$out
for lesson in docs/lessons/lesson_*.md; do
    id=$(basename "$lesson" .md)
    [ -f "docs/lessons/answers/answers_${id#lesson_}.md" ] || echo "$lesson has no answers"
    for word in Goal Reading Plan Program Exercises; do
        grep -q "^## $word" "$lesson" || echo "$lesson: has no section \"$word\""
    done
done >$out
report "every lesson has its sections, and its answers" <$out
for answer in docs/lessons/answers/*.c; do
    name=$(basename "$answer")
    lesson=${name%%_*}
    grep -q -F "skeletons/turn_$name" "docs/lessons/lesson_$lesson.md" || echo "docs/lessons/lesson_$lesson.md does not speak of turn_$name"
    grep -q -F "answers/$name" "docs/lessons/answers/answers_$lesson.md" || echo "docs/lessons/answers/answers_$lesson.md does not speak of $name"
done >$out
report "every program of an exercise is named by its lesson and its answers" <$out
tools/skeletons.sh --check >$out
report "skeletons are made from the answers" <$out

# ---- 3. what the examples print ----------------------------------------------------------------------

if [ "$1" != pages ]; then
    tools/lesson-output.sh --check >build/lessons/check || grep -q error build/lessons/check || echo "error: see above" >>build/lessons/check
    grep '^skip' build/lessons/check
    grep -v '^ok\|^skip' build/lessons/check >$out
report "the examples print what their pages show" <$out

    # ---- 4. exercises ------------------------------------------------------------------------------------
    # One object holds the library; each program is compiled as if it did.
    library=build/lessons/bprior.o
    [ "$library" -nt bprior.h ] || $CC -std=gnu99 -O2 -I. -c tests/portability/implementation.c -o "$library" || exit 1
    limit() { if command -v timeout >/dev/null 2>&1; then timeout "$@"; else shift; "$@"; fi; }
    compile() { $CC -std=gnu99 -O2 -Wall -Wextra $2 -I. -DBPRIOR_IMPLEMENTED "$1" "$library" -o "$3" -lm; }
    for answer in docs/lessons/answers/*.c; do
        name=$(basename "$answer" .c)
        {
            compile "$answer" "" "build/lessons/$name" 2>&1
            start=$(date +%s)
            limit 60 "build/lessons/$name" >"build/lessons/$name.txt" 2>&1 || { echo "status $?:"; tail -n 5 "build/lessons/$name.txt"; }
            took=$(($(date +%s) - start))
            [ "$took" -le 10 ] || echo "took $took s"
        } >$out
report "answer $name" <$out
        {
            compile "docs/lessons/skeletons/turn_$name.c" "-Wno-unused" "build/lessons/skeleton" 2>&1
            limit 10 build/lessons/skeleton >/dev/null 2>&1 && echo "its claims hold though nothing has been written"
        } >$out
report "skeleton $name" <$out
    done
fi

echo "lessons: $passed passed, $failed failed"
[ "$failed" = 0 ]
