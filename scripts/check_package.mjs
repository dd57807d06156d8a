// Packs Graft and installs it as anybody would: into an empty project, by `npm install` and nothing else. Then the
// command line and a program train and predict there. Every connection is noted, and refused unless it goes to the
// registry, since an installation that needs another host fails behind a firewall. `npm run check:package [-- TARBALL]`
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import sharp from 'sharp';

const root = resolve(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'graft-package-'));
const project = join(folder, 'project');
const installed = join(project, 'node_modules/graft-ml');
const log = join(folder, 'hosts.txt');
const { version } = read(join(root, 'package.json'));
const runtime = read(join(root, 'scripts/runtime/package.json')).dependencies['onnxruntime-node'];

const registry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim();
const proxies = [process.env.HTTPS_PROXY, process.env.https_proxy].filter(Boolean);
const allowed = [registry, ...proxies].map((address) => new URL(address).hostname);
const guard = join(folder, 'guard.cjs');
writeFileSync(
  guard,
  `const { appendFileSync } = require('node:fs');
const { Socket } = require('node:net');
const { connect } = Socket.prototype;
Socket.prototype.connect = function (...args) {
  const [{ host = 'localhost', path }] = Array.isArray(args[0]) ? args[0] : args;
  if (path || host === 'localhost') return connect.apply(this, args);
  appendFileSync(${JSON.stringify(log)}, host + '\\n');
  if (!${JSON.stringify(allowed)}.includes(host)) return this.destroy(new Error('refused: ' + host));
  return connect.apply(this, args);
};
`,
);
const env = {
  ...process.env,
  NODE_OPTIONS: `--require ${guard}`,
  GRAFT_CACHE: join(folder, 'cache'),
  GRAFT_MIRROR: '',
};
// What this machine's npm, or the one that runs this script, was told must not matter.
for (const name of Object.keys(env))
  if (/^npm_(?!config_(registry|cafile|noproxy)$)/i.test(name)) delete env[name];
env.npm_config_ignore_scripts = 'false';

try {
  mkdirSync(project);
  const tarball = process.argv[2] === undefined ? pack() : resolve(process.argv[2]);
  install(tarball);
  checkContents();
  checkTypes();
  rmSync(log, { force: true });
  await checkCommandLine();
  checkProgram();
  expect(hosts(), [], 'Hosts that training and predicting turned to');
  checkCuda();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`graft-ml ${version} installs from the registry alone, and trains and predicts there.`);

function pack() {
  run('npm', ['pack', '--pack-destination', folder], root);
  const tarballs = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  expect(tarballs, [`graft-ml-${version}.tgz`], 'What npm pack wrote');
  return join(folder, tarballs[0]);
}

function install(tarball) {
  writeFileSync(join(project, 'package.json'), '{ "name": "pets", "private": true, "type": "module" }\n');
  run('npm', ['install', tarball]);
  expect(strangers(), [], 'Hosts that npm install turned to beside the registry');
  const { packages } = read(join(project, 'package-lock.json'));
  const names = Object.keys(packages);
  const scripted = names.filter((name) => packages[name].hasInstallScript);
  expect(scripted, [], 'Packages with install scripts');
  expect(
    names.filter((name) => name.endsWith('/onnxruntime-node')),
    [],
    'onnxruntime-node',
  );
}

