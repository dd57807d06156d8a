/**
 * What a data set is (labelled pictures with random access), the ones made of tensors in memory, views of
 * others, and the way through one epoch in batches. It does not know where pictures come from: `cifar.node.ts`
 * and `image.node.ts` do.
 */
import { fail } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import { formatShape, gatherRows, type Tensor } from '../core/tensor.ts';
import { fingerprintOf } from './fingerprint.ts';
import { balancedOrder } from './sampling.ts';

/** Pictures and their labels, row by row. */
export interface Examples {
  /** Pictures, [n, height, width, channels]. */
  readonly x: Tensor<'uint8' | 'float32'>;
  /** int32 [n] class ids, or float32 [n, classes]: one-hot or soft labels. */
  readonly y: Tensor<'int32' | 'float32'>;
}

/** Anything with random access by row: pictures, or features computed from them. */
export interface Rows<T> {
  readonly name: string;
  /** [length, ...] */
  readonly shape: readonly number[];
  /** The rows at these positions, in this order. Calls may overlap. */
  read(indices: ArrayLike<number>): Promise<T>;
}

/** Labelled pictures with random access. It holds no more in memory than its source does. */
export interface Dataset extends Rows<Examples> {
  /** [length, height, width, channels]. */
  readonly shape: readonly number[];
  readonly dtype: 'uint8' | 'float32';
  /** The class of id i is `classNames[i]`; null when nobody said. */
  readonly classNames: readonly string[] | null;
  /** Changes whenever `read` would return something else: caches are keyed by it. */
  readonly fingerprint: string;
  /** Says which pictures they are, whatever size they are read at; where it is absent, `fingerprint` says it. */
  readonly sources?: string;
  /** True if the pictures lie in memory. Default false. */
  readonly inMemory?: boolean;
  /** The class ids of all rows, where they are known without reading pictures. */
  readonly labels?: Int32Array;
  /** What the pictures are called, where they are files. */
  readonly names?: readonly string[];
  /** A position may come twice. Throws `argument` for one outside the data set. */
  read(indices: ArrayLike<number>): Promise<Examples>;
}

/** Some rows of one epoch and their positions in the data set. */
export type Batch<T = Examples> = T & { readonly indices: Int32Array };

/** Number of examples. */
export function lengthOf(rows: Rows<unknown>): number {
  return rows.shape[0] ?? 0;
}

/** Throws `argument` unless every position is an integer from 0 to length - 1. */
export function checkIndices(indices: ArrayLike<number>, length: number, name: string): void {
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!;
    if (!Number.isInteger(index) || index < 0 || index >= length) {
      fail('argument', `${name} has no example ${index}: positions go from 0 to ${length - 1}.`);
    }
  }
}

/**
 * A data set of tensors in memory. The tensors are kept, not copied: do not change them afterwards.
 *
 * @param x pictures, uint8 or float32 [n, ...]
 * @param y labels, int32 [n] class ids or float32 [n, classes]
 * @param options.name shown in messages; default 'tensors'
 * @param options.classNames default null; when given, every label has to have a name
 * @throws `shape` when x and y differ in length, `data` when a label has no name
 */
export function fromTensors(
  x: Tensor<'uint8' | 'float32'>,
  y: Tensor<'int32' | 'float32'>,
  options: { readonly name?: string; readonly classNames?: readonly string[] } = {},
): Dataset {
  const { name = 'tensors', classNames = null } = options;
  const [length] = x.shape;
  if (length === undefined || y.shape[0] !== length) {
    const came = `x ${formatShape(x.shape)} and y ${formatShape(y.shape)}`;
    fail('shape', `${name}: x and y need the same number of rows, got ${came}.`);
  }
  if (y.shape.length !== (y.dtype === 'int32' ? 1 : 2)) {
    const came = `${y.dtype} ${formatShape(y.shape)}`;
    fail(
      'shape',
      `${name}: y is int32 class ids of shape (n,) or float32 of shape (n, classes), got ${came}.`,
    );
  }
  if (classNames !== null) checkLabels(y, classNames.length, name);
  let fingerprint: string | null = null;
  return {
    name,
    shape: x.shape,
    dtype: x.dtype,
    classNames,
    inMemory: true,
    get fingerprint() {
      // Only on demand: it passes over all the bytes.
      fingerprint ??= `tensors:${fingerprintOf(x, y)}`;
      return fingerprint;
    },
    async read(indices) {
      checkIndices(indices, length, name);
      return { x: gatherRows(x, indices), y: gatherRows(y, indices) };
    },
  };
}

