// Writes THIRD_PARTY_NOTICES.md: what Graft's package contains of others', and what npm installs with it, each with
// its licence. `--check` fails if the file is not what this would write. `npm run notices`
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const path = join(root, 'THIRD_PARTY_NOTICES.md');
const { packages } = read('package-lock.json');
const runtime = read('scripts/runtime/package.json').dependencies['onnxruntime-node'];

/** Packages whose description does not name their licence. */
const named = { h5wasm: 'NIST, with HDF5 under BSD-3-Clause' };

const rows = [...installed()]
  .map((place) => {
    const { version, license, optional } = packages[place];
    const name = place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length);
    if (license === undefined) throw new Error(`${name} names no licence in package-lock.json.`);
    return { place, name, version, license: named[name] ?? license, optional };
  })
  .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.version < b.version ? -1 : 1));

const known = ['MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', '0BSD', 'Unlicense', named.h5wasm];
const permissive = (license) => license.split(' AND ').every((one) => known.includes(one));
const others = [
  ...new Set(rows.filter(({ license }) => !permissive(license)).map(({ license }) => license)),
].sort();
// A licence that asks for more has to be looked at before it is listed.
const considered = [
  'Apache-2.0 AND LGPL-3.0-or-later',
  'Apache-2.0 AND LGPL-3.0-or-later AND MIT',
  'LGPL-3.0-or-later',
];
const unknown = others.filter((license) => !considered.includes(license));
if (unknown.length > 0) throw new Error(`Nobody has considered these licences yet: ${unknown.join(', ')}.`);

const table = (list) => [
  '| package | version | licence |',
  '|---|---|---|',
  ...list.map(({ name, version, license }) => `| ${name} | ${version} | ${license} |`),
];

/**
 * Places in the lock file that an installation may fill. Those of all platforms stand there, so the page is the same
 * wherever it is written.
 */
function installed() {
  const found = new Set();
  const visit = (place) => {
    const { dependencies, optionalDependencies } = packages[place];
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      // As Node resolves: beside the package itself, then beside those that hold it.
      let folder = place;
      while (folder !== '' && !(`${folder}/node_modules/${name}` in packages))
        folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')));
      const next = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
      if (found.has(next)) continue;
      found.add(next);
      visit(next);
    }
  };
  visit('');
  return found;
}

/** Texts of licences, each once, with the packages that have it. */
function texts() {
  const packagesOf = new Map();
  for (const { place, name, version, optional } of rows) {
    // Packages of other platforms are not there; their licences are those of the package that names them.
    if (optional) continue;
    const file = readdirSync(join(root, place)).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
    if (file === undefined) continue;
    const text = readFileSync(join(root, place, file), 'utf8')
      .replace(/\r\n?/g, '\n')
      .replace(/[ \t]+$/gm, '')
      .trim();
    packagesOf.set(text, [...(packagesOf.get(text) ?? []), `${name} ${version}`]);
  }
  return [...packagesOf].flatMap(([text, names]) => ['', `### ${names.join(', ')}`, '', '```', text, '```']);
}

const page = `${[
  '# Third-party notices',
  '',
  'Graft is under the MIT licence (`LICENSE`). This page is written by `npm run notices`.',
  '',
  '## Inside this package',
  '',
  `- **ONNX Runtime ${runtime}** (\`vendor/onnxruntime-node\`), unchanged binaries and JavaScript of the npm package onnxruntime-node: MIT, Copyright (c) Microsoft Corporation. Its licence and the notices of what it contains lie beside it (\`LICENSE\`, \`ThirdPartyNotices.txt\`). For Windows it comes with \`dxcompiler.dll\` and \`dxil.dll\` of the DirectX Shader Compiler (University of Illinois/NCSA Open Source License; https://github.com/microsoft/DirectXShaderCompiler).`,
  '- **Drawings of emoji** and the network trained on CIFAR-10 (`assets`): see `assets/LICENSES.md`.',
  '',
  '## Installed with it',
  '',
  'npm fetches these from their own publishers, each under its own licence.',
  '',
  ...table(rows.filter(({ license }) => permissive(license))),
  '',
  '### libvips',
  '',
  'sharp decodes images with libvips, which is under the LGPL 3.0 or later. It comes as a shared library in a package of its own for each platform, which npm chooses. sharp links to it dynamically, so you may replace it by another build, as sharp documents (https://sharp.pixelplumbing.com/install). Its sources, and those of what it contains, are at https://github.com/lovell/sharp-libvips.',
  '',
  ...table(rows.filter(({ license }) => !permissive(license))),
  '',
  '## Texts of the licences',
  ...texts(),
].join('\n')}\n`;

if (!process.argv.includes('--check')) writeFileSync(path, page);
else if (readFileSync(path, 'utf8') !== page)
  throw new Error('THIRD_PARTY_NOTICES.md is not what package-lock.json says. Run npm run notices.');

function read(name) {
  return JSON.parse(readFileSync(join(root, name), 'utf8'));
}
