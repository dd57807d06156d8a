/**
 * What a data set is (labelled pictures with random access), the ones made of tensors in memory, and views of
 * others. It does not know where pictures come from: `cifar.node.ts` and `image.node.ts` do.
 */
import * as v from 'valibot';
import { checked, type Entries, fields, optional, text } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { formatShape, gatherRows, type Tensor, tensorOf } from '../core/tensor.ts';
import { fingerprintOf } from './fingerprint.ts';

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

/** Something that has what a data set must have. */
export const datasetSchema = v.custom<Dataset>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Partial<Dataset>).read === 'function' &&
    Array.isArray((value as Partial<Dataset>).shape),
  'a data set',
);

/** Tensors in memory, in the place of a data set. */
export const examplesSchema = fields({
  x: tensorOf('uint8', 'float32'),
  y: tensorOf('int32', 'float32'),
} satisfies Entries<Examples>);

/** Number of examples. */
export function lengthOf(rows: Rows<unknown>): number {
  return rows.shape[0] ?? 0;
}

/** Throws `argument` unless every position is an integer from 0 to length - 1, and `data` if there is none. */
export function checkIndices(indices: ArrayLike<number>, length: number, name: string): void {
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!;
    if (length === 0) fail('data', `${name} is empty: there is no example to train on or to evaluate.`);
    if (!Number.isInteger(index) || index < 0 || index >= length) {
      fail('argument', `${name} has no example ${index}: positions go from 0 to ${length - 1}.`);
    }
  }
}

interface FromTensorsOptions {
  readonly name?: string;
  readonly classNames?: readonly string[] | null;
}

/** Names of classes, in the order of their ids. */
export const classNamesSchema = v.array(text, 'an array of names');

const fromTensorsOptions = fields({
  name: optional(text, 'tensors'),
  classNames: optional(v.nullable(classNamesSchema), null),
} satisfies Entries<FromTensorsOptions>);

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
  options: FromTensorsOptions = {},
): Dataset {
  checked(examplesSchema, { x, y }, 'fromTensors');
  const { name, classNames } = checked(fromTensorsOptions, options, 'fromTensors');
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
  checkLabels(y, classNames?.length ?? null, name);
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

/**
 * Throws `data` for labels that are no numbers, or that have no name. Without names only a model knows how many classes
 * there are; it checks each batch.
 */
function checkLabels(y: Tensor<'int32' | 'float32'>, classes: number | null, name: string): void {
  if (y.dtype === 'float32') {
    const [, columns] = y.shape as [number, number];
    if (classes !== null && columns !== classes) {
      fail('data', `${name}: y has ${columns} columns, but there are ${classes} class names.`);
    }
    const at = y.data.findIndex((value) => !Number.isFinite(value));
    if (at >= 0) fail('data', `${name}, example ${Math.floor(at / columns)}: a label is ${y.data[at]}.`);
    return;
  }
  if (classes === null) return;
  const at = y.data.findIndex((label) => label < 0 || label >= classes);
  if (at < 0) return;
  fail(
    'data',
    `${name}, example ${at}: label ${y.data[at]}, but with ${classes} class names 0 … ${classes - 1} fit.`,
  );
}

/** The examples from `start` up to, not including, `end`, as a view: nothing is read or copied. */
export function slice(dataset: Dataset, start: number, end: number): Dataset {
  checked(datasetSchema, dataset, 'slice(dataset)');
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
  checked(datasetSchema, dataset, 'limit(dataset)');
  if (!Number.isInteger(count) || count < 1) {
    fail('argument', `${dataset.name}: a limit is a whole number of examples, at least 1, got ${count}.`);
  }
  return slice(dataset, 0, Math.min(count, lengthOf(dataset)));
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
  checked(datasetSchema, dataset, 'splitValidation(dataset)');
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
