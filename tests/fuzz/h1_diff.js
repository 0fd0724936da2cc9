// SPDX-License-Identifier: MIT
// weir's HTTP/1 parser beside Node's own (llhttp, as http.Server has it with insecureHTTPParser: false): the
// same bytes to both, from a grammar with a stated seed and mutations of it and of the fuzz targets' seeds.
//
//   node h1_diff.js VERDICT [--seed N] [--cases N] [--show N]
//
// VERDICT is the program built from h1_verdict.c. Where both take a message in, they must have read the same:
// method, target, fields, framing, body, and where the next message begins. Where Node refuses, weir must.
// Where weir alone refuses, its reason must stand in a table of docs/fuzzing.md; so must the few where Node
// alone refuses what the RFCs ask to serve. Any other difference is a failure. The last line counts them.
'use strict';
const fs = require('fs');
const path = require('path');
const { spawnSync } = require('child_process');
const { HTTPParser } = require('_http_common');

const HERE = __dirname;
const options = { seed: 1, cases: 30000, show: 5 };
const rest = process.argv.slice(2);
const VERDICT = rest.shift();
while (rest.length) {
  const name = rest.shift().replace(/^--/, '');
  if (!(name in options)) throw new Error(`no option --${name}`);
  options[name] = Number(rest.shift());
}

// --- chance, with a seed (mulberry32) ---

let state = options.seed >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];
const chance = (p) => random() < p;
const often = (usual, odd, p = 0.9) => (chance(p) ? usual : pick(odd));

// --- the grammar; texts are latin1: a character is a byte ---

const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND', 'M-SEARCH'];
const ODD_METHODS = ['get', 'FOO', 'CONNECT', 'G ET', 'GET\t', '', 'PRI', 'G\x00T', 'GE(T', 'X'.repeat(40)];
const TARGETS = ['/', '/a/b?c=d', '/%41?x', 'http://b.example/x', 'http://b.example:80', '/a|b', '/?[x]'];
const ODD_TARGETS = ['*', '', 'a', '/a b', '/a#b', '/\x80', '/\t', 'ftp://x/', 'http://', 'http:///x', '//x/y',
  'https://u@b/', 'b.example:443', '/\x7f', '/\x00', 'http://[::1]:8/', '?x', 'http://b/?#'];
const VERSIONS = ['HTTP/1.1'];
const ODD_VERSIONS = ['HTTP/1.0', 'HTTP/1.2', 'HTTP/1.10', 'HTTP/2.0', 'HTTP/0.9', 'HTTP/1.', 'http/1.1', 'HTTP/11',
  'HTTP/1,1', '', 'HTTP/1.1 ', ' HTTP/1.1', 'HTTP/01.1', 'RTSP/1.0', 'ICE/1.0'];
const LINE_ENDS = ['\n', '\r', '\r\r\n', '\n\r', '\r\n ', '\r\n\t', ' \r\n', '\0\r\n'];
const HOSTS = ['a.example', 'a.example:80', '[::1]:80', '127.0.0.1'];
const ODD_HOSTS = ['', 'a b', 'a@b', 'a/b', 'a,b', '[::1', '::1', 'a:x', 'a:99999', 'a..b', '.', 'a%41'];
const LENGTHS = ['0', '3', '5'];
const ODD_LENGTHS = ['', '+3', '-3', '3 ', '0x3', '3,3', '3, 3', '03', '3.0', '3 3', '9223372036854775807',
  '9223372036854775808', '18446744073709551615', '18446744073709551616', '99999999999999999999', '\v3', '3;'];
const CODINGS = ['chunked'];
const ODD_CODINGS = ['Chunked', 'chunked, chunked', 'gzip, chunked', 'chunked, identity', 'identity', '"chunked"',
  'chunked;x=y', 'xchunked', 'chunked,', ', chunked', '', 'chunk', '\x0bchunked', 'gzip', 'chunked\x0c', 'trailers'];
