// A server of its own for each script, what the kernel tells about it, and how figures are told.
import { fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Http, post } from './wire.mjs';

const BINARY = process.env.KEYHOLDER ?? fileURLToPath(new URL('../target/release/keyholder', import.meta.url));
const PASSWORD = 'harbor lights at dawn';

/** Who asks in these scripts: the agency's Owner, and an Admin of the client whose ceiling can be moved up and down. */
export const AGENCY = 'grace@bright-harbor.example';
export const CLIENT = 'nina@harvest-table.example';

/** A small ordinary question of someone signed in. */
export const SMALL = '{ viewer { user { name } level } account { name } }';

export const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

/** All clients of these scripts are on one machine, and so of one network. */
const DEMO = ['demo', '--max-connections-per-client', '10000'];

/** Starts the demo, or what these arguments say, in a directory that is removed again; it is ready when it has said `ready`. */
export async function start(args = DEMO, ready = 'connection_init') {
  const directory = mkdtempSync(join(tmpdir(), 'keyholder-bench-'));
  const child = spawn(BINARY, [...args, '--listen', '127.0.0.1:0'], { cwd: directory, env: { ...process.env, KEYHOLDER_LOG: 'warn,keyholder=info' } });
  let said = '', exited;
  const gone = new Promise((done) => { child.on('exit', (code, signal) => done(exited = signal ?? code)); });
  child.on('error', (error) => { said += error.message; exited = 'no such program'; });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { said = (said + chunk).slice(-20_000); });
  while (!said.includes(ready)) {
    if (exited !== undefined) throw new Error(`${BINARY} did not start: ${said}`);
    await pause(20);
  }
  const port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(said)[1]);
  const server = new Server(port, child.pid);
  server.exited = () => exited;
  server.said = () => said;
  server.stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 15_000);
    await gone;
    clearTimeout(late);
    rmSync(directory, { recursive: true });
  };
  process.on('exit', () => child.kill('SIGKILL')); // also after a script that failed, or was stopped
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
  return server;
}

class Server {
  constructor(port, pid) { Object.assign(this, { port, pid }); }

  /** Asks once; answers the data, or throws what was wrong. */
  async ask(query, token) {
    const http = new Http(this.port);
    const { data, errors } = JSON.parse((await http.ask(post(query, { token }))).body);
    http.end();
    if (errors) throw new Error(JSON.stringify(errors));
    return data;
  }

  async signIn(login) {
    const { signIn } = await this.ask(`mutation { signIn(input: {login: "${login}", password: "${PASSWORD}"}) { credentials { accessToken } } }`);
    return signIn.credentials.accessToken;
  }

  /** The path of a link to download the account that a token acts in. */
  async link(token) {
    const { exportAccount } = await this.ask('mutation { exportAccount { url userErrors { code } } }', token);
    return new URL(exportAccount.url).pathname;
  }

  /** The memory that the process has, in bytes. */
  rss() {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))[1]) * 1024;
  }

  /** How many files and sockets the process has open. */
  fds() { return readdirSync(`/proc/${this.pid}/fd`).length; }

  /**
   * The connections that the process holds: by the client's port, the bytes that wait for the client. A client that never reads
   * can't see that it was cut off; the kernel's table tells, where a socket that its process has closed has no inode any more.
   */
  holds() {
    const own = this.port.toString(16).toUpperCase().padStart(4, '0');
    const ports = new Map();
    for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
      const [, local, remote, state, queues, , , , , inode] = line.trim().split(/\s+/);
      if (!local?.endsWith(`:${own}`) || state === '0A' || inode === '0') continue;
      ports.set(Number.parseInt(remote.slice(-4), 16), Number.parseInt(queues, 16));
    }
    return ports;
  }
}

/** Starts a script of this folder as a process of its own; answers how to ask it. */
export function worker(script, input) {
  const child = fork(fileURLToPath(new URL(script, import.meta.url)));
  const waiting = [];
  child.on('message', (message) => waiting.shift()(message));
  child.on('exit', (code) => { if (waiting.length) throw new Error(`${script} ended with ${code}`); });
  const ask = (message) => new Promise((done) => { waiting.push(done); child.send(message); });
  return { started: ask(input), ask, end: () => child.disconnect() };
}

/** What share of the values is at most this. */
export function percentile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export const p50 = (values) => percentile(values, 0.5);
export const p99 = (values) => percentile(values, 0.99);

export const ms = (value) => (Number.isNaN(value) ? '-' : `${value.toFixed(value < 9.95 ? 2 : 0)} ms`);
export const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
export const times = (ratio) => `${ratio.toFixed(2)}x`;

/** Prints rows under their heads, numbers to the right. */
export function table(heads, rows) {
  const cells = [heads, ...rows].map((row) => row.map(String));
  const widths = heads.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const line = (row) => row.map((cell, column) => (column ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))).join('  ');
  console.log(`\n${line(cells[0])}\n${widths.map((width) => '-'.repeat(width)).join('  ')}`);
  for (const row of cells.slice(1)) console.log(line(row));
}

/** Prints what others saw, quiet and under load, as the ratio of the two. */
export function compareProbes(quiet, under, when = '') {
  table([`others, 20 a second ${when}`.trim(), 'p50 quiet', 'p99 quiet', 'p50 under', 'p99 under', 'p50 ratio', 'p99 ratio', 'failed'],
    Object.keys(quiet).map((name) => {
      const [before, after] = [quiet[name], under[name]];
      return [name, ms(p50(before.times)), ms(p99(before.times)), ms(p50(after.times)), ms(p99(after.times)),
        times(p50(after.times) / p50(before.times)), times(p99(after.times) / p99(before.times)), after.failed];
    }));
}

/** The numbers of the command line: `--seconds 5`. */
export function option(name, otherwise) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

/** Prints what must not be, and ends with 1 if there is any. */
export function conclude(wrong) {
  for (const what of wrong) console.log(`\nWRONG: ${what}`);
  if (!wrong.length) console.log('\nNothing died, no answer was wrong, no bound was broken.');
  process.exit(wrong.length ? 1 : 0);
}
