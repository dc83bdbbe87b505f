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

# Doxygen's own page header, with the switches of doxygen-awesome in it.
doxygen -w html $out/header.html $out/footer.html $out/style.css docs/Doxyfile >/dev/null 2>&1
sed -i '/^<\/head>/{
r docs/theme/head.html
N
}' $out/header.html
# Its own layout, with fewer lists and their names in our words.
doxygen -l $out/layout.xml
sed -i -e '/type="\(structmembers\|interfaces\|namespaces\)"/s/visible="yes"/visible="no"/' \
    -e '/<tab type="modules"/s/title=""/title="Chapters of the headers"/' \
    -e '/<tab type="pages"/s/title=""/title="More pages"/' \
    -e '/<tab type="files"/s/title=""/title="Sources"/' $out/layout.xml
doxygen docs/Doxyfile || exit 1
mkdir -p docs/html/mathjax/es5/input/tex
cp .deps/mathjax/es5/tex-svg.js docs/html/mathjax/es5/
cp -r .deps/mathjax/es5/input/tex/extensions docs/html/mathjax/es5/input/tex/
cp -r .deps/mathjax/es5/a11y .deps/mathjax/es5/sre docs/html/mathjax/es5/

root=$(pwd)
sort -u $out/warnings | sed "s,^$root/,,"
warnings=$(sort -u $out/warnings | grep -c 'warning:')
node tools/docs.js finish && links=0 || links=1
echo "docs: $warnings warnings; open docs/html/index.html"
[ "$warnings" = 0 ] && [ $links = 0 ]
