// Sends the documents over one transport after the other, on a connection each, and judges every answer. Politely: at a lower
// priority than the server and its other clients, since on one machine they would have to share what in life they don't.
import { setPriority } from 'node:os';
import { performance } from 'node:perf_hooks';
import { DOCUMENTS } from './documents.mjs';
import { Http, Socket, get, post, subscribe } from './wire.mjs';

/** The head of a request may have 16 KiB. */
const LONGEST_QUERY_STRING = 15_000;
const LONGEST_MESSAGE = 64_000;
const CODES = ['QUERY_TOO_LARGE', 'BAD_REQUEST'];

/** The code of a refusal; anything else is told as what it is. */
function refusal(errors, more) {
  const code = errors?.[0]?.extensions?.code;
  if (more || !CODES.includes(code) || errors.length > 10) return `not a refusal: ${JSON.stringify(errors ?? more).slice(0, 200)}`;
  return code;
}

const overHttp = (bytes) => ({ bytes, judge: ({ status, body }) => {
  const { errors, data } = JSON.parse(body);
  return status === 400 ? refusal(errors, data) : `status ${status}`;
} });

const overSse = (bytes) => ({ bytes, judge: ({ status, body }) => {
  const event = /event: next\r?\n(?:.*\r?\n)?data: (.*)\n/.exec(body) ?? /data: (\{.*)\n/.exec(body);
  if (status !== 200 || !event || !body.includes('event: complete')) return `status ${status}, ${body.slice(0, 200)}`;
  const { errors, data } = JSON.parse(event[1]);
  return refusal(errors, data);
} });

const overWs = (bytes) => ({ bytes, judge: (text) => {
  const { type, payload } = JSON.parse(text);
  return type === 'error' ? refusal(payload) : `message ${text.slice(0, 200)}`;
} });

const documents = Object.entries(DOCUMENTS);
const each = (make, fits = () => true) => documents.filter(([, text]) => fits(text)).map(([name, text]) => ({ name, ...make(text) }));

const TRANSPORTS = {
  POST: each((text) => overHttp(post(text))),
  GET: each((text) => overHttp(get(text)), (text) => typeof text === 'string' && encodeURIComponent(text).length < LONGEST_QUERY_STRING),
  SSE: each((text) => overSse(post(text, { accept: 'text/event-stream' }))),
  WS: each((text) => overWs(subscribe('1', text)), (text) => JSON.stringify(text).length < LONGEST_MESSAGE),
};

/** Counts answers: by document and transport, the codes and the milliseconds. */
class Count {
  codes = {};
  times = {};

  add(name, transport, code, time) {
    const key = `${name}|${transport}`;
    (this.codes[key] ??= {})[code] = (this.codes[key][code] ?? 0) + 1;
    (this.times[key] ??= []).push(time);
  }
}

/** Goes round the documents of a transport, one at a time, until it is time or so many rounds are over. */
async function attack(port, transport, until, rounds, count) {
  const socket = transport === 'WS' ? await Socket.open(port) : new Http(port);
  for (let round = 0; round < rounds && performance.now() < until; round += 1) {
    for (const { name, bytes, judge } of TRANSPORTS[transport]) {
      if (performance.now() >= until) break;
      const at = performance.now();
      const code = await socket.ask(bytes).then(judge).catch((error) => `no answer: ${error.message}`);
      count.add(name, transport, code, performance.now() - at);
      // After a wrong answer nobody knows which question the next message of a socket belongs to.
      if (transport === 'WS' && !CODES.includes(code)) return socket.end();
    }
  }
  socket.end();
}

process.on('message', async ({ port, seconds, rounds = Infinity, nice = 0, atOnce = true }) => {
  if (nice) setPriority(nice);
  const count = new Count();
  const until = performance.now() + seconds * 1000;
  const run = (transport) => attack(port, transport, until, rounds, count);
  try {
    if (atOnce) await Promise.all(Object.keys(TRANSPORTS).map(run));
    else for (const transport of Object.keys(TRANSPORTS)) await run(transport);
  } catch (error) {
    count.add('all', 'any', `no answer: ${error.message}`, 0);
  }
  process.send({ codes: count.codes, times: count.times });
});
process.on('disconnect', () => process.exit());
