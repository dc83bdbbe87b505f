// The documentation site as a reader meets it: headless Chromium, from disk, after `make docs`.
//
//   node tests/docs/site.js [text]     only the checks that have this text in their name
//
// Prints a line per check and what went wrong; the last line is "N passed, N failed", the status 1 if anything failed.
'use strict';
const fs = require('fs');
const path = require('path');
const { execFileSync, spawnSync } = require('child_process');
const root = path.resolve(__dirname, '../..');
process.chdir(root);
const { chromium } = require(`${root}/.deps/playwright-core`);
const html = 'docs/html';
const only = process.argv[2] || '';
const TABS = 3;

let passed = 0, failed = 0;
function report(name, wrong) {
    if (wrong.length === 0) { passed++; console.log(`ok    ${name}`); return; }
    failed++;
    console.log(`FAIL  ${name}`);
    for (const text of wrong.slice(0, 12)) console.log(`      | ${text}`);
    if (wrong.length > 12) console.log(`      | and ${wrong.length - 12} more`);
}
async function check(name, run) {
    if (!name.includes(only)) return;
    const wrong = [];
    try { await run((text) => wrong.push(text)); } catch (error) { wrong.push(String(error).split('\n')[0]); }
    report(name, wrong);
}

const address = (page) => `file://${root}/${html}/${page}`;
const walk = (dir, wanted) => fs.readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const file = `${dir}/${entry.name}`;
    return entry.isDirectory() ? walk(file, wanted) : wanted.test(file) ? [file] : [];
});

// ---- what a page must be -------------------------------------------------------------------------------

// Runs in the browser. What is wrong with the page on a screen this wide?
function examine() {
    const wrong = [];
    for (const node of document.querySelectorAll('mjx-merror, [data-mjx-error]'))
        wrong.push(`formula: ${node.getAttribute('data-mjx-error') || node.getAttribute('title') || node.textContent}`);
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
        if (node.parentElement.closest('pre, code, script, style, .fragment, .line, tt, mjx-container')) continue;
        const raw = node.data.match(/\\\(|\\\)|\\\[|\\\]|[\\@]f[$[\]{]|\$\$|\\(?:frac|alpha|pi|sum|mid|left)\b|(?:^|\s)@(?:ref|param|snippet|subpage|image)\b/);
        if (raw) wrong.push(`raw "${raw[0].trim()}" in "${node.data.trim().slice(0, 60)}"`);
    }
    const unread = document.body.textContent.match(/[@\\]ref eq_\w*|[@\\]snippet\b.*/);
    if (unread) wrong.push(`raw "${unread[0].slice(0, 60)}"`);
    for (const image of document.images)
        if (!image.complete || image.naturalWidth === 0) wrong.push(`picture ${image.getAttribute('src')} does not load`);
    for (const object of document.querySelectorAll('object[type="image/svg+xml"]'))
        if (object.offsetWidth === 0 || object.offsetHeight === 0) wrong.push(`picture ${object.getAttribute('data')} has no size`);
    // Sideways: the page itself, and the frame that holds the text; tables, code and formulas may scroll by themselves.
    for (const frame of [document.documentElement, document.getElementById('doc-content')]) {
        if (!frame || frame.scrollWidth <= frame.clientWidth + 1) continue;
        const right = frame.getBoundingClientRect().left + frame.clientWidth;
        const wide = [...frame.querySelectorAll('*')].filter((e) => {
            if (e.getBoundingClientRect().right <= right + 1 && e.scrollWidth <= e.clientWidth + 1) return false;
            for (let up = e.parentElement; up && up !== frame; up = up.parentElement)
                if (/auto|scroll|hidden/.test(getComputedStyle(up).overflowX)) return false;
            return true;
        });
        const first = wide[wide.length - 1];
        wrong.push(`${innerWidth} px: ${frame.scrollWidth - frame.clientWidth} px sideways` +
            (first ? `, at <${first.tagName.toLowerCase()} class="${first.className}"> ${(first.textContent || '').trim().slice(0, 40)}` : ''));
    }
    return wrong;
}

