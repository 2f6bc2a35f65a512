import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { defineConfig } from 'vite';
import { bundled, licenses } from './licenses.js';

/** Leaves each file as NAME.gz only: the server embeds it and sends it as it is. zlib writes no time into it. */
const gzipped = () => ({
  name: 'gzipped',
  apply: 'build',
  closeBundle() {
    const directory = this.environment.config.build.outDir;
    for (const name of readdirSync(directory)) {
      if (name.endsWith('.gz')) continue;
      writeFileSync(join(directory, `${name}.gz`), gzipSync(readFileSync(join(directory, name)), { level: 9 }));
      rmSync(join(directory, name));
    }
  },
});

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// One script, one style, one worker, one font, under names that stay: the server's table of them is written by hand.
const server = process.env.KEYHOLDER_URL ?? 'http://127.0.0.1:8080';
export default defineConfig({
  base: '/graphiql/',
  plugins: [licenses(), gzipped()],
  oxc: { jsx: { runtime: 'automatic' } },
  resolve: {
    alias: {
      'monaco-editor/esm/vs/editor/edcore.main.js': here('src/monaco.js'),
      'prettier/parser-babel': here('src/json-format.js'),
      'prettier/plugins/estree': here('src/json-format.js'),
    },
  },
  build: {
    minify: 'oxc',
    target: 'es2023',
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    modulePreload: false,
    chunkSizeWarningLimit: 8192,
    rolldownOptions: {
      checks: { moduleLevelDirective: false },
      output: {
        codeSplitting: false,
        entryFileNames: 'graphiql.js',
        assetFileNames: ({ names: [name] }) => (name.endsWith('.css') ? 'graphiql.css' : '[name][extname]'),
      },
    },
  },
  worker: {
    format: 'es',
    plugins: () => [bundled()],
    rolldownOptions: { output: { codeSplitting: false, entryFileNames: '[name].js' } },
  },
  server: { proxy: { '/graphql': { target: server, ws: true }, '/graphiql/settings.json': server, '/mailbox': server } },
});
