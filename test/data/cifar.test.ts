import { existsSync } from 'node:fs';
import { mkdir, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Asset, AssetOptions, Progress } from '../../src/data/assets.node.ts';
import { cifar100, openCifar } from '../../src/data/cifar.node.ts';
import type { CifarLayout } from '../../src/data/cifar-binary.node.ts';
import { archiveOf, datasetContract, sha256, temporaryFolder } from './support.ts';

/** Two label bytes, four training files and one test file of three records: CIFAR in miniature. */
const layout: CifarLayout = {
  name: 'tiny',
  labels: [
    { names: 'coarse.txt', classes: 2 },
    { names: 'fine.txt', classes: 5 },
  ],
  train: [1, 2, 3, 4].map((i) => ({ file: `train_${i}.bin`, records: 3 })),
  test: [{ file: 'test.bin', records: 3 }],
};
const width = 2 + 3072;

/** The same with one training file of 300 records, 922 KB: it is unpacked in several pieces. */
const longLayout: CifarLayout = { ...layout, train: [{ file: 'train_1.bin', records: 300 }] };

/** The value of a pixel of a picture, from its number, row, column and channel. */
const pixel = (n: number, row: number, column: number, channel: number) =>
  (n * 37 + row * 5 + column * 3 + channel * 101) % 256;

/** Records n … n+2: coarse label n % 2, fine label n % 5, then planes. */
function records(first: number): Uint8Array {
  const bytes = new Uint8Array(3 * width);
  for (let i = 0; i < 3; i++) {
    const n = first + i;
    bytes.set([n % 2, n % 5], i * width);
    for (let at = 0; at < 3072; at++) {
      const [channel, row, column] = [at >> 10, (at >> 5) & 31, at & 31];
      bytes[i * width + 2 + at] = pixel(n, row, column, channel);
    }
  }
  return bytes;
}

function files(): Record<string, Uint8Array | string> {
  return {
    'tiny/coarse.txt': 'animal\nthing\n',
    'tiny/fine.txt': 'a\r\nb\nc\nd\ne\n\n',
    'tiny/readme.html': 'not ours',
    'tiny/train_1.bin': records(0),
    'tiny/train_2.bin': records(3),
    'tiny/train_3.bin': records(6),
    'tiny/train_4.bin': records(9),
    'tiny/test.bin': records(12),
  };
}

const asset: Asset = {
  id: 'tiny/binary',
  url: 'http://127.0.0.1:1/x',
  file: 'x.tar.gz',
  sha256: '0'.repeat(64),
};

/** A mirror folder that holds this archive, and a cache. */
async function workplace(archive: Uint8Array): Promise<AssetOptions & { cacheDir: string; mirror: string }> {
  const root = await temporaryFolder();
  const mirror = join(root, 'mirror');
  await mkdir(mirror);
  await writeFile(join(mirror, 'x.tar.gz'), archive);
  const entry = { id: asset.id, file: 'x.tar.gz', sha256: sha256(archive), bytes: archive.length };
  await writeFile(join(mirror, 'manifest.json'), JSON.stringify({ format: 1, assets: [entry] }));
  return { mirror, cacheDir: join(root, 'cache') };
}

async function open(contents = files(), label = 1) {
  const options = await workplace(await archiveOf(contents));
  return { ...(await openCifar(asset, layout, label, options)), options };
}