const NAMES = ['Accept', 'X-A', 'Cookie', 'User-Agent', 'Via', 'X_B', 'a'];
const ODD_NAMES = ['X A', 'X\t', '', 'X:', '\xe9', 'X\x00', 'X(', 'Transfer_Encoding', 'Content_Length', 'X@', '"X"',
  'X-Real_IP', '~!#$%&*+.^`|'];
const VALUES = ['b', '', 'a, b', '*/*', '"q"', 'x'.repeat(60), '\xe9\xff', 'a\tb'];
const ODD_VALUES = ['a\x00b', 'a\x01b', 'a\x7fb', 'a\rb', '\x0b', 'a\nb', '\x80'];
const SPACES = [' ', '', '  ', '\t', ' \t '];
const CONNECTIONS = ['close', 'keep-alive', 'Upgrade', 'close, X-A', 'keep-alive, close', ',', '', 'upgrade, close',
  'x y', 'KEEP-ALIVE', 'close;', 'Transfer-Encoding', 'keep-alive\t'];

const crlf = () => often('\r\n', LINE_ENDS, 0.985);

function field(name, value) {
  return name + often(':', [' :', '\t:', '', '::', ': :'], 0.985) + often(' ', SPACES, 0.8) + value +
    often('', SPACES, 0.9) + crlf();
}

const size = (n) => often(n.toString(16), [`0${n.toString(16)}`, n.toString(16).toUpperCase(), `${n.toString(16)} `,
  ` ${n.toString(16)}`, `0x${n.toString(16)}`, `+${n}`, `-${n}`, '', 'g', `${n.toString(16)}\t`,
  `10000000000000000${n}`, `8000000000000000`, `00000000000000000${n}`], 0.93);
const extension = () => often('', [';a', ';a=b', ';a="b"', ';', ';a=', '; a=b', ';a=b;c', ' ;a', ';\n', ';a="\r\n"',
  ';a\x00', ';a="\\""', ';=b', ';a=b c', ';a="', ';\xe9'], 0.9);

function chunked() {
  let out = '';
  for (let i = below(3); i >= 0; i--) {
    const data = pick(['a', 'abc', 'GET / HTTP/1.1\r\n', '0\r\n\r\n', '0123456789abcdef']);
    out += size(data.length) + extension() + crlf() + data + often('\r\n', ['', '\n', '\r', 'x\r\n', ' \r\n'], 0.97);
  }
  out += often('0', ['00', '0 ', '', '000000000000000000', '-0'], 0.97) + extension() + crlf();
  for (let i = chance(0.15) ? below(3) : 0; i > 0; i--)
    out += field(often('X-T', ['Content-Length', 'Transfer-Encoding', 'Host', 'X_Real_IP', 'X T', ''], 0.7),
      often('1', ODD_VALUES, 0.9));
  return out + crlf();
}

function framing() {
  switch (below(8)) {
  case 0: case 1: case 2: return ['', ''];
  case 3: case 4: return [field(often('Content-Length', ['content-length', 'CONTENT-LENGTH', 'Content-Length ',
    'Content_Length', 'Content-Lengt'], 0.95), often(pick(LENGTHS), ODD_LENGTHS, 0.8)), pick(['', 'abc', 'abcde'])];
  case 5: case 6: return [field(often('Transfer-Encoding', ['transfer-encoding', 'Transfer-Encoding ',
    'Transfer_Encoding', 'Transfer-Encodin'], 0.95), often('chunked', ODD_CODINGS, 0.85)), chunked()];
  default: {
    const both = [field('Content-Length', often(pick(LENGTHS), ODD_LENGTHS)), field(pick(['Content-Length',
      'Transfer-Encoding', 'X-A']), pick([...LENGTHS, ...CODINGS, ...ODD_CODINGS]))];
    return [(chance(0.5) ? both : both.reverse()).join(''), pick([chunked(), 'abc', '0\r\n\r\n', ''])];
  }
  }
}

