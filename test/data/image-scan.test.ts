/** What is remembered of pictures: it saves time and never hides a change. */
import { mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { scanImages } from '../../src/data/image-scan.node.ts';
import { solid } from './pictures.ts';
import { temporaryFolder } from './support.ts';

const plain = { finish: (image: import('sharp').Sharp) => image.tiff({ compression: 'none' }) };

it('takes what it knows from the cache, until the file changes, whatever its times say', async () => {
  const [root, cacheDir] = [await temporaryFolder(), await temporaryFolder()];
  const path = join(root, 'a.tiff');
  const scan = async () =>
    (await scanImages(root, [{ path, name: 'a.tiff', label: 'a', split: null }], { cacheDir }))[0];
  await solid(path, [10, 20, 30], plain);
  const [facts] = [await scan()];
  expect(facts).toMatchObject({
    format: 'tiff',
    width: 4,
    height: 4,
    colour: [10, 20, 30],
    look: '0'.repeat(16),
  });
  const memory = join(cacheDir, 'pictures', (await readdir(join(cacheDir, 'pictures')))[0]!);
  // It changed a moment ago and may change again within the same tick of the clock.
  expect(JSON.parse(await readFile(memory, 'utf8'))).toEqual({ format: 3, files: [] });

  await setTimeout(2100);
  await scan();
  const text = await readFile(memory, 'utf8');
  // Shown by a memory that is wrong on purpose.
  await writeFile(memory, text.replace('"width":4', '"width":99'));
  expect(await scan()).toEqual({ ...facts, width: 99 });

  const { atime, mtime, size } = await stat(path);
  await solid(path, [11, 20, 30], plain);
  await utimes(path, atime, mtime);
  expect(await stat(path)).toMatchObject({ size, mtime });
  expect(await scan()).toMatchObject({ width: 4, colour: [11, 20, 30] });

  await writeFile(memory, text.slice(0, 40));
  expect(await scan()).toMatchObject({ width: 4 });
});

it('remembers what is wrong with a file, and sees when it is mended', async () => {
  const [root, cacheDir] = [await temporaryFolder(), await temporaryFolder()];
  const path = join(root, 'a.png');
  await writeFile(path, 'text');
  const scan = async () =>
    (await scanImages(root, [{ path, name: 'a.png', label: 'a', split: null }], { cacheDir }))[0];
  await setTimeout(2100);
  for (let i = 0; i < 2; i++) expect(await scan()).toMatchObject({ kind: 'broken' });
  await solid(path, [1, 2, 3]);
  expect(await scan()).toMatchObject({ format: 'png', colour: [1, 2, 3] });
});

it('says how far it is', async () => {
  const root = await temporaryFolder();
  await mkdir(join(root, 'a'));
  const entries = Array.from({ length: 20 }, (_, i) => ({
    path: join(root, `a/${i}.png`),
    name: '',
    label: 'a',
    split: null,
  }));
  for (const { path } of entries) await solid(path, [1, 2, 3]);
  const seen: string[] = [];
  const onProgress = (done: number, total: number) => seen.push(`${done}/${total}`);
  await scanImages(root, entries, { cacheDir: await temporaryFolder(), onProgress });
  expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => `${i + 1}/20`));
});
