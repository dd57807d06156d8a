/** Data sets in batches: in which order, and read ahead. */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  flag,
  optional,
  seed as seedSchema,
  wholeNumber,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import { classOf, type Dataset, type Examples, lengthOf, type Rows } from './dataset.ts';
import { balancedOrder } from './sampling.ts';

/** Some rows of one epoch and their positions in the data set. */
export type Batch<T = Examples> = T & { readonly indices: Int32Array };

export interface BatchOptions {
  /** Examples a batch, default 32 as in Keras; the last batch of an epoch holds what is left. */
  readonly batchSize?: number;
  /** Default false: the data set's own order. True: the permutation that (seed, epoch) names. */
  readonly shuffle?: boolean;
  /** The class of each row: draws every class equally often instead, as `balancedOrder` says. */
  readonly balance?: ArrayLike<number> | null;
  /** Default 0. */
  readonly seed?: number;
  /** Counts from 0, the default. */
  readonly epoch?: number;
  /** The first batch to give, default 0; earlier ones are not read. So a stopped epoch goes on. */
  readonly startBatch?: number;
  /** Reads kept in flight while the caller works, default 2; 0 reads only when asked. */
  readonly prefetch?: number;
}

const batchOptions = fields({
  batchSize: optional(wholeNumber(1), 32),
  shuffle: optional(flag, false),
  balance: optional(
    v.nullable(
      v.custom<ArrayLike<number>>(
        (value) => Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value),
        'an array of class ids',
      ),
    ),
    null,
  ),
  seed: optional(seedSchema, 0),
  epoch: optional(wholeNumber(0), 0),
  startBatch: optional(wholeNumber(0), 0),
  prefetch: optional(wholeNumber(0), 2),
} satisfies Entries<BatchOptions>);

/**
 * One epoch in batches. A read that fails rejects the iteration at its batch. Leaving the loop early waits
 * for the reads in flight, so that none outlives it. Memory: the batches in flight, and four bytes for each
 * example when shuffling.
 *
 * @throws `argument`, at the call, for an option out of range
 */
export function batches<T extends object>(
  rows: Rows<T>,
  options: BatchOptions = {},
): AsyncGenerator<Batch<T>, void, undefined> {
  const given = checked(batchOptions, options, 'batches');
  const { batchSize, shuffle, balance, seed, epoch, startBatch, prefetch } = given;
  const length = lengthOf(rows);
  const count = Math.ceil(length / batchSize);
  if (startBatch > count) {
    fail('argument', `batches: startBatch must be a whole number from 0 to ${count}, got ${startBatch}.`);
  }
  const shuffled = () => (shuffle ? new Random(seed, 'shuffle', epoch).permutation(length) : null);
  const order = balance === null ? shuffled() : balancedOrder(balance, seed, epoch);
  const indicesOf = (batch: number): Int32Array => {
    const start = batch * batchSize;
    const end = Math.min(start + batchSize, length);
    return order?.slice(start, end) ?? Int32Array.from({ length: end - start }, (_, i) => start + i);
  };
  return readAhead(rows, indicesOf, startBatch, count, prefetch);
}

async function* readAhead<T extends object>(
  rows: Rows<T>,
  indicesOf: (batch: number) => Int32Array,
  startBatch: number,
  count: number,
  prefetch: number,
): AsyncGenerator<Batch<T>, void, undefined> {
  const inFlight: Promise<Batch<T>>[] = [];
  let next = startBatch;
  const fill = (size: number, start: Promise<void> | null) => {
    for (; inFlight.length < size && next < count; next++) {
      const indices = indicesOf(next);
      const batch = start === null ? readBatch(rows, indices) : start.then(() => readBatch(rows, indices));
      // Its turn may come late or never; until then a rejection must not count as unhandled.
      batch.catch(() => {});
      inFlight.push(batch);
    }
  };
  try {
    for (let wanted = startBatch; wanted < count; wanted++) {
      fill(1, null);
      const batch = await inFlight.shift()!;
      // After the caller has set its own work going: what is in memory is read in this thread.
      if (prefetch > 0) fill(prefetch, turn());
      yield batch;
    }
  } finally {
    await Promise.allSettled(inFlight);
  }
}

/** The end of this turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function readBatch<T extends object>(rows: Rows<T>, indices: Int32Array): Promise<Batch<T>> {
  return { ...(await rows.read(indices)), indices };
}

/** The class id of each row; one-hot and soft labels count as their most probable class. */
export async function labelsOf(dataset: Dataset): Promise<Int32Array> {
  if (dataset.labels !== undefined) return dataset.labels;
  const labels = new Int32Array(lengthOf(dataset));
  for await (const { y, indices } of batches(dataset, { batchSize: 256 })) {
    for (const [row, index] of indices.entries()) labels[index] = classOf(y, row);
  }
  return labels;
}
