// LICENSES.txt: what the bundles hold of other people's, and on which terms. Vite's own `build.license` sees no workers.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const TERMS = /^(licen[cs]e|copying|notice|thirdpartynotices)/i;
const directories = new Set();

/** Notes the packages that a bundle takes modules from: for the worker, and for the page, which comes last. */
export const bundled = () => ({
  name: 'bundled',
  generateBundle(_, bundle) {
    for (const { modules = {} } of Object.values(bundle)) {
      for (const id of Object.keys(modules)) {
        const directory = /^.*\/node_modules\/(@[^/]+\/)?[^/]+/.exec(id)?.[0];
        if (directory && !directory.includes('\0')) directories.add(directory);
      }
    }
  },
});

export const licenses = () => ({
  name: 'licenses',
  apply: 'build',
  generateBundle(options, bundle) {
    bundled().generateBundle(options, bundle);
    const all = [...directories].map(terms).sort();
    this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source: `${[...new Set(all)].join('\n\n')}\n` });
  },
});

function terms(directory) {
  const { name, version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const texts = readdirSync(directory).filter((file) => TERMS.test(file)).sort();
  const read = (file) => readFileSync(join(directory, file), 'utf8').replaceAll('\r\n', '\n').trim();
  return [`===== ${name} ${version} (${license}) =====`, ...texts.map(read)].join('\n\n');
}