async function settled(tab) {
    await tab.evaluate(() => (window.MathJax && MathJax.startup ? MathJax.startup.promise : null));
    await tab.evaluate(() => Promise.all([...document.images].map((i) => i.complete || new Promise((done) => { i.onload = i.onerror = done; }))));
}

async function everyPage(browser) {
    const pages = walk(html, /\.html$/).map((file) => path.relative(html, file))
        .filter((file) => !/^(search|mathjax|internal|files)\//.test(file) && file.includes(only.startsWith('page ') ? only.slice(5) : ''));
    const queue = [...pages];
    const wrong = new Map();
    const worker = async () => {
        const context = await browser.newContext({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 1 });
        const tab = await context.newPage();
        tab.setDefaultNavigationTimeout(120000); // the source of bprior.h is 6 MB, and the machine may be busy
        let list;
        tab.on('pageerror', (error) => list.push(`script: ${String(error).split('\n')[0]}`));
        tab.on('requestfailed', (request) => {
            if (request.failure().errorText !== 'net::ERR_ABORTED') list.push(`does not load: ${path.basename(request.url())}`);
        });
        tab.on('request', (request) => { if (/^https?:/.test(request.url())) list.push(`asks the network for ${request.url()}`); });
        for (let page; (page = queue.shift());) {
            list = [];
            try {
                await tab.goto(address(page));
                await settled(tab);
                list.push(...await tab.evaluate(examine));
            } catch (error) { list.push(String(error).split('\n')[0]); }
            wrong.set(page, list);
        }
        await context.close();
    };
    await Promise.all(Array.from({ length: TABS }, worker));
    for (const page of pages) if (wrong.get(page).length) report(`page ${page}`, wrong.get(page)); else passed++;
    console.log(`ok    ${pages.filter((page) => wrong.get(page).length === 0).length} of ${pages.length} pages at 390 px: formulas, pictures, scripts, width`);
}

// ---- the site as a whole -------------------------------------------------------------------------------

const brightness = (tab, selector) => tab.evaluate((which) => {
    const style = getComputedStyle(document.querySelector(which));
    const value = (color) => { const [r, g, b] = color.match(/[\d.]+/g).map(Number); return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255; };
    return { back: value(style.backgroundColor), text: value(style.color) };
}, selector);

async function darkMode(browser, wrong) {
    for (const scheme of ['light', 'dark']) {
        const context = await browser.newContext({ colorScheme: scheme });
        const tab = await context.newPage();
        const look = async (want, when) => {
            const { back, text } = await brightness(tab, 'body');
            const is = back < 0.25 && text > 0.6 ? 'dark' : back > 0.75 && text < 0.4 ? 'light' : `neither (${back.toFixed(2)}, ${text.toFixed(2)})`;
            if (is !== want) wrong(`${when}: ${is} instead of ${want}`);
        };
        const other = scheme === 'light' ? 'dark' : 'light';
        await tab.goto(address('index.html'));
        await look(scheme, `a reader whose system is ${scheme}`);
        await tab.click('doxygen-awesome-dark-mode-toggle');
        await look(other, 'after the switch');
        await tab.goto(address('equation_index.html'));
        await look(other, 'on the next page');
        const formula = await tab.evaluate(() => { const f = document.querySelector('mjx-container'); return f ? getComputedStyle(f).color : ''; });
        const text = await tab.evaluate(() => getComputedStyle(document.querySelector('.contents')).color);
        if (formula && formula !== text) wrong(`formulas are ${formula} where text is ${text}`);
        await context.close();
    }
}

// Runs in the browser. Which text stands out less from its background than 4.5 to 1 (WCAG 2, level AA)?
function faint() {
    const color = (text) => { const c = text.match(/[\d.]+/g).map(Number); return c.length > 3 ? c : [...c, 1]; };
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
    const light = (c) => { const [r, g, b] = c.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const background = (node) => {
        const layers = [];
        for (let e = node; e; e = e.parentElement) {
            layers.push(color(getComputedStyle(e).backgroundColor));
            if (layers[layers.length - 1][3] === 1) break;
        }
        return layers.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
    };
    const found = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
        const e = node.parentElement;
        if (!node.data.trim() || !e.offsetParent || e.closest('script, style, mjx-container')) continue;
        const back = background(e);
        const lights = [light(over(color(getComputedStyle(e).color), back)), light(back)].sort((a, b) => a - b);
        const contrast = (lights[1] + 0.05) / (lights[0] + 0.05);
        if (contrast < 4.5) found.set(`${e.tagName.toLowerCase()} class="${e.className}"`, `${contrast.toFixed(1)} to 1: "${node.data.trim().slice(0, 40)}"`);
    }
    return [...found].map(([what, how]) => `<${what}> ${how}`);
}

async function contrast(browser, wrong) {
    for (const scheme of ['light', 'dark']) {
        const context = await browser.newContext({ colorScheme: scheme, viewport: { width: 1440, height: 900 } });
        const tab = await context.newPage();
        for (const page of ['index', 'lesson_08', 'ex_10_latent_prior', 'alg_rs0', 'environments', 'equation_index', 'errors', 'paper_b', 'group__bp__retrace']) {
            await tab.goto(address(`${page}.html`));
            for (const text of await tab.evaluate(faint)) wrong(`${scheme}, ${page}: ${text}`);
        }
        await context.close();
    }
}

async function search(browser, wrong) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    const tab = await context.newPage();
    await tab.goto(address('index.html'));
    await tab.click('#MSearchField');
    await tab.keyboard.type('bp_gaussian_kl', { delay: 20 });
    await tab.waitForSelector('#MSearchResultsWindow', { state: 'visible', timeout: 5000 });
    const frame = await (await tab.waitForSelector('#MSearchResults')).contentFrame();
    const holder = frame || tab;
    const hit = await holder.waitForSelector('a.SRSymbol:text-is("bp_gaussian_kl"), .SRSymbol:text-is("bp_gaussian_kl")', { timeout: 5000 }).catch(() => null);
    if (!hit) { wrong('no hit for bp_gaussian_kl'); await context.close(); return; }
    await hit.click();
    await tab.waitForURL(/group__bp__distributions\.html#/, { timeout: 5000 }).catch(() => wrong(`the hit leads to ${tab.url()}`));
    const anchor = decodeURIComponent(tab.url().split('#')[1] || '');
    const heading = await tab.evaluate((id) => { const a = document.getElementById(id); return a && a.nextElementSibling ? a.nextElementSibling.textContent : ''; }, anchor);
    if (!/bp_gaussian_kl\(\)/.test(heading)) wrong(`the hit's anchor stands above "${heading}"`);
    await context.close();
}

async function sidebar(browser, wrong) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    const tab = await context.newPage();
    await tab.goto(address('index.html'));
    await tab.waitForSelector('#nav-tree-contents .label a', { timeout: 5000 });
    const shown = await tab.evaluate(() => [...document.querySelectorAll('#nav-tree-contents .label a')].map((a) => a.textContent));
    for (const word of ['Chapters of the headers', 'Data Structures', 'Sources']) if (!shown.includes(word)) wrong(`no "${word}" in the tree: ${shown.join(', ')}`);
    await context.close();
}

