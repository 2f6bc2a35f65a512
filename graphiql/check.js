// Proves that dist/ is what these sources build to. What is compared is what was compressed: zlib's own output may differ
// from one version to the next.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { build } from 'vite';

const committed = fileURLToPath(new URL('dist', import.meta.url));
const built = mkdtempSync(join(tmpdir(), 'keyholder-graphiql-'));
try {
  await build({ root: fileURLToPath(new URL('.', import.meta.url)), logLevel: 'warn', build: { outDir: built, emptyOutDir: true } });
  const names = new Set([...readdirSync(committed), ...readdirSync(built)]);
  const read = (directory, name) => existsSync(join(directory, name)) && gunzipSync(readFileSync(join(directory, name)));
  const differ = [...names].filter((name) => {
    const [old, now] = [read(committed, name), read(built, name)];
    return !old || !now || !old.equals(now);
  });
  for (const name of differ) console.error(`dist/${name} is not what the sources build to. Run: npm run build`);
  process.exitCode = differ.length ? 1 : 0;
} finally {
  rmSync(built, { recursive: true });
}
