// Requests that are broken somewhere: the document, its values, the JSON, the HTTP around it, the WebSocket's messages.
import { parse, validate } from 'graphql';
import { operation } from './generator.mjs';

const JSON_TYPE = { 'content-type': 'application/json' };
const CRLF = '\r\n';
const nested = (open, close, depth, inside = '') => open.repeat(depth) + inside + close.repeat(depth);
const TOKENS = ['{', '}', '(', ')', '[', ']', ':', '!', '$', '@', '...', '=', '|', '&', '"', '"""', '#', 'on', 'fragment', 'query', 'mutation', 'subscription', 'null', 'true', '-', '-0', '1e400', '9'.repeat(400), '0x1F', '\\', '\\u', '"\\ud800"', '"\\u{1F600}"', '"\\u{110000}"', '\u0000', '\u0007', '\ufeff', '\u2028', '\ud800', '🙂', 'é', '`', "'", '%', '?', '~', ';', '__typename', 'type', 'schema', 'extend', '@skip', '@include(if: 1)', '$$', '&&', '..', '....'];

/** A document in which something is not as it was. */
export function mutated(text, chance) {
  const at = chance.below(text.length + 1);
  const other = chance.below(text.length + 1);
  const [from, to] = [Math.min(at, other), Math.max(at, other)];
  const tokens = text.match(/\w+|\.\.\.|"[^"]*"|\S|\s+/g) ?? [text];
  const place = chance.below(tokens.length);
  return chance.weighted([
    [3, () => text.slice(0, at)],
    [3, () => text.slice(0, at) + chance.pick(TOKENS) + text.slice(at)],
    [3, () => tokens.with(place, chance.pick(TOKENS)).join('')],
    [3, () => tokens.with(place, chance.pick(tokens)).join('')],
    [2, () => text.slice(0, from) + text.slice(to)],
    [2, () => text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ (1 << chance.below(8))) + text.slice(at + 1)],
    [1, () => text.slice(0, at) + text.slice(from, to).repeat(chance.between(2, 40)) + text.slice(at)],
    [1, () => [...text].reverse().join('')],
    [1, () => text + text],
  ])();
}

/** Documents that are wrong, or too much, on purpose. */
const DOCUMENTS = [
  (c) => `{ a(x: ${nested('[', ']', c.between(20, 5000))}) }`,
  (c) => `{ a(x: ${nested('{a:', '}', c.between(20, 5000), '1')}) }`,
  (c) => nested('{a', '}', c.between(20, 5000)),
  (c) => `{ viewer { accounts { nodes ${nested('{ owner { id } clientConnections { nodes { agency ', ' } } }', c.between(1, 8), '{ id }')} } } }`,
  () => 'query { ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
  () => 'query { ...A } fragment A on Query { viewer { user { id } } ...A }',
  (c) => `{ ...F0 } ${Array.from({ length: c.between(5, 40) }, (_, i) => `fragment F${i} on Query { ...F${i + 1} ...F${i + 1} }`).join(' ')}`,
  (c) => `{ ${Array.from({ length: c.between(100, 2000) }, (_, i) => `a${i}: __typename`).join(' ')} }`,
  (c) => `{ viewer ${'@skip(if: false) '.repeat(c.between(2, 2000))} { level } }`,
  (c) => `{ ${'nothing '.repeat(c.between(11, 900))} }`,
  (c) => `query (${Array.from({ length: c.between(2, 400) }, (_, i) => `$v${i}: Int`).join(' ')}) { __typename }`,
  () => '{ account { users(first: 99999999999999999999) { totalCount } } }',
  () => '{ account { users(first: 1.5) { totalCount } } }',
  () => '{ account { users(first: "1") { totalCount } } }',
  () => '{ account { users(first: 1e400) { totalCount } } }',
  () => '{ node(id: 123456789012345678901234567890) { id } }',
  () => '{ node(id: {}) { id } nodes(ids: [[[]]]) { id } }',
  () => '{ node { id } }',
  () => '{ node(id: "x", id: "y") { id } }',
  () => '{ account { users(level: OWNER_OF_ALL) { totalCount } } }',
  () => '{ viewer }', () => '{ viewer { level { x } } }', () => '{ }', () => 'query', () => '', () => ' ', () => '#', () => '{ __type { name } }',
  () => 'subscription { clientConnectionChanged { cursor } accessRequestChanged { cursor } }',
  () => 'subscription { __typename }',
  () => 'subscription { ...{ ...{ __typename } } }',
  () => 'mutation { signOut { signedOut } signOut { signedOut } }',
  () => 'mutation { inviteUsers(input: {emails: [null], level: OWNER}) { userErrors { code } } }',
  () => 'mutation { inviteUsers(input: {level: ADMIN, emails: "a@b.example", extra: 1}) { userErrors { code } } }',
  () => 'query A { __typename } query A { __typename }',
  () => 'query A { __typename } query B { __typename }',
  () => 'query ($x: Nothing) { __typename }', () => 'query ($x: Account) { __typename }', () => 'query ($x: [Nothing!] = [A]) { __typename }', () => 'query ($x: [Account] = [{a: 1}]) { node(id: $x) { id } }', () => 'query ($x: Int = "a") { account { users(first: $x) { totalCount } } }',
  () => '{ viewer { ... on Account { id } } }', () => '{ ...Missing }', () => 'fragment F on Query { __typename }', () => '{ __typename } fragment F on Nothing { a }',
  () => '{ viewer @nothing { level } }', () => '{ viewer @skip { level } }', () => '{ viewer @include(if: null) { level } }',
  () => 'type Query { a: Int }', () => '{ a: viewer { level } a: account { id } }', () => '{ account { a: users(first: 1) { totalCount } a: users(first: 2) { totalCount } } }',
  () => `"${'x'.repeat(20000)}"`, () => `{ node(id: "${'x'.repeat(20000)}") { id } }`, () => `{ ${'x'.repeat(20000)} }`, () => `{ node(id: """${'\\"""'.repeat(2000)}""") { id } }`,
];

