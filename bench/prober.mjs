// What others see of the server: in a process of its own, twenty times a second, a page and a small question on connections
// that are kept, and a page on a new connection. Told to start counting and to tell, by the script that started it.
import { SMALL } from './lib.mjs';
import { Http, page, post } from './wire.mjs';

const EVERY = 50;
const GIVE_UP = 10_000;

const healthz = page('/healthz');
let probes = {}, counting = false;

/**
 * A kind of probe: takes a free connection or opens one more, so that a slow answer holds no other one up. Begins after so long,
 * so that the kinds do not meet.
 */
function probe(port, bytes, right, kept, after) {
  const free = [];
  const told = { times: [], failed: 0 };
  const once = async () => {
    const http = free.pop() ?? new Http(port);
    const late = setTimeout(() => http.end(), GIVE_UP);
    const count = counting;
    try {
      const { status, body, time } = await http.ask(bytes);
      if (status !== 200 || !body.includes(right)) throw new Error(body);
      if (count) told.times.push(time);
      if (kept) free.push(http); else http.end();
    } catch {
      if (count) told.failed += 1;
    }
    clearTimeout(late);
  };
  setTimeout(() => setInterval(once, EVERY), after);
  return told;
}

process.on('message', ({ port, token, count }) => {
  if (port) {
    probes = {
      '/healthz': probe(port, healthz, 'ok', true, 0),
      'a small query': probe(port, post(SMALL, { token }), '"viewer":{"user"', true, EVERY / 3),
      '/healthz, new connection': probe(port, healthz, 'ok', false, 2 * EVERY / 3),
    };
    return process.send({});
  }
  counting = count;
  const told = Object.fromEntries(Object.entries(probes).map(([name, { times, failed }]) => [name, { times: times.slice(), failed }]));
  for (const each of Object.values(probes)) Object.assign(each, { failed: 0 }).times.length = 0;
  return process.send(told);
});
process.on('disconnect', () => process.exit());
