/** What is loaded, and when: a library that is not needed yet costs nothing. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { repository } from './support.ts';

const run = promisify(execFile);
const main = join(repository, 'dist/cli/main.js');
const library = pathToFileURL(join(repository, 'dist/index.js')).href;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-start-up-'));
  const hooks = `import { appendFileSync } from 'node:fs';
    export async function resolve(specifier, context, next) {
      const found = await next(specifier, context);
      appendFileSync(process.env.LOADED, found.url + '\\n');
      return found;
    }`;
  await writeFile(join(folder, 'hooks.mjs'), hooks);
  await writeFile(
    join(folder, 'trace.mjs'),
    "import { register } from 'node:module'; register('./hooks.mjs', import.meta.url);",
  );
  await writeFile(
    join(folder, 'time.cjs'),
    'process.on("exit", () => { const { user, system } = process.cpuUsage(); console.error((user + system) / 1e6); });',
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The packages that a program imports. */
async function packagesOf(...args: string[]): Promise<string[]> {
  const log = join(folder, 'loaded.txt');
  await writeFile(log, '');
  const env = { ...process.env, LOADED: log };
  await run(process.execPath, ['--import', pathToFileURL(join(folder, 'trace.mjs')).href, ...args], {
    ...{ env, cwd: folder },
  });
  const names = [...(await readFile(log, 'utf8')).matchAll(/\/node_modules\/((?:@[^/\n]+\/)?[^/\n]+)/g)];
  return [...new Set(names.map(([, name]) => name!))].sort();
}

describe('loaded', () => {
  it('by the overview of all commands: what parses command lines', async () => {
    expect(await packagesOf(main, '--help')).toEqual(['commander']);
  });

  it('by importing the library: neither the decoder of images nor what draws charts or opens HDF5', async () => {
    const packages = await packagesOf('--input-type=module', '-e', `await import('${library}')`);
    expect(packages).toContain('protobufjs');
    const later = ['sharp', '@observablehq/plot', 'linkedom', 'h5wasm', 'jiti', 'commander'];
    expect(packages.filter((name) => later.includes(name))).toEqual([]);
  });

  it('by decoding an image: its decoder', async () => {
    const image = join(folder, 'image.png');
    const { default: sharp } = await import('sharp');
    await sharp({ create: { width: 2, height: 2, channels: 3, background: '#808080' } }).toFile(image);
    const program = `const { decodeImage } = await import('${library}'); await decodeImage('${image}');`;
    expect(await packagesOf('--input-type=module', '-e', program)).toContain('sharp');
  });
});

it('the overview of all commands takes less than 0.3 s of processor time', async () => {
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const { stdout, stderr } = await run(process.execPath, [
      ...['--require', join(folder, 'time.cjs'), main, '--help'],
    ]);
    expect(stdout).toContain('Usage: graft');
    times.push(Number(stderr));
  }
  expect(Math.min(...times)).toBeLessThan(0.3);
});
