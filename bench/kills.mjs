// The documents and the floods that bring other servers down, over every transport, from every core at once, while others ask.
import { availableParallelism } from 'node:os';
import { NAMES } from './flooder.mjs';
import { AGENCY, CLIENT, compareProbes, conclude, mib, ms, option, p50, p99, pause, start, table, worker } from './lib.mjs';

const SECONDS = option('seconds', 20);
const QUIET = Math.min(SECONDS, 10);
const NICE = 10;
/** For each of the floods, in seconds. */
const FLOOD = option('flood', 10);
/** The memory that the server may take under floods, in bytes. */
const MEMORY = 300 * 2 ** 20;
/** What is promised: how long the refusal of fragments that double may take when nothing else goes on, and others' wait under attack. */
const REFUSED_WITHIN = 5;
const OTHERS_WITHIN = 100;
/** What an attacker judged right; the rest is told in words. */
const REFUSALS = /^[A-Z_]+$/;

const wrong = [];
// As many connections of one network as by default: the floods come from others.
const server = await start(['demo']);
const prober = worker('./prober.mjs', { port: server.port, token: await server.signIn(AGENCY) });
await prober.started;

/** What others see while something goes on. */
async function seen(during) {
  await prober.ask({ count: true });
  await during;
  return prober.ask({ count: false });
}

/** Runs attackers, and puts together what they counted. */
async function attack(processes, input) {
  const workers = Array.from({ length: processes }, () => worker('./attacker.mjs', { port: server.port, ...input }));
  const counts = await Promise.all(workers.map(({ started }) => started));
  for (const { end } of workers) end();
  const sum = {};
  for (const { codes, times } of counts) {
    for (const key of Object.keys(codes)) {
      const [name, transport] = key.split('|');
      const of = sum[name] ??= { codes: {}, times: {} };
      for (const [code, count] of Object.entries(codes[key])) of.codes[code] = (of.codes[code] ?? 0) + count;
      (of.times[transport] ??= []).push(...times[key]);
    }
  }
  return sum;
}

await pause(1000); // the first answers of a process are not its usual ones
const alone = await attack(1, { seconds: 30, rounds: 20, atOnce: false });
const quiet = await seen(pause(QUIET * 1000));
const before = server.rss();
const cores = availableParallelism();
let peak = before;
const watch = setInterval(() => { if (server.exited() === undefined) peak = Math.max(peak, server.rss()); }, 500);
const attacks = attack(cores, { seconds: SECONDS, nice: NICE });
const under = await seen(attacks);
clearInterval(watch);
const loaded = await attacks;

/** One user who floods the server with each of the attacks in turn, from every core, each with an address of its own. */
async function floods() {
  const token = await server.signIn(CLIENT);
  const rows = [];
  for (const name of [...NAMES, '5 downloads']) {
    const idle = server.rss();
    let most = idle;
    const look = setInterval(() => { if (server.exited() === undefined) most = Math.max(most, server.rss()); }, 100);
    const links = async () => Promise.all(Array.from({ length: 8 }, () => server.link(token)));
    const input = async (core) => ({ name, token, port: server.port, seconds: FLOOD, nice: NICE, address: `127.0.0.${2 + core}`, ...(name.startsWith('5') && { urls: await links() }) });
    const inputs = await Promise.all(Array.from({ length: cores }, (_, core) => input(core)));
    const workers = inputs.map((input) => worker('./flooder.mjs', input));
    const flooded = Promise.all(workers.map(({ started }) => started));
    const others = await seen(flooded);
    const told = await flooded;
    for (const { end } of workers) end();
    clearInterval(look);
    if (server.exited() !== undefined) return wrong.push(`${name}: the process died: ${server.exited()}\n${server.said().slice(-1000)}`);
    const [opened, sent] = ['opened', 'sent'].map((key) => told.reduce((sum, one) => sum + one[key], 0));
    const healthz = p99(others['/healthz'].times);
    rows.push([name, opened, mib(sent), mib(idle), mib(most), ms(healthz), ms(p99(others['a small query'].times)), ms(p99(others['/healthz, new connection'].times))]);
    if (most > MEMORY) wrong.push(`${name}: ${mib(most)} of memory, more than ${mib(MEMORY)}`);
    if (healthz > OTHERS_WITHIN) wrong.push(`${name}: /healthz: p99 ${ms(healthz)}, more than ${OTHERS_WITHIN} ms`);
    for (const [probe, { failed }] of Object.entries(others)) if (failed) wrong.push(`${name}: ${failed} probes of ${probe} failed`);
    await pause(1000);
  }
  table(['floods', 'connections', 'sent', 'memory before', 'at most', "others' p99: /healthz", 'a small query', '/healthz, new connection'], rows);
}
await floods();
prober.end();

const all = ({ times }) => Object.values(times).flat();
table(['refused', 'POST', 'GET', 'SSE', 'WS', 'answer', 'p50 alone', 'p99 alone', 'p50 under', 'p99 under'], Object.keys(loaded).map((name) => {
  const { codes, times } = loaded[name];
  const first = alone[name] ? all(alone[name]) : [];
  const counts = ['POST', 'GET', 'SSE', 'WS'].map((transport) => times[transport]?.length ?? '-');
  const answers = new Set(Object.keys(codes).map((code) => (REFUSALS.test(code) ? code : 'WRONG')));
  return [name, ...counts, [...answers].join(' '), ms(p50(first)), ms(p99(first)), ms(p50(all(loaded[name]))), ms(p99(all(loaded[name])))];
}));
const total = Object.values(loaded).flatMap(all).length;
console.log(`\n${total} answers in ${SECONDS} s to ${cores} processes of 4 connections each, at nice ${NICE}.`);
compareProbes(quiet, under);

for (const counts of [alone, loaded]) {
  for (const [name, { codes }] of Object.entries(counts)) {
    const others = Object.entries(codes).filter(([code]) => !REFUSALS.test(code));
    for (const [answer, count] of others) wrong.push(`${name}: ${count} times ${answer}`);
  }
}
for (const [name, of] of Object.entries(alone)) {
  if (name.startsWith('2 ') && p50(all(of)) > REFUSED_WITHIN) wrong.push(`${name}: takes ${ms(p50(all(of)))} alone, more than ${REFUSED_WITHIN} ms`);
}
for (const [name, { times, failed }] of Object.entries(under)) {
  if (failed) wrong.push(`${failed} probes of ${name} failed`);
  if (name === '/healthz' && p99(times) > OTHERS_WITHIN) wrong.push(`${name}: p99 ${ms(p99(times))}, more than ${OTHERS_WITHIN} ms`);
}
if (server.exited() === undefined) {
  await pause(1000);
  console.log(`\nThe process lives. Memory: ${mib(before)} before, ${mib(peak)} at most, ${mib(server.rss())} after.`);
} else {
  wrong.push(`the process died: ${server.exited()}\n${server.said().slice(-1000)}`);
}
await server.stop();
conclude(wrong);
