// Runs Schemathesis against a demo of its own, as the agency's Owner: `node schemathesis.mjs <schemathesis> <seconds>`.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { start } from './server.mjs';

const [program, seconds] = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), 'keyholder-schemathesis-'));
const report = join(directory, 'report.json');
const server = await start();
try {
  const token = await server.signIn('grace@bright-harbor.example');
  const options = [
    // Without it the rest of the run would be nobody's: the session ends.
    '--exclude-name', 'Mutation.signOut',
    '--header', `Authorization: Bearer ${token}`,
    '--checks', 'graphql_answer,negative_data_rejection,response_schema_conformance', '--max-response-time', '10',
    '--max-time', seconds, '--generation-database', 'none', '--no-color', '--warnings', 'off',
    '--report', 'json', '--report-json-path', report,
  ];
  const environment = { ...process.env, SCHEMATHESIS_HOOKS: fileURLToPath(new URL('schemathesis_checks.py', import.meta.url)) };
  const child = spawn(program, ['run', server.url, ...options], { cwd: directory, env: environment, stdio: 'inherit' });
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('exit', resolve));
  assert.equal(code, 0, `Schemathesis ended with ${code}`);

  // A run that asked nothing, or as nobody, would pass too.
  const { operations, test_cases: cases } = JSON.parse(readFileSync(report, 'utf8'));
  assert.equal(operations.tested, operations.total - 1, `it tried ${operations.tested} of ${operations.total} fields`);
  assert.ok(cases.generated > 10 * operations.tested, `it asked ${cases.generated} times`);
  assert.equal((await server.ask('{ viewer { level } }', token)).viewer.level, 'OWNER');
  assert.ok(server.lives(), 'the server has ended');
  assert.deepEqual(server.said().split('\n').filter((line) => /panicked|\bERROR\b/.test(line)), []);
  console.log(`Schemathesis asked ${cases.generated} times, of ${operations.tested} fields`);
} finally {
  await server.stop();
  rmSync(directory, { recursive: true });
}