function fields() {
  const out = [];
  for (let i = below(4); i > 0; i--)
    out.push(field(often(pick(NAMES), ODD_NAMES), often(pick(VALUES), ODD_VALUES)));
  if (chance(0.2)) out.push(field('Connection', pick(CONNECTIONS)));
  if (chance(0.05)) out.push(field('Upgrade', pick(['websocket', 'h2c', ''])));
  if (chance(0.05)) out.push(field('Expect', pick(['100-continue', 'x', '100-Continue'])));
  return out;
}

function shuffled(list) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

function request() {
  const [frame, body] = framing();
  const lines = fields();
  if (frame) lines.push(frame);
  if (chance(0.96)) lines.push(field('Host', often(pick(HOSTS), ODD_HOSTS, 0.95)));
  return often('', ['\r\n', '\r\n\r\n', '\n', ' '], 0.97) + often(pick(METHODS), ODD_METHODS, 0.95) +
    often(' ', ['  ', '\t', ''], 0.985) + often(pick(TARGETS), ODD_TARGETS, 0.9) + often(' ', ['  ', '\t', ''], 0.985) +
    often(pick(VERSIONS), ODD_VERSIONS, 0.9) + crlf() + shuffled(lines).join('') + crlf() + body;
}

const STATUSES = ['200 OK', '200 ', '404 Not Found', '204 No Content', '304 Not Modified', '100 Continue',
  '103 Early Hints', '500 x'];
const ODD_STATUSES = ['200', '20 OK', '2000 OK', '099 x', '999 x', '-200 x', '200\tOK', '2x0 OK', '101 Switching',
  '200  OK', '200 O\x00K', '200 \xe9', ' 200 OK', '600 x', '000 x'];

function response() {
  const [frame, body] = framing();
  const lines = fields();
  if (frame) lines.push(frame);
  return often('', ['\r\n', '\n', ' '], 0.98) + often('HTTP/1.1', ODD_VERSIONS, 0.9) +
    often(' ', ['  ', '\t', ''], 0.985) + often(pick(STATUSES), ODD_STATUSES, 0.85) + crlf() +
    shuffled(lines).join('') + crlf() + body;
}

// --- mutations ---

function seedsOf(target) {
  const dir = path.join(HERE, 'seeds', target);
  return fs.readdirSync(dir).sort().map((f) => fs.readFileSync(path.join(dir, f), 'latin1'));
}
const POST = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
const KNOWN = {
  Q: [...seedsOf('h1_request'), ...seedsOf('h1_chunked').map((s) => POST + s)],
  R: [...seedsOf('h1_response'), ...seedsOf('h1_chunked').map((s) => OK + s)],
};
const BITS = ['\r', '\n', '\r\n', ' ', '\t', '\0', ':', ';', ',', '\x0b', '\x7f', '\x80', '0', 'chunked', '\r\n\r\n',
  'Content-Length: 3\r\n', 'Transfer-Encoding: chunked\r\n', 'Host: b\r\n', '"', '/', '.', '1', '-'];

function mutate(text) {
  for (let i = 1 + below(3); i > 0; i--) {
    const at = below(text.length + 1), n = 1 + below(4);
    switch (below(5)) {
    case 0: text = text.slice(0, at) + text.slice(at + n); break;
    case 1: text = text.slice(0, at) + pick(BITS) + text.slice(at); break;
    case 2: text = text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1); break;
    case 3: text = text.slice(0, at) + text.slice(at, at + 8 * n) + text.slice(at); break;
    default: text = text.slice(0, at) + pick(BITS) + text.slice(at + n);
    }
  }
  return text;
}

function makeCase() {
  const mode = often('Q', ['R', 'R', 'H'], 0.7);
  const make = mode === 'Q' ? request : response;
  let text = chance(0.25) ? pick(KNOWN[mode === 'Q' ? 'Q' : 'R']) : make();
  if (chance(0.3)) text += make(); // pipelined
  if (chance(0.4)) text = mutate(text);
  return { mode, bytes: Buffer.from(text, 'latin1') };
}

// --- Node ---

