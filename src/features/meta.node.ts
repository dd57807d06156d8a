/** What `meta.json` says about a cache, for people and for the command line; the shards do not depend on it. */
import { join } from 'node:path';
import * as v from 'valibot';
import { type Entries, oneOf, text, wholeNumber } from '../core/checked.ts';
import { readJson, writeJson } from '../core/files.node.ts';
import { graftVersion } from '../core/version.node.ts';
import { cacheFolder } from '../data/cache.node.ts';
import { type ColumnSpec, rowBytes } from './columns.ts';
import type { Plan } from './plan.ts';
import { shardFormat } from './shard.ts';

export interface CacheMeta {
  readonly format: number;
  readonly graft: string;
  readonly dataset: string;
  readonly rows: number;
  readonly columns: readonly ColumnSpec[];
  /** Bytes of the complete cache. */
  readonly bytes: number;
  readonly shardRows: number;
  readonly shards: number;
  /** What the features were computed from. */
  readonly origin: Readonly<Record<string, string>>;
  /** ISO 8601. */
  readonly created: string;
  readonly lastUsed: string;
}

/** The folder of all kept features. */
export function featuresFolder(folder?: string): string {
  return join(cacheFolder(folder), 'features');
}

const pathOf = (folder: string) => join(folder, 'meta.json');

/** Most shards of a cache: 64 TB of features. */
const mostShards = 1_000_000;

const count = wholeNumber(0);
const date = v.pipe(v.string(), v.isoTimestamp());

const column = v.object({
  name: text,
  shape: v.pipe(v.array(wholeNumber(1)), v.maxLength(8)),
  dtype: oneOf('float32', 'float16', 'int32', 'int64', 'uint8', 'int8', 'bool'),
  encoding: oneOf('plain', 'uint8'),
} satisfies Entries<ColumnSpec>);

const metaSchema: v.GenericSchema<unknown, CacheMeta> = v.pipe(
  v.object({
    format: v.literal(shardFormat),
    graft: text,
    dataset: text,
    rows: count,
    columns: v.pipe(v.array(column), v.minLength(1), v.maxLength(1000)),
    bytes: count,
    shardRows: wholeNumber(1),
    shards: v.pipe(count, v.maxValue(mostShards)),
    origin: v.record(v.string(), v.string()),
    created: date,
    lastUsed: date,
  } satisfies Entries<CacheMeta>),
  v.check(({ rows, shardRows, shards }) => shards === Math.ceil(rows / shardRows)),
  v.check(({ shardRows, columns }) => Number.isSafeInteger(2 * shardRows * rowBytes(columns))),
);

/** Null if it is missing, damaged, or of another format. */
export async function readMeta(folder: string): Promise<CacheMeta | null> {
  const json = await readJson(pathOf(folder)).catch(() => null);
  const meta = v.safeParse(metaSchema, json);
  return meta.success ? meta.output : null;
}

/** Writes what a plan says, and that its features are used now. */
export async function noteUse(plan: Plan, folder: string): Promise<void> {
  const now = new Date().toISOString();
  const meta: CacheMeta = {
    format: shardFormat,
    graft: graftVersion,
    dataset: plan.name,
    rows: plan.length,
    columns: plan.request.columns,
    bytes: plan.bytes(),
    shardRows: plan.shardRows,
    shards: plan.shards,
    origin: plan.request.origin,
    created: (await readMeta(folder))?.created ?? now,
    lastUsed: now,
  };
  await writeJson(pathOf(folder), meta);
}