describe('a CIFAR archive', () => {
  datasetContract(async () => (await open()).train);

  it('becomes a training and a test set with names, shapes and class names', async () => {
    const { train, test } = await open();
    expect(train).toMatchObject({ name: 'tiny/train', shape: [12, 32, 32, 3], dtype: 'uint8' });
    expect(test).toMatchObject({
      name: 'tiny/test',
      shape: [3, 32, 32, 3],
      classNames: ['a', 'b', 'c', 'd', 'e'],
    });
  });

  it('reads every pixel at its place, channels last, across files and in any order', async () => {
    const { train, test } = await open();
    const indices = [11, 0, 1, 2, 3, 4, 7, 6, 0];
    const { x, y } = await train.read(indices);
    const expected = indices.flatMap((n) =>
      Array.from({ length: 3072 }, (_, at) => pixel(n, Math.floor(at / 96), Math.floor(at / 3) % 32, at % 3)),
    );
    expect(x.data).toEqual(Uint8Array.from(expected));
    expect(y).toEqual({ dtype: 'int32', shape: [9], data: Int32Array.from(indices, (n) => n % 5) });
    expect([...(await test.read([0, 1, 2])).y.data]).toEqual([2, 3, 4]);
  });

  it('has the labels of the byte that was asked for, and a fingerprint for each', async () => {
    const [coarse, fine] = [await open(files(), 0), await open(files(), 1)];
    expect(coarse.train.classNames).toEqual(['animal', 'thing']);
    expect([...(await coarse.train.read([0, 1, 2, 3])).y.data]).toEqual([0, 1, 0, 1]);
    const prints = [coarse.train, coarse.test, fine.train, fine.test].map((dataset) => dataset.fingerprint);
    expect(new Set(prints).size).toBe(4);
  });

  it('is unpacked once, reporting progress, and needs no archive afterwards', async () => {
    const options = await workplace(await archiveOf(files()));
    const phases = new Set<string>();
    const onProgress = ({ phase, id }: Progress) => phases.add(`${phase} ${id}`);
    await openCifar(asset, layout, 1, { ...options, onProgress });
    expect([...phases]).toEqual(['verify tiny/binary', 'extract tiny/binary']);
    phases.clear();
    await writeFile(join(options.mirror, 'x.tar.gz'), 'damaged');
    const { train } = await openCifar(asset, layout, 1, { ...options, onProgress });
    expect([...(await train.read([4])).y.data]).toEqual([4]);
    expect(phases.size).toBe(0);
  });

  it('is unpacked again when an unpacked file has the wrong size', async () => {
    const { options } = await open();
    const [folder] = await readdir(join(options.cacheDir, 'datasets'));
    await truncate(join(options.cacheDir, 'datasets', folder!, 'train_2.bin'), 100);
    const { train } = await openCifar(asset, layout, 1, options);
    expect([...(await train.read([5])).x.data.subarray(0, 1)]).toEqual([pixel(5, 0, 0, 0)]);
    expect(await readdir(join(options.cacheDir, 'datasets'))).toEqual([folder]);
  });

  it('unpacked by several at once is complete for each and leaves nothing beside', async () => {
    const options = await workplace(await archiveOf(files()));
    const all = await Promise.all(Array.from({ length: 4 }, () => openCifar(asset, layout, 1, options)));
    for (const { train } of all) expect([...(await train.read([11])).y.data]).toEqual([1]);
    expect((await readdir(join(options.cacheDir, 'datasets'))).length).toBe(1);
  });

  it('whose file shrinks while in use is an error, not a picture of zeros', async () => {
    const { train, options } = await open();
    const [folder] = await readdir(join(options.cacheDir, 'datasets'));
    await truncate(join(options.cacheDir, 'datasets', folder!, 'train_1.bin'), width + 10);
    await expect(train.read([0])).resolves.toBeDefined();
    await expect(train.read([0, 1])).rejects.toMatchObject({
      code: 'file',
      message: 'train_1.bin became shorter while in use; load the data set again.',
    });
  });
});

