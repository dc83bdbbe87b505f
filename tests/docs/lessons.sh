#!/bin/sh
# Do the annotated examples and the lessons say what is true?
#
#   tests/docs/lessons.sh          all of it
#   tests/docs/lessons.sh pages    only what can be seen without running anything: 1 and 2
#   tests/docs/lessons.sh runs     only what has to be run: 3 and 4
#   tests/docs/lessons.sh kernels  3 and 4 in builds that compute as other CPUs would: no SIMD at all, the same with
#                                  multiply-adds fused by the compiler, and x86 without AVX-512
#
#   1. Every examples/NN_*.c has its page docs/lessons/NN_*.md, which shows every piece of it, once, in its order; no line of
#      code stands outside the pieces.                                   (so that a page cannot drift from its program)
#   2. Every page begins with a title and an id, and every id, file and snippet that it names exists.
#   3. What docs/lessons/output holds is what the examples print, letter by letter. (On any CPU: tools/lesson-output.sh.)
#   4. The answers of the programming exercises compile, run in ten seconds of processor time, and their claims hold; the
#      skeletons compile, and their claims do not hold.                  (so that an exercise is one)
# Ends with "N passed, N failed".
cd "$(dirname "$0")/../.." || exit 1
export CC="${CC:-cc}" LESSONS="${LESSONS:-build/lessons}" LESSON_FLAGS
mkdir -p "$LESSONS"
out=$LESSONS/out

# compile SOURCE PROGRAM FLAGS...: with the library of tools/lesson-output.sh
compile() {
    source=$1 program=$2
    shift 2
    $CC -std=gnu99 -O2 -Wall -Wextra "$@" -I. -DBPRIOR_IMPLEMENTED "$source" "$LESSONS/bprior.o" -o "$program" -lm
}

case $1 in
exercise) # what one answer and its skeleton do wrong, into $LESSONS/NAME.answer and .skeleton; runs as a process of its own
    name=$2
    {
        compile "docs/lessons/answers/$name.c" "$LESSONS/$name" 2>&1
        (ulimit -t 10; "$LESSONS/$name" >"$LESSONS/$name.txt" 2>&1) || { echo "status $? (137, 152: ten seconds were over)"; tail -n 5 "$LESSONS/$name.txt"; }
    } >"$LESSONS/$name.answer"
    {
        compile "docs/lessons/skeletons/turn_$name.c" "$LESSONS/turn_$name" -Wno-unused 2>&1
        (ulimit -t 10; "$LESSONS/turn_$name" >/dev/null 2>&1) && echo "its claims hold though nothing has been written"
    } >"$LESSONS/$name.skeleton"
    exit 0
    ;;
