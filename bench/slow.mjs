// Who reads slowly, sends slowly or sits idle, in thousands: what it costs the others and the server's memory, and how long it
// takes until each is cut off.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { constants, setPriority } from 'node:os';
import { performance } from 'node:perf_hooks';
import { AGENCY, CLIENT, SMALL, compareProbes, conclude, mib, ms, option, p99, pause, percentile, start, table, times, worker } from './lib.mjs';
import { Http, Socket, frame, init, page, post, subscribe, upgrade } from './wire.mjs';

const IDLE = option('idle', 5_000);
const SLOW = option('slow', 25);
/** As long as the longest part: a p99 of fewer probes is not to be compared with one of many. */
const QUIET = option('quiet', 60);
/** The settings: client_timeout; a socket's time for connection_init, to send a message, and between pings. In seconds. */
const [CLIENT_TIME, INIT_TIME, SEND_TIME, PING_TIME] = [10, 5, 10, 20];
/** What may come on top: a socket that is told why has 2 s for its own close; timers are coarse, and so are our looks. */
const GRACE = 3;
/** How often we look which connections the server holds, in milliseconds. The kernel takes 4 ms to tell and lets nobody else have that processor: looking more often would be what slows others. */
const LOOK_EVERY = 1_000;
const BYTE_EVERY = 500;
/** Milliseconds from one reader to the next: those who come all at once would measure how much can be answered at once, which is another question. */
const READER_EVERY = option('every', 100);
/** The kernel buffers some megabytes for who doesn't read: long messages, asked for often, are more than that, and cheap to answer. */
const [EVENTS, MESSAGE] = [15, 'm'.repeat(1_000)];

const files = Number(/Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))[1]);
if (files < IDLE + 1_000) {
  console.error(`${IDLE} idle connections need some ${IDLE + 1_000} open files, ${files} are allowed: ulimit -n ${IDLE + 1_000}, or --idle ${Math.max(0, files - 1_000)}.`);
  process.exit(2);
}

const wrong = [];
/** Of each part its title, a small query's p99, and whether the goal is for it. */
const outcomes = [];
const server = await start();
const agency = await server.signIn(AGENCY);
const client = await server.signIn(CLIENT);
const prober = worker('./prober.mjs', { port: server.port, token: agency });
await prober.started;
// Those who load the server would come from other machines: here they wait for the server, and for who measures it.
setPriority(constants.priority.PRIORITY_LOW);