const WRONG = [null, true, 0, -1, 1.5, 1e308, '', 'x', [], {}, [[]], { a: { b: { c: [] } } }, [null], 'x'.repeat(70_000)];

const ask = (body, more = {}) => ({ headers: { ...JSON_TYPE, ...more }, body });

/** HTTP requests that are wrong in the body: what is not JSON, or JSON of something else. */
const BODIES = [
  (c, query) => ask(JSON.stringify({ query }).slice(0, c.between(0, query.length + 10))),
  (c, query) => ask(JSON.stringify({ query, [c.pick(['variables', 'extensions', 'operationName', 'query'])]: c.pick(WRONG) })),
  (c, query) => ask(JSON.stringify({ query, variables: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`v${i}`, c.pick(WRONG)])) })),
  (c) => ask(JSON.stringify(c.pick(WRONG))),
  (c, query) => ask(JSON.stringify(Array.from({ length: c.between(0, 5) }, () => ({ query })))),
  (c, query) => ask(`{"query": ${JSON.stringify(query)}, "variables": ${nested('[', ']', c.between(100, 100_000))}}`),
  (c, query) => ask(`{"query": ${JSON.stringify(query)}, "variables": ${nested('{"a":', '}', c.between(100, 50_000), '1')}}`),
  (c) => ask(`{"query": "${c.pick(['\\ud800', '\\udc00\\ud800', '\\u0000', '\\x', '\\u12', '\u0001', '\n'])}{ __typename }"}`),
  (c) => ask(`{"query": "query ($a: String!) { invitationByToken(token: $a) { id } }", "variables": {"a": "${c.pick(['\\ud800', '\\u0000', '\\uffff', '\\ud83d\\ude00'])}"}}`),
  () => ask('{"query": "{ __typename }", "query": "{ viewer { level } }"}'),
  (c) => ask(`{"query": "query ($a: Int) { account { users(first: $a) { totalCount } } }", "variables": {"a": ${c.pick(['1e400', '9'.repeat(500), '-0', '0.1', '1e2', '2147483648', 'NaN', 'Infinity', '01', '+1'])}}}`),
  (c, query) => ask(Buffer.concat([Buffer.from(`{"query": "`), Buffer.from([0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80]), Buffer.from(`${query.slice(0, 5)}"}`)])),
  (c, query) => ask(Buffer.from(Array.from({ length: c.between(1, 300) }, () => c.below(256)))),
  (c, query) => ask(`\ufeff${JSON.stringify({ query })}`),
  (c, query) => ask(Buffer.from(JSON.stringify({ query }), 'utf16le')),
  (c, query) => ask(JSON.stringify({ query }) + c.pick(['x', '}', '{}', '\u0000', ' ,'])),
  (c, query) => ask(JSON.stringify({ query, pad: 'x'.repeat(c.pick([1_000_000, 1_048_576, 2_000_000])) })),
  (c, query) => ask(`{"query": ${JSON.stringify(query)}, "operationName": "${c.pick(['Nobody', '', ' ', '🙂', '__typename'])}"}`),
  (c, query) => ask(JSON.stringify({ extensions: { persistedQuery: { version: 1, sha256Hash: c.letters(64, '0123456789abcdef') } }, ...(c.odds(0.5) && { query }) })),
];

