/** What `graft cache` does: lists, verifies and removes kept features. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  flag,
  functionOf,
  notNegative,
  optional,
  text,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { readRegularFile } from '../core/regular_file.node.ts';
import { privatePath, tryRename } from '../data/cache.node.ts';
import { type CacheMeta, featuresFolder, readMeta } from './meta.node.ts';
import { inspect, layoutOf, type Seal, type ShardLayout } from './shard.ts';

/** Kept features of one data set behind one frozen part. */
export interface CacheRecord {
  readonly key: string;
  readonly folder: string;
  /** Bytes on disk. */
  readonly bytes: number;
  /** Shards that are there. */
  readonly present: number;
  readonly complete: boolean;
  readonly lastUsed: Date;
  /** Null if `meta.json` is missing or damaged: the next run writes it anew, `prune` can remove the cache. */
  readonly meta: CacheMeta | null;
}

export interface Verification {
  readonly record: CacheRecord;
  /** Numbers of shards; the next run computes them again. */
  readonly damaged: readonly number[];
  readonly missing: readonly number[];
}

export interface PruneOptions {
  /** Caches that were not used since then. */
  readonly olderThan?: Date;
  /** Then the least recently used, until no more than this is left. */
  readonly keepBytes?: number;
  readonly all?: boolean;
  /** The cache folder, if it is another one. */
  readonly folder?: string;
}

const pruneOptions = fields({
  olderThan: optional(
    v.custom<Date>((value) => value instanceof Date && !Number.isNaN(value.getTime()), 'a Date'),
  ),
  keepBytes: optional(notNegative),
  all: optional(flag, false),
  folder: optional(text),
} satisfies Entries<PruneOptions>);

const listOptions = fields({ folder: optional(text) });

/** Options of `verifyCache`. */
export interface VerifyOptions {
  /** The cache folder, if it is another one. */
  readonly folder?: string;
  /** Called after each shard. */
  readonly onShard?: (done: number, total: number) => void;
}

const verifyOptions = fields({
  folder: optional(text),
  onShard: optional(functionOf<NonNullable<VerifyOptions['onShard']>>()),
} satisfies Entries<VerifyOptions>);

/** All cached features, the last used first. `folder` is the cache folder, if it is another one. */
export async function listCaches(options: { readonly folder?: string } = {}): Promise<CacheRecord[]> {
  const all = featuresFolder(checked(listOptions, options, 'listCaches').folder);
  const names = (await readdir(all).catch(() => [])).filter((name) => /^[0-9a-f]{32}$/.test(name));
  const records = await Promise.all(names.map((key) => describe(key, join(all, key))));
  return records.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime() || (a.key < b.key ? -1 : 1));
}

async function describe(key: string, folder: string): Promise<CacheRecord> {
  const meta = await readMeta(folder);
  const names = await readdir(folder).catch(() => []);
  const sizes = await Promise.all(names.map((name) => sizeOf(join(folder, name))));
  const present = names.filter((name) => shardNumber(name) !== null).length;
  const folderTime = (await stat(folder).catch(() => null))?.mtime ?? new Date(0);
  return {
    key,
    folder,
    bytes: sizes.reduce((total, size) => total + size, 0),
    present,
    complete: meta !== null && present === meta.shards,
    lastUsed: meta ? new Date(meta.lastUsed) : folderTime,
    meta,
  };
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.size ?? 0;
}

function shardNumber(name: string): number | null {
  const number = /^shard-(\d{5,})$/.exec(name)?.[1];
  return number === undefined ? null : Number(number);
}

/** Bytes of all caches but some. */
export async function bytesOfOthers(keys: readonly string[], all: string): Promise<number> {
  let total = 0;
  for (const name of await readdir(all).catch(() => [])) {
    if (!keys.includes(name)) total += (await describe(name, join(all, name))).bytes;
  }
  return total;
}

