// Copies ONNX Runtime out of the npm package onnxruntime-node into vendor/, from where the packed package loads it: its
// own install script downloads CUDA libraries, and the whole `npm install` fails where that is out of reach. Left out
// is what Graft does not use: DirectML.dll, which onnxruntime.dll loads for its DirectML provider alone (it is in its
// table of delayed imports), and the second copy of macOS's library. `--remove` takes vendor/ away again.
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const from = join(root, 'node_modules/onnxruntime-node');
const vendor = join(root, 'vendor');
const to = join(vendor, 'onnxruntime-node');

/** What the binding of each platform needs beside it. */
const libraries = {
  'linux/x64': ['libonnxruntime.so.1'],
  'linux/arm64': ['libonnxruntime.so.1'],
  'darwin/arm64': ['libonnxruntime.1.dylib'],
  'win32/x64': ['onnxruntime.dll', 'dxcompiler.dll', 'dxil.dll'],
  'win32/arm64': ['onnxruntime.dll', 'dxcompiler.dll', 'dxil.dll'],
};
const leftOut = /^(DirectML\.dll|libonnxruntime\.\d+\.\d+\.\d+\.dylib|libonnxruntime_providers_\w+\.so)$/;

rmSync(vendor, { recursive: true, force: true });
if (!process.argv.includes('--remove')) copy();

function copy() {
  const { name, version, license, author, repository, main } = JSON.parse(
    readFileSync(join(from, 'package.json'), 'utf8'),
  );
  const common = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies[
    'onnxruntime-common'
  ];
  if (common !== version)
    throw new Error(`onnxruntime-node is ${version}; package.json asks for onnxruntime-common ${common}.`);

  const binaries = join(from, 'bin/napi-v6');
  const platforms = readdirSync(binaries).flatMap((os) =>
    readdirSync(join(binaries, os)).map((cpu) => `${os}/${cpu}`),
  );
  const unknown = platforms.filter((platform) => !(platform in libraries));
  if (unknown.length > 0)
    throw new Error(`This script does not know ${unknown.join(', ')}; say what they need.`);

  for (const [platform, names] of Object.entries(libraries)) {
    const there = readdirSync(join(binaries, platform)).filter((file) => !leftOut.test(file));
    const expected = ['onnxruntime_binding.node', ...names];
    if (there.sort().join() !== expected.sort().join())
      throw new Error(`${platform} has ${there.join(', ')}; expected ${expected.join(', ')}.`);
    for (const file of expected)
      cpSync(join(binaries, platform, file), join(to, 'bin/napi-v6', platform, file), { dereference: true });
  }
  for (const file of readdirSync(join(from, 'dist')).filter((name) => name.endsWith('.js'))) {
    const text = readFileSync(join(from, 'dist', file), 'utf8').replace(
      /\n\/\/# sourceMappingURL=.*\n?$/,
      '\n',
    );
    cpSync(join(from, 'dist', file), join(to, 'dist', file));
    writeFileSync(join(to, 'dist', file), text);
  }
  // Neither the install script nor what only that one needs.
  const description = { name, version, license, author, repository, main };
  writeFileSync(join(to, 'package.json'), `${JSON.stringify(description, null, 2)}\n`);
  for (const file of ['LICENSE', 'ThirdPartyNotices.txt'])
    cpSync(join(root, 'assets/onnxruntime', file), join(to, file));

  const size = readdirSync(to, { recursive: true })
    .map((file) => statSync(join(to, file)))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);
  if (!existsSync(join(to, main))) throw new Error(`${main} is missing.`);
  console.error(`vendor/onnxruntime-node: ${version}, ${(size / 1e6).toFixed(0)} MB`);
}