const TYPES = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/graphql', 'application/json; charset=latin1', 'application/json; charset=utf-16', 'application/jsonx', 'application', '', ';', 'APPLICATION/JSON', 'application/json;charset="utf-8"', 'application/json, text/plain', '\u00ff'];
const ACCEPTS = ['', '*', '*/*', 'text/html', 'image/*;q=0.1', 'application/json;q=0', 'application/json;q=nan', 'application/json;q=-1', 'application/json;q=99', 'text/event-stream;q=0, */*', 'application/graphql-response+json;charset=utf-8', 'application/xml, application/graphql-response+json;q=0.2', ',,,', ';;', 'a'.repeat(4000), '\u00fe', 'multipart/mixed', 'multipart/mixed;subscriptionSpec=1.0', 'multipart/mixed;boundary=";subscriptionSpec=', 'APPLICATION/JSON'];
const get = (query, more = '') => ({ method: 'GET', path: `/graphql?query=${encodeURIComponent(query)}${more}` });

/** HTTP requests that are wrong around the body. */
const REQUESTS = [
  (c, query) => ({ ...ask(JSON.stringify({ query })), headers: { 'content-type': c.pick(TYPES) } }),
  (c, query) => ({ body: JSON.stringify({ query }) }),
  (c, query) => ask(JSON.stringify({ query }), { accept: c.pick(ACCEPTS) }),
  (c, query) => ask(JSON.stringify({ query }), { 'content-encoding': c.pick(['gzip', 'deflate', 'br', 'identity, gzip', 'x']) }),
  (c, query) => ({ ...ask(JSON.stringify({ query })), method: c.pick(['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD', 'TRACE', 'PROPFIND', 'GET']) }),
  (c, query) => ask(JSON.stringify({ query }), { authorization: c.pick(['', 'Bearer', 'Bearer ', 'bearer x', 'Basic YTpi', 'Bearer a.b.c', `Bearer ${c.letters(4000)}`, 'Bearer kh_x', '\u00ff', `Bearer kh_${c.letters(43)}`, 'Bearer eyJhbGciOiJub25lIn0.e30.']) }),
  (c, query) => ask(JSON.stringify({ query }), { origin: c.pick(['null', 'https://elsewhere.example', '', 'x', '\u00ff']), ...(c.odds(0.5) && { cookie: 'a=b' }) }),
  (c, query) => ask(JSON.stringify({ query }), { host: c.pick(['', 'x', 'a b', '[::', 'localhost:99999', 'elsewhere.example']) }),
  (c, query) => ({ method: c.pick(['GET', 'POST']), path: `/graphql?query=${c.pick(['%', '%zz', '%ff%fe', '%00', '%ed%a0%80', '%C0%80', '+', '&&&', '=', '%25', query.length > 0 ? encodeURIComponent(query) : ''])}${c.pick(['', '&query=x', '&variables=%7B', '&variables=[]', '&variables=1', '&extensions=x', '&variables=%ff', '&operationName=%', '&='])}` }),
  (c, query) => get(query, `&variables=${encodeURIComponent(JSON.stringify(c.pick(WRONG.slice(0, -1))))}`),
  (c) => get(c.pick(['mutation { signOut { signedOut } }', 'subscription { accessRequestChanged { cursor } }', '{ __typename } mutation M { signOut { signedOut } }'])),
  (c) => ({ method: 'GET', path: c.pick(['/', '/graphql', '/graphql/', '//graphql', '/graphql?', '/GRAPHQL', '/../etc/passwd', '/%2e%2e/', '/mailbox?to=%ff', '/mailbox.json?to=%zz', '/mailbox.json?to=a&to=b', '/exports/x', '/exports/%ff', '/.well-known/jwks.json', '/healthz?x', '/readyz', '/invitation?token=%', '/nothing', `/${'x'.repeat(6000)}`, '*', '/metrics']) }),
  (c, query) => ask(JSON.stringify({ query }), Object.fromEntries(Array.from({ length: c.between(2, 90) }, (_, i) => [`x-${i}`, c.letters(20)]))),
  (c, query) => ask(JSON.stringify({ query }), { upgrade: c.pick(['websocket', 'h2c', 'x']), connection: 'upgrade' }),
  (c) => ({ method: 'GET', path: '/graphql', headers: { upgrade: 'websocket', connection: c.pick(['upgrade', 'x']), ...(c.odds(0.5) && { 'sec-websocket-version': c.pick(['13', '8', 'x']) }), ...(c.odds(0.5) && { 'sec-websocket-key': c.pick(['', 'x', 'dGhlIHNhbXBsZSBub25jZQ==']) }), ...(c.odds(0.5) && { 'sec-websocket-protocol': c.pick(['graphql-ws', 'x', '']) }) } }),
];

