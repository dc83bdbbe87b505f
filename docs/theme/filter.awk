# What Doxygen reads instead of a header. Line numbers stay as they are.
#   - In a declaration of several names, "T a, *b; /**< words */", each name gets the words.
#   - Lists of X-macros are spelled out where they are used: their entries become documented enumerators and fields.
#   - E19 in a documentation comment becomes a link to the equation.
# With -v inside=1, for the internal documentation, no links; and below BPRIOR_IMPLEMENTATION the plain comment right above a
# definition becomes its documentation, word for word.

# The entries of a list of X(name, "words") as fields, of X(name, value, "words") as enumerators.
function entries(text,   name, n, out, rest) {
    out = ""
    while (match(text, /X\([A-Za-z0-9_]+, ("[^"]*"|-?[0-9]+, "[^"]*")\)/)) {
        rest = substr(text, RSTART + 2, RLENGTH - 3)
        text = substr(text, RSTART + RLENGTH)
        name = rest
        sub(/,.*/, "", name)
        sub(/^[^,]*, /, "", rest)
        if (rest ~ /^"/) out = out " double " name "; /**< " linked(substr(rest, 2, length(rest) - 2)) " */"
        else {
            n = rest
            sub(/,.*/, "", n)
            sub(/^[^"]*"/, "", rest)
            sub(/"$/, "", rest)
            out = out " " name " = " n ", /**< " rest " */"
        }
    }
    return out
}

function linked(text,   out, word, before, after) {
    if (inside) return text
    out = ""
    while (match(text, /E[0-9]+b?|`[^`]*`|@f\$|@f\[|@f\]/)) {
        word = substr(text, RSTART, RLENGTH)
        before = RSTART > 1 ? substr(text, RSTART - 1, 1) : (out == "" ? " " : substr(out, length(out), 1))
        after = substr(text, RSTART + RLENGTH, 1)
        out = out substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + RLENGTH)
        if (word == "@f$") formula = !formula
        else if (word == "@f[") formula = 1
        else if (word == "@f]") formula = 0
        if (word ~ /^E/ && !formula && !code && before !~ /[A-Za-z0-9_.#"]/ && after !~ /[A-Za-z0-9_]/)
            out = out "@ref eq_" tolower(word) " \"" word "\""
        else out = out word
    }
    return out text
}

# A plain comment is held until the line below it is known: code, and the comment is about it.
function release(about,   i) {
    for (i = 1; i <= n_held; i++) {
        if (about && i == 1) sub(/^\/\*/, "/** @verbatim ", held[i])
        if (about && i == n_held) sub(/ *\*\/$/, " @endverbatim */", held[i])
        print held[i]
    }
    n_held = 0
}
inside && /defined\(BPRIOR(_MUJOCO)?_IMPLEMENTATION\)/ { private = 1 }
private && n_held && !in_plain { release(/^[A-Za-z]/) }
private && (in_plain || (/^\/\* [^=\[-]/ && !/\*\/./)) {
    held[++n_held] = $0
    in_plain = !/\*\/$/
    next
}

# What makes an enumerator or a field of an entry has done its work.
/^#define (BPI_[A-Z0-9_]*|BP_STATUS_ENUM)\(/ && !/\\$/ {
    print ""
    next
}

/^#define [A-Z0-9_]+\(X\)/ {
    list = $2
    sub(/\(.*/, "", list)
}
list != "" {
    content[list] = content[list] " " $0
    if ($0 !~ /\\$/) list = ""
    print
    next
}
/^    (BP_[A-Z0-9_]+)\([A-Z0-9_]+\),?$/ {
    use = $1
    sub(/\(.*/, "", use)
    if (use in content) {
        print entries(content[use])
        next
    }
}

# "    T a, *b; /**< words": the words to every name, as far as they stand on this line.
!in_doc && /^ +[A-Za-z_][A-Za-z0-9_ ]*[ *][A-Za-z_][A-Za-z0-9_]*(\[[^]]*\])?,[^;()]*; *\/\*\*</ {
    at = index($0, ";")
    declaration = substr($0, 1, at - 1)
    comment = substr($0, at + 1)
    sub(/^ +/, "", comment)
    words = comment
    closed = sub(/ *\*\/.*$/, "", words)
    n = split(declaration, name, /, */)
    out = ""
    for (i = 1; i < n; i++) out = out name[i] " " linked(words) (closed ? "" : " ...") " */, "
    $0 = out name[n] "; " comment
}

{
    line = $0
    if (!in_doc && line ~ /\/\*\*/) in_doc = 1
    if (in_doc) {
        if (line ~ /@code/) code = 1
        if (line ~ /@endcode/) code = 0
        at = index(line, "/**")
        # (A line that begins five blanks after its star is code.)
        if (line !~ /^ \*     / && (line ~ /E[0-9]/ || line ~ /@f/)) line = at ? substr(line, 1, at - 1) linked(substr(line, at)) : linked(line)
        if (line ~ /\*\/[^*]*$/ ) in_doc = 0
    }
    print line
}
