// Puts ONNX Runtime into vendor/, from where Graft loads it: the binaries and the JavaScript of the npm package
// onnxruntime-node, whose own install script downloads CUDA libraries and fails, with the whole `npm install`, where
// they are out of reach. Left out is what Graft does not use: DirectML.dll, which onnxruntime.dll loads for its DirectML
// provider alone (it stands in its table of delayed imports), and the second copy of macOS's library.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';

/** What the binding of each platform needs beside it. */
const libraries = {
  'linux/x64': ['libonnxruntime.so.1'],
  'linux/arm64': ['libonnxruntime.so.1'],
  'darwin/arm64': ['libonnxruntime.1.dylib'],
  'win32/x64': ['onnxruntime.dll', 'dxcompiler.dll', 'dxil.dll'],
  'win32/arm64': ['onnxruntime.dll', 'dxcompiler.dll', 'dxil.dll'],
};
const leftOut = /^(DirectML\.dll|libonnxruntime\.\d+\.\d+\.\d+\.dylib)$/;

const root = resolve(import.meta.dirname, '..');
const project = join(root, 'scripts/runtime');
const from = join(project, 'node_modules/onnxruntime-node');
const to = join(root, 'vendor/onnxruntime-node');
const wanted = read(join(project, 'package.json')).dependencies['onnxruntime-node'];
const common = read(join(root, 'package.json')).dependencies['onnxruntime-common'];
if (wanted !== common)
  throw new Error(
    `scripts/runtime wants onnxruntime-node ${wanted}, package.json onnxruntime-common ${common}.`,
  );

// The description is written last, so a copy that was interrupted has none.
const description = join(to, 'package.json');
if (!existsSync(description) || read(description).version !== wanted) vendor();

function vendor() {
  const npm = process.env.npm_execpath;
  const ci = ['ci', '--prefix', project, '--ignore-scripts', '--no-audit', '--no-fund', '--silent'];
  const [command, args] = npm === undefined ? ['npm', ci] : [process.execPath, [npm, ...ci]];
  execFileSync(command, args, { stdio: 'inherit' });

  const binaries = join(from, 'bin/napi-v6');
  const platforms = readdirSync(binaries).flatMap((os) =>
    readdirSync(join(binaries, os)).map((cpu) => `${os}/${cpu}`),
  );
  const unknown = platforms.filter((platform) => !(platform in libraries));
  if (unknown.length > 0)
    throw new Error(`This script does not know ${unknown.join(', ')}; say what they need.`);

  rmSync(to, { recursive: true, force: true });
  for (const [platform, names] of Object.entries(libraries)) {
    const there = readdirSync(join(binaries, platform)).filter((file) => !leftOut.test(file));
    const expected = ['onnxruntime_binding.node', ...names];
    if (there.sort().join() !== expected.sort().join())
      throw new Error(`${platform} has ${there.join(', ')}; expected ${expected.join(', ')}.`);
    mkdirSync(join(to, 'bin/napi-v6', platform), { recursive: true });
    for (const file of expected)
      renameSync(join(binaries, platform, file), join(to, 'bin/napi-v6', platform, file));
  }
  mkdirSync(join(to, 'dist'));
  for (const file of readdirSync(join(from, 'dist')).filter((name) => name.endsWith('.js'))) {
    const text = readFileSync(join(from, 'dist', file), 'utf8');
    writeFileSync(join(to, 'dist', file), text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, '\n'));
  }
  for (const file of ['LICENSE', 'ThirdPartyNotices.txt'])
    cpSync(join(root, 'assets/onnxruntime', file), join(to, file));
  // Neither the install script nor what only that one needs.
  const { name, version, license, author, repository, main } = read(join(from, 'package.json'));
  writeFileSync(
    description,
    `${JSON.stringify({ name, version, license, author, repository, main }, null, 2)}\n`,
  );
  rmSync(join(project, 'node_modules'), { recursive: true });
}

function read(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}