const open = [];
/** Connects and sends. */
function sends(...bytes) {
  const socket = connect({ port: server.port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => {});
  socket.since = performance.now();
  for (const chunk of bytes) socket.write(chunk);
  open.push(socket);
  return socket;
}

/** Reads nothing: what it gets stays with the kernel. */
const blind = (...bytes) => sends(...bytes).pause();

/** Takes everything at once. */
const eager = (...bytes) => sends(...bytes).resume();

/** The same bytes, but the last ones one at a time. */
function dripping(first, last) {
  const socket = blind(...first);
  let at = 0;
  const drip = setInterval(() => {
    if (at < last.length && !socket.destroyed) socket.write(last.subarray(at, at += 1));
    else clearInterval(drip);
  }, BYTE_EVERY);
  socket.on('close', () => clearInterval(drip));
  return socket;
}

/**
 * Watches from the first one on until the server holds none of the sockets, or for so long after the last one. Tells how many
 * seconds it held each, a reader from when the server had to wait for it.
 */
async function untilCut(kinds, atMost, opening = Promise.resolve()) {
  let until = Infinity, left;
  opening.then(() => { until = performance.now() + atMost * 1000; });
  do {
    await pause(LOOK_EVERY);
    const [holds, now] = [server.holds(), performance.now()];
    left = Object.values(kinds).flat().filter(({ localPort }) => holds.has(localPort));
    for (const socket of left) {
      const waiting = holds.get(socket.localPort);
      // Who doesn't read is slow from when the kernel takes no more for them: before, it was the server that was at work.
      if (waiting > (socket.waiting ?? 0)) Object.assign(socket, { waiting, since: now });
      socket.held = (now - socket.since) / 1000;
    }
  } while (until === Infinity || (left.length && performance.now() < until));
  return Object.fromEntries(Object.entries(kinds).map(([kind, sockets]) => [kind, sockets.map(({ held }) => held ?? 0)]));
}

/** Lets go of everything, and waits until the server has too. */
async function release(before) {
  for (const socket of open.splice(0)) socket.destroy();
  const began = performance.now();
  while (server.fds() > before.fds + 8 && performance.now() - began < 15_000) await pause(100);
  const [seconds, left] = [(performance.now() - began) / 1000, server.fds() - before.fds];
  await pause(1000);
  if (left > 8) wrong.push(`${left} sockets are still open ${seconds.toFixed(0)} s after all clients have gone`);
  return { seconds, left, rss: server.rss() };
}

/** What the kernel keeps in all TCP sockets of this machine, in bytes. */
const inSockets = () => 4096 * Number(/^TCP:.* mem (\d+)/m.exec(readFileSync('/proc/net/sockstat', 'utf8'))[1]);

/**
 * One part: what others see meanwhile, and what it took of the server. A run may say when it has prepared everything: what others
 * saw until then is told apart. What is only there to be compared with has no goal.
 */
async function part(title, run, { compared = false } = {}) {
  console.log(`\n## ${title}`);
  await pause(500);
  const before = { rss: server.rss(), fds: server.fds() };
  let [peak, kernel] = [before.rss, 0];
  const watch = setInterval(() => {
    if (server.exited() === undefined) [peak, kernel] = [Math.max(peak, server.rss()), Math.max(kernel, inSockets())];
  }, 250);
  await prober.ask({ count: true });
  let preparing;
  const tell = await run(before, async () => { preparing = await prober.ask({ count: true }); });
  const under = await prober.ask({ count: false });
  clearInterval(watch);
  if (server.exited() !== undefined) {
    wrong.push(`the process died: ${server.exited()}\n${server.said().slice(-1000)}`);
    conclude(wrong);
  }
  tell();
  if (preparing) compareProbes(quiet, preparing, 'while they open');
  compareProbes(quiet, under);
  const after = await release(before);
  console.log(`\nMemory: ${mib(before.rss)} before, ${mib(peak)} at most, ${mib(after.rss)} after; the kernel's for all sockets, both sides': ${mib(kernel)} at most. `
    + `Files: ${before.fds} before, ${after.left > 0 ? '+' : ''}${after.left} when ${after.seconds.toFixed(1)} s had passed since the last client left.`);
  for (const [name, { failed }] of [preparing ?? {}, under].flatMap(Object.entries)) if (failed) wrong.push(`${title}: ${failed} probes of ${name} failed`);
  outcomes.push([title, p99(under['a small query'].times), !compared]);
}

/** What others saw with nothing else going on. */
async function quietly() {
  await prober.ask({ count: true });
  await pause(QUIET * 1000);
  return prober.ask({ count: false });
}

/** Prints how long each kind was held, and what is beyond its bound. */
function heldTable(held, bounds) {
  table(['cut off after', 'connections', 'soonest', 'median', 'latest', 'bound'], Object.entries(held).map(([kind, seconds]) => {
    const at = (share) => `${percentile(seconds, share).toFixed(1)} s`;
    if (percentile(seconds, 1) > bounds[kind] + GRACE) wrong.push(`${kind}: held for ${at(1)}, the bound is ${bounds[kind]} s`);
    return [kind, seconds.length, at(0), at(0.5), at(1), `${bounds[kind]} s`];
  }));
}

const repeat = (count, make) => Array.from({ length: count }, (_, n) => make(n));

/** Moves a client's ceiling: an event in the agency's log. */
async function makeEvent() {
  const { account } = await server.ask('{ account { agencyConnections(first: 1, status: [ACTIVE]) { nodes { id level } } } }', client);
  const [{ id, level }] = account.agencyConnections.nodes;
  const other = level === 'VIEWER' ? 'AUTHOR' : 'VIEWER';
  await server.ask(`mutation { setConnectionLevel(input: {connectionId: "${id}", level: ${other}}) { userErrors { code } } }`, client);
}

/** Asks some clients, with a long message: as many events in the agency's log. */
async function makeLongEvents() {
  const emails = repeat(EVENTS, (n) => `client${n}@slow.example`).join();
  const asked = await server.ask(`mutation { requestClientAccess(input: {emails: ["${emails}"], message: "${MESSAGE}"}) { connections { id } userErrors { code } } }`, agency);
  if (asked.requestClientAccess.connections.length !== EVENTS) throw new Error(JSON.stringify(asked));
}

/** Readers that take nothing: of events, of a stream, of answers. */
async function slowReaders() {
  const { account: { activityCursor } } = await server.ask('{ account { activityCursor } }', agency);
  await makeLongEvents();
  const messages = (count) => repeat(count, (n) => `m${n}: message`).join(' ');
  const events = `subscription($after: String) { clientConnectionChanged(after: $after) { connection { ${messages(400)} } } }`;
  const variables = { after: activityCursor };
  const answer = `{ account { clientConnections(first: ${EVENTS}) { nodes { ${messages(20)} } } } }`;
  const kinds = {
    'WS, a subscription': [upgrade, init(agency), subscribe('1', { query: events, variables })],
    'WS, answers': [upgrade, init(agency), ...repeat(19, (n) => subscribe(String(n), answer))],
    'SSE, a subscription': [post({ query: events, variables }, { token: agency, accept: 'text/event-stream' })],
    'HTTP, answers': repeat(19, () => post(answer, { token: agency })),
  };
  const come = async (reader, readers = {}) => {
    for (let n = 0; n < SLOW; n += 1) {
      for (const [kind, bytes] of Object.entries(kinds)) { (readers[kind] ??= []).push(reader(...bytes)); await pause(READER_EVERY); }
    }
  };
  await part(`For comparison, readers who take all: ${SLOW} of each kind, of the same 6 MB`, async () => { await come(eager); return () => {}; }, { compared: true });
  await part(`Slow readers: ${SLOW} of each kind, who take nothing of 6 MB`, async () => {
    const readers = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
    const held = await untilCut(readers, 2 * SEND_TIME + 20, come(blind, readers));
    return () => heldTable(held, { 'WS, a subscription': SEND_TIME, 'WS, answers': SEND_TIME, 'SSE, a subscription': CLIENT_TIME, 'HTTP, answers': CLIENT_TIME });
  });
}

/** Senders of a byte at a time. */
async function slowSenders() {
  const question = post(SMALL, { token: agency });
  const body = question.indexOf('\r\n\r\n') + 4;
  const chunked = Buffer.from(question.subarray(0, body).latin1Slice().replace(/content-length: \d+/, 'transfer-encoding: chunked'));
  const expecting = Buffer.from(question.subarray(0, body).latin1Slice().replace('\r\n\r\n', '\r\nexpect: 100-continue\r\n\r\n'));
  const chunks = Buffer.from('1\r\n{\r\n'.repeat(200));
  await part(`Slow senders: ${SLOW} of each kind, a byte every ${BYTE_EVERY} ms`, async () => {
    const kinds = {
      'HTTP, headers': repeat(SLOW, () => dripping([], question)),
      'HTTP, body': repeat(SLOW, () => dripping([question.subarray(0, body)], question.subarray(body))),
      'HTTP, chunks': repeat(SLOW, () => dripping([chunked], chunks)),
      'HTTP, body never sent': repeat(SLOW, () => blind(expecting)),
      'HTTP, second request': repeat(SLOW, () => dripping([page('/healthz')], question)),
      'WS, connection_init': repeat(SLOW, () => dripping([upgrade], init(agency))),
      'WS, a later message': repeat(SLOW, () => dripping([upgrade, init(agency)], subscribe('1', SMALL.padEnd(500)))),
      'WS, half a close': repeat(SLOW, () => blind(upgrade, init(agency), frame('', 8).subarray(0, 3))),
    };
    await pause(100);
    const held = await untilCut(kinds, 2 * PING_TIME + 20);
    // A socket is asked for a sign of life every 20 s, and given up at the next time.
    const [http, alive] = [CLIENT_TIME, 2 * PING_TIME];
    return () => heldTable(held, { 'HTTP, headers': http, 'HTTP, body': http, 'HTTP, chunks': http, 'HTTP, body never sent': http,
      'HTTP, second request': http, 'WS, connection_init': INIT_TIME, 'WS, a later message': alive, 'WS, half a close': alive });
  });
}

/** Opens many, some at a time: what waits to be accepted has its bounds too. */
async function many(count, make) {
  const made = [];
  while (made.length < count) made.push(...await Promise.all(repeat(Math.min(100, count - made.length), make)));
  return made;
}

/** A connection after its first answer. */
async function keptOpen() {
  const http = new Http(server.port);
  await http.ask(page('/healthz'));
  const { socket } = http;
  socket.since = performance.now();
  return socket;
}

const opened = (socket) => new Promise((done) => { socket.once('connect', () => done(socket)); });

/** Connections that say nothing more. */
async function idle() {
  const third = Math.floor(IDLE / 3);
  await part(`Idle: ${IDLE} connections, a third each of kept HTTP, silent TCP and acknowledged WebSockets`, async (before, prepared) => {
    const costs = [];
    let rss = before.rss;
    const cost = (kind, count) => { const now = server.rss(); costs.push([kind, count, mib(now - rss), `${((now - rss) / count / 1024).toFixed(1)} KiB`]); rss = now; };
    const sockets = await many(IDLE - 2 * third, () => Socket.open(server.port));
    cost('WS, acknowledged', sockets.length);
    const listener = await Socket.open(server.port, agency);
    listener.send(subscribe('1', 'subscription { clientConnectionChanged { event { kind } } }'));
    const kept = await many(third, keptOpen);
    cost('HTTP, kept', third);
    const silent = await many(third, () => opened(blind()));
    cost('TCP, silent', third);
    open.push(...sockets.map(({ socket }) => socket), ...kept, listener.socket);
    await prepared();
    const most = server.holds().size;
    const held = await untilCut({ 'HTTP, kept': kept, 'TCP, silent': silent }, CLIENT_TIME + 20);
    await pause(2 * PING_TIME * 1000 + 1000 - CLIENT_TIME * 1000); // long enough for pings to have missed who is gone
    const alive = sockets.filter(({ socket }) => !socket.destroyed && socket.readyState === 'open').length;
    if (alive < sockets.length) wrong.push(`${sockets.length - alive} of ${sockets.length} idle sockets were cut off, though they answer pings`);
    const told = new Promise((done) => { listener.hear = (text) => done(text.includes('CLIENT_ACCESS_LEVEL_CHANGED') || text); });
    await makeEvent();
    const heard = await Promise.race([told, pause(2000)]);
    if (heard !== true) wrong.push(`the one who listens among the idle heard ${heard ?? 'nothing'}`);
    return () => {
      console.log(`\n${most} connections at once. ${alive} of ${sockets.length} idle sockets live on, and the one who listens hears.`);
      table(['memory while they open', 'connections', 'in all', 'each'], costs);
      heldTable(held, { 'HTTP, kept': CLIENT_TIME, 'TCP, silent': CLIENT_TIME });
    };
  });
}

await pause(1000); // the first answers of a process are not its usual ones
const quiet = await quietly();
await idle(); // first: memory that others have left free would be taken again, and seem to cost nothing
await slowReaders();
await slowSenders();
const calmest = Math.min(...[quiet, await quietly()].map((probes) => p99(probes['a small query'].times)));
console.log(`\n## The goal: a small query's p99 within twice the calmer quiet one of before and after, ${ms(calmest)}`);
table(['part', 'p99', 'ratio', 'goal'], outcomes.map(([title, time, goal]) => {
  const ratio = time / calmest;
  return [title.split(':')[0], ms(time), times(ratio), goal ? (ratio <= 2 ? 'met' : 'missed') : ''];
}));
prober.end();
await server.stop();
conclude(wrong);
