#!/bin/sh
# Everything that can be said about the sources without running them.
#
#   tools/lint.sh          check; the last line is "lint: N passed, N failed"
#   tools/lint.sh format   apply the layout
cd "$(dirname "$0")/.." || exit 1
CC=${CC:-cc}
headers=$(ls bprior.h bprior_mujoco.h 2>/dev/null)
c_files=$(find . -path ./build -prune -o -path ./.deps -prune -o -path ./.git -prune -o -path ./docs/html -prune -o \
    \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) -print | sed 's,^\./,,' | sort)
# Laid out by hand or by a program: vectors and the like.
generated=$(grep -l -s 'clang-format: generated' $c_files)
for g in $generated; do c_files=$(echo "$c_files" | grep -v -x "$g"); done
text_files="$c_files $(find Makefile README.md CHANGELOG.md CONTRIBUTING.md CITATION.cff LICENSE .clang-format .gitignore .ci tools tests examples docs -path docs/html -prune -o -type f -print 2>/dev/null |
    grep -E -v '\.(c|h|cc|png|gif|svg|csv|pdf|safetensors)$' | sort)"

# Another clang-format lays some lines out differently: only version 14 is the judge.
clang_format=clang-format
command -v clang-format-14 >/dev/null 2>&1 && clang_format=clang-format-14
if [ "$1" = format ]; then
    # Three times: what it does to long macros can need a second look.
    $clang_format -i $c_files && $clang_format -i $c_files && $clang_format -i $c_files
    exit
fi

. tools/report.sh
mkdir -p build/lint
out=build/lint/out

if $clang_format --version | grep -q 'version 14'; then
    $clang_format --dry-run -Werror $c_files 2>&1 | grep -E '^[^ :]+:[0-9]+:[0-9]+: (error|warning)' | cut -d: -f1 |
        uniq -c | sed 's/$/: run make format/' >$out
    report "layout: clang-format 14" <$out
else
    echo "skip  layout: the judge is clang-format 14, this is $($clang_format --version | grep -o 'version [0-9.]*')"
fi

awk -v most=140 'length > most { print FILENAME ":" FNR ": " length " columns" }' $c_files /dev/null >$out
report "no line of C longer than 140 columns" <$out
grep -n -E '[[:blank:]]+$' $text_files /dev/null >$out
report "no blanks at line ends" <$out
grep -n -P '\t' $c_files /dev/null >$out
report "no tabs in C" <$out
grep -n -P '\r' $text_files /dev/null | cut -c1-80 >$out
report "no carriage returns" <$out

# The bracketed first letters keep these patterns from finding themselves.
grep -n -E '/[h]ome/[a-z]|/[r]oot/|/[w]ork/|/[o]pt/[a-z]|[/]tmp/[a-z]' $text_files /dev/null >$out
report "no paths of somebody's machine" <$out
grep -n -i -E '[p]ypi\.|[f]iles\.pythonhosted|(deb|snapshot|security)\.[d]ebian\.org|[a]rchive\.ubuntu|[p]roxy\.|[a]rtifactory|[i]ndex-url|127\.0\.[0]\.1|10\.[0-9]+\.[0-9]+\.[0-9]+[:/]' $text_files /dev/null >$out
report "no package registry hosts" <$out
grep -n -E '(^|[^[:alnum:]_])[T]ODO|[F]IXME|(^|[^X])[X]XX($|[^X])' $text_files /dev/null >$out
report "nothing left to do in comments" <$out
for f in tools/*.sh tests/*/*.sh .ci/run; do
    [ -f "$f" ] || continue
    [ -x "$f" ] || echo "$f: not executable"
    shell=sh
    head -1 "$f" | grep -q bash && shell=bash
    $shell -n "$f" 2>&1
done >$out
report "scripts are executable and parse" <$out

