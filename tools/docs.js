// Parts of `make docs` that Doxygen does not do. Run by tools/docs.sh in the root of the project.
//
//   node tools/docs.js pages    before Doxygen: pages made from docs/equations.md, docs/errata.md, CHANGELOG.md and
//                               CONTRIBUTING.md, and the index of equations, into build/docs/pages/
//   node tools/docs.js experiment FILE    a README of docs/results, as Doxygen reads it
//   node tools/docs.js finish   after Doxygen: in docs/html, links that leave it are turned into links to the page or the copy of the
//                               file that they mean; every function gets a line that says where it is computed
//   node tools/docs.js links    follow every link of docs/html
//   node tools/docs.js single   docs/html/bprior-reference.html: all pages and the reference in one file, nothing outside of it
'use strict';
const fs = require('fs');
const path = require('path');

const html = 'docs/html';
const generated = 'build/docs/pages';
const read = (file) => fs.readFileSync(file, 'utf8');
const complaints = [];
const complain = (text) => complaints.push(text);

function filesUnder(dir, wanted, found = []) {
    if (!fs.existsSync(dir)) return found;
    for (const entry of fs.readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
        const file = path.posix.join(dir, entry.name);
        if (entry.isDirectory()) filesUnder(file, wanted, found);
        else if (wanted.test(entry.name)) found.push(file);
    }
    return found;
}

// ---- what the sources say -----------------------------------------------------------------------

const EQUATION = /\bE(\d+b?)\b/g;
const anchorOf = (equation) => 'eq_' + equation.toLowerCase();

// Numbers in a text, ranges such as E19-E22 filled in.
function numbersIn(text) {
    const found = new Set();
    for (const range of text.matchAll(/\bE(\d+)(?:-E(\d+))\b/g))
        for (let k = +range[1]; k <= +range[2]; k++) found.add('E' + k);
    for (const one of text.matchAll(EQUATION)) found.add(one[0]);
    return found;
}

