// Passwords: 200 sign-ins at once, and what others see of them; and whether the time of an answer tells if a login exists.
import { performance } from 'node:perf_hooks';
import { compareProbes, conclude, mib, ms, option, p50, p99, pause, start, table, worker } from './lib.mjs';
import { Http, post } from './wire.mjs';

const AT_ONCE = option('at-once', 200);
const TRIES = option('tries', 200);
const ROUNDS = 10;
/** What is promised. */
const [OTHERS_WITHIN, MEMORY_WITHIN, APART] = [100, 300 * 2 ** 20, 0.1];
const [SOMEBODY, NOBODY, PASSWORD] = ['ann@example.com', 'bob@example.com', 'harbor lights at dawn'];

// Whoever tries hundreds of times from one address is slowed down, which is not what is measured here.
const wrong = [];
const server = await start(['serve', '--dev', '--sign-in-throttle', 'off'], 'listening on');
const signUp = await server.ask(`mutation { signUp(input: {email: "${SOMEBODY}", password: "${PASSWORD}", name: "Ann"}) { credentials { accessToken } userErrors { message } } }`);
const prober = worker('./prober.mjs', { port: server.port, token: signUp.signUp.credentials.accessToken });
await prober.started;

const signIn = (login, password) => post(`mutation { signIn(input: {login: "${login}", password: "${password}"}) { credentials { accessToken } userErrors { code } } }`);
const right = signIn(SOMEBODY, PASSWORD);

/** Many at once, some times over: what each was answered. */
async function storm() {
  const counts = {};
  const connections = Array.from({ length: AT_ONCE }, () => new Http(server.port));
  for (let round = 0; round < ROUNDS; round += 1) {
    await Promise.all(connections.map(async (http) => {
      const { status, body } = await http.ask(right);
      const { data, errors } = JSON.parse(body);
      const what = data?.signIn?.credentials ? 'signed in' : errors?.[0].extensions.code ?? status;
      counts[what] = (counts[what] ?? 0) + 1;
    }));
  }
  for (const http of connections) http.end();
  return counts;
}

await pause(1000); // the first answers of a process are not its usual ones
await prober.ask({ count: true });
await pause(10_000);
const quiet = await prober.ask({ count: false });
const before = server.rss();
let peak = before;
const watch = setInterval(() => { if (server.exited() === undefined) peak = Math.max(peak, server.rss()); }, 20);
await prober.ask({ count: true });
const began = performance.now();
const counts = await storm();
const seconds = (performance.now() - began) / 1000;
const under = await prober.ask({ count: false });
clearInterval(watch);
prober.end();
console.log(`${ROUNDS} times ${AT_ONCE} sign-ins at once, in ${seconds.toFixed(1)} s: ${Object.entries(counts).map(([what, count]) => `${count} ${what}`).join(', ')}.`);
compareProbes(quiet, under);
console.log(`\nMemory: ${mib(before)} before, ${mib(peak)} at most.`);
for (const what of Object.keys(counts)) if (what !== 'signed in' && what !== 'RATE_LIMITED') wrong.push(`a sign-in was answered ${what}`);
if (peak > MEMORY_WITHIN) wrong.push(`${mib(peak)} of memory, more than ${mib(MEMORY_WITHIN)}`);
for (const [name, { times, failed }] of Object.entries(under)) {
  if (failed) wrong.push(`${failed} probes of ${name} failed`);
  if (p99(times) > OTHERS_WITHIN) wrong.push(`${name}: p99 ${ms(p99(times))}, more than ${OTHERS_WITHIN} ms`);
}

/** The mean times of the same question about somebody and about nobody, in turn on one connection. */
async function apart(name, question) {
  const http = new Http(server.port);
  const times = { known: [], unknown: [] };
  for (let n = -20; n < TRIES; n += 1) {
    for (const [who, login] of [['known', SOMEBODY], ['unknown', NOBODY]]) {
      const { body, time } = await http.ask(question(login));
      if (body.includes('"errors"')) throw new Error(body);
      if (n >= 0) times[who].push(time);
    }
  }
  http.end();
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [known, unknown] = [mean(times.known), mean(times.unknown)];
  const difference = Math.abs(known - unknown) / Math.max(known, unknown);
  if (difference > APART) wrong.push(`${name}: the means are ${(difference * 100).toFixed(1)} % apart, more than ${APART * 100} %`);
  return [name, ms(known), ms(unknown), `${(difference * 100).toFixed(1)} %`, ms(p50(times.known)), ms(p50(times.unknown))];
}

table([`${TRIES} tries`, 'mean, known', 'mean, unknown', 'apart', 'p50, known', 'p50, unknown'], [
  await apart('signIn, a wrong password', (login) => signIn(login, 'not it at all')),
  await apart('requestPasswordReset', (login) => post(`mutation { requestPasswordReset(input: {email: "${login}"}) { accepted } }`)),
]);
await server.stop();
conclude(wrong);
