// Parts of `make docs` that Doxygen does not do. Run by tools/docs.sh in the root of the project.
//
//   node tools/docs.js pages    before Doxygen: pages made from docs/equations.md, docs/errata.md, CHANGELOG.md and
//                               CONTRIBUTING.md, and the index of equations, into build/docs/pages/
//   node tools/docs.js finish   after Doxygen: in docs/html, links that leave it are turned into links to the page or the copy of the
//                               file that they mean; every function gets a line that says where it is computed; every link is followed
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

// Pages written by hand: where an equation has a heading of its own, and who mentions it.
function pagesWritten() {
    const pages = [];
    for (const file of [...filesUnder('docs/pages', /\.md$/), ...filesUnder('docs/lessons', /\.md$/)]) {
        const text = read(file);
        const head = text.match(/^# (.*?) *\{#(\w+)\}/m);
        if (!head) { complain(`${file}: does not begin with "# Title {#page_id}"`); continue; }
        const headings = new Map();
        for (const m of text.matchAll(/^#+ +(E\d+b?)\b.*\{#(\w+)\}/gm)) if (!headings.has(m[1])) headings.set(m[1], m[2]);
        pages.push({ file, title: head[1], id: head[2], headings, mentions: numbersIn(text.replace(/\{#\w+\}/g, '')) });
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
        return keep(`[${label}](../../${target})`);
    });
    text = text.replace(EQUATION, (id) => `@ref ${anchorOf(id)} "${id}"`);
    for (let again = true; again;) {
        again = false;
        text = text.replace(/\u0001(\d+)\u0002/g, (_, k) => { again = true; return kept[k]; });
    }
    return text;
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
        return page ? `@ref ${page.id} "${file}"` : `[${file}](../../${file})`;
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

    // The index, three ways.
    const out = ['# Index of equations {#equation_index}', '', '[TOC]', '',
        'Made by `make docs` from @ref equations, the comments of the headers and the tests; `make equations` checks that they agree.',
        '', '## From equations to code {#index_equations}', '',
        'Each number leads to statement and derivation, each function to its documentation (its last line leads on to the code), each',
        'test to the lines that prove it.', ''];
    const functionsOf = new Map(equations.map((e) => [e.id, []]));
    const testsOf = new Map();
    let chapter = '';
    for (const e of equations) {
        if (e.chapter !== chapter) {
            chapter = e.chapter;
            out.push('', `### ${chapter}`, '', '| Equation | Functions | Tests | Pages |', '|---|---|---|---|');
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
        for (const page of written)
            if (page.mentions.has(e.id) && (!where || page.title !== where.title)) pages.push(`@ref ${page.id} "${page.title}"`);
        for (const file of e.examples) pages.push(lesson(file));
        out.push(`| @ref ${where ? where.label : anchorOf(e.id)} "${e.id}" ${e.title.replace(/\$([^$]+)\$/g, '\\f$$$1\\f$$')} ` +
            `| ${names.map((n) => '#' + n).join(' <br>')} | ${e.tests.map(linkTest).join(' <br>')} | ${[...new Set(pages)].join(' <br>')} |`);
    }
    out.push('', '## From functions to equations {#index_functions}', '', '| Function | Equations | Code |', '|---|---|---|');
    for (const f of [...functions.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
        const about = equations.filter((e) => functionsOf.get(e.id).includes(f.name) || f.equations.has(e.id));
        if (about.length)
            out.push(`| #${f.name} | ${about.map((e) => `@ref ${anchorOf(e.id)} "${e.id}"`).join(', ')} ` +
                `| ${sourceLink(f.file, f.body || f.line, `${f.file}, line ${f.body || f.line}`)} |`);
    }
    out.push('', '## From tests to equations {#index_tests}', '', '| Test | File | Equations |', '|---|---|---|');
    for (const test of [...testsOf.values()].sort((a, b) => (a.file + a.name < b.file + b.name ? -1 : 1)))
        out.push(`| ${linkTest(test)} | ${test.file} | ${test.equations.map((id) => `@ref ${anchorOf(id)} "${id}"`).join(', ')} |`);
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

    const pages = filesUnder(html, /\.html$/).filter((file) => path.dirname(file) === html);
    for (const file of pages) {
        const before = read(file);
        let text = before.replace(/\b(href|src)="(\.\.\/[^"]*)"/g, (_, kind, url) => `${kind}="${inside(url, file, pageOf)}"`);
        // Doxygen 1.9.4 does not miss the words of an enumerator.
        for (const m of text.matchAll(/(?:&#160;|, )<b>(BP_\w+)<\/b>/g)) complain(`${file}: ${m[1]} is not documented`);
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
        if (text !== before) fs.writeFileSync(file, text);
    }
    followLinks();
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
        for (const m of read(file).matchAll(/\b(?:href|src)="([^"]*)"/g)) follow(file, path.dirname(file), m[1]);
    }
    for (const file of [...filesUnder(html, /^(navtree|menu)\w*\.js$/), ...filesUnder(`${html}/search`, /^\w+_\w+\.js$/)]) {
        if (path.dirname(file) !== html && path.dirname(file) !== `${html}/search`) continue;
        for (const m of read(file).matchAll(/["']([\w./-]+\.html(?:#\w*)?)["']/g)) follow(file, path.dirname(file), m[1]);
    }
    console.log(`docs: ${followed} links, ${complaints.length} dead`);
}

if (process.argv[2] === 'pages') makePages();
else if (process.argv[2] === 'finish') finish();
else complain('usage: node tools/docs.js pages|finish');
for (const text of complaints) console.error(text);
process.exit(complaints.length ? 1 : 0);