function checkContents() {
  const files = readdirSync(installed, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(installed.length + 1))
    .filter((file) => !file.startsWith('node_modules/'));
  const top = new Set(files.map((file) => file.split('/')[0]));
  const expected = [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'SECURITY.md',
    'THIRD_PARTY_NOTICES.md',
    'package.json',
  ];
  expect(
    [...top].sort(),
    [...expected, 'assets', 'dist', 'docs', 'vendor'].sort(),
    'What the package has at its top',
  );
  const odd = files.filter((file) => /\.map$|\.test\.|(^|\/)\.|^docs\/api/.test(file));
  expect(odd, [], 'Maps without sources, tests, hidden files');

  const sources = readdirSync(join(root, 'src'), { recursive: true }).filter((file) =>
    /(?<!\.d)\.ts$/.test(file),
  );
  const wanted = sources.flatMap((file) =>
    ['.js', '.d.ts'].map((ending) => `dist/${file.slice(0, -3)}${ending}`),
  );
  const built = files.filter((file) => file.startsWith('dist/'));
  expect(
    wanted.filter((file) => !built.includes(file)),
    [],
    'Sources that are not built into the package',
  );
  expect(
    built.filter((file) => !wanted.includes(file)),
    [],
    'Files in dist/ without a source',
  );

  const bindings = files
    .filter((file) => file.endsWith('.node'))
    .map((file) => file.split('/').slice(4, 6).join('-'));
  expect(
    bindings.sort(),
    ['darwin-arm64', 'linux-arm64', 'linux-x64', 'win32-arm64', 'win32-x64'],
    'Bindings',
  );
}

/** The declarations name no package that is not installed. */
function checkTypes() {
  writeFileSync(
    join(project, 'program.ts'),
    "import { layers, sequential } from 'graft-ml';\n" +
      'const model = sequential([layers.input({ shape: [4] }), layers.dense({ units: 2 })]);\n' +
      '// @ts-expect-error units is a number\n' +
      "layers.dense({ units: 'two' });\n" +
      'console.log(model.layers.length);\n',
  );
  const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
  const flags = [
    '--noEmit',
    '--strict',
    '--target',
    'es2023',
    '--module',
    'nodenext',
    '--lib',
    'es2023,esnext.disposable',
  ];
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...flags, ...types, 'program.ts']);
}

async function checkCommandLine() {
  expect(run('npx', ['graft', '--version']).trim(), version, 'graft --version');
  for (const [label, level] of [
    ['bright', 200],
    ['dark', 50],
  ]) {
    mkdirSync(join(project, 'images', label), { recursive: true });
    for (let i = 0; i < 20; i++) {
      const grey = { r: level + i, g: level, b: level - i };
      const image = sharp({ create: { width: 32, height: 32, channels: 3, background: grey } });
      await image.png().toFile(join(project, 'images', label, `${i}.png`));
    }
  }
  const options = ['--backbone', 'cifar_resnet', '--image-size', '32', '--recipe', 'probe', '--epochs', '8'];
  run('npx', ['graft', 'train', '--data', 'images', ...options, '--seed', '1', '--out', 'run']);
  expect(existsSync(join(project, 'run/report.html')), true, 'A report was written');
  const said = run('npx', ['graft', 'predict', '--model', 'run', 'images/dark/3.png', '--json']);
  const { predictions } = JSON.parse(said);
  expect(predictions?.[0]?.classes?.[0]?.class, 'dark', said);
}

/** The first complete program of the README. */
function checkProgram() {
  const text = readFileSync(join(installed, 'README.md'), 'utf8');
  const [, program] = /This one runs as it stands:\s+```ts\n(.*?)```/s.exec(text);
  writeFileSync(join(project, 'program.mjs'), program);
  run(process.execPath, ['program.mjs']);
  expect(existsSync(join(project, 'bright.h5')), true, 'The model was saved');
}

/** The documented command for CUDA comes to the download of its libraries, which is refused here. */
function checkCuda() {
  if (`${process.platform}-${process.arch}` !== 'linux-x64') return;
  let failed = false;
  try {
    run('npm', ['install', `onnxruntime-node@${runtime}`]);
  } catch {
    failed = true;
  }
  expect(failed, true, 'The download was refused');
  expect(strangers(), ['api.nuget.org'], 'Where the CUDA libraries come from');
}

function run(command, args, cwd = project) {
  return execFileSync(command, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function hosts() {
  return existsSync(log) ? [...new Set(readFileSync(log, 'utf8').trim().split('\n'))] : [];
}

function strangers() {
  return hosts().filter((host) => !allowed.includes(host));
}

function expect(value, expected, what) {
  const [got, wanted] = [value, expected].map((one) => JSON.stringify(one));
  if (got !== wanted) throw new Error(`${what}: got ${got}, expected ${wanted}.`);
}

function read(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}
