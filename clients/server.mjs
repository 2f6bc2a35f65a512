// A server of its own for each test file: the demo, on a free port, in a directory that is removed again.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.KEYHOLDER ?? fileURLToPath(new URL('../target/debug/keyholder', import.meta.url));
const PASSWORD = 'harbor lights at dawn';

/** Starts the demo; answers its address, how to ask it as somebody, what it has said, and how to stop it. */
export const start = () => launch(['demo'], 'connection_init');

/** The same for an empty server to develop against, with these flags. */
export const serve = (...flags) => launch(['serve', '--dev', ...flags], 'listening on');

async function launch(args, ready) {
  const directory = mkdtempSync(join(tmpdir(), 'keyholder-clients-'));
  const child = spawn(BINARY, [...args, '--listen', '127.0.0.1:0'], { cwd: directory });
  let said = '';
  const url = await new Promise((resolve, reject) => {
    const hear = (chunk) => {
      said += chunk;
      const port = /http:\/\/127\.0\.0\.1:(\d+)/.exec(said);
      if (port && said.includes(ready)) resolve(`http://127.0.0.1:${port[1]}/graphql`);
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('error', reject);
    child.on('exit', () => reject(new Error(`the server did not start: ${said}`)));
  });
  const lives = () => child.exitCode === null && child.signalCode === null;
  const stop = () => new Promise((done) => {
    const gone = () => { rmSync(directory, { recursive: true }); done(); };
    if (!lives()) return gone();
    child.removeAllListeners('exit').on('exit', gone);
    child.kill('SIGTERM');
  });
  return { url, ask: (query, token) => ask(url, query, token), signIn: (login) => signIn(url, login), said: () => said, lives, stop };
}

async function ask(url, query, token) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query }) });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

async function signIn(url, login) {
  const { signIn } = await ask(url, `mutation { signIn(input: {login: "${login}", password: "${PASSWORD}"}) { credentials { accessToken } } }`);
  return signIn.credentials.accessToken;
}