const HEADERS = HTTPParser.kOnHeaders | 0, HEADERS_COMPLETE = HTTPParser.kOnHeadersComplete | 0;
const BODY = HTTPParser.kOnBody | 0, COMPLETE = HTTPParser.kOnMessageComplete | 0;
const NODE_METHODS = require('_http_common').methods;
const ALL_METHODS = HTTPParser.methods || NODE_METHODS;

function nodeVerdict({ mode, bytes }) {
  const parser = new HTTPParser();
  parser.initialize(mode === 'Q' ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {}, 1 << 17, 0);
  const messages = [];
  let now = null, pending = [], url = '';
  parser[HEADERS] = (list, u) => { pending.push(...list); url += u; };
  parser[HEADERS_COMPLETE] = (major, minor, list, method, target, status, reason, upgrade, keep) => {
    const flat = [...pending, ...(list || [])];
    now = { head: 'ok', minor, major, keep, upgrade, status, reason, target: url + (target || ''),
      method: method === undefined ? undefined : ALL_METHODS[method], fields: [], body: '', trailers: [], end: 'more' };
    for (let i = 0; i < flat.length; i += 2) now.fields.push([flat[i], flat[i + 1]]);
    pending = [];
    url = '';
    messages.push(now);
    return mode === 'H' ? 1 : 0;
  };
  parser[BODY] = (b, off, len) => {
    now.body += off === undefined ? b.toString('latin1') : b.toString('latin1', off, off + len);
  };
  parser[COMPLETE] = () => {
    for (let i = 0; i < pending.length; i += 2) now.trailers.push(pending[i]);
    pending = [];
    url = ''; // that of the request is told again with its trailers
    now.end = 'done';
    now = null;
  };
  const result = parser.execute(bytes);
  const error = result instanceof Error ? `${result.code}: ${result.reason}` : '';
  parser.close();
  return { messages, error };
}

// --- the comparison ---

const text = (hex) => Buffer.from(hex, 'hex').toString('latin1');