kernels)
    status=0
    for build in "no-simd -DBPRIOR_NO_SIMD" "fused -DBPRIOR_NO_SIMD -O3 -march=native -ffp-contract=fast" \
        "no-avx512 -D'__builtin_cpu_supports(f)=((f)[3]!=53)'"; do # 53 is '5'
        echo "== $build"
        LESSONS=build/lessons/${build%% *} LESSON_FLAGS=${build#* } tests/docs/lessons.sh runs || status=1
    done
    exit $status
    ;;
esac
. tools/report.sh

if [ "$1" != runs ]; then

    # ---- 1. pages and programs -----------------------------------------------------------------------

    for source in examples/[0-9][0-9]_*.c; do
        name=$(basename "$source" .c)
        page=docs/lessons/$name.md
        if [ ! -f "$page" ]; then
            echo "there is no $page" >"$out"
            report "$name has its page" <"$out"
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
            }' "$page" "$source" >"$out"
        report "$page shows every line of its program, in order" <"$out"
    done

    # ---- 2. pages ----------------------------------------------------------------------------------------

    pages=$(ls docs/lessons/*.md docs/lessons/answers/*.md)
    for page in $pages; do
        head -n 1 "$page" | grep -q '^# .* {#[a-z0-9_]*}$' || echo "$page: does not begin with \"# Title {#page_id}\""
    done >"$out"
    report "pages begin with a title and an id" <"$out"
    awk 'FNR == 1 && /{#[a-z0-9_]*}$/ { sub(/.*{#/, ""); sub(/}$/, ""); print }' $pages docs/pages/*.md | sort >"$LESSONS/ids"
    uniq -d "$LESSONS/ids" | sed 's/$/: used twice/' >"$out"
    report "page ids are unique" <"$out"
    # An id of this folder begins with ex_, lesson_ or answers_; the others belong to docs/pages.
    grep -o -h '@\(sub\)*\(ref\|page\) \(ex_\|lesson_\|answers_\)[a-z0-9_]*' $pages | sed 's/.* //' | sort -u |
        grep -v -x -F -f "$LESSONS/ids" | sed 's/$/: there is no such page/' >"$out"
    report "pages refer to pages that exist" <"$out"
    {
        grep -o -h '](\.\./[^)#]*' $pages | sed 's/^](//' | sort -u | while read -r link; do
            [ -e "docs/lessons/$link" ] || echo "there is no docs/lessons/$link"
        done
        sed -n 's/^@verbinclude //p' $pages | sort -u | while read -r file; do [ -s "$file" ] || echo "there is no $file"; done
        sed -n 's/^@snippet //p' $pages | sort -u | while read -r file name; do
            [ "$(grep -c -F "[$name]" "$file" 2>/dev/null)" = 2 ] || echo "$file: [$name] does not stand there twice"
        done
    } >"$out"
    report "links, listings and snippets exist" <"$out"
    for gp in docs/lessons/plots/*.gp; do
        [ -s "${gp%.gp}.svg" ] || echo "${gp%.gp}.svg is missing: tools/lesson-output.sh --plots"
    done >"$out"
    report "every plot has been made" <"$out"
    for lesson in docs/lessons/lesson_*.md; do
        id=$(basename "$lesson" .md)
        [ -f "docs/lessons/answers/answers_${id#lesson_}.md" ] || echo "$lesson has no answers"
        for word in Goal Reading Plan Program Exercises; do
            grep -q "^## $word" "$lesson" || echo "$lesson: has no section \"$word\""
        done
    done >"$out"
    report "every lesson has its sections, and its answers" <"$out"
    for answer in docs/lessons/answers/*.c; do
        name=$(basename "$answer")
        lesson=${name%%_*}
        grep -q -F "skeletons/turn_$name" "docs/lessons/lesson_$lesson.md" || echo "docs/lessons/lesson_$lesson.md does not speak of turn_$name"
        grep -q -F "answers/$name" "docs/lessons/answers/answers_$lesson.md" || echo "docs/lessons/answers/answers_$lesson.md does not speak of $name"
    done >"$out"
    report "every program of an exercise is named by its lesson and its answers" <"$out"
    tools/skeletons.sh --check >"$out"
    report "skeletons are made from the answers" <"$out"

fi

if [ "$1" != pages ]; then

    # ---- 3. what the examples print ----------------------------------------------------------------------

    tools/lesson-output.sh --check >"$LESSONS/check" || grep -q error "$LESSONS/check" || echo "error: see above" >>"$LESSONS/check"
    grep '^skip' "$LESSONS/check"
    grep -v '^ok\|^skip' "$LESSONS/check" >"$out"
    report "the examples print what their pages show" <"$out"

    # ---- 4. exercises ------------------------------------------------------------------------------------

    exercises=$(cd docs/lessons/answers && ls [0-9]*.c | sed 's/\.c$//')
    rm -f "$LESSONS"/*.answer "$LESSONS"/*.skeleton
    echo "$exercises" | xargs -n 1 -P "$(nproc 2>/dev/null || echo 2)" tests/docs/lessons.sh exercise
    for name in $exercises; do
        [ -f "$LESSONS/$name.answer" ] && [ -f "$LESSONS/$name.skeleton" ] || echo "was not run" | tee "$LESSONS/$name.answer" >"$LESSONS/$name.skeleton"
        report "answer $name" <"$LESSONS/$name.answer"
        report "skeleton $name" <"$LESSONS/$name.skeleton"
    done

fi

verdict lessons
