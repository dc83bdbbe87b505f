#!/bin/sh
# The documentation site: docs/html, to be opened from disk without a network.
cd "$(dirname "$0")/.." || exit 1
out=build/docs
rm -rf docs/html
mkdir -p $out/pages $out/diagrams
doxygen -w html $out/header.html $out/footer.html $out/style.css docs/Doxyfile >/dev/null 2>&1
sed -i 's,^</head>,<script type="text/javascript" src="$relpath^doxygen-awesome-darkmode-toggle.js"></script>\
<script type="text/javascript" src="$relpath^doxygen-awesome-fragment-copy-button.js"></script>\
<script type="text/javascript" src="$relpath^doxygen-awesome-paragraph-link.js"></script>\
<script type="text/javascript">\
DoxygenAwesomeDarkModeToggle.init();\
DoxygenAwesomeFragmentCopyButton.init();\
DoxygenAwesomeParagraphLink.init();\
</script>\
&,' $out/header.html
doxygen docs/Doxyfile || exit 1
cp -r .deps/mathjax docs/html/mathjax
if [ -s $out/warnings ]; then
    sed "s,^$(pwd)/,," $out/warnings
    echo "docs: $(grep -c . $out/warnings) warnings"
    exit 1
fi
echo "docs: docs/html/index.html"
