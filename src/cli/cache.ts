/** `graft cache`: lists, verifies and removes the features that trainings have kept. */
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import {
  type CacheRecord,
  listCaches,
  pruneCaches,
  type Verification,
  verifyCache,
} from '../features/index.ts';
import { type Progress, progressFor } from '../training/progress.ts';
import { addCommonOptions, type CommonOptions, notNegative } from './arguments.ts';
import { megabytes, outputFor, plural, table } from './output.ts';

export interface PruneCommandOptions extends CommonOptions {
  readonly olderThan?: number;
  readonly keep?: number;
  readonly all?: true;
}

const day = 24 * 3600 * 1000;

export function defineCache(cache: Command): void {
  cache.addHelpText('after', examples);
  addCommonOptions(cache.command('list').description('Show what is kept, the last used first.'))
    .addHelpText('after', listExamples)
    .action(runList);
  addCommonOptions(
    cache
      .command('verify')
      .description('Read every byte and compare checksums.')
      .argument('[key]', 'the beginning of a key; all without it', 'all'),
  )
    .addHelpText('after', verifyExamples)
    .action(runVerify);
  addCommonOptions(
    cache
      .command('prune')
      .description('Remove kept features; a later training computes them again.')
      .option('--older-than <days>', 'those that were not used for so long', notNegative)
      .option('--keep <GB>', 'the least recently used, until so much is left', notNegative)
      .option('--all', 'everything'),
  )
    .addHelpText('after', pruneExamples)
    .action(runPrune);
}

const listExamples = `
Examples:
  $ graft cache list
  $ graft cache list --json`;

const verifyExamples = `
Examples:
  $ graft cache verify
  $ graft cache verify 3f2a               one of them, by the beginning of its key

Exit codes: 0 all is as it was written, 1 something is damaged.`;

const pruneExamples = `
Examples:
  $ graft cache prune --older-than 30
  $ graft cache prune --keep 50           the last used 50 GB stay
  $ graft cache prune --all`;

const examples = `
Examples:
  $ graft cache list
  $ graft cache verify
  $ graft cache prune --older-than 30 --keep 50`;

async function runList(options: CommonOptions): Promise<void> {
  const out = outputFor(options);
  const records = await listCaches();
  out.result(describeAll(records, 'Nothing is kept.'));
  out.json({ command: 'cache list', caches: records });
}

function describeAll(records: readonly CacheRecord[], nothing: string): string {
  if (records.length === 0) return nothing;
  const total = records.reduce((bytes, record) => bytes + record.bytes, 0);
  return `${table(records.map(rowOf))}\n${plural(records.length, 'cache')}, ${megabytes(total)}`;
}

function rowOf({ key, bytes, meta, complete, present, lastUsed }: CacheRecord): readonly [string, string] {
  const used = `last used ${lastUsed.toISOString().slice(0, 10)}`;
  if (meta === null) return [key.slice(0, 12), `${megabytes(bytes)}, meta.json is missing, ${used}`];
  const state = complete ? '' : `, ${present} of ${plural(meta.shards, 'shard')}`;
  const what = `${meta.dataset}: ${plural(meta.rows, 'picture')}`;
  return [key.slice(0, 12), `${what}, ${shapesOf(meta.columns)}, ${megabytes(bytes)}${state}, ${used}`];
}

function shapesOf(columns: NonNullable<CacheRecord['meta']>['columns']): string {
  return columns
    .filter(({ name }) => name !== 'y')
    .map(({ shape, dtype, encoding }) => `${shape.join('x')} ${encoding === 'plain' ? dtype : encoding}`)
    .join(' + ');
}

async function runVerify(key: string, options: CommonOptions): Promise<void> {
  const out = outputFor(options);
  let progress: Progress | null = null;
  const results = await verifyCache(key, {
    onShard(done, total) {
      progress ??= progressFor(out.verbose, { title: 'Reading kept features', total, unit: 'shard' });
      progress.update(done, {});
    },
  });
  (progress as Progress | null)?.end({});
  const rows = results.map((result) => [result.record.key.slice(0, 12), verdict(result)] as const);
  out.result(rows.length === 0 ? 'Nothing is kept.' : table(rows));
  out.json({ command: 'cache verify', caches: results });
  const damaged = results.reduce((total, result) => total + result.damaged.length, 0);
  if (damaged > 0) {
    fail('checksum', `${plural(damaged, 'shard')} damaged; the next training that uses them mends them.`);
  }
}

function verdict({ record, damaged, missing }: Verification): string {
  if (record.meta === null) return 'meta.json is missing; the next training that uses it writes it anew';
  const problems = [
    ...(damaged.length > 0 ? [`damaged shards: ${damaged.join(', ')}`] : []),
    ...(missing.length > 0 ? [`not there yet: ${plural(missing.length, 'shard')}`] : []),
  ];
  return problems.join('; ') || `${plural(record.present, 'shard')} as they were written`;
}

async function runPrune({ olderThan, keep, all, ...options }: PruneCommandOptions): Promise<void> {
  const out = outputFor(options);
  if (olderThan === undefined && keep === undefined && all === undefined) {
    fail('argument', 'Say what to remove: --older-than, --keep or --all.');
  }
  const removed = await pruneCaches({
    ...(olderThan === undefined ? {} : { olderThan: new Date(Date.now() - olderThan * day) }),
    ...(keep === undefined ? {} : { keepBytes: keep * 1e9 }),
    all: all ?? false,
  });
  out.result(removed.length === 0 ? 'Nothing to remove.' : `Removed:\n${describeAll(removed, '')}`);
  out.json({ command: 'cache prune', removed });
}