function checkLabels(y: Tensor<'int32' | 'float32'>, classes: number, name: string): void {
  if (y.dtype === 'float32') {
    if (y.shape[1] === classes) return;
    fail('data', `${name}: y has ${y.shape[1]} columns, but there are ${classes} class names.`);
  }
  y.data.forEach((label, i) => {
    if (label >= 0 && label < classes) return;
    fail(
      'data',
      `${name}, example ${i}: label ${label}, but with ${classes} class names 0 … ${classes - 1} fit.`,
    );
  });
}

/** The examples from `start` up to, not including, `end`, as a view: nothing is read or copied. */
export function slice(dataset: Dataset, start: number, end: number): Dataset {
  const length = lengthOf(dataset);
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end > length || start >= end) {
    const expected = `whole numbers with 0 <= start < end <= ${length}`;
    fail('argument', `${dataset.name}: a slice needs ${expected}, got start ${start} and end ${end}.`);
  }
  if (start === 0 && end === length) return dataset;
  return {
    name: dataset.name,
    shape: [end - start, ...dataset.shape.slice(1)],
    dtype: dataset.dtype,
    classNames: dataset.classNames,
    inMemory: dataset.inMemory === true,
    ...(dataset.labels && { labels: dataset.labels.subarray(start, end) }),
    ...(dataset.names && { names: dataset.names.slice(start, end) }),
    // Composed on demand, since the source's own may be costly.
    get fingerprint() {
      return `${dataset.fingerprint}[${start}:${end}]`;
    },
    get sources() {
      return `${sourcesOf(dataset)}[${start}:${end}]`;
    },
    async read(indices) {
      checkIndices(indices, end - start, dataset.name);
      return dataset.read(Int32Array.from(indices, (index) => index + start));
    },
  };
}

/** Says which pictures a data set holds, whatever size they are read at. */
export function sourcesOf({ sources, fingerprint }: Dataset): string {
  return sources ?? fingerprint;
}

/** The first `count` examples, or all of them when there are fewer. */
export function limit(dataset: Dataset, count: number): Dataset {
  if (!Number.isInteger(count) || count < 1) {
    fail('argument', `${dataset.name}: a limit is a whole number of examples, at least 1, got ${count}.`);
  }
  return slice(dataset, 0, Math.min(count, lengthOf(dataset)));
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

/** The class of one row of labels. */
export function classOf({ dtype, shape, data }: Examples['y'], row: number): number {
  if (dtype === 'int32') return data[row]!;
  const classes = shape[1]!;
  const values = data.subarray(row * classes, (row + 1) * classes);
  return values.indexOf(Math.max(...values));
}

/**
 * Sets the last part of a data set aside, as Keras's `validation_split` does: before any shuffling, with
 * floor(length * (1 - fraction)) examples left for training.
 *
 * @throws `argument` when either part would be empty
 */
export function splitValidation(
  dataset: Dataset,
  fraction: number,
): { readonly train: Dataset; readonly validation: Dataset } {
  const length = lengthOf(dataset);
  const splitAt = Math.floor(length * (1 - fraction));
  if (!(fraction > 0 && fraction < 1) || splitAt === 0 || splitAt === length) {
    const expected = 'a fraction between 0 and 1 that leaves examples on both sides';
    fail(
      'argument',
      `${dataset.name} has ${length} examples: validation needs ${expected}, got ${fraction}.`,
    );
  }
  return { train: slice(dataset, 0, splitAt), validation: slice(dataset, splitAt, length) };
}

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
  const { batchSize = 32, shuffle = false, seed = 0, epoch = 0, startBatch = 0, prefetch = 2 } = options;
  const { balance = null } = options;
  const length = lengthOf(rows);
  checkInteger('batchSize', batchSize, 1, Number.MAX_SAFE_INTEGER);
  const count = Math.ceil(length / batchSize);
  checkInteger('seed', seed, 0, 0xffff_ffff);
  checkInteger('epoch', epoch, 0, Number.MAX_SAFE_INTEGER);
  checkInteger('startBatch', startBatch, 0, count);
  checkInteger('prefetch', prefetch, 0, 1024);
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

function checkInteger(option: string, value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  fail('argument', `batches: ${option} is a whole number from ${low} to ${high}, got ${value}.`);
}
