/** Features on disk: reading, continuing, damage, and several processes. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DiskFeatures } from '../../src/features/disk.node.ts';
import { type Plan, pruneCaches, verifyCache } from '../../src/features/index.ts';
import { ShardFiles } from '../../src/features/shard_files.node.ts';
import { canUnshare } from '../support/processes.ts';
import {
  computedRows,
  eightBitColumns,
  endOf,
  flip,
  keep,
  plainColumns,
  range,
  startChild,
  temporaryFolder,
} from './support.ts';

const indices = fc.array(fc.integer({ min: 0, max: 99 }), { maxLength: 60 });

describe('reading', () => {
  it('gives the rows that were asked for, in any order and as often, from memory and disk', async () => {
    const folder = await temporaryFolder();
    const disk = await keep(folder);
    const memory = await keep(folder, { mode: 'auto' });
    await fc.assert(
      fc.asyncProperty(indices, async (wanted) => {
        const expected = computedRows(plainColumns, wanted);
        expect((await disk.features.read(wanted)).features).toEqual(expected);
        expect((await memory.features.read(wanted)).features).toEqual(expected);
      }),
      { numRuns: 60 },
    );
    expect(memory.computed).toEqual([]);
  });

  it('in eight bits gives the same from disk as from memory', async () => {
    const folder = await temporaryFolder();
    const disk = await keep(folder, { columns: eightBitColumns });
    const memory = await keep(folder, { columns: eightBitColumns, mode: 'memory' });
    await fc.assert(
      fc.asyncProperty(indices, async (wanted) => {
        expect(await disk.features.read(wanted)).toEqual(await memory.features.read(wanted));
      }),
      { numRuns: 30 },
    );
  });

  it('of many batches at once gives each its own rows', async () => {
    const { features } = await keep(await temporaryFolder());
    const batches = range(0, 20).map((i) => range(0, 10).map((j) => (i * 37 + j * 11) % 100));
    const results = await Promise.all(batches.map((batch) => features.read(batch)));
    results.forEach((result, i) => {
      expect(result.features).toEqual(computedRows(plainColumns, batches[i]!));
    });
  });

  it.skipIf(!existsSync('/proc/self/fd'))('leaves no file open', async () => {
    const { features } = await keep(await temporaryFolder());
    const before = (await readdir('/proc/self/fd')).length;
    for (let i = 0; i < 20; i++) await features.read([i, 99 - i]);
    expect((await readdir('/proc/self/fd')).length).toBeLessThanOrEqual(before + 3);
  });

  it('refuses a row that is not there', async () => {
    const { features } = await keep(await temporaryFolder());
    await expect(features.read([100])).rejects.toThrow(
      'things has no example 100: positions go from 0 to 99.',
    );
  });
});

describe('an extraction', () => {
  it('computes every row once, sixteen at a time, and leaves nothing unfinished', async () => {
    const sizes: number[] = [];
    const { computed, path } = await keep(await temporaryFolder(), {
      compute: async (wanted) => {
        sizes.push(wanted.length);
        return computedRows(plainColumns, wanted);
      },
    });
    expect(computed).toEqual(range(0, 100));
    expect(sizes).toEqual([16, 16, 16, 16, 16, 16, 4]);
    expect((await readdir(dirname(path(0)))).sort()).toEqual([
      'meta.json',
      'shard-00000',
      'shard-00001',
      'shard-00002',
      'shard-00003',
    ]);
  });

  it('says before it begins what it will take, and what is there already', async () => {
    const folder = await temporaryFolder();
    const first = await keep(folder, { rows: 60000, shardBytes: 2 ** 20 });
    const place = join(folder, 'features');
    expect(first.texts).toEqual([`2.9 MB on disk in ${place}, 60,000 images`]);
    await rm(first.path(1));
    const second = await keep(folder, { rows: 60000, shardBytes: 2 ** 20 });
    expect(second.texts).toEqual([
      `2.9 MB on disk in ${place}, 60,000 images, 30,880 images of them there already`,
    ]);
  });

  it('is not needed a second time, but is for other weights, pictures, columns or lengths', async () => {
    const folder = await temporaryFolder();
    await keep(folder);
    expect((await keep(folder)).computed).toEqual([]);
    expect((await keep(folder, { origin: { frozen: 'abd' } })).computed.length).toBe(100);
    expect((await keep(folder, { origin: { dataset: 'other' } })).computed.length).toBe(100);
    expect((await keep(folder, { rows: 99 })).computed.length).toBe(99);
    expect((await keep(folder, { columns: eightBitColumns })).computed.length).toBe(100);
  });

  it('that fails keeps its complete shards, and the next goes on behind them', async () => {
    const folder = await temporaryFolder();
    const failing = keep(folder, {
      compute: async (wanted) => {
        if (wanted[0]! >= 80) throw new Error('the engine ended');
        return computedRows(plainColumns, wanted);
      },
    });
    await expect(failing).rejects.toThrow('the engine ended');
    const [cache] = await readdir(join(folder, 'features'));
    const left = await readdir(join(folder, 'features', cache!));
    expect(left.sort()).toEqual(['meta.json', 'shard-00000', 'shard-00001']);
    const { computed, features } = await keep(folder);
    expect(computed).toEqual(range(64, 100));
    expect((await features.read(range(0, 100))).features).toEqual(computedRows(plainColumns, range(0, 100)));
  });

  it('that was killed keeps its complete shards, and the next goes on behind them', async () => {
    const order = { folder: await temporaryFolder(), rows: 320, width: 64, shardBytes: 32 * 64 * 4 };
    const child = startChild({ ...order, delay: 40 });
    let lines = 0;
    for await (const piece of child.stdout!) {
      lines += String(piece).split('\n').length - 1;
      // The fourth shard is under way then.
      if (lines >= 7) break;
    }
    child.kill('SIGKILL');
    await once(child, 'exit');
    const [cache] = await readdir(join(order.folder, 'features'));
    const names = await readdir(join(order.folder, 'features', cache!));
    expect(
      names.some((name) => name.endsWith('.part')),
      'it was killed at work',
    ).toBe(true);
    const complete = names.filter((name) => /^shard-\d+$/.test(name)).length;
    expect(complete).toBeGreaterThanOrEqual(2);
    const report = await endOf(startChild({ ...order, read: true }));
    expect(report).toMatchObject({ computed: 320 - 32 * complete, wrong: 0 });
    const after = await readdir(join(order.folder, 'features', cache!));
    expect(after.filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  it('shares the work with another process, and neither spoils it', async () => {
    const order = { folder: await temporaryFolder(), rows: 640, width: 64, shardBytes: 32 * 64 * 4 };
    const children = [
      startChild({ ...order, delay: 20, read: true }),
      startChild({ ...order, delay: 20, read: true }),
    ];
    const [one, other] = await Promise.all(children.map(endOf));
    expect([one!.wrong, other!.wrong]).toEqual([0, 0]);
    expect(one!.computed + other!.computed, 'not everything twice').toBeLessThan(2 * 640 - 5 * 32);
    expect(one!.computed + other!.computed).toBeGreaterThanOrEqual(640);
    const [verified] = await verifyCache('all', { folder: order.folder });
    expect(verified).toMatchObject({ damaged: [], missing: [], record: { complete: true, present: 20 } });
    const names = await readdir(join(order.folder, 'features', one!.key));
    expect(names.filter((name) => !/^(shard-\d+|meta\.json)$/.test(name))).toEqual([]);
  });

  it.skipIf(!canUnshare)('leaves alone what a process in another container has begun', async () => {
    const folder = await temporaryFolder();
    const plan = { all: [0], layout: () => ({ bytes: 10 }) } as unknown as Plan;
    const part = await new ShardFiles(plan, folder).begin(0);
    // In there this process has another number, or none.
    const script = `const { ShardFiles } = await import(process.argv[1]);
      await new ShardFiles({ all: [0], layout: () => ({ bytes: 10 }) }, process.argv[2]).prepare([0]);`;
    const module = new URL('../../dist/features/shard_files.node.js', import.meta.url).href;
    const node = [process.execPath, '--input-type=module', '-e', script, module, folder];
    const { status } = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', ...node]);
    expect(status).toBe(0);
    expect(await readdir(folder)).toEqual([basename(part.path)]);
    await part[Symbol.asyncDispose]();
  });

  it('goes on although everything is removed meanwhile, as graft cache prune --all does', async () => {
    const order = { folder: await temporaryFolder(), rows: 320, width: 64, shardBytes: 32 * 64 * 4 };
    const child = startChild({ ...order, delay: 40, read: true });
    const ended = endOf(child);
    let prunes = 0;
    const pruning = setInterval(() => {
      void pruneCaches({ all: true, folder: order.folder }).then(({ length }) => {
        prunes += length;
      });
    }, 100);
    child.stdout!.once('data', () => setTimeout(() => clearInterval(pruning), 700));
    expect(await ended).toMatchObject({ wrong: 0 });
    clearInterval(pruning);
    expect(prunes).toBeGreaterThan(0);
  });

  it('waits for no other process: a shard that somebody began and never ends is computed all the same', async () => {
    const folder = await temporaryFolder();
    const { path } = await keep(folder);
    await rm(path(2));
    await writeFile(`${path(2)}.another-machine-1-0123abcd.part`, '');
    expect((await keep(folder)).computed).toEqual(range(64, 96));
  });
});

describe('damage', () => {
  const shardOne = range(32, 64);

  it.each([
    ['the first value', 0],
    ['the last value', 36 * 32 - 1],
    ['a checksum', 36 * 32 + 5],
    ['the key', -28],
    ['the last byte', -1],
  ])('of one bit of %s is found, and that shard alone is computed again', async (_, at) => {
    const folder = await temporaryFolder();
    await keep(folder);
    const { features, computed, texts, path } = await keep(folder);
    await flip(path(1), at);
    const all = range(0, 100);
    expect((await features.read(all)).features).toEqual(computedRows(plainColumns, all));
    expect(computed).toEqual(shardOne);
    expect(texts).toEqual([`${path(1)} is missing or damaged; it is computed again.`]);
    await features.read(all);
    expect(computed, 'the file is right again').toEqual(shardOne);
  });

  it('of a scale of eight-bit features is found', async () => {
    const folder = await temporaryFolder();
    const columns = eightBitColumns;
    const { path } = await keep(folder, { columns });
    // Behind the scales there are 28 bytes.
    await flip(path(0), -29);
    const { features, computed, plan } = await keep(folder, { columns });
    await features.read([1]);
    expect(computed).toEqual(range(0, plan.shardRows));
  });

  it('is found before features are served from memory', async () => {
    const folder = await temporaryFolder();
    const { path } = await keep(folder);
    await flip(path(1), 100);
    const { features, computed } = await keep(folder, { mode: 'auto' });
    expect(computed).toEqual(shardOne);
    expect((await features.read([40])).features).toEqual(computedRows(plainColumns, [40]));
  });

  it('that many reads meet at once is mended once', async () => {
    const folder = await temporaryFolder();
    await keep(folder);
    const { features, computed, path } = await keep(folder);
    await flip(path(1), 3);
    await Promise.all(range(0, 12).map(() => features.read([32, 50, 3])));
    expect(computed).toEqual(shardOne);
  });

  it.each([
    ['missing', 'at the start', (path: string) => rm(path)],
    ['too short', 'at the start', (path: string) => truncate(path, 700)],
    [
      'that of another position',
      'when read',
      (path: string) => copyFile(path.replace('00001', '00002'), path),
    ],
  ])('a shard that is %s is found %s and computed again, alone', async (_, found, damage) => {
    const folder = await temporaryFolder();
    const { path } = await keep(folder);
    await damage(path(1));
    const { features, computed } = await keep(folder);
    if (found === 'at the start') expect(computed).toEqual(shardOne);
    expect((await features.read([40, 10])).features).toEqual(computedRows(plainColumns, [40, 10]));
    expect(computed).toEqual(shardOne);
  });

  it('by removing the whole folder while it is in use is mended shard by shard', async () => {
    const { features, computed, path } = await keep(await temporaryFolder());
    computed.length = 0;
    await rm(dirname(path(0)), { recursive: true });
    expect((await features.read([99])).features).toEqual(computedRows(plainColumns, [99]));
    expect(computed).toEqual(range(96, 100));
  });

  it('that comes back after mending is a fault of the machine, and said so', async () => {
    const folder = await temporaryFolder();
    const { plan, path, computed } = await keep(folder);
    computed.length = 0;
    const disk = new DiskFeatures(plan, dirname(path(0)), { onRows: () => undefined, note: () => undefined });
    const finish = disk.files.finish.bind(disk.files);
    disk.files.finish = async (shard, part, image) => {
      await finish(shard, part, image);
      await flip(path(shard), 7);
    };
    await flip(path(0), 7);
    await expect(disk.read([0])).rejects.toMatchObject({
      code: 'checksum',
      message: `${path(0)} was written anew and is damaged again: the disk or the memory is faulty.`,
    });
    expect(computed, 'it was tried once').toEqual(range(0, 32));
  });

  it('of meta.json costs nothing: it is written anew', async () => {
    const folder = await temporaryFolder();
    const { path } = await keep(folder);
    const meta = join(dirname(path(0)), 'meta.json');
    await writeFile(meta, '{"format":');
    expect((await keep(folder)).computed).toEqual([]);
    expect(JSON.parse(await readFile(meta, 'utf8'))).toMatchObject({
      dataset: 'things',
      rows: 100,
      shards: 4,
    });
  });
});

describe('memory', () => {
  it('does not grow with the number of rows: ten times as many take as much', async () => {
    const folder = await temporaryFolder();
    const order = { folder, width: 4096, shardBytes: 4 * 2 ** 20, read: true };
    const few = await endOf(startChild({ ...order, rows: 1500 }));
    const many = await endOf(startChild({ ...order, rows: 15000 }));
    expect([few.wrong, many.wrong]).toEqual([0, 0]);
    // 25 MB of features against 246 MB.
    expect(many.maxRss - few.maxRss).toBeLessThan(60);
  });
});
