/** What `meta.json` says about a cache, for people and for the command line; the shards do not depend on it. */
import { join } from 'node:path';
import { readJson, writeJson } from '../core/files.node.ts';
import { graftVersion } from '../core/version.node.ts';
import { cacheFolder } from '../data/cache.node.ts';
import type { ColumnSpec } from './columns.ts';
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

/** Null if it is missing, damaged, or of another format. */
export async function readMeta(folder: string): Promise<CacheMeta | null> {
  const meta = (await readJson(pathOf(folder)).catch(() => null)) as CacheMeta | null;
  return meta?.format === shardFormat && Array.isArray(meta.columns) ? meta : null;
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
