#!/bin/sh
# Do the equation index, the code and the tests point at each other? Read from the sources alone; nothing is built.
#
#   tools/equations.sh            check; last line "equations: N listed, N with code, N with test"; status 1 on any gap
#   tools/equations.sh selftest   break a copy in each way that the check must notice; last line "N passed, N failed"
#   tools/equations.sh DIR        check the tree in DIR
#
# The rules:
#   1. docs/equations.md lists E1, E2, ... without a hole. Each has an anchor, a statement between $$, a line
#      "- Source:", and lines "- Code:" and "- Test:" with at least one function and one test that exist. A name
#      that ends in * stands for a family of functions. "- Example:" names files that exist and mention the equation.
#   2. A function in a Code line names the equation in its doc comment (of a family, one function does), and the banner of its
#      chapter lists it. The other way round, an equation that a function's doc comment names lists this function.
#   3. A test in a Test line is registered with cmocka in that file, and the equation is mentioned in the
#      comment above it, in it, in the heading of its section (/* ---- ... */), or in the file's opening comment.
#   4. No number without an equation behind it, in the headers, tests, examples and pages (docs/pages, docs/lessons and README too).
#   5. A test that a page names is registered in some file, and a file of tests/ that it names is there. test_x_* stands for a
#      family of tests.
here=$(cd "$(dirname "$0")/.." && pwd) || exit 1