// ---- code and commands of the pages -----------------------------------------------------------------

// Fenced blocks of README and the pages: {file, line, language, text}
function blocks() {
    const files = ['README.md', 'CONTRIBUTING.md', ...walk('docs', /^docs\/[^/]*\.md$/), ...walk('docs/pages', /\.md$/), ...walk('docs/lessons', /\.md$/)];
    const found = [];
    for (const file of files.filter((f) => fs.existsSync(f))) {
        let open = null;
        fs.readFileSync(file, 'utf8').split('\n').forEach((line, i) => {
            const fence = line.match(/^ *(`{3,}|~{3,}) *\{?\.?(\w*)/);
            if (open && fence && fence[1].startsWith(open.fence) && fence[2] === '') { found.push(open); open = null; }
            else if (open) open.text += line + '\n';
            else if (fence) open = { file, line: i + 1, fence: fence[1], language: fence[2], text: '' };
        });
        if (open) found.push({ ...open, language: 'unclosed' });
    }
    return found;
}

// A complete program says so in its first line, and how it is built: what begins with "-" there is kept.
function compile(block, wrong) {
    const command = block.text.match(/^\/[*/] complete: *([^*\n]*)/)[1];
    const cxx = /^(cpp|cc|cxx|c\+\+)$/.test(block.language) || /\b(c\+\+|g\+\+|clang\+\+)/.test(command.split(' ')[0]);
    const source = `build/docs-test/block.${cxx ? 'cc' : 'c'}`;
    const flags = command.split(/\s+/).filter((word) => /^-/.test(word) && !/^-(O|o)/.test(word));
    const mujoco = /bprior_mujoco\.h/.test(block.text);
    const ask = (what) => spawnSync('tools/mujoco.sh', [what], { encoding: 'utf8' });
    if (mujoco && ask('tag').status !== 0) return 'no MuJoCo';
    const words = (what) => (mujoco ? ask(what).stdout.split(/\s+/).filter(Boolean) : []);
    fs.writeFileSync(source, block.text);
    const standard = flags.some((flag) => flag.startsWith('-std')) ? [] : [cxx ? '-std=c++11' : '-std=gnu99'];
    const run = spawnSync(cxx ? process.env.CXX || 'c++' : process.env.CC || 'cc', [...standard, '-O0', '-Wall', '-Wextra', '-DBPRIOR_NO_SIMD', '-I.', ...words('cflags'), source,
        '-o', 'build/docs-test/block', ...flags.filter((flag) => !/^-l/.test(flag) || flag === '-lm'), '-lm', '-pthread', ...words('libs')], { encoding: 'utf8' });
    if (run.status !== 0) wrong((run.stderr || String(run.error)).split('\n').filter((line) => /error|undefined|cannot find|linker/.test(line)).slice(0, 3).join(' / '));
    return '';
}

function codeAndCommands() {
    fs.mkdirSync('build/docs-test', { recursive: true });
    for (const block of blocks()) {
        const where = `${block.file}:${block.line}`;
        const wrong = [];
        if (block.language === 'unclosed') report(`code ${where}`, ['the block is never closed']);
        else if (/^\/[*/] complete:/.test(block.text) && `code ${where}`.includes(only)) {
            const skipped = compile(block, (text) => wrong.push(text));
            if (skipped) console.log(`skip  code ${where}: ${skipped}`);
            else report(`code ${where} compiles`, wrong);
        } else if (block.language === 'sh' && /^# run\b/.test(block.text) && `command ${where}`.includes(only)) {
            const run = spawnSync('sh', ['-e', '-c', block.text], { encoding: 'utf8', timeout: 180000, stdio: ['ignore', 'pipe', 'pipe'] });
            if (run.status !== 0) wrong.push(`status ${run.status}: ${(run.stderr + run.stdout).trim().split('\n').pop()}`);
            report(`command ${where} runs`, wrong);
        }
    }
}

(async () => {
    if (!fs.existsSync(`${html}/index.html`)) { console.log('FAIL  there is no docs/html: make docs\n0 passed, 1 failed'); process.exit(1); }
    await check('links: every link and anchor leads somewhere', (wrong) => {
        const run = spawnSync('node', ['tools/docs.js', 'links'], { encoding: 'utf8', maxBuffer: 1 << 26 });
        if (run.status !== 0) run.stderr.trim().split('\n').forEach(wrong);
    });
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || execFileSync('sh', ['-c', 'command -v chromium']).toString().trim(), args: ['--no-sandbox'] });
    await check('search finds bp_gaussian_kl and leads to it', (wrong) => search(browser, wrong));
    await check('dark mode: by the system, by the switch, on the next page', (wrong) => darkMode(browser, wrong));
    await check('contrast: every text is readable, in both modes', (wrong) => contrast(browser, wrong));
    await check('sidebar: chapters, structures, sources', (wrong) => sidebar(browser, wrong));
    if (!only || only.startsWith('page')) await everyPage(browser);
    await browser.close();
    codeAndCommands();
    if (passed + failed === 0) report(`no check has "${only}" in its name`, ['nothing was looked at']);
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed ? 1 : 0);
})();
