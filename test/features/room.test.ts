/** Whether there is room, and what a person is told when there is none. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { cacheOptions } from '../../src/features/index.ts';
import { machine, type Room } from '../../src/features/room.node.ts';
import { computedRows, type Keeping, keep, plainColumns, temporaryFolder } from './support.ts';

const GB = 1e9;
const roomOf = (disk: number, memory: number): Room => ({ disk: async () => disk, memory: () => memory });

/** A disk of so many bytes, in memory; it vanishes with the test. */
function smallDisk(bytes: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'graft-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder]);
  onTestFinished(async () => {
    execFileSync('umount', [folder]);
    await rm(folder, { recursive: true });
  });
  return folder;
}

/** Only root may mount. */
const noTmpfs = (() => {
  const folder = mkdtempSync(join(tmpdir(), 'graft-disk-'));
  const { status } = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', folder]);
  if (status === 0) spawnSync('umount', [folder]);
  rmdirSync(folder);
  return status !== 0;
})();

/** Fifty thousand rows of conv4 at 224 pixels in float16: 20.1 GB, never computed. */
const large = {
  rows: 50_000,
  columns: [{ name: 'feature0', shape: [14, 14, 1024], dtype: 'float16', encoding: 'plain' }],
  shardBytes: 64 * 2 ** 20,
  name: 'cifar10',
  compute: () => Promise.reject(new Error('nothing should be computed')),
} as const;

describe('the disk', () => {
  it('without room is refused before anything is computed, with the ways out', async () => {
    const folder = await temporaryFolder();
    const room = roomOf(12.3 * GB, 16 * GB);
    for (const mode of ['disk', 'auto'] as const) {
      await expect(keep(folder, { ...large, mode, room })).rejects.toMatchObject({
        code: 'file',
        message:
          `The features of cifar10 (50,000 images) take 20.1 GB, and ${join(folder, 'features')} has 12.3 GB free. ` +
          'Make room (graft cache prune), name another folder (GRAFT_CACHE), freeze less wide layers (up to a ' +
          "pooling), keep eight bits (cache precision 'uint8'), or compute them anew in each epoch (cache off).",
      });
    }
  });

  it('is filled to nine tenths of what is free and no further', async () => {
    const bytes = (await keep(await temporaryFolder())).plan.bytes();
    const attempt = async (free: number) => keep(await temporaryFolder(), { room: roomOf(free, 0) });
    await attempt(Math.ceil(bytes / 0.9));
    await expect(attempt(Math.floor(bytes / 0.9) - 1)).rejects.toThrow('Make room');
  });

  it('needs room only for what is not there yet', async () => {
    const folder = await temporaryFolder();
    const { path, plan } = await keep(folder);
    await rm(path(3));
    await expect(keep(folder, { room: roomOf(100, 0) })).rejects.toThrow(
      `take 4.9 kB, ${plan.bytes([3])} bytes of them not there yet, and ${folder}`,
    );
    await keep(folder, { room: roomOf(plan.bytes([3]) * 1.2, 0) });
    expect((await keep(folder, { room: roomOf(0, 0) })).computed, 'a complete one needs none').toEqual([]);
  });

  it('under a limit counts other kept features', async () => {
    const folder = await temporaryFolder();
    await keep(folder, { origin: { frozen: 'other' } });
    const fit = await keep(folder, { limit: 10_500 });
    await rm(join(folder, 'features', fit.plan.key), { recursive: true });
    await expect(keep(folder, { limit: 5000, name: 'cifar10' })).rejects.toMatchObject({
      code: 'file',
      message: expect.stringMatching(
        /^The features of cifar10 \(100 images\) take 4\.9 kB, other kept features 5\.\d kB, and the limit is 5\.0 kB\. Raise the limit, remove others \(graft cache prune\), freeze less/,
      ),
    });
  });

  it('gives what is complete whatever the limit: reading takes nothing', async () => {
    const folder = await temporaryFolder();
    await keep(folder);
    expect((await keep(folder, { limit: 0 })).computed).toEqual([]);
  });

  it.skipIf(noTmpfs)('that is full after all is said so, and what is complete stays', async () => {
    const folder = smallDisk(96 * 1024);
    const generous = { room: roomOf(GB, 0), rows: 4000, shardBytes: 36 * 512 };
    const failing = keep(folder, generous);
    await expect(failing).rejects.toMatchObject({
      code: 'file',
      message: expect.stringMatching(
        /^Cannot write features to .*: the disk is full \(ENOSPC\)\. What is complete stays: once there is room, the same command goes on from there\.$/,
      ),
    });
    const [cache] = await readdir(join(folder, 'features'));
    const names = await readdir(join(folder, 'features', cache!));
    expect(names).toEqual(
      ['meta.json', 'shard-00000', 'shard-00001', 'shard-00002', 'shard-00003'].slice(0, names.length),
    );
    expect(names.length).toBeGreaterThan(2);
    execFileSync('mount', ['-o', 'remount,size=1m', folder]);
    const { computed } = await keep(folder, generous);
    expect(computed.length).toBe(4000 - 512 * (names.length - 1));
  });

  it('is measured where the folder is going to be', async () => {
    const free = await machine.disk('/dev/null/not/there/yet');
    expect(free).toBeGreaterThanOrEqual(0);
    expect(await machine.disk(join(await temporaryFolder(), 'a', 'b'))).toBeGreaterThan(1e6);
  });
});