// Public functions of the headers: [{name, file, line, body, equations}] with the line of the declaration and that of the code.
function publicFunctions() {
    const all = new Map();
    for (const file of ['bprior.h', 'bprior_mujoco.h']) {
        const lines = read(file).split('\n');
        let comment = '', inComment = false, inCode = false;
        for (let i = 0; i < lines.length; i++) {
            const line = lines[i];
            if (/defined\(BPRIOR(_MUJOCO)?_IMPLEMENTATION\)/.test(line)) inCode = true;
            if (!inCode && /\/\*\*(?!<)/.test(line)) { comment = ''; inComment = true; }
            if (inComment) {
                comment += line + '\n';
                if (line.includes('*/')) inComment = false;
                continue;
            }
            if (!/^BPRIOR_API /.test(line)) {
                if (!line.startsWith('#')) comment = '';
                continue;
            }
            let head = line;
            for (let k = i; !/\bbp_\w+ *\(/.test(head) && k + 1 < lines.length; k++) head += ' ' + lines[k + 1];
            const name = head.match(/\b(bp_\w+) *\(/)[1];
            if (!inCode) {
                if (!all.has(name)) all.set(name, { name, file, line: i + 1, equations: numbersIn(comment) });
                comment = '';
            } else if (all.has(name) && !all.get(name).body) all.get(name).body = i + 1;
        }
    }
    return all;
}

// docs/equations.md: [{id, title, code, tests: [{file, name}], examples: [file]}] and the chapters they stand in.
function equationsListed() {
    const list = [];
    let chapter = '', now = null, field = '', file = '';
    for (const line of read('docs/equations.md').split('\n')) {
        let part;
        if ((part = line.match(/^## (.*)/))) { chapter = part[1]; now = null; }
        if ((part = line.match(/^### (E\d+b?) (.*)/)))
            list.push((now = { id: part[1], title: part[2], chapter, code: [], tests: [], examples: [] }));
        if ((part = line.match(/^- (\w+):/))) { field = part[1]; file = ''; }
        else if (!line.startsWith('  ')) field = '';
        if (!now) continue;
        if (field === 'Code') for (const m of line.matchAll(/`(bp_\w+\*?)`/g)) now.code.push(m[1]);
        if (field === 'Test')
            for (const m of line.matchAll(/\]\(\.\.\/(tests\/\w+\.c)\)|`(\w+)`/g)) {
                if (m[1]) file = m[1];
                else now.tests.push({ file, name: m[2] });
            }
        if (field === 'Example') for (const m of line.matchAll(/\]\(\.\.\/(examples\/[\w/]+\.c)\)/g)) now.examples.push(m[1]);
    }
    return list;
}

// Where a test stands; of a test that a macro makes, where the macro is used on its name.
const sourceLines = new Map();
function lineOf(file, name) {
    if (!sourceLines.has(file)) sourceLines.set(file, read(file).split('\n'));
    const lines = sourceLines.get(file);
    const bare = name.replace(/^test_/, '');
    for (const pattern of [`^static void ${name}\\(`, `^static void \\w*${bare}\\(`, `\\b${name}\\b`, `[(, ]${bare}[), ]`]) {
        const at = lines.findIndex((line) => new RegExp(pattern).test(line));
        if (at >= 0) return at + 1;
    }
    return 1;
}

// Pages written by hand, and where an equation has a heading of its own.
function pagesWritten() {
    const pages = [];
    for (const file of [...filesUnder('docs/pages', /\.md$/), ...filesUnder('docs/lessons', /\.md$/)]) {
        const text = read(file);
        const head = text.match(/^# (.*?) *\{#(\w+)\}/m);
        if (!head) { complain(`${file}: does not begin with "# Title {#page_id}"`); continue; }
        const headings = new Map();
        for (const m of text.matchAll(/^#+ +(E\d+b?)\b.*\{#(\w+)\}/gm)) if (!headings.has(m[1])) headings.set(m[1], m[2]);
        pages.push({ file, title: head[1], id: head[2], headings });
    }
    return pages;
}

// ---- pages before Doxygen ------------------------------------------------------------------------

// The name that Doxygen gives to the page of a source file.
const escaped = (name) => name.replace(/_/g, '__').replace(/\./g, '_8');
const sourcePage = (file) => escaped(path.basename(file)) + '_source.html';
const sourceLink = (file, line, text) => `[${text}](${sourcePage(file)}#l${String(line).padStart(5, '0')})`;

// Markdown as GitHub shows it, into Markdown as Doxygen reads it.
//   dir: where the page stands, for its links; ids: pages that links to Markdown files mean; own: the equation it is about
function convert(text, dir, ids) {
    const kept = [];
    const keep = (piece) => `\u0001${kept.push(piece) - 1}\u0002`;
    text = text.replace(/^(```|~~~)[\s\S]*?^\1/gm, keep);
    text = text.replace(/``[^`]+``|`[^`]*`/g, keep);
    text = text.replace(/\$\$([\s\S]*?)\$\$/g, (_, m) => keep(`\\f[${m}\\f]`));
    text = text.replace(/\$([^$]+)\$/g, (_, m) => keep(`\\f$${m}\\f$`));
    text = text.replace(/^<a id="\w+"><\/a>\n/gm, '');
    text = text.replace(/^(#+ E\d+b?\b.*)$/gm, (line) => keep(`${line} {#${anchorOf(line.match(/E\d+b?/)[0])}}`));
    text = text.replace(/\[([^\]]*)\]\(([^)]*)\)/g, (whole, label, to) => {
        if (/^#e\d+b?$/.test(to)) return keep(`@ref ${anchorOf(to.slice(1))} "${label}"`);
        if (/^\w+:|_source\.html#/.test(to)) return keep(whole);
        const target = path.posix.normalize(path.posix.join(dir, to.replace(/#.*/, '')));
        if (ids[target]) return keep(`@ref ${ids[target]} "${label}"`);
        if (/^docs\/html\//.test(target)) return keep(`[${label}](../html/${target.slice(10)})`);
        return keep(`[${label}](../../${target})`);
    });
    text = text.replace(EQUATION, (id) => `@ref ${anchorOf(id)} "${id}"`);
    for (let again = true; again;) {
        again = false;
        text = text.replace(/\u0001(\d+)\u0002/g, (_, k) => { again = true; return kept[k]; });
    }
    return text;
}

// The README of an experiment in docs/results, as a page. (Doxygen calls this for each: FILTER_PATTERNS.)
function experiment(file) {
    const target = path.posix.normalize(path.relative('.', path.resolve(file)));
    const id = `results_${path.basename(path.dirname(target))}`;
    return convert(read(target), path.posix.dirname(target), {}).replace(/^# .*$/m, `$& {#${id}}`);
}

function makePages() {
    fs.rmSync(generated, { recursive: true, force: true });
    fs.mkdirSync(generated, { recursive: true });
    const written = pagesWritten();
    const functions = publicFunctions();
    const equations = equationsListed();
    const ids = { 'docs/equations.md': 'equations', 'README.md': 'index' };
    const others = { 'docs/errata.md': 'errata', 'CHANGELOG.md': 'changelog', 'CONTRIBUTING.md': 'contributing' };
    for (const file of Object.keys(others)) if (fs.existsSync(file)) ids[file] = others[file];
    for (const page of written) ids[page.file] = page.id;

    const members = (name) => name.endsWith('*')
        ? [...functions.keys()].filter((f) => f.startsWith(name.slice(0, -1))) : [name];
    const linkTest = (test) => sourceLink(test.file, lineOf(test.file, test.name), test.name);
    const lesson = (file) => {
        const name = path.basename(file).replace(/\.\w+$/, '');
        const page = written.find((p) => p.file.startsWith('docs/lessons/') && path.basename(p.file).includes(name));
        return page ? `@ref ${page.id} "${path.basename(file)}"` : `[${path.basename(file)}](../../${file})`;
    };
    const explained = (id) => {
        const page = written.find((p) => p.headings.has(id));
        return page && { label: page.headings.get(id), title: page.title };
    };

    // The equations themselves: the lines about code, tests and examples become links.
    let text = read('docs/equations.md');
    text = text.replace(/^- Code:[\s\S]*?(?=\n- )/gm, (block) => {
        const names = [...block.matchAll(/`(bp_\w+\*?)`/g)].map((m) => m[1]);
        return '- Code: ' + names.map((n) => (n.endsWith('*') ? members(n).map((f) => `#${f}`).join(', ') : `#${n}`)).join(', ');
    });
    text = text.replace(/^- Test:[\s\S]*?(?=\n- |\n\n|\n*$(?![\s\S]))/gm, (block) => {
        let file = '';
        const tests = [];
        for (const m of block.matchAll(/\]\(\.\.\/(tests\/\w+\.c)\)|`(\w+)`/g)) {
            if (m[1]) file = m[1];
            else tests.push(linkTest({ file, name: m[2] }));
        }
        return '- Test: ' + tests.join(', ');
    });
    text = convert(text, 'docs', ids).replace(/^# .*$/m, '$& {#equations}');
    fs.writeFileSync(`${generated}/equations.md`, text);

    for (const [file, id] of Object.entries(others)) {
        if (!ids[file] || written.some((page) => page.id === id)) continue;
        const body = convert(read(file), path.posix.dirname(file), ids);
        fs.writeFileSync(`${generated}/${id}.md`, body.replace(/^# .*$/m, `$& {#${id}}`));
    }

    // The experiments: those with a README are pages (see experiment()), the others are directories of files.
    const results = ['# What was measured {#results}', '',
        'Every number comes from a program of `examples` or `tests`, with its settings, seeds and raw tables beside it.', '', '| | |', '|---|---|'];
    for (const entry of fs.readdirSync('docs/results', { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
        const readme = `docs/results/${entry.name}/README.md`;
        if (fs.existsSync(readme)) results.push(`| @subpage results_${entry.name} | [files](../results/${entry.name}) |`);
        else results.push(`| [${entry.name}](../results/${entry.name}) | |`);
    }
    fs.writeFileSync(`${generated}/results.md`, results.join('\n') + '\n');

    // The index, three ways.
    const out = ['# Index of equations {#equation_index}', '',
        'From @ref index_equations "equations to code", from @ref index_functions "functions to equations", from @ref index_tests "tests to equations".',
        'Made by `make docs` from @ref equations, the comments of the headers and the tests; `make equations` checks that they agree.',
        '', '## From equations to code {#index_equations}', '',
        'Each number leads to statement and derivation, each function to its documentation (its last line leads on to the code), each',
        'test to the lines that prove it.', ''];
    const stack = '<div class="stack">'; // on a phone the cells of a row stand below each other: docs/theme/bprior.css
    const functionsOf = new Map(equations.map((e) => [e.id, []]));
    const testsOf = new Map();
    let chapter = '';
    for (const e of equations) {
        if (e.chapter !== chapter) {
            if (chapter) out.push('', '</div>');
            chapter = e.chapter;
            out.push('', `### ${chapter}`, '', stack, '', '| Equation | Functions | Tests | Pages |', '|---|---|---|---|');
        }
        const names = e.code.flatMap((n) => members(n).filter((f) => !n.endsWith('*') || functions.get(f).equations.has(e.id)));
        for (const name of names) functionsOf.get(e.id).push(name);
        for (const test of e.tests) {
            const key = test.file + ' ' + test.name;
            if (!testsOf.has(key)) testsOf.set(key, { ...test, equations: [] });
            testsOf.get(key).equations.push(e.id);
        }
        const where = explained(e.id);
        const pages = [`@ref ${anchorOf(e.id)} "reference"`];
        if (where) pages.unshift(`@ref ${where.label} "${where.title}"`);
        for (const file of e.examples) pages.push(lesson(file));
        out.push(`| @ref ${where ? where.label : anchorOf(e.id)} "${e.id}" ${e.title.replace(/\$([^$]+)\$/g, '\\f$$$1\\f$$')} ` +
            `| ${names.map((n) => '#' + n).join(' <br>')} | ${e.tests.map(linkTest).join(' <br>')} | ${[...new Set(pages)].join(' <br>')} |`);
    }
    out.push('', '</div>', '', '## From functions to equations {#index_functions}', '', stack, '', '| Function | Equations | Code |', '|---|---|---|');
    for (const f of [...functions.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
        const about = equations.filter((e) => functionsOf.get(e.id).includes(f.name) || f.equations.has(e.id));
        if (about.length)
            out.push(`| #${f.name} | ${about.map((e) => `@ref ${anchorOf(e.id)} "${e.id}"`).join(', ')} ` +
                `| ${sourceLink(f.file, f.body || f.line, `${f.file}, line ${f.body || f.line}`)} |`);
    }
    out.push('', '</div>', '', '## From tests to equations {#index_tests}', '', stack, '', '| Test | File | Equations |', '|---|---|---|');
    for (const test of [...testsOf.values()].sort((a, b) => (a.file + a.name < b.file + b.name ? -1 : 1)))
        out.push(`| ${linkTest(test)} | ${test.file} | ${test.equations.map((id) => `@ref ${anchorOf(id)} "${id}"`).join(', ')} |`);
    out.push('', '</div>');
    fs.writeFileSync(`${generated}/equation_index.md`, out.join('\n') + '\n');
}

// ---- after Doxygen -----------------------------------------------------------------------------------

const decode = (url) => decodeURIComponent(url.replace(/&amp;/g, '&'));

// Copy a file or a directory of the project into docs/html/files and return the link to it.
const copied = new Set();
function copyInto(target) {
    const to = path.posix.join(html, 'files', target);
    if (fs.statSync(target).isDirectory()) {
        if (!copied.has(target)) {
            copied.add(target);
            fs.mkdirSync(to, { recursive: true });
            const rows = [];
            for (const entry of fs.readdirSync(target, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
                copyInto(path.posix.join(target, entry.name));
                rows.push(`<li><a href="${entry.name}${entry.isDirectory() ? '/index.html' : ''}">${entry.name}</a></li>`);
            }
            fs.writeFileSync(`${to}/index.html`, `<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">` +
                `<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">` +
                `<title>${target}</title></head>\n<body style="font-family: sans-serif"><h1>${target}</h1><ul>\n${rows.join('\n')}\n</ul></body></html>\n`);
        }
        return path.posix.join('files', target, 'index.html');
    }
    if (!copied.has(target)) {
        copied.add(target);
        fs.mkdirSync(path.dirname(to), { recursive: true });
        fs.copyFileSync(target, to);
    }
    return path.posix.join('files', target);
}

// A link that leaves docs/html, as pages and GitHub both understand it ("../results/x.csv", "../../tests/test_x.c"): what it means here.
function inside(url, from, pageOf) {
    const [file, fragment] = decode(url).split('#');
    const target = path.posix.normalize(path.posix.join('docs/pages', file));
    if (target.startsWith(`${html}/`)) return target.slice(html.length + 1) + (fragment ? '#' + fragment : '');
    if (target.startsWith('..') || !fs.existsSync(target)) {
        complain(`${from}: there is no ${target}`);
        return url;
    }
    if (pageOf[target]) return pageOf[target] + (fragment ? '#' + fragment : '');
    const page = sourcePage(target);
    if (/\.[ch]$/.test(target) && fs.existsSync(`${html}/${page}`)) {
        const line = fragment && fragment.match(/^L(\d+)$/);
        return page + (line ? '#l' + line[1].padStart(5, '0') : fragment ? '#' + fragment : '');
    }
    return copyInto(target);
}

// E19 in the running text of a page becomes a link to where it is explained; not in headings, code, formulas and links.
function linkEquations(text, page, explained) {
    const from = text.indexOf('<div class="contents">'), to = text.indexOf('</div><!-- contents -->');
    const known = new Set(equationsListed().map((e) => e.id));
    const skip = /<div class="fragment">[\s\S]*?<!-- fragment -->|<div class="toc">[\s\S]*?<\/div>|<(pre|code|h[1-6]|a|script)\b[\s\S]*?<\/\1>|\\\([\s\S]*?\\\)|\\\[[\s\S]*?\\\]|<[^>]*>/;
    const body = text.slice(from, to).replace(new RegExp(`${skip.source}|${EQUATION.source}`, 'g'), (found) => {
        if (!known.has(found)) return found;
        const where = explained.get(found) || `equations.html#${anchorOf(found)}`;
        return `<a class="el" href="${where.startsWith(page + '#') ? where.slice(page.length) : where}">${found}</a>`;
    });
    return text.slice(0, from) + body + text.slice(to);
}

function finish() {
    const functions = publicFunctions();
    const equations = equationsListed();
    const tested = new Map();
    for (const e of equations)
        for (const name of e.code) tested.set(name, [...(tested.get(name) || []), ...e.tests]);
    const pageOf = { 'README.md': 'index.html' };
    for (const file of [...filesUnder('docs/pages', /\.md$/), ...filesUnder('docs/lessons', /\.md$/), ...filesUnder(generated, /\.md$/)]) {
        const id = (read(file).match(/^# .*\{#(\w+)\}/m) || [])[1];
        if (!id) continue;
        const page = id === 'mainpage' ? 'index.html' : escaped(id) + '.html';
        pageOf[file] = fs.existsSync(`${html}/${page}`) ? page : `${id}.html`;
        const origin = { equations: 'docs/equations.md', errata: 'docs/errata.md', changelog: 'CHANGELOG.md', contributing: 'CONTRIBUTING.md' }[id];
        if (origin) pageOf[origin] = pageOf[file];
    }

    const written = pagesWritten();
    const explained = new Map();
    for (const page of written)
        for (const [id, label] of page.headings) if (!explained.has(id)) explained.set(id, `${pageOf[page.file]}#${label}`);
    const byHand = new Set(written.map((page) => `${html}/${pageOf[page.file]}`));

    // Doxygen's list of names: where each is documented. (Structs in code it links itself; fields mean something only in their struct.)
    const names = new Map();
    for (const compound of read('build/docs/names').split('<compound ').filter((c) => c.startsWith('kind="group"')))
        for (const m of compound.matchAll(/<name>(\w+)<\/name>\s*<anchorfile>(.*?)<\/anchorfile>\s*<anchor>(\w+)<\/anchor>/g)) names.set(m[1], `${m[2]}#${m[3]}`);

    const pages = filesUnder(html, /\.html$/).filter((file) => path.dirname(file) === html);
    for (const file of pages) {
        const before = read(file);
        let text = byHand.has(file) ? linkEquations(before, path.basename(file), explained) : before;
        text = text.replace(/\b(href|src)="(\.\.\/[^"]*)"/g, (_, kind, url) => `${kind}="${inside(url, file, pageOf)}"`);
        // The name of a file of the project, in running text, leads to it.
        text = text.replace(/(<a\b[^>]*>)?<code>((?:bprior|docs|examples|tests|tools)[\w/.-]*)<\/code>/g, (whole, link, name) => {
            if (link || !/\/|\.h$/.test(name) || /^docs\/html/.test(name) || !fs.existsSync(name)) return whole;
            return `<a href="${inside('../../' + name, file, pageOf)}">${whole}</a>`;
        });
        // So does a name of the library.
        text = text.replace(/(<a\b[^>]*>)?<code>((?:bp_|BP_)\w+)(\(\))?<\/code>/g, (whole, link, name) => {
            const where = !link && names.get(name);
            return where ? `<a class="el" href="${where}">${whole}</a>` : whole;
        });
        // Doxygen 1.9.4 does not miss the words of an enumerator.
        for (const m of text.matchAll(/(?:&#160;|, )<b>(BP_\w+)<\/b>/g)) complain(`${file}: ${m[1]} is not documented`);
        // A snippet begins at its left edge, however deep it stood.
        text = text.replace(/<div class="fragment">[\s\S]*?<\/div><!-- fragment -->/g, (code) => {
            const deep = [...code.matchAll(/<div class="line">( *)(?! |<\/div>)/g)].map((m) => m[1].length);
            const edge = Math.min(...deep);
            return edge > 0 && edge < 1000 ? code.replace(new RegExp(`(<div class="line">) {${edge}}`, 'g'), '$1') : code;
        });
        // Where each function is computed, as the last line of its documentation.
        text = text.replace(/(<h2 class="memtitle">.*?<\/span>(bp_\w+)\(\)(?:<span class="overload">.*?<\/span>)?<\/h2>[\s\S]*?)(\n<\/div>\n<\/div>\n)/g,
            (whole, doc, name, end) => {
                const f = functions.get(name);
                if (!f) return whole;
                const at = (line, words) => `<a class="el" href="${sourcePage(f.file)}#l${String(line).padStart(5, '0')}">${words}</a>`;
                const links = [at(f.line, 'declaration')];
                if (f.body) links.push(at(f.body, 'code'));
                for (const test of (tested.get(name) || []).slice(0, 4))
                    links.push(`<a class="el" href="${sourcePage(test.file)}#l${String(lineOf(test.file, test.name)).padStart(5, '0')}">${test.name}</a>`);
                return `${doc}\n<p class="where">${links.join(' &middot; ')}</p>${end}`;
            });
        // MathJax is 2 MB of script: only where there is a formula.
        if (!/\\[(\[]/.test(text.replace(/^.*<\/head>/s, ''))) text = text.replace(/<script [^>]*id="MathJax-script"[^>]*><\/script>\n/, '');
        if (text !== before) fs.writeFileSync(file, text);
    }
}

// Every link of every page and of the navigation's and the search's data leads somewhere.
function followLinks() {
    const anchors = new Map();
    const anchorsOf = (file) => {
        if (!anchors.has(file)) {
            const text = read(file);
            anchors.set(file, new Set([...text.matchAll(/\b(?:id|name)="([^"]+)"/g)].map((m) => m[1])));
        }
        return anchors.get(file);
    };
    let followed = 0;
    const follow = (from, base, url) => {
        if (/^(https?:|mailto:|javascript:|data:)/.test(url) || url === '') return;
        const [name, fragment] = decode(url).split('#');
        const target = name === '' ? from : path.posix.normalize(path.posix.join(base, name.replace(/\?.*/, '')));
        followed++;
        if (!target.startsWith(html)) complain(`${from}: ${url} leaves ${html}`);
        else if (!fs.existsSync(target)) complain(`${from}: dead link ${url}`);
        else if (fragment && /\.html$/.test(target) && !anchorsOf(target).has(fragment)) complain(`${from}: no anchor ${url}`);
    };
    for (const file of filesUnder(html, /\.html$/)) {
        if (file.startsWith(`${html}/mathjax`)) continue;
        for (const m of read(file).matchAll(/\b(?:href|src|data)="([^"]*)"/g)) follow(file, path.dirname(file), m[1]);
    }
    for (const file of [...filesUnder(html, /^(navtree|menu)\w*\.js$/), ...filesUnder(`${html}/search`, /^\w+_\w+\.js$/)]) {
        if (path.dirname(file) !== html && path.dirname(file) !== `${html}/search`) continue;
        for (const m of read(file).matchAll(/["']([\w./-]+\.html(?:#\w*)?)["']/g)) follow(file, path.dirname(file), m[1]);
    }
    console.log(`docs: ${followed} links, ${complaints.length} dead`);
}

// ---- everything on one page --------------------------------------------------------------------------

// Pages in reading order: the main page and its subpages, depth first; other pages; then the chapters with their structures.
function readingOrder() {
    const written = [...filesUnder('docs/pages', /\.md$/), ...filesUnder('docs/lessons', /\.md$/)].map((file) => {
        const text = read(file);
        return { id: (text.match(/^# .*\{#(\w+)\}/m) || [])[1], children: [...text.matchAll(/[@\\]subpage +(\w+)/g)].map((m) => m[1]) };
    });
    const order = [];
    const visit = (id) => {
        const page = id === 'mainpage' ? 'index.html' : [`${id}.html`, `${escaped(id)}.html`].find((file) => fs.existsSync(`${html}/${file}`));
        if (!page || order.includes(page)) return;
        order.push(page);
        for (const child of (written.find((p) => p.id === id) || { children: [] }).children) visit(child);
    };
    visit('mainpage');
    for (const page of written) visit(page.id);
    visit('equations');
    visit('errata');
    visit('results');
    for (const file of fs.readdirSync(html).sort()) if (/^results_\w+\.html$/.test(file)) visit(file.slice(0, -5));
    const number = (file) => { const m = read(`${html}/${file}`).match(/<div class="title">(M?)(\d+)\./); return m ? (m[1] ? 100 : 0) + +m[2] : 999; };
    const groups = fs.readdirSync(html).filter((file) => /^group__.*\.html$/.test(file)).sort((a, b) => number(a) - number(b));
    for (const group of groups) {
        order.push(group);
        const declared = read(`${html}/${group}`).match(/<table class="memberdecls">[\s\S]*?<\/table>/g) || [];
        for (const m of declared.join('').matchAll(/class="memItemRight"[^>]*><a class="el" href="(struct\w+\.html)"/g))
            if (!order.includes(m[1])) order.push(m[1]);
    }
    return order;
}

function single() {
    const order = readingOrder();
    const key = (page) => page.replace(/\.html$/, '');
    return require(path.resolve('.deps/mathjax/es5/node-main.js')).init({ loader: { load: ['input/tex', 'output/svg'] }, svg: { fontCache: 'global' } }).then((mj) => {
        const adaptor = mj.startup.adaptor;
        const plain = (text) => text.replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&quot;/g, '"').replace(/&#39;/g, "'").replace(/&amp;/g, '&');
        const svg = (tex, display) => adaptor.outerHTML(mj.tex2svg(plain(tex), { display }));
        const parts = [], contents = [];
        for (const page of order) {
            const text = read(`${html}/${page}`);
            const title = ((text.match(/<div class="title">([\s\S]*?)(?:<div class="ingroups">|<\/div>)/) || [])[1] || 'bprior').trim();
            let body = text.slice(text.indexOf('<div class="contents">') + 22, text.indexOf('</div><!-- contents -->'));
            body = body.replace(/<div class="toc">[\s\S]*?<\/div>\n/, '');
            if (page.startsWith('group__')) body = body.replace(/<table class="memberdecls">[\s\S]*?<\/table>/g, '');
            if (page.startsWith('struct')) body = body.replace(/<h2 class="groupheader">Field Documentation<\/h2>[\s\S]*$/, '');
            body = body.replace(/<p class="definition">.*?<\/p>/g, '').replace(/ *<a href="[^"]*#details">More\.\.\.<\/a>/g, '')
                .replace(/<a href="[^"]*">More\.\.\.<\/a>/g, '').replace(/<span class="permalink">.*?<\/span>/g, '');
            const kept = [];
            body = body.replace(/<div class="fragment">[\s\S]*?<\/div><!-- fragment -->|<pre[\s\S]*?<\/pre>|<code>[\s\S]*?<\/code>/g,
                (code) => `\u0001${kept.push(code) - 1}\u0002`);
            body = body.replace(/\\\[([\s\S]*?)\\\]/g, (_, tex) => svg(tex, true)).replace(/\\\(([\s\S]*?)\\\)/g, (_, tex) => svg(tex, false));
            body = body.replace(/\u0001(\d+)\u0002/g, (_, k) => kept[k]);
            if (page.startsWith('struct')) body = body.replace(/<tr class="memitem:(\w+)">/g, '<tr id="$1">');
            // Links within the page; those to what is not on it (sources, files) lose their target.
            body = body.replace(/\b(id|name)="([^"]+)"/g, (whole, kind, id) => (id.startsWith('MJX') ? whole : `${kind}="${key(page)}.${id}"`));
            body = body.replace(/<a\b([^>]*?) href="([^"]*)"/g, (whole, before, url) => {
                if (/^https?:/.test(url)) return whole;
                const [file, fragment] = url.split('#');
                const target = file === '' ? page : file;
                return order.includes(target) ? `<a${before} href="#${key(target)}${fragment ? '.' + fragment : ''}"` : `<a${before}`;
            });
            const kinds = { png: 'image/png', svg: 'image/svg+xml', gif: 'image/gif', jpg: 'image/jpeg' };
            const data = (file) => `data:${kinds[path.extname(file).slice(1)]};base64,${fs.readFileSync(path.join(html, decode(file))).toString('base64')}`;
            body = body.replace(/<object type="image\/svg\+xml" data="([^"]*)"[^>]*>[\s\S]*?<\/object>/g, (_, file) => `<img alt="" src="${data(file)}">`);
            body = body.replace(/<img([^>]*?) src="([^":]*)"/g, (_, before, file) => `<img${before} src="${data(file)}"`);
            const level = page.startsWith('struct') ? 'h3' : 'h1';
            contents.push(`<li class="${level}"><a href="#${key(page)}">${title.replace(' Struct Reference', '')}</a></li>`);
            parts.push(`<section class="${level}" id="${key(page)}"><${level} class="title">${title.replace(' Struct Reference', '')}</${level}>${body}</section>`);
        }
        // What was left out (fields have their rows only) is to be found in its section.
        const ids = new Set(parts.flatMap((part) => [...part.matchAll(/\b(?:id|name)="([^"]+)"/g)].map((m) => m[1])));
        parts.forEach((part, i) => { parts[i] = part.replace(/href="#([^".]+)(\.[^"]*)?"/g, (whole, page, rest) => (ids.has(page + (rest || '')) ? whole : `href="#${page}"`)); });
        const sheet = adaptor.textContent(mj.svgStylesheet());
        const glyphs = `<svg style="display: none">${adaptor.outerHTML(mj.startup.document.outputJax.fontCache.getCache())}</svg>`;
        const version = read('bprior.h').match(/define BPRIOR_VERSION "([^"]*)"/)[1];
        fs.writeFileSync(`${html}/bprior-reference.html`, `<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">` +
            `<meta name="viewport" content="width=device-width, initial-scale=1"><title>bprior ${version}</title>\n` +
            `<style>\n${sheet}\n${read('docs/theme/single.css')}</style></head>\n<body>\n${glyphs}\n<h1 class="book">bprior ${version}</h1>\n` +
            `<p>Behavior priors for reinforcement learning, in one C header. All pages and the whole reference on one page.</p>\n` +
            `<ul class="contents">\n${contents.join('\n')}\n</ul>\n${parts.join('\n')}\n</body></html>\n`);
    });
}

(async () => {
    if (process.argv[2] === 'pages') makePages();
    else if (process.argv[2] === 'finish') finish();
    else if (process.argv[2] === 'experiment') fs.writeSync(1, experiment(process.argv[3]));
    else if (process.argv[2] === 'links') followLinks();
    else if (process.argv[2] === 'single') await single();
    else complain('usage: node tools/docs.js pages|experiment FILE|finish|links|single');
    for (const text of complaints.slice(0, 40)) console.error(text);
    if (complaints.length > 40) console.error(`and ${complaints.length - 40} more`);
    process.exit(complaints.length ? 1 : 0);
})().catch((error) => { console.error(`tools/docs.js: ${String(error && error.message).slice(0, 200)}`); process.exit(1); });
