// Ordinary work, to be compared over time: how many requests a second, how long each takes, and how soon listeners hear.
import { performance } from 'node:perf_hooks';
import { AGENCY, CLIENT, SMALL, ms, option, p50, p99, pause, start, table } from './lib.mjs';
import { Http, Socket, post, subscribe } from './wire.mjs';

const SECONDS = option('seconds', 3);
const EVENTS = option('events', 30);
const CONNECTIONS = [1, 16, 64];
const LISTENERS = [1, 100, 1_000];
const LEVELS = ['AUTHOR', 'VIEWER', 'MANAGER', 'ADMIN'];
const PAGE = `{ account { clientConnections(first: 50) { totalCount pageInfo { hasNextPage } nodes { id status level clientEmail createdAt
  agency { id name } client { id name } requestedBy { id name } decidedBy { id name } delivery { status at } users(first: 5) { nodes { level user { name } } } } } } }`;

const server = await start();
const agency = await server.signIn(AGENCY);
const client = await server.signIn(CLIENT);

/** The demo's agency has 40 connections; a full page takes ten more. */
async function fillPage() {
  const emails = Array.from({ length: 10 }, (_, n) => `client${n}@ordinary.example`).join();
  const { requestClientAccess } = await server.ask(`mutation { requestClientAccess(input: {emails: ["${emails}"]}) { userErrors { code message } } }`, agency);
  if (requestClientAccess.userErrors.length) throw new Error(JSON.stringify(requestClientAccess));
}

const { account: { agencyConnections } } = await server.ask('{ account { agencyConnections(first: 1, status: [ACTIVE]) { nodes { id } } } }', client);
const [{ id: connection }] = agencyConnections.nodes;
const changes = LEVELS.map((level) => post(
  `mutation { setConnectionLevel(input: {connectionId: "${connection}", level: ${level}}) { connection { level } userErrors { code } } }`, { token: client }));

/** Each time another level than the time before, so that each is a change, and an event. */
let change = 0;
const nextChange = () => changes[change++ % changes.length];

const always = (bytes) => () => bytes;
const WORK = {
  '__typename': { next: always(post('{ __typename }')), right: '{"data":{"__typename":"Query"}}' },
  'viewer and account': { next: always(post(SMALL, { token: agency })), right: '"viewer":{"user"' },
  '50 connections': { next: always(post(PAGE, { token: agency })), right: '"status":"ACTIVE"' },
  'setConnectionLevel': { next: nextChange, right: '"userErrors":[]' },
};

/** So many connections, each with one request after the other. */
async function load({ next, right }, connections, seconds) {
  const times = [];
  const began = performance.now();
  const until = began + seconds * 1000;
  await Promise.all(Array.from({ length: connections }, async () => {
    const http = new Http(server.port);
    while (performance.now() < until) {
      const { status, body, time } = await http.ask(next());
      if (status !== 200 || !body.includes(right) || body.includes('"errors"')) throw new Error(`status ${status}: ${body.slice(0, 500)}`);
      times.push(time);
    }
    http.end();
  }));
  return { perSecond: times.length / ((performance.now() - began) / 1000), p50: p50(times), p99: p99(times) };
}

/** How long after the mutation's answer the last of so many listeners hears; before it counts as zero. */
async function deliver(count) {
  const sockets = [];
  let heard = 0, all = () => {};
  while (sockets.length < count) {
    sockets.push(...await Promise.all(Array.from({ length: Math.min(100, count - sockets.length) }, () => Socket.open(server.port, agency))));
  }
  for (const socket of sockets) {
    socket.hear = (text) => { if (!text.includes('"next"')) throw new Error(text); if ((heard += 1) === count) all(performance.now()); };
    socket.closed = (why) => { throw new Error(`a listener was closed: ${why}`); };
    socket.send(subscribe('1', 'subscription { clientConnectionChanged { cursor event { kind } connection { id level } } }'));
  }
  await pause(500 + count); // for the last of them to listen
  const http = new Http(server.port);
  const times = [], sinceAsked = [];
  for (let n = 0; n < EVENTS; n += 1) {
    heard = 0;
    const last = new Promise((resolve, reject) => { all = resolve; setTimeout(reject, 10_000, new Error(`only ${heard} of ${count} heard`)).unref(); });
    const asked = performance.now();
    const { body } = await http.ask(nextChange());
    const answered = performance.now();
    if (!body.includes('"userErrors":[]')) throw new Error(body);
    const at = await last;
    times.push(Math.max(0, at - answered));
    sinceAsked.push(at - asked);
    await pause(20);
  }
  http.end();
  for (const socket of sockets) { socket.closed = undefined; socket.end(); }
  return { p50: p50(times), p99: p99(times), sinceAskedP50: p50(sinceAsked) };
}

const results = { requests: {}, delivery: {} };
await fillPage();
for (const [name, work] of Object.entries(WORK)) {
  await load(work, 4, Math.min(1, SECONDS)); // the first answers of a process are not its usual ones
  for (const connections of CONNECTIONS) results.requests[`${name}, ${connections}`] = await load(work, connections, SECONDS);
}
for (const count of LISTENERS) results.delivery[count] = await deliver(count);
results.rssMiB = server.rss() / 2 ** 20;
await server.stop();

if (process.argv.includes('--json')) {
  console.log(JSON.stringify(results));
} else {
  table(['requests, connections', 'a second', 'p50', 'p99'],
    Object.entries(results.requests).map(([name, one]) => [name, one.perSecond.toFixed(0), ms(one.p50), ms(one.p99)]));
  table(['listeners: the last one hears', 'p50 from answer', 'p99 from answer', 'p50 from asking'],
    Object.entries(results.delivery).map(([count, one]) => [count, ms(one.p50), ms(one.p99), ms(one.sinceAskedP50)]));
  console.log(`\nMemory at the end: ${results.rssMiB.toFixed(1)} MiB.`);
}
process.exit();
