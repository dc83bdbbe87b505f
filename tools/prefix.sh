#!/bin/sh
# The list behind BPRIOR_PREFIX: one renaming #define per public function, generated from the BPRIOR_API
# declarations and kept in the header between the two marks
#
#     /* [prefix list: tools/prefix.sh] */   ...   /* [end of prefix list] */
#
#   tools/prefix.sh HEADER [SOURCE...]   bring the list in HEADER up to date (declarations from SOURCE...,
#                                        else from HEADER itself)
#   tools/prefix.sh --check HEADER       status 1 if it is not
#   tools/prefix.sh --names FILE...      print the public names
check=
case $1 in
--check) check=1; shift ;;
--names) only=1; shift ;;
esac
[ $# -gt 0 ] || { echo "usage: tools/prefix.sh [--check|--names] HEADER [SOURCE...]" >&2; exit 2; }
header=$1
[ $# -gt 1 ] && [ -z "$only" ] && shift

# The name is the first bp_word that a parenthesis follows, between BPRIOR_API and the semicolon.
names() {
    awk '
        { line = $0; sub(/\r$/, "", line); sub(/\/\/.*/, "", line) }
        /^ *\*/ || /^# *(define|ifn?def|if|undef|elif)/ { next }
        !open && line ~ /^ *BPRIOR_API / { open = 1; text = "" }
        open {
            text = text " " line
            if (match(text, /bp_[A-Za-z0-9_]+[ ]*\(/)) {
                name = substr(text, RSTART, RLENGTH)
                sub(/[ ]*\($/, "", name)
                if (!seen[name]++) print name
                open = 0
            } else if (line ~ /[;{]/) open = 0
        }' "$@"
}
if [ -n "$only" ]; then
    names "$@"
    exit 0
fi

grep -q '\[prefix list: tools/prefix.sh\]' "$header" || { echo "$header: no prefix list marks" >&2; exit 1; }
new=$(mktemp) || exit 1
trap 'rm -f "$new" "$new.list"' EXIT
names "$@" | sed 's/.*/#define & BPI_PREFIXED(&)/' >"$new.list"
awk -v list="$new.list" '
    /\[end of prefix list\]/ { inside = 0 }
    !inside { print }
    /\[prefix list: tools\/prefix.sh\]/ { while ((getline l < list) > 0) print l; inside = 1 }
' "$header" >"$new"
cmp -s "$new" "$header" && exit 0
if [ -n "$check" ]; then
    echo "$header: the prefix list is not current; run tools/prefix.sh $header"
    diff "$header" "$new" | sed -n 's/^[<>] .*/    &/p' | head -20
    exit 1
fi
cat "$new" >"$header"
