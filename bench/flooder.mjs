// An attacker who takes all that the server gives: memory, connections or turns. From an address of its own, as fast as it can, at
// a lower priority than the server and its other clients, with which it would not share a machine.
import { connect } from 'node:net';
import { setPriority } from 'node:os';
import { performance } from 'node:perf_hooks';
import { init, page, post, subscribe, upgrade } from './wire.mjs';

const OWN = 'subscription { accessRequestChanged { cursor } }';
const SIGN_UP = 'mutation($i: SignUpInput!) { signUp(input: $i) { userErrors { code } } }';
const junk = (count) => ({ junk: Array(count).fill({}) });
const masked = (first, content) => Buffer.concat([Buffer.from([first, 0x80 | content.length, 0, 0, 0, 0]), content]);
const times = (count, bytes) => Buffer.concat(Array(count).fill(bytes));

/** A body that is longer than the server takes, or as long as it may be. */
const signUp = (length) => post({ query: SIGN_UP, variables: { i: { email: 'x@x.example', password: 'x', name: 'x' }, junk: 'x'.repeat(length) } });

/**
 * The attacks: how many connections each process keeps, what each sends first and then again and again, and whether it reads. A
 * connection that the server closes is opened again.
 */
const ATTACKS = {
  '1 pings': () => ({ connections: 30, first: [upgrade], again: times(400, masked(0x89, Buffer.alloc(125, 'x'))) }),
  '1 pings, after init': () => ({ connections: 30, first: [upgrade, init()], again: times(400, masked(0x89, Buffer.alloc(125, 'x'))) }),
  '1 pongs': () => ({ connections: 30, first: [upgrade, init()], again: times(1_000, masked(0x8a, Buffer.alloc(0))) }),
  '1 pieces': () => ({ connections: 30, first: [upgrade, init(), masked(0x01, Buffer.from('{'))], again: times(4_000, masked(0x00, Buffer.alloc(0))) }),
  '2 junk, sockets': (token) => ({
    connections: 20,
    reads: true,
    first: [upgrade, init(token), ...Array.from({ length: 20 }, (_, n) => subscribe(`${n}`, { query: OWN, variables: junk(20_000) }))],
  }),
  '2 junk, streams': (token) => ({ connections: 60, reads: true, first: [post({ query: OWN, variables: junk(80_000) }, { token, accept: 'text/event-stream' })] }),
  '2 junk, sign-ups': () => ({ connections: 60, reads: true, first: [signUp(14_000_000)], every: 1_000 }),
  '2 junk, long bodies': () => ({ connections: 60, reads: true, first: [signUp(250_000)], every: 20 }),
  '3 sockets': () => ({ connections: 1_500, reads: true, first: [upgrade, init()], opens: 20 }),
  '4 heads': () => ({ connections: 500, first: [Buffer.from(`GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${'x'.repeat(380_000)}`)], opens: 20 }),
  '4 operations': (token) => ({ connections: 400, reads: true, first: [post('{ viewer { accounts(first: 100) { edges { level node { id name } } } } account { auditLog(first: 100) { nodes { summary } } } }', { token })], every: 0 }),
};

/** Keeps connections of one attack open, and answers how many were opened and how many bytes were sent. */
async function flood(port, address, { connections, first, again, reads = false, every, opens = 5 }, until) {
  const told = { opened: 0, sent: 0 };
  const open = new Set();
  const send = (socket, bytes) => { told.sent += bytes.length; return socket.write(bytes); };
  const begin = () => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: address, noDelay: true });
    told.opened += 1;
    open.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
    socket.on('connect', () => {
      for (const bytes of first) send(socket, bytes);
      const more = () => { while (!socket.destroyed && performance.now() < until && send(socket, again)); };
      if (again) socket.on('drain', more), more();
    });
    if (!reads) return socket.pause();
    // Answers the server's pings, and asks once more when an answer has come.
    let asked = false;
    return socket.on('data', (chunk) => {
      if (chunk[0] === 0x89) socket.write(masked(0x8a, Buffer.alloc(0)));
      if (every === undefined || asked) return;
      asked = true;
      setTimeout(() => { asked = false; if (!socket.destroyed) for (const bytes of first) send(socket, bytes); }, every);
    });
  };
  while (performance.now() < until) {
    for (let n = 0; n < opens && open.size < connections; n += 1) begin();
    await new Promise((done) => { setTimeout(done, 5); });
  }
  for (const socket of open) socket.destroy();
  return told;
}

/** One user's downloads, two at a time of each link's account, read at 124 KB a second. */
async function downloads(port, address, urls, until) {
  const told = { opened: 0, sent: 0 };
  const read = async (url) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: address });
    socket.on('error', () => {});
    socket.on('connect', () => socket.write(page(url)));
    socket.pause();
    told.opened += 1;
    while (performance.now() < until && !socket.destroyed) {
      socket.read(12_400);
      await new Promise((done) => { setTimeout(done, 100); });
    }
    socket.destroy();
  };
  await Promise.all(urls.map(read));
  return told;
}

export const NAMES = Object.keys(ATTACKS);

if (process.send) {
  process.on('message', async ({ port, name, address, token, urls, seconds, nice = 0 }) => {
    if (nice) setPriority(nice);
    const until = performance.now() + seconds * 1000;
    process.send(urls ? await downloads(port, address, urls, until) : await flood(port, address, ATTACKS[name](token), until));
  });
  process.on('disconnect', () => process.exit());
}
