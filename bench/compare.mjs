// Two binaries at the same work, in turn for several rounds, so that what else the machine does meets both: node compare.mjs A B
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ms, option, p50, table, times } from './lib.mjs';

const [a, b] = process.argv.slice(2);
if (!a || !b || a.startsWith('-') || b.startsWith('-')) {
  console.error('node compare.mjs A B [--rounds 3] [--seconds 3] [--events 30]: two binaries of the server');
  process.exit(2);
}
const ROUNDS = option('rounds', 3);
const script = fileURLToPath(new URL('./ordinary.mjs', import.meta.url));

const runs = { A: [], B: [] };
for (let round = 0; round < ROUNDS; round += 1) {
  // Who goes first takes turns too.
  for (const which of round % 2 ? ['B', 'A'] : ['A', 'B']) {
    const env = { ...process.env, KEYHOLDER: resolve(which === 'A' ? a : b) };
    const args = [script, '--json', '--seconds', String(option('seconds', 3)), '--events', String(option('events', 30))];
    runs[which].push(JSON.parse(execFileSync(process.execPath, args, { env, encoding: 'utf8', maxBuffer: 2 ** 24 })));
    console.error(`round ${round + 1} of ${ROUNDS}: ${which}`);
  }
}

/** The median of the rounds of each, and B's as a ratio of A's. */
function row(name, pick, write) {
  const [first, second] = [p50(runs.A.map(pick)), p50(runs.B.map(pick))];
  return [name, write(first), write(second), first ? times(second / first) : '-'];
}

const perSecond = (value) => value.toFixed(0);
const works = Object.keys(runs.A[0].requests), listeners = Object.keys(runs.A[0].delivery);
table(['requests a second (more is better)', 'A', 'B', 'B/A'], works.map((name) => row(name, (run) => run.requests[name].perSecond, perSecond)));
table(['p50 (less is better)', 'A', 'B', 'B/A'], works.map((name) => row(name, (run) => run.requests[name].p50, ms)));
table(['p99 (less is better)', 'A', 'B', 'B/A'], works.map((name) => row(name, (run) => run.requests[name].p99, ms)));
table(['from asking to the last listener, p50', 'A', 'B', 'B/A'],
  listeners.map((count) => row(count, (run) => run.delivery[count].sinceAskedP50, ms)));
table(['memory at the end, MiB', 'A', 'B', 'B/A'], [row('all', (run) => run.rssMiB, (value) => value.toFixed(1))]);