describe('memory', () => {
  /** Where features of `auto` are read from. They are on disk in any case. */
  const served = async (options: Keeping) => {
    const { features, path } = await keep(await temporaryFolder(), { ...options, mode: 'auto' });
    await rm(path(0)); // What lies in memory does not miss it.
    await features.read([0]);
    return existsSync(path(0)) ? 'disk' : 'memory';
  };

  it('serves auto if twice the features would fit, else the disk does', async () => {
    const bytes = (await keep(await temporaryFolder())).plan.bytes();
    expect(await served({ room: roomOf(GB, 2 * bytes) })).toBe('memory');
    expect(await served({ room: roomOf(GB, 2 * bytes - 2) })).toBe('disk');
  });

  it('serves small rows of auto, the disk those of 32 KB and more, checksums included', async () => {
    const rows = (width: number) => ({
      rows: 3,
      columns: [{ name: 'feature0', shape: [width], dtype: 'float32', encoding: 'plain' }] as const,
      room: roomOf(GB, GB),
    });
    // 4 bytes a value, 4 of checksum a row, and 28 at the end of the only shard: 32,765.3 and 32,769.3 bytes a row.
    const [below, above] = [8188, 8189];
    expect(await served({ ...rows(below), shardBytes: GB })).toBe('memory');
    expect(await served({ ...rows(above), shardBytes: GB })).toBe('disk');
  });

  it('takes the features of auto alone when the disk has no room, and says so', async () => {
    const folder = await temporaryFolder();
    const { features, texts } = await keep(folder, { mode: 'auto', room: roomOf(10, GB) });
    expect(texts).toEqual([
      expect.stringMatching(/has 10 bytes free\. Make room .* They are kept in memory for this run\.$/),
      '4.9 kB in memory, 100 images',
    ]);
    expect((await features.read([7])).features).toEqual(computedRows(plainColumns, [7]));
    expect(await readdir(folder)).toEqual([]);
  });

  it('that is too small is refused with the ways out', async () => {
    await expect(keep('', { ...large, mode: 'memory', room: roomOf(0, 16 * GB) })).rejects.toMatchObject({
      code: 'argument',
      message:
        'The features of cifar10 (50,000 images) take 20.1 GB, and 16.0 GB of memory are free. Keep them on disk ' +
        "(cache disk), freeze less wide layers (up to a pooling), keep eight bits (cache precision 'uint8'), or " +
        'compute them anew in each epoch (cache off).',
    });
  });
});

describe('options', () => {
  it('are a mode or several, and auto by default', () => {
    expect(cacheOptions()).toEqual({ mode: 'auto' });
    expect(cacheOptions('disk')).toEqual({ mode: 'disk' });
    expect(cacheOptions({ precision: 'uint8', limit: 5 })).toEqual({
      mode: 'auto',
      precision: 'uint8',
      limit: 5,
    });
  });

  it('that are unknown are refused with those that are known', () => {
    const given = (value: unknown) => () => cacheOptions(value as 'auto');
    expect(given('yes')).toThrow('cache: expected one of "auto", "memory", "disk", "off" or an object of');
    expect(given({ precision: 'int8' })).toThrow(
      'cache: precision must be one of "float16", "float32", "uint8" (uint8?), got "int8".',
    );
    expect(given({ limit: -1 })).toThrow('cache: limit must be a number of at least 0, got -1.');
  });
});