describe('a CIFAR archive that is not as it should be', () => {
  const broken = async (archive: Uint8Array, expected = layout) => {
    const options = await workplace(archive);
    const error: unknown = await openCifar(asset, expected, 1, options).catch((thrown: unknown) => thrown);
    const left = existsSync(join(options.cacheDir, 'datasets'))
      ? await readdir(join(options.cacheDir, 'datasets'))
      : [];
    return { error, left };
  };

  it.each([
    [0, 0, 2, 1],
    [2, 0, 7, 1],
    [1, 1, 5, 4],
  ])(
    'with record %i, label byte %i = %i is an error that names file and record',
    async (record, byte, value, most) => {
      const bytes = records(3);
      bytes[record * width + byte] = value;
      const { error, left } = await broken(await archiveOf({ ...files(), 'tiny/train_2.bin': bytes }));
      expect(error).toMatchObject({
        code: 'data',
        message: `tiny/train_2.bin, record ${record}: label ${value}, but labels go from 0 to ${most}.`,
      });
      expect(left).toEqual([]);
    },
  );

  it('accepts any byte value in the pixels', async () => {
    const bytes = records(3).map((value, i) => (i % width < 2 ? value : 255));
    const { train } = await open({ ...files(), 'tiny/train_2.bin': bytes });
    expect(new Set((await train.read([3, 4, 5])).x.data)).toEqual(new Set([255]));
  });

  it('has its labels found in long files too, and in no other place', async () => {
    // Every pixel is 255, which no label may be.
    const bytes = new Uint8Array(300 * width).map((_, i) => (i % width < 2 ? 1 : 255));
    const { error: none } = await broken(
      await archiveOf({ ...files(), 'tiny/train_1.bin': bytes }),
      longLayout,
    );
    expect(none).not.toBeInstanceOf(Error);
    for (const record of [0, 85, 171, 299]) {
      const wrong = bytes.slice();
      wrong[record * width + 1] = 9;
      const { error } = await broken(await archiveOf({ ...files(), 'tiny/train_1.bin': wrong }), longLayout);
      expect(error).toMatchObject({
        code: 'data',
        message: `tiny/train_1.bin, record ${record}: label 9, but labels go from 0 to 4.`,
      });
    }
  });

  it('with a file of the wrong size is an error that does the sum', async () => {
    const short = records(3).subarray(0, 2 * width);
    const { error, left } = await broken(await archiveOf({ ...files(), 'tiny/train_2.bin': short }));
    expect(error).toMatchObject({
      code: 'data',
      message: 'tiny/train_2.bin has 6148 bytes; 3 records of 3074 bytes make 9222.',
    });
    expect(left).toEqual([]);
  });

  it('without some of its files is an error that lists them', async () => {
    const { 'tiny/test.bin': _, 'tiny/fine.txt': __, ...rest } = files();
    const { error } = await broken(await archiveOf(rest));
    expect(error).toMatchObject({
      code: 'data',
      message: expect.stringContaining('is no tiny archive: it lacks fine.txt, test.bin.'),
    });
  });

  it('with too few class names is an error', async () => {
    const { error, left } = await broken(await archiveOf({ ...files(), 'tiny/fine.txt': 'a\nb\n' }));
    expect(error).toMatchObject({ code: 'data', message: 'fine.txt names 2 classes, 5 were expected.' });
    expect(left).toEqual([]);
  });

  it('cut off anywhere is an error and leaves nothing', async () => {
    const archive = await archiveOf(files());
    for (const length of [
      10,
      Math.floor(archive.length / 3),
      Math.floor(archive.length * 0.9),
      archive.length - 4,
    ]) {
      const { error, left } = await broken(archive.subarray(0, length));
      expect(error).toMatchObject({
        code: 'file',
        message: expect.stringContaining('is damaged or cut off'),
      });
      expect(left).toEqual([]);
    }
  });

  it('that is no archive at all is an error', async () => {
    const { error } = await broken(Buffer.from('<html>Not found</html>'));
    expect(error).toMatchObject({ code: 'file', message: expect.stringContaining('incorrect header check') });
  });
});

describe('cifar100', () => {
  it('refuses a label mode that it does not have', async () => {
    const options = { labelMode: 'medium' } as unknown as { labelMode: 'fine' };
    await expect(cifar100.load(options)).rejects.toThrow(
      'datasets.cifar100.load: labelMode must be one of "coarse", "fine", got "medium".',
    );
  });
});
