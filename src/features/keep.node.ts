/** The door to kept features: decides where they go, says what that takes, and computes what is missing. */
import { dirname, join } from 'node:path';
import { fail } from '../core/errors.ts';
import type { Features } from './columns.ts';
import { computeShard } from './compute.ts';
import { DiskFeatures, type Listener } from './disk.node.ts';
import { formatBytes, formatImages } from './format.ts';
import { bytesOfOthers } from './manage.node.ts';
import { memoryFeatures } from './memory.ts';
import { featuresFolder, noteUse } from './meta.node.ts';
import type { CacheMode, CacheOptions } from './options.ts';
import type { Plan } from './plan.ts';
import { fitsInMemory, machine, type Room, type Wanted, whyNotInMemory, whyNotOnDisk } from './room.node.ts';
import { ShardFiles } from './shard_files.node.ts';

/**
 * Bytes of a row from which on `auto` leaves it on disk. To read one costs 50 to 140 microseconds, as many as a step of
 * a head takes for a pooled row of 4 KB, and under 1 % of a step of the last stage for one of 100 KB.
 */
const largeRow = 32 * 2 ** 10;

/** Hears about an extraction. */
export interface Watcher extends Listener {
  /** It begins: what it will take, and the rows that there will be. Not called if nothing is missing. */
  onBegin(text: string, rows: number): void;
  onEnd(): void;
}

export interface KeepOptions extends Omit<CacheOptions, 'mode' | 'precision'> {
  readonly mode: Exclude<CacheMode, 'off'>;
  readonly watcher: Watcher;
  readonly room?: Room;
}

/** Where features go. */
export interface Place {
  readonly at: 'memory' | 'disk';
  /** Why it is not the disk, although that was tried first. */
  readonly instead: string | null;
}

/**
 * Where `keepFeatures` will keep the features of all these plans; computes nothing.
 *
 * @throws `argument` if they do not fit into memory, `file` if they exceed the limit or the disk has no room
 */
export async function placeOf(plans: readonly Plan[], options: Omit<KeepOptions, 'watcher'>): Promise<Place> {
  const { mode, limit, folder, room = machine } = options;
  const wanted: Wanted = {
    name: [...new Set(plans.map(({ name }) => name))].join(' and '),
    rows: sum(plans.map(({ length }) => length)),
    bytes: sum(plans.map((plan) => plan.bytes())),
  };
  if (mode === 'memory') {
    const obstacle = whyNotInMemory(wanted, room);
    if (obstacle !== null) fail('argument', obstacle);
    return { at: 'memory', instead: null };
  }
  const all = featuresFolder(folder);
  const missing = plans.map(async (plan) =>
    plan.bytes(await new ShardFiles(plan, join(all, plan.key)).missing()),
  );
  const keys = plans.map(({ key }) => key);
  const others = limit === undefined ? 0 : await bytesOfOthers(keys, all);
  const lacking = sum(await Promise.all(missing));
  const obstacle = await whyNotOnDisk(wanted, lacking, { folder: all, limit, others }, room);
  if (obstacle === null) return { at: 'disk', instead: null };
  if (mode === 'disk' || !fitsInMemory(wanted.bytes, room)) fail('file', obstacle);
  return { at: 'memory', instead: obstacle };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Features from memory or disk, computed as far as they are not there. Throws as `placeOf` does. */
export async function keepFeatures(plan: Plan, options: KeepOptions): Promise<Features> {
  const { watcher, room = machine } = options;
  const { at, instead } = await placeOf([plan], options);
  if (instead !== null) watcher.note(`${instead} They are kept in memory for this run.`);
  if (at === 'memory') return inMemory(plan, watcher);
  const disk = new DiskFeatures(plan, join(featuresFolder(options.folder), plan.key), watcher);
  await complete(plan, disk, watcher);
  // The next run finds them on disk, wherever they are read from.
  const small = plan.bytes() < plan.length * largeRow && fitsInMemory(plan.bytes(), room);
  return options.mode === 'auto' && small ? memoryFeatures(plan, (shard) => disk.load(shard)) : disk;
}

async function inMemory(plan: Plan, watcher: Watcher): Promise<Features> {
  watcher.onBegin(`${formatBytes(plan.bytes())} in memory, ${formatImages(plan.length)}`, plan.length);
  let done = 0;
  const onRows = (count: number) => {
    done += count;
    watcher.onRows(done);
  };
  const features = await memoryFeatures(plan, (shard) => computeShard(plan, shard, onRows));
  watcher.onEnd();
  return features;
}

async function complete(plan: Plan, disk: DiskFeatures, watcher: Watcher): Promise<void> {
  const { folder } = disk.files;
  const missing = await disk.files.missing();
  // A complete cache may be somebody else's, and read-only.
  if (missing.length === 0) return noteUse(plan, folder).catch(() => undefined);
  await noteUse(plan, folder);
  const lacking = missing.reduce((rows, shard) => rows + plan.rows(shard), 0);
  const there = lacking < plan.length ? `, ${formatImages(plan.length - lacking)} of them there already` : '';
  const text = `${formatBytes(plan.bytes())} on disk in ${dirname(folder)}, ${formatImages(plan.length)}${there}`;
  watcher.onBegin(text, plan.length);
  await disk.fill(missing);
  watcher.onEnd();
}