if [ -n "$headers" ]; then
    for h in $headers; do tools/prefix.sh --check $h; done >$out 2>&1
    report "the BPRIOR_PREFIX lists are current" <$out

    # Names that a user's program would see: from the compiled implementation, and from the preprocessor.
    printf '#define BPRIOR_IMPLEMENTATION\n#include "bprior.h"\n' >build/lint/unit.c
    if $CC -std=gnu99 -I. -DBPRIOR_THREADS -c -o build/lint/unit.o build/lint/unit.c 2>$out; then
        nm -g --defined-only build/lint/unit.o | awk 'NF == 3 && $3 !~ /^bp_/ { print "symbol " $3 }' >$out
    fi
    report "every global symbol starts with bp_" <$out
    # Macros of a plain include, minus those of the headers that it needs itself.
    mujoco=
    if [ -f bprior_mujoco.h ] && mj_flags=$(tools/mujoco.sh cflags); then mujoco='#include <mujoco/mujoco.h>'; fi
    printf '#include <stddef.h>\n#include <stdint.h>\n#include <stdbool.h>\n%s\n' "$mujoco" |
        $CC -std=gnu99 $mj_flags -dM -E -x c - | sort >build/lint/before
    printf '#include "bprior.h"\n%s\n' "${mujoco:+#include \"bprior_mujoco.h\"}" |
        $CC -std=gnu99 $mj_flags -I. -dM -E -x c - | sort | comm -13 build/lint/before - |
        awk '$2 !~ /^(BP_|BPI_|BPRIOR_|bp_|_)/ { print "macro " $2 }' >$out
    report "every macro starts with BP_, BPI_ or BPRIOR_" <$out

    # A declaration is documented when a /** comment ends right above it, or a /**< stands behind it.
    awk '
        FNR == 1 { documented = open = 0 }
        /BPRIOR_IMPLEMENTED/ { nextfile_here = 1 }
        FNR == 1 { nextfile_here = 0 }
        nextfile_here { next }
        /\/\*\*/ { doc_open = 1 }
        /\*\// { if (doc_open) documented = 1; doc_open = 0; if ($0 !~ /^ *BPRIOR_API/) next }
        doc_open { next }
        /^ *BPRIOR_API / {
            if (!documented && $0 !~ /\/\*\*</) print FILENAME ":" FNR ": " $0
            open = 1
        }
        open && /;/ { open = 0; documented = 0; next }
        !open && /^[^ #\/]/ { documented = 0 }
        !open && /^$/ { documented = 0 }
    ' $headers >$out
    report "every public function has a doc comment" <$out

    # Do the comments speak of parameters that exist? clang knows.
    if command -v clang >/dev/null 2>&1; then
        clang -std=c99 -fsyntax-only -Wdocumentation -I. -x c bprior.h 2>&1 | grep 'warning:' |
            grep -v "parameter '[^']*,[^']*' not found" >$out # Doxygen takes lists, clang does not
        report "doc comments name parameters that exist (clang -Wdocumentation)" <$out
    fi

    # The catalogue of errors: table, sections, and the enum's list, each with the same names; the table with the same numbers.
    errors=docs/pages/61_errors.md
    sed -n '/^#define BP_STATUS_LIST/,/[^\\]$/s/^ *X(\(BP_[A-Z_]*\), *\(-*[0-9]*\),.*/\1 \2/p' bprior.h | sort >build/lint/statuses
    cut -d' ' -f1 build/lint/statuses | sort >build/lint/names
    {
        [ -s build/lint/statuses ] || echo "bprior.h: no BP_STATUS_LIST was found"
        sed -n 's/^| @ref err_[a-z]* "\(BP_[A-Z_]*\)" | \(-*[0-9]*\) |.*/\1 \2/p' $errors | sort >build/lint/table
        comm -23 build/lint/statuses build/lint/table | sed "s,.*,$errors: the table has no &,"
        comm -13 build/lint/statuses build/lint/table | sed "s,.*,$errors: the table has &\, the enum has not,"
        sed -n 's/^## \(BP_[A-Z_]*\) {#err_[a-z]*}$/\1/p' $errors | sort >build/lint/sections
        comm -23 build/lint/names build/lint/sections | sed "s,.*,$errors: there is no section &,"
        comm -13 build/lint/names build/lint/sections | sed "s,.*,$errors: section & is about no status,"
        grep -o -h 'BP_ERR_[A-Z]*\|BP_INTERRUPTED' $errors docs/pages/*.md docs/lessons/*.md README.md | sort -u | comm -13 build/lint/names - |
            sed 's/.*/the pages speak of &, which is no status/'
    } >$out
    report "the error catalogue has every status, and nothing else" <$out

    # Chapters: the same numbers in the contents, the declarations and the implementation.
    grep -o '[0-9][0-9]*\. >>[a-z0-9_]*' bprior.h | sed 's/\. >>/ /' | sort | uniq -c |
        awk '$1 < 3 { print "chapter " $2 " >>" $3 " appears " $1 " time(s): contents, declarations, implementation?" }' >$out
    report "chapter banners agree with the contents" <$out

    # Does the checker of the equation index notice what it should? (Whether the index agrees: make equations.)
    tools/equations.sh selftest | grep FAIL >$out
    report "tools/equations.sh notices every kind of mistake" <$out
fi

verdict lint