check() {
    cd "$1" || return 1
    [ -f docs/equations.md ] || { echo "docs/equations.md: missing"; echo "equations: 0 listed, 0 with code, 0 with test"; return 1; }
    others=$(ls bprior_mujoco.h tests/*.c tests/*/*.c examples/*.c examples/*/*.c README.md CONTRIBUTING.md docs/*.md docs/pages/*.md \
        docs/lessons/*.md docs/lessons/answers/*.md docs/lessons/answers/*.c 2>/dev/null | grep -v '^docs/equations.md$')
    awk '
    function complain(where, what) { print where ": " what; bad++ }

    # The equation numbers of a text into found[1..n]; E19-E22 counts as four.
    function numbers(text,   n, id, before, after, last, k, to) {
        n = 0
        last = ""
        while (match(text, /E[0-9]+b?/)) {
            id = substr(text, RSTART, RLENGTH)
            before = RSTART > 1 ? substr(text, RSTART - 1, 1) : " "
            after = substr(text, RSTART + RLENGTH, 1)
            if (before ~ /[A-Za-z0-9_.#]/ || after ~ /[A-Za-z0-9_]/) {
                last = ""
            } else {
                if (last != "" && before == "-" && RSTART == 2) {
                    to = substr(id, 2) + 0
                    for (k = substr(last, 2) + 1; k < to; k++) found[++n] = "E" k
                }
                found[++n] = id
                last = id
            }
            text = substr(text, RSTART + RLENGTH)
            if (last != "" && text !~ /^-E[0-9]/) last = ""
        }
        return n
    }

    # Remember that every number in this line has to exist.
    function mention(text,   n, i) {
        if (text !~ /E[0-9]/) return
        n = numbers(text)
        for (i = 1; i <= n; i++) {
            if (!((FILENAME, found[i]) in mentioned)) mentioned[FILENAME, found[i]] = FNR
            if (FILENAME ~ /^examples\//) example[FILENAME, found[i]] = 1
        }
    }

    # Remember which tests and which of their files this line of a page names.
    function speak_of_tests(text,   name, before, after, there) {
        while (match(text, /tests\/[A-Za-z0-9_\/]+\.[a-z]+|test_[a-z0-9_]+/)) {
            name = substr(text, RSTART, RLENGTH)
            before = RSTART > 1 ? substr(text, RSTART - 1, 1) : " "
            text = substr(text, RSTART + RLENGTH)
            after = substr(text, 1, 1)
            if (name ~ /^tests\//) {
                there = (getline < name)
                close(name)
                if (there < 0) complain(FILENAME ":" FNR, "there is no " name)
            } else if (before !~ /[A-Za-z0-9_\/]/ && after !~ /[A-Z(]/ && text !~ /^\.[ch]([^a-z]|$)/) {
                if (after == "*") name = name "*"
                if (!((FILENAME, name) in spoken)) spoken[FILENAME, name] = FNR
            }
        }
    }

    FNR == 1 {
        if (FILENAME == "docs/equations.md") kind = "index"
        else if (FILENAME == "bprior.h") kind = "header"
        else if (FILENAME ~ /\.md$/) kind = "page"
        else if (FILENAME ~ /^tests\/test_/) { kind = "test"; in_head = 1; comment = section = test = "" }
        else kind = "other"
        exists[FILENAME] = 1
        field = ""
    }

    # ---- the index ----
    kind == "index" {
        line = $0
        # A backslash before punctuation does not survive the way from Markdown to mathematics.
        math = line
        if (math ~ /\$/ || in_math) {
            if (math ~ /\\[][,;:!|{}()_#%&\\ ]/)
                complain(FILENAME ":" FNR, "a backslash before punctuation inside mathematics: GitHub eats it (use \\quad, \\lbrace, \\Vert, ...)")
            n = gsub(/\$\$/, "", math)
            if (n % 2) in_math = !in_math
        }
        if (line ~ /^<a id="e[0-9]+b?"><\/a>$/) {
            split(line, part, "\"")
            anchor = part[2]
            next
        }
        if (line ~ /\]\(#e[0-9]+b?\)/) {
            rest = line
            while (match(rest, /\]\(#e[0-9]+b?\)/)) {
                linked["E" substr(rest, RSTART + 4, RLENGTH - 5)] = FNR
                rest = substr(rest, RSTART + RLENGTH)
            }
        }
        if (line ~ /^### E[0-9]+b? /) {
            eq = $2
            field = ""
            if (eq in listed) complain(FILENAME ":" FNR, eq " is listed twice, first in line " listed[eq])
            listed[eq] = FNR
            order[++n_eq] = eq
            if ("E" substr(anchor, 2) != eq)
                complain(FILENAME ":" FNR, eq " has no anchor: write <a id=\"" tolower(eq) "\"></a> above the heading")
            anchor = ""
            next
        }
        if (line ~ /^##? /) eq = ""
        if (eq != "" && line ~ /^\$\$/) stated[eq] = 1
        if (line ~ /^- (Source|Code|Test|Example):/) {
            field = $2
            sub(/:.*/, "", field)
            test_file = ""
            if (field == "Source") sourced[eq] = 1
        } else if (line !~ /^  /) field = ""
        if (eq != "" && field == "Code") {
            rest = line
            while (match(rest, /bp_[A-Za-z0-9_]+\*?/)) {
                name = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                if (!((eq, name) in code)) {
                    code[eq, name] = FNR
                    n_codes[eq]++
                    code_name[eq, n_codes[eq]] = name
                }
            }
        }
        if (eq != "" && field == "Test") {
            rest = line
            while (match(rest, /tests\/[A-Za-z0-9_]+\.c|`[A-Za-z0-9_]+`/)) {
                name = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                if (name ~ /^tests/) test_file = name
                else {
                    name = substr(name, 2, length(name) - 2)
                    n_tests[eq]++
                    test_name[eq, n_tests[eq]] = name
                    test_of[eq, n_tests[eq]] = test_file
                    test_line[eq, n_tests[eq]] = FNR
                }
            }
        }
        if (eq != "" && field == "Example") {
            rest = line
            while (match(rest, /\(\.\.\/examples\/[A-Za-z0-9_\/]+\.c\)/)) {
                name = substr(rest, RSTART + 4, RLENGTH - 5)
                rest = substr(rest, RSTART + RLENGTH)
                shown[eq, name] = FNR
            }
        }
        mention(line)
        next
    }

    # ---- the header: doc comments, declarations, banners ----
    kind == "header" {
        mention($0)
        if (/defined\(BPRIOR_IMPLEMENTATION\) && !defined\(BPRIOR_IMPLEMENTED\)/) private = 1
        if (private) next
        if (/^\/\* =+$/) { banner = 1; chapter = ""; next }
        if (banner) {
            if (/^ \* =+ \*\/$/) { banner = 0; next }
            if (chapter == "" && /^ \* [0-9]+\. >>/) { chapter = $2; chapter_line[chapter] = FNR }
            if (/equations:/) {
                n = numbers(substr($0, index($0, "equations:")))
                for (i = 1; i <= n; i++) on_banner[chapter, found[i]] = 1
            } else if (chapter_line[chapter] && $0 !~ /(provides|needs):/) {
                n = numbers($0)
                for (i = 1; i <= n; i++) on_banner[chapter, found[i]] = 1
            }
            next
        }
        if (/\/\*\*/ && !/\/\*\*</) { in_doc = 1; doc = ""; doc_ready = 0 }
        if (in_doc) {
            doc = doc "\n" $0
            if (/\*\//) { in_doc = 0; doc_ready = 1 }
            next
        }
        if (/^ *BPRIOR_API /) { declaration = ""; in_declaration = 1 }
        if (in_declaration) {
            declaration = declaration " " $0
            if (match(declaration, /bp_[A-Za-z0-9_]+ *\(/)) {
                name = substr(declaration, RSTART, RLENGTH)
                sub(/ *\($/, "", name)
                in_declaration = 0
                if (!(name in function_line)) {
                    function_line[name] = FNR
                    chapter_of[name] = chapter
                    functions[++n_functions] = name
                    if (doc_ready) {
                        n = numbers(doc)
                        for (i = 1; i <= n; i++) named[name, found[i]] = 1
                        for (i = 1; i <= n; i++) if (!((name, found[i]) in counted)) { counted[name, found[i]] = 1; names_of[name] = names_of[name] " " found[i] }
                    }
                }
                doc_ready = 0
            } else if (/[;{]/) in_declaration = 0
            next
        }
        if ($0 !~ /^#/) doc_ready = 0
        next
    }

    # ---- tests ----
    kind == "test" {
        mention($0)
        if (match($0, /cmocka_unit_test[a-z_]*\([A-Za-z0-9_]+[,)]/)) {
            rest = $0
            while (match(rest, /cmocka_unit_test[a-z_]*\([A-Za-z0-9_]+[,)]/)) {
                name = substr(rest, RSTART, RLENGTH - 1)
                sub(/.*\(/, "", name)
                registered[FILENAME, name] = 1
                rest = substr(rest, RSTART + RLENGTH)
            }
        }
        if (/cmocka_unit_test[a-z_]*\(test_##/) generated[FILENAME] = 1
        rest = $0
        while (match(rest, /[A-Z]\([a-z0-9_]+\)/)) {
            in_list[FILENAME, substr(rest, RSTART + 2, RLENGTH - 3)] = 1
            rest = substr(rest, RSTART + RLENGTH)
        }
        if (in_head) {
            n = numbers($0)
            for (i = 1; i <= n; i++) head[FILENAME, found[i]] = 1
            if (/\*\//) in_head = 0
            next
        }
        if (test == "" && /^\/\*/) comment = ""
        if (/^\/\* ----/) section = $0
        if (match($0, /^static void [A-Za-z0-9_]+\(void \*\*/)) {
            test = $3
            sub(/\(.*/, "", test)
            test_at[FILENAME, test] = FNR
            n = numbers(comment " " section)
            for (i = 1; i <= n; i++) said[FILENAME, test, found[i]] = 1
            comment = ""
        }
        if (test != "") {
            if (/E[0-9]/) {
                n = numbers($0)
                for (i = 1; i <= n; i++) said[FILENAME, test, found[i]] = 1
            }
            if (/^}/ || (/}$/ && /^static void/)) { test = ""; comment = "" }
        } else if (/^}/ || /;$/) comment = ""
        else comment = comment "\n" $0
        next
    }

    { mention($0) }
    kind == "page" && /test/ { speak_of_tests($0) }

    # ---- the verdict ----
    function exists_test(file, name,   short) {
        if ((file, name) in registered) return 1
        short = name
        sub(/^test_/, "", short)
        return (file in generated) && ((file, short) in in_list)
    }
    # Does a test of that name, or of that family, exist in any file?
    function exists_anywhere(name,   key, part, stem) {
        stem = name
        if (sub(/_?\*$/, "", stem)) {
            for (key in registered) {
                split(key, part, SUBSEP)
                if (index(part[2], stem) == 1) return 1
            }
            for (key in in_list) {
                split(key, part, SUBSEP)
                if ((part[1] in generated) && index("test_" part[2], stem) == 1) return 1
            }
            return 0
        }
        for (key in exists)
            if (key ~ /^tests\/test_/ && exists_test(key, name)) return 1
        return 0
    }
    function family(pattern, name) { # does bp_x_* cover name?
        return substr(name, 1, length(pattern) - 1) == substr(pattern, 1, length(pattern) - 1)
    }
    END {
        index_file = "docs/equations.md"
        for (k = 1; k <= n_eq; k++) {
            number = substr(order[k], 2) + 0
            if (number > most) most = number
        }
        for (k = 1; k <= most; k++)
            if (!(("E" k) in listed)) complain(index_file ":1", "E" k " is missing from the index, which goes to E" most)

        for (k = 1; k <= n_eq; k++) {
            eq = order[k]
            where = index_file ":" listed[eq]
            if (!(eq in stated)) complain(where, eq " has no statement between $$")
            if (!(eq in sourced)) complain(where, eq " has no source: add \"- Source:\"")
            if (!(eq in linked)) complain(where, eq " is not in the table of contents: link to #" tolower(eq))

            good = 0
            for (i = 1; i <= n_codes[eq]; i++) {
                name = code_name[eq, i]
                where = index_file ":" code[eq, name]
                if (name ~ /\*$/) {
                    any = saying = 0
                    for (j = 1; j <= n_functions; j++)
                        if (family(name, functions[j])) {
                            any = 1
                            if ((functions[j], eq) in named) saying = 1
                        }
                    if (!any) complain(where, eq " names the family " name ", but bprior.h has no such function")
                    else if (!saying) complain(where, "no function of the family " name " names " eq " in its doc comment")
                    else good = 1
                    continue
                }
                if (!(name in function_line)) {
                    complain(where, eq " names " name "(), but bprior.h declares no such function: correct the name or the index")
                    continue
                }
                good = 1
                if (!((name, eq) in named))
                    complain("bprior.h:" function_line[name], "the doc comment of " name "() does not name " eq ", under which the index lists it")
                if (!((chapter_of[name], eq) in on_banner))
                    complain("bprior.h:" chapter_line[chapter_of[name]], "the banner of chapter " chapter_of[name] " does not list " eq " of " name "()")
            }
            if (good) with_code++
            else complain(index_file ":" listed[eq], eq " has no function that exists: add \"- Code:\"")

            good = 0
            for (i = 1; i <= n_tests[eq]; i++) {
                file = test_of[eq, i]
                name = test_name[eq, i]
                where = index_file ":" test_line[eq, i]
                if (file == "") complain(where, "test " name " of " eq " stands before any file: write tests/...c first")
                else if (!(file in exists)) complain(where, eq ": there is no " file)
                else if (!exists_test(file, name)) complain(where, eq " names the test " name ", but " file " registers no such test")
                else {
                    good = 1
                    if (!((file, name, eq) in said) && !((file, eq) in head))
                        complain(file ":" ((file, name) in test_at ? test_at[file, name] : 1), "nothing in or above " name " mentions " eq ", under which the index lists it")
                }
            }
            if (good) with_test++
            else complain(index_file ":" listed[eq], eq " has no test that exists: add \"- Test:\"")
        }

        for (key in shown) {
            split(key, part, SUBSEP)
            where = index_file ":" shown[key]
            if (!(part[2] in exists)) complain(where, part[1] ": there is no " part[2])
            else if (!((part[2], part[1]) in example)) complain(where, part[2] " does not mention " part[1])
        }

        for (j = 1; j <= n_functions; j++) {
            name = functions[j]
            n = split(names_of[name], part, " ")
            for (i = 1; i <= n; i++) {
                eq = part[i]
                if (!(eq in listed) || (eq, name) in code) continue
                any = 0
                for (k = 1; k <= n_codes[eq]; k++)
                    if (code_name[eq, k] ~ /\*$/ && family(code_name[eq, k], name)) any = 1
                if (!any)
                    complain("bprior.h:" function_line[name], name "() names " eq " in its doc comment, but the index does not list it there: add it to the Code line of " eq)
            }
        }

        for (key in mentioned) {
            split(key, part, SUBSEP)
            if (!(part[2] in listed)) complain(part[1] ":" mentioned[key], "there is no equation " part[2])
        }
        for (key in spoken) {
            split(key, part, SUBSEP)
            if (!exists_anywhere(part[2])) complain(part[1] ":" spoken[key], "there is no test " part[2])
        }
        print "equations: " n_eq + 0 " listed, " with_code + 0 " with code, " with_test + 0 " with test"
        exit bad > 0
    }' docs/equations.md bprior.h $others >"${TMPDIR:-/tmp}/equations.$$"
    status=$?
    # Complaints in the order of the files, the tally last.
    grep -v '^equations: ' "${TMPDIR:-/tmp}/equations.$$" | sort -t: -k1,1 -k2,2n
    grep '^equations: ' "${TMPDIR:-/tmp}/equations.$$" || echo "equations: 0 listed, 0 with code, 0 with test"
    rm -f "${TMPDIR:-/tmp}/equations.$$"
    return $status
}

# broken WHAT FILE SED-SCRIPT COMPLAINT: the check of a copy in which FILE went through sed must fail and say so.
broken() {
    copy=$here/build/equations/copy
    rm -rf "$copy"
    mkdir -p "$copy"
    (cd "$here" && tar cf - bprior.h README.md docs/*.md docs/pages/*.md docs/lessons/*.md tests examples 2>/dev/null) | (cd "$copy" && tar xf -)
    sed "$3" "$here/$2" >"$copy/$2"
    if cmp -s "$here/$2" "$copy/$2"; then
        echo "FAIL  $1: the edit changed nothing, so this proves nothing"
        failed=$((failed + 1))
    elif (check "$copy") >"$here/build/equations/out"; then
        echo "FAIL  $1: not noticed"
        failed=$((failed + 1))
    elif ! grep -q -e "$4" "$here/build/equations/out"; then
        echo "FAIL  $1: noticed, but not with \"$4\""
        failed=$((failed + 1))
    else
        echo "ok    $1"
        passed=$((passed + 1))
    fi
}

selftest() {
    passed=0 failed=0
    broken "a function that does not exist" docs/equations.md 's/`bp_mdp_evaluate`/`bp_mdp_evaluated`/' \
        '^docs/equations.md:[0-9]*: E3 names bp_mdp_evaluated(), but'
    broken "a family without members" docs/equations.md '/^### E7 /,/^- Code:/s/^- Code: /&`bp_no_such_*`, /' 'E7 names the family bp_no_such_\*'
    broken "no function at all" docs/equations.md '/^### E19 /,/^- Test:/{/^- Code:/,/^- Test:/{/^- Test:/!d;};}' 'E19 has no function'
    broken "a test that does not exist" docs/equations.md 's/`test_soft_optimum`/`test_soft_optima`/' 'E7 names the test test_soft_optima, but'
    broken "a test file that does not exist" docs/equations.md 's,tests/test_17_retrace\.c,tests/test_17_retract.c,g' 'there is no tests/test_17_retract.c'
    broken "a test that was removed" tests/test_10_finite.c '/cmocka_unit_test(test_lottery)/d' 'E9 names the test test_lottery, but'
    broken "a test that does not say what it proves" tests/test_13_asymmetry.c 's/E16/that/g' 'mentions E16'
    broken "a dangling number in the header" bprior.h 's/E17, what a prior is trained on/E99, what a prior is trained on/' \
        '^bprior.h:[0-9]*: there is no equation E99'
    broken "a doc comment that lost its equation" bprior.h 's/E17, what a prior is trained on/what a prior is trained on/' \
        'bp_distillation_loss() does not name E17'
    broken "a doc comment that names another equation" bprior.h 's/E17, what a prior is trained on/E17, E36, what a prior is trained on/' \
        'bp_distillation_loss() names E36'
    broken "a banner that lost an equation" bprior.h '/^ \* 13\. >>asymmetry  /,/^ \* ==/s/ E17$//' 'banner of chapter 13\. does not list E17'
    broken "a dangling number in a test" tests/test_17_retrace.c '1s/E19/E19, E37/' '^tests/test_17_retrace.c:1: there is no equation E37'
    broken "a dangling number in a range" tests/test_18_oracle.c 's/E19-E22/E19-E99/' 'there is no equation E98'
    broken "an example that forgot" examples/04_retrace.c 's/E19/Retrace/g' 'examples/04_retrace.c does not mention E19'
    broken "an equation listed twice" docs/equations.md 's/^### E12 /### E11 /' 'E11 is listed twice'
    broken "a hole in the numbering" docs/equations.md 's/^### E12 /### E011 /' 'E12 is missing'
    broken "a wrong anchor" docs/equations.md 's/<a id="e20">/<a id="e21">/' 'E20 has no anchor'
    broken "no statement" docs/equations.md '/^### E6 /,/^- Source/s/\$\$//g' 'E6 has no statement'
    broken "no source" docs/equations.md '/^### E6 /,/^- Code/s/^- Source:.*/- Origin: unknown/' 'E6 has no source'
    broken "mathematics that GitHub would garble" docs/equations.md '/^### E6 /,/^- Source/s/^\$\$/$$\\, /' 'GitHub eats it'
    broken "a dangling number in a page" docs/pages/12_paper_b.md 's/climbs E4 by/climbs E44 by/' '^docs/pages/12_paper_b.md:[0-9]*: there is no equation E44'
    broken "a dangling number in a lesson" docs/lessons/lesson_08.md 's/"E14"/"E41"/' '^docs/lessons/lesson_08.md:[0-9]*: there is no equation E41'
    broken "a page that names a test that is gone" docs/pages/12_paper_b.md 's/`test_soft_limits`/`test_no_limits`/' \
        '^docs/pages/12_paper_b.md:[0-9]*: there is no test test_no_limits'
    broken "a page that names a family of tests that is gone" docs/pages/12_paper_b.md 's/`test_soft_limits`/`test_no_limits_\*`/' 'there is no test test_no_limits_\*'
    broken "a test that was removed and that a page names" tests/test_18_learner.c '/cmocka_unit_test[a-z_]*(test_separate_critics[,)]/d' \
        '^docs/pages/.*: there is no test test_separate_critics'
    broken "a page that names a test file that is gone" docs/pages/12_paper_b.md 's,`tests/test_18_learner.c`,`tests/test_18_teacher.c`,' \
        '^docs/pages/12_paper_b.md:[0-9]*: there is no tests/test_18_teacher.c'
    rm -rf "$here/build/equations/copy"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

case $1 in
selftest) selftest ;;
'') check "$here" ;;
*) check "$1" ;;
esac
