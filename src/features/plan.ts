/**
 * What is to be kept and how it is divided: the request, its key, its shards. Two processes with the same
 * request agree on all of it.
 */
import { createHash } from 'node:crypto';
import type { Tensor } from '../core/tensor.ts';
import { graftVersion } from '../core/version.node.ts';
import type { Rows } from '../data/dataset.ts';
import { type ColumnSpec, type Columns, rowBytes } from './columns.ts';
import { layoutOf, type Seal, type ShardLayout, shardFormat } from './shard.ts';

/** Features that somebody wants, and the way to compute them. */
export interface FeatureRequest {
  /** The data set: its name and length. */
  readonly source: Omit<Rows<unknown>, 'read'>;
  readonly columns: readonly ColumnSpec[];
  /** Everything else that the values depend on, by a name that `meta.json` shows. */
  readonly origin: Readonly<Record<string, string>>;
  /** Features of neighbouring rows, at most `computeRows`. Calls may overlap. */
  compute(indices: Int32Array): Promise<Columns>;
  /** Bytes of a shard as it is computed. Default 64 MiB. */
  readonly shardBytes?: number;
}

/**
 * Rows that are computed together: always the same ones, so that a shard comes out the same in every run. The
 * throughput of ResNet50 does not grow any more from 16 on.
 */
export const computeRows = 16;

/** Small enough to be computed again without much loss, large enough for few files. */
const usualShardBytes = 64 * 2 ** 20;

/** A request, divided. */
export class Plan {
  readonly request: FeatureRequest;
  readonly name: string;
  readonly length: number;
  /** 32 hexadecimal digits that stand for everything that the features depend on. */
  readonly key: string;
  readonly shardRows: number;
  readonly shards: number;
  readonly #full: ShardLayout;
  readonly #last: ShardLayout;

  constructor(request: FeatureRequest) {
    const { source, columns, origin, shardBytes = usualShardBytes } = request;
    this.request = request;
    this.name = source.name;
    this.length = source.shape[0] ?? 0;
    this.shardRows = rowsOfShard(shardBytes / rowBytes(columns));
    this.shards = Math.ceil(this.length / this.shardRows);
    const everything = [shardFormat, graftVersion, this.length, this.shardRows, columns, origin];
    this.key = createHash('sha256').update(JSON.stringify(everything)).digest('hex').slice(0, 32);
    this.#full = layoutOf(columns, this.rows(0));
    this.#last = layoutOf(columns, this.rows(this.shards - 1));
  }

  /** First row of a shard. */
  start(shard: number): number {
    return shard * this.shardRows;
  }

  rows(shard: number): number {
    return Math.min(this.shardRows, this.length - this.start(shard));
  }

  /** Only the last shard is shorter. */
  layout(shard: number): ShardLayout {
    return shard < this.shards - 1 ? this.#full : this.#last;
  }

  seal(shard: number): Seal {
    return { key: this.key, shard };
  }

  /** Bytes of some shards; of all if none are named. */
  bytes(shards: readonly number[] = this.all): number {
    return shards.reduce((total, shard) => total + this.layout(shard).bytes, 0);
  }

  get all(): number[] {
    return Array.from({ length: this.shards }, (_, shard) => shard);
  }

  /** Names the tensors of `emptyRows`. */
  named(tensors: readonly Tensor[]): { readonly features: Columns } {
    return { features: Object.fromEntries(this.request.columns.map(({ name }, i) => [name, tensors[i]!])) };
  }
}

/** Whole computations where that is possible. */
function rowsOfShard(fitting: number): number {
  if (fitting < computeRows) return Math.max(1, Math.floor(fitting));
  return Math.floor(fitting / computeRows) * computeRows;
}

/** Rows that lie next to each other in one shard and go next to each other into the result. */
export interface Run {
  readonly shard: number;
  /** Inside the shard. */
  readonly row: number;
  readonly count: number;
  /** In the result. */
  readonly at: number;
}

/** Divides positions into runs of at most `most` rows. */
export function runsOf(indices: ArrayLike<number>, shardRows: number, most: number): Run[] {
  const runs: Run[] = [];
  for (let at = 0; at < indices.length; ) {
    const index = indices[at]!;
    const row = index % shardRows;
    const longest = Math.min(most, shardRows - row, indices.length - at);
    let count = 1;
    while (count < longest && indices[at + count] === index + count) count++;
    runs.push({ shard: Math.floor(index / shardRows), row, count, at });
    at += count;
  }
  return runs;
}
