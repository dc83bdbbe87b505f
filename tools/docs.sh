#!/bin/sh
# The documentation site: docs/html/index.html, to be opened from disk, without a network.
# Any warning of Doxygen, and any link that leads nowhere, ends it with status 1.
cd "$(dirname "$0")/.." || exit 1
out=build/docs
theme=/usr/share/doxygen-awesome-css
rm -rf docs/html $out
mkdir -p $out/pages $out/diagrams

# Diagrams and pages that are made from sources.
for source in docs/diagrams/*.dot; do
    dot -Tsvg -o "$out/diagrams/$(basename "$source" .dot).svg" "$source" || exit 1
done
node tools/docs.js pages || exit 1

# Doxygen's own page header, with doxygen-awesome's switches and our MathJax in place of its own lines, which ask the network.
doxygen -w html $out/header.html $out/footer.html $out/style.css docs/Doxyfile >/dev/null 2>&1
sed -i -e '/^\$mathjax/d' -e '/^<\/head>/{
r docs/theme/head.html
N
}' $out/header.html
sed 's,\^mathjax/,^../mathjax/,' $out/header.html >$out/header.internal.html
# Its own layout, with fewer lists, their names in our words, and a chapter's text above its functions.
doxygen -l $out/layout.xml
sed -i -e '/type="\(classmembers\|globals\|interfaces\|namespaces\)"/s/visible="yes"/visible="no"/' \
    -e '/<tab type="modules"/s/title=""/title="Chapters of the headers"/' \
    -e '/<tab type="pages"/s/title=""/title="More pages"/' \
    -e '/<tab type="files"/s/title=""/title="Sources"/' \
    -e '/<group>/,/<\/group>/{s/<briefdescription visible="yes"/<briefdescription visible="no"/;/<detaileddescription/d;s/<memberdecl>/<detaileddescription title="About this chapter"\/>\n    &/}' $out/layout.xml
doxygen docs/Doxyfile && doxygen docs/Doxyfile.internal || exit 1
# A hundred pages of lists by first letter, which nothing leads to now: the search does that.
rm -f docs/html/functions*.html docs/html/globals*.html docs/html/internal/functions*.html docs/html/internal/globals*.html
mkdir -p docs/html/mathjax/es5/input/tex
cp .deps/mathjax/es5/tex-svg.js docs/html/mathjax/es5/
cp -r .deps/mathjax/es5/input/tex/extensions docs/html/mathjax/es5/input/tex/
cp -r .deps/mathjax/es5/a11y .deps/mathjax/es5/sre docs/html/mathjax/es5/

root=$(pwd)
sort -u $out/warnings $out/warnings.internal | sed "s,^$root/,,"
warnings=$(sort -u $out/warnings $out/warnings.internal | grep -c 'warning:')
node tools/docs.js finish && wrong=0 || wrong=1

# The same on one page, formulas and pictures inside it, and that page on paper.
node tools/docs.js single || exit 1
if command -v chromium >/dev/null 2>&1; then
    chromium --headless --no-sandbox --disable-gpu --no-pdf-header-footer --generate-pdf-document-outline \
        --print-to-pdf=docs/html/bprior.pdf "file://$root/docs/html/bprior-reference.html" >$out/print.log 2>&1 ||
        { tail -n 3 $out/print.log; exit 1; }
else
    echo "docs: no chromium, no docs/html/bprior.pdf"
fi
node tools/docs.js links || wrong=1
echo "docs: $warnings warnings; open docs/html/index.html"
[ "$warnings" = 0 ] && [ $wrong = 0 ]