const head = (start, ...lines) => [start, 'Host: localhost', ...lines, '', ''].join(CRLF);
const posted = (body, ...lines) => head('POST /graphql HTTP/1.1', 'Content-Type: application/json', ...lines) + body;
const hello = '{"query":"{ __typename }"}';
/** Bytes that are no HTTP, or a poor one. Those with `ends` the server must end by itself; at the others we hang up. */
const BYTES = [
  (c) => ({ ends: true, bytes: `${c.pick(['GET', 'G\u0000T', 'get ', '', ' ', 'POST /graphql', 'GET /graphql HTTP/9.9', 'GET  / HTTP/1.1', 'GET / HTTP/1.1 x', 'GET\t/\tHTTP/1.1', '\u0016\u0003\u0001', '{"query":"{ __typename }"}'])}${CRLF}${CRLF}` , may: true }),
  (c) => ({ bytes: Buffer.from(Array.from({ length: c.between(1, 500) }, () => c.below(256))) }),
  () => ({ bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' }),
  () => ({ bytes: posted(hello, 'Content-Length: 5', 'Content-Length: 26', 'Connection: close') }),
  () => ({ bytes: posted(hello, 'Content-Length: 26', 'Transfer-Encoding: chunked', 'Connection: close') }),
  (c) => ({ bytes: posted(hello, `Content-Length: ${c.pick(['-1', 'x', '1e3', '99999999999999999999999', '', '26, 27', '+26', '0x1a'])}`) }),
  () => ({ bytes: posted(hello, 'Content-Length: 1000') }),
  (c) => ({ bytes: posted(`${c.pick(['zz', '-1', 'ffffffffffffffffff', '1;x', '', 'FFFFFFF', '5\n'])}${CRLF}${hello}${CRLF}0${CRLF}${CRLF}`, 'Transfer-Encoding: chunked') }),
  () => ({ bytes: posted(`1a${CRLF}${hello}XX`, 'Transfer-Encoding: chunked') }),
  (c) => ({ bytes: posted(hello, `Transfer-Encoding: ${c.pick(['gzip, chunked', 'x', 'chunked, chunked', 'identity', ' chunked'])}`, 'Content-Length: 26') }),
  (c) => ({ ends: true, bytes: head('GET /healthz HTTP/1.1', ...Array.from({ length: c.between(101, 2000) }, (_, i) => `X-${i}: ${'y'.repeat(10)}`)) }),
  (c) => ({ bytes: head('GET /healthz HTTP/1.1', `X: ${'y'.repeat(c.pick([70_000, 500_000]))}`) }),
  (c) => ({ bytes: head('GET /healthz HTTP/1.1', c.pick(['No colon', ': no name', 'Sp ace: x', 'X\u0000: y', 'X: \u0000', ' folded', 'X: a\r\n b', 'X: a\nY: b', '\u00ff: x'])) }),
  () => ({ bytes: 'GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n' }),
  () => ({ ends: true, bytes: 'GET /healthz HTTP/1.0\r\n\r\n' }),
  (c) => ({ bytes: head(`GET /graphql?query=${c.pick(['{__typename}', '\u00ff', '"<>\\^`', '#x', ' x', '\u0001'])} HTTP/1.1`, 'Connection: close') }),
  (c) => ({ bytes: head(`GET /${'x'.repeat(c.pick([7_000, 70_000]))} HTTP/1.1`, 'Connection: close') }),
  () => ({ bytes: posted(hello, 'Content-Length: 26', 'Expect: 100-continue', 'Connection: close') }),
  () => ({ bytes: posted(hello, 'Content-Length: 26').repeat(20) + head('GET /healthz HTTP/1.1', 'Connection: close'), ends: true }),
  (c) => ({ bytes: Buffer.concat([Buffer.from(head('GET /graphql HTTP/1.1', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Protocol: graphql-transport-ws')), ...c.some(FRAMES, 1, 3)]), frames: true }),
];
const masked = (...bytes) => Buffer.from([bytes[0], bytes[1] | 0x80, 0, 0, 0, 0, ...bytes.slice(2)]);
/** WebSocket frames that no client should send. */
const FRAMES = [
  Buffer.from([0x81, 1, 0x78]), masked(0xf1, 1, 0x78), masked(0x83, 0), masked(0x8b, 0), masked(0x80, 1, 0x78), masked(0x09, 0), masked(0x88, 1, 3),
  masked(0x88, 2, 0, 1), masked(0x81, 2, 0xff, 0xfe), Buffer.from([0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), masked(0x01, 1, 0x78), masked(0x82, 1, 0x78), masked(0x89, 0), masked(0x8a, 0),
];

const INIT = '{"type":"connection_init"}';
const subscribe = (payload, id = '1') => JSON.stringify({ id, type: 'subscribe', payload });
/** What a WebSocket can be told that it does not understand. Each ends by a close. */
const MESSAGES = [
  () => [INIT, INIT], () => ['{"type":"subscribe","id":"1","payload":{"query":"{ __typename }"}}'], () => [INIT, '{"type":"nothing"}'], () => ['x'], () => [''], () => ['[]'], () => ['null'],
  () => ['{"type":"connection_init","payload":[]}'], () => ['{"type":"connection_init","payload":{"authorization":5}}'], () => ['{"type":"connection_init","payload":{"authorization":"Bearer nobody"}}'],
  () => [INIT, '{"type":"subscribe"}'], () => [INIT, '{"type":"subscribe","id":1,"payload":{}}'], () => [INIT, subscribe({})], () => [INIT, subscribe({ query: '' })], () => [INIT, subscribe({ query: '{ __typename }' }, '')],
  (c) => [INIT, subscribe({ query: '{ __typename }', [c.pick(['variables', 'extensions', 'operationName'])]: c.pick([1, 'x', [], [[]], true]) }), INIT],
  () => [INIT, subscribe({ query: 'x'.repeat(70_000) })], () => [INIT, `{"type":"ping","payload":${nested('[', ']', 20_000)}}`], () => [INIT, `{"type":"ping","payload":${nested('{"a":', '}', 9_000, '1')}}`],
  () => [INIT, '{"type":"ping","payload":"x"}'], () => [INIT, Buffer.from([0xff, 0x00])], () => [Buffer.from(INIT)], () => [INIT, '{"type":"complete"}'], () => [INIT, '{"type":"pong"}', '{"type":"next","id":"1","payload":{}}'],
  () => [INIT, ...Array.from({ length: 30 }, (_, i) => subscribe({ query: 'subscription { accessRequestChanged { cursor } }' }, String(i))), INIT],
  () => [INIT, '{"type":"subscribe","id":"1","payload":{"query":"\\ud800"}}'],
];

/** One broken request: `{ by: 'http' | 'bytes' | 'socket', …, query? }`; a document that graphql-js calls wrong is `invalid`. */
export function malformed(schema, chance, pool) {
  const valid = () => operation(schema, chance, pool, chance.weighted([[8, 'query'], [1, 'mutation'], [1, 'subscription']]));
  const chosen = chance.odds(0.3);
  const wrong = () => (chosen ? chance.pick(DOCUMENTS)(chance) : mutated(valid().query, chance));
  return chance.weighted([
    [8, () => ({ ...document(schema, wrong(), chance), chosen })],
    [3, () => ({ by: 'http', ...chance.pick(BODIES)(chance, valid().query) })],
    [3, () => ({ by: 'http', ...chance.pick(REQUESTS)(chance, valid().query) })],
    [2, () => ({ by: 'bytes', ...chance.pick(BYTES)(chance) })],
    [2, () => ({ by: 'socket', messages: chance.pick(MESSAGES)(chance) })],
    [1, () => ({ by: 'socket', messages: [INIT, subscribe({ query: wrong() })], any: true })],
  ])();
}

function document(schema, query, chance) {
  const invalid = !isValid(schema, query);
  const headers = { ...JSON_TYPE, accept: chance.pick(['application/json', 'application/graphql-response+json', 'text/event-stream']) };
  return { by: 'http', headers, body: JSON.stringify({ query }), query, invalid };
}

function isValid(schema, query) {
  try {
    return validate(schema, parse(query)).length === 0;
  } catch {
    return false;
  }
}