// The rows of a table of docs/fuzzing.md: what, and why it is so.
function tableOf(heading) {
  const doc = fs.readFileSync(path.join(HERE, '../../docs/fuzzing.md'), 'utf8');
  const section = doc.split(/^## /m).find((s) => s.startsWith(heading));
  const rows = new Map();
  for (const line of section.split('\n')) {
    const m = /^\| (?:`([^`]+)`|``(.+?)``) \| (.+) \|$/.exec(line);
    if (m) rows.set(m[1] || m[2], 0);
  }
  return rows;
}
const STRICTER = tableOf('Where weir is stricter than Node');
const SERVED = tableOf('What Node refuses and weir serves');
const DIFFERENT = tableOf('What both take in and read differently');

const failures = [], undecided = [];
let compared = 0, bothAccept = 0, bothRefuse = 0;

function listed(table, key) {
  if (!key || !table.has(key)) return false;
  table.set(key, table.get(key) + 1);
  return true;
}

function fail(c, what) {
  failures.push(what);
  if (failures.length <= options.show)
    console.log(`--- ${what}\n${c.mode} ${JSON.stringify(c.bytes.toString('latin1'))}\n` +
      `weir ${JSON.stringify(c.weir)}\nnode ${JSON.stringify(c.node)}`);
}

const valueOf = (w, name) => w.fields.map((f) => f.map(text)).find((f) => f[0].toLowerCase() === name)?.[1];
const tabBehind = (c, name) => new RegExp(`(^|\n)${name}:[^\r\n]*\t *\r\n`, 'i').test(c.bytes.toString('latin1'));

function framedByTrailers(c) {
  return c.weir.some((m) => m.framing === 'chunked') &&
    /\r\n0+[^\r\n]*\r\n(.*\r\n)*(content-length|transfer-encoding)/i.test(c.bytes.toString('latin1'));
}

// Node 18 keeps the length of a message that has no body, and of trailers, for the next message.
const NODE_MAJOR = Number(process.versions.node.split('.')[0]);
function carriedOver(c, i) {
  return NODE_MAJOR < 20 && (framedByTrailers(c) ||
    c.weir.slice(0, i).some((m) => m.framing === 'none' && valueOf(m, 'content-length') !== undefined));
}

// What the RFCs ask to serve and Node does not, each by what was sent and not by Node's word alone.
function laxClass(c, w) {
  const error = c.node.error;
  if (error.startsWith('HPE_INVALID_METHOD') && !ALL_METHODS.includes(text(w.method)))
    return 'a method that Node does not know';
  if (error.startsWith('HPE_INVALID_VERSION') && /HTTP\/1\.[2-9]/.test(c.bytes.toString('latin1')))
    return 'HTTP/1.2 to HTTP/1.9';
  if (error.startsWith('HPE_INVALID_CONTENT_LENGTH: Invalid character') &&
      /^\d+$/.test(valueOf(w, 'content-length')) && tabBehind(c, 'content-length'))
    return 'a tab behind a Content-Length';
  if (/HPE_(INVALID_CONTENT_LENGTH|INVALID_TRANSFER_ENCODING|UNEXPECTED_CONTENT_LENGTH|CLOSED_CONNECTION)/.test(error) &&
      framedByTrailers(c))
    return 'framing fields among trailers';
  if (w.framing !== 'chunked') return '';
  if (valueOf(w, 'transfer-encoding')?.toLowerCase() === 'chunked' && tabBehind(c, 'transfer-encoding') &&
      (error.startsWith('HPE_INVALID_TRANSFER_ENCODING') || (c.mode !== 'Q' && !error)))
    return 'a tab behind a Transfer-Encoding';
  return '';
}

function keepClass(c, w) {
  if (!w.keep) return 'weir closes where Node keeps the connection';
  if (tabBehind(c, 'connection')) return 'a tab behind an option of Connection';
  if (c.mode === 'H' && w.framing === 'none') return 'Node closes behind a HEAD without framing';
  return '';
}

// Of a head that both took in: the name of the first difference, or nothing.
function headDiffers(w, n, mode) {
  if (mode === 'Q' && text(w.method) !== n.method) return 'method';
  if (mode === 'Q' && text(w.target) !== n.target) return 'target';
  if (mode !== 'Q' && w.status !== n.status) return 'status';
  if (JSON.stringify(w.fields.map((f) => f.map(text))) !== JSON.stringify(n.fields)) return 'fields';
  return '';
}

function bodyDiffers(w, n) {
  if (w.end !== n.end && w.framing !== 'until close') return `a body that is ${w.end} to weir and ${n.end} to Node`;
  if (text(w.body) !== n.body) return 'body';
  if (w.end !== 'done') return '';
  const names = text(w.trailers || '').split('\n').slice(0, -1);
  return names.every((t) => n.trailers.includes(t)) ? '' : 'trailers';
}

// One message. True when the next one can be looked at.
function compareMessage(c, w, n, nodeEnds) {
  if ((w.head === 'more' || w.end === 'more') && nodeEnds && c.node.error && n?.end !== 'done') {
    undecided.push(c);
    return false;
  }
  if (w.head === 'more') {
    if (n) fail(c, 'Node has a head where weir wants more');
    return false;
  }
  if (w.head === 'bad' || w.end === 'bad') {
    if (w.head === 'ok' && listed(SERVED, laxClass(c, w))) return false;
    if (nodeEnds && c.node.error && n?.end !== 'done') bothRefuse++;
    else if (!listed(STRICTER, w.why)) fail(c, `stricter: ${w.why}`);
    return false;
  }
  if (!n) {
    if (!listed(SERVED, laxClass(c, w))) fail(c, `laxer: ${c.node.error || 'Node wants more'}`);
    return false;
  }
  const head = headDiffers(w, n, c.mode);
  if (head) {
    fail(c, `different: ${head}`);
    return false;
  }
  bothAccept++;
  if (w.status === 304 && w.framing === 'none' && (n.body || n.end !== 'done') &&
      listed(DIFFERENT, 'the body that a 304 announces'))
    return false;
  if (n.upgrade) return false; // Node stops behind such a head
  if (nodeEnds && c.node.error && n.end !== 'done') {
    if (!listed(SERVED, laxClass(c, w))) fail(c, `laxer in a body: ${c.node.error}`);
    return false;
  }
  const body = bodyDiffers(w, n);
  if (body) {
    if (!listed(SERVED, laxClass(c, w))) fail(c, `different: ${body}${c.node.error ? ` (${c.node.error})` : ''}`);
    return false;
  }
  if (w.keep !== n.keep && w.framing !== 'until close') {
    if (!listed(DIFFERENT, keepClass(c, w))) fail(c, `different: keep-alive (weir ${w.keep})`);
    return false;
  }
  return w.end === 'done' && w.keep;
}

// Where Node has refused and weir wants to see more: whatever comes, it must not take that in.
const MORE = ['\r\n\r\n', '\n\n', 'x: y\r\n\r\n', ': y\r\n\r\n', ' HTTP/1.1\r\nHost: a\r\n\r\n', '\r\nHost: a\r\n\r\n',
  '0\r\n\r\n', '\r\n0\r\n\r\n', 'x'.repeat(300), '/1.1\r\nHost: a\r\n\r\n'];

function settle(cases) {
  if (!cases.length) return;
  const more = cases.flatMap((c) => MORE.map((m) => (
    { ...c, before: c.weir.length, bytes: Buffer.concat([c.bytes, Buffer.from(m, 'latin1')]) })));
  const answers = ask(more);
  more.forEach((c, i) => {
    c.weir = answers[i];
    const w = c.weir[c.before - 1];
    if (w.head !== 'ok' || w.end === 'bad') return;
    if (w.end === 'more' && c.node.messages.length >= c.before) return;
    if (!listed(SERVED, laxClass(c, w))) fail(c, `laxer with more bytes: ${c.node.error}`);
  });
  bothRefuse += cases.length;
}

// Message by message, up to the first that is not taken in by both.
function compare(c) {
  for (let i = 0; c.weir[i]; i++) {
    compared++;
    if (i > 0 && carriedOver(c, i) && listed(DIFFERENT, 'a length that is left over from the message before')) return;
    if (!compareMessage(c, c.weir[i], c.node.messages[i], i >= c.node.messages.length - 1)) return;
  }
}

// --- all of it ---

function ask(cases) {
  const frames = [];
  for (const { mode, bytes } of cases) {
    const head = Buffer.alloc(5);
    head.write(mode, 0, 'latin1');
    head.writeUInt32BE(bytes.length, 1);
    frames.push(head, bytes);
  }
  const run = spawnSync(VERDICT, { input: Buffer.concat(frames), maxBuffer: 1 << 28 });
  if (run.status !== 0) throw new Error(`${VERDICT}: ${run.stderr || run.error}`);
  return run.stdout.toString('latin1').trimEnd().split('\n').map((l) => JSON.parse(l));
}

for (let made = 0; made < options.cases;) {
  const cases = [];
  for (; cases.length < 2000 && made < options.cases; made++) cases.push(makeCase());
  const answers = ask(cases);
  cases.forEach((c, i) => {
    c.weir = answers[i];
    c.node = nodeVerdict(c);
    compare(c);
  });
  settle(undecided.splice(0));
}
const counts = new Map();
for (const f of failures) counts.set(f, (counts.get(f) || 0) + 1);
for (const [what, n] of [...counts].sort((a, b) => b[1] - a[1])) console.log(`${String(n).padStart(6)}  ${what}`);
console.log(`Node ${process.version}, seed ${options.seed}: ${options.cases} cases, ${compared} messages; ` +
  `${bothAccept} taken in by both, ${bothRefuse} refused by both`);
for (const [name, table] of [['weir is stricter', STRICTER], ['Node is stricter', SERVED], ['read differently', DIFFERENT]])
  for (const [what, n] of table) console.log(`${String(n).padStart(6)}  ${name}: ${what}`);
console.log(`${options.cases - failures.length} alike or listed, ${failures.length} not`);
process.exitCode = failures.length ? 1 : 0;