/**
 * Checks every byte of one cache, or of all. `key` may be shortened while it is unambiguous.
 *
 * @throws `argument` if there is no such cache
 */
export async function verifyCache(key: string | 'all', options: VerifyOptions = {}): Promise<Verification[]> {
  const { folder, onShard } = checked(verifyOptions, options, 'verifyCache');
  const records = await listCaches(folder === undefined ? {} : { folder });
  const chosen = key === 'all' ? records : [only(records, key, folder)];
  const total = chosen.reduce((sum, { meta }) => sum + (meta?.shards ?? 0), 0);
  let done = 0;
  const results: Verification[] = [];
  for (const record of chosen) {
    results.push(await verify(record, () => onShard?.(++done, total)));
  }
  return results;
}

function only(records: readonly CacheRecord[], key: string, folder: string | undefined): CacheRecord {
  const found = records.filter((record) => record.key.startsWith(key));
  if (found.length === 1 && key !== '') return found[0]!;
  const what = found.length === 0 ? 'No kept features have' : `${found.length} caches have`;
  fail('argument', `${what} the key ${key} in ${featuresFolder(folder)}; graft cache list shows all keys.`);
}

async function verify(record: CacheRecord, onShard: () => void): Promise<Verification> {
  const { meta, key, folder } = record;
  const damaged: number[] = [];
  const missing: number[] = [];
  const there = new Set((await readdir(folder).catch(() => [])).map(shardNumber));
  for (let shard = 0; shard < (meta?.shards ?? 0); shard++) {
    const { rows, shardRows, columns } = meta!;
    const layout = layoutOf(columns, Math.min(shardRows, rows - shard * shardRows));
    if (!there.has(shard)) missing.push(shard);
    else if (!(await isIntact(join(folder, shardName(shard)), layout, { key, shard }))) damaged.push(shard);
    onShard();
  }
  return { record, damaged, missing };
}

async function isIntact(path: string, layout: ShardLayout, seal: Seal): Promise<boolean> {
  const reading = { limit: layout.bytes, kind: 'a shard of features' };
  const image = await readRegularFile(path, reading).catch(() => null);
  return image !== null && inspect(image, layout, seal) !== null;
}

function shardName(shard: number): string {
  return `shard-${String(shard).padStart(5, '0')}`;
}

/**
 * Removes kept features and says which. A run that still uses them computes them again.
 *
 * @throws `argument` if nothing says what to remove
 */
export async function pruneCaches(options: PruneOptions): Promise<CacheRecord[]> {
  const { olderThan, keepBytes, all, folder } = checked(pruneOptions, options, 'pruneCaches');
  if (olderThan === undefined && keepBytes === undefined && !all) {
    fail('argument', 'Say what to remove: olderThan, keepBytes or all.');
  }
  const removed: CacheRecord[] = [];
  let left = 0;
  // The last used first: what no longer fits is the least recently used.
  for (const record of await listCaches({ ...(folder === undefined ? {} : { folder }) })) {
    const old = olderThan !== undefined && record.lastUsed < olderThan;
    const tooMuch = keepBytes !== undefined && left + record.bytes > keepBytes;
    if (all || old || tooMuch) removed.push(record);
    else left += record.bytes;
  }
  for (const record of removed) await remove(record.folder);
  await removeRemains(featuresFolder(folder));
  return removed;
}

const goneSuffix = '.gone';

/** First out of the way in one go, so that nobody finds half of it. */
async function remove(folder: string): Promise<void> {
  const gone = privatePath(folder, goneSuffix);
  const path = (await tryRename(folder, gone)) ? gone : folder;
  await rm(path, { recursive: true, force: true });
}

/** What a killed `remove` left. */
async function removeRemains(all: string): Promise<void> {
  for (const name of await readdir(all).catch(() => [])) {
    if (name.endsWith(goneSuffix)) await rm(join(all, name), { recursive: true, force: true });
  }
}
