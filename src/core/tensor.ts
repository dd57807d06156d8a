/**
 * Dense tensors in memory: a dtype, a shape, and row-major data. It owns no mathematics; that is `graph/`.
 */
import * as v from 'valibot';
import { shown } from './checked.ts';
import { fail } from './errors.ts';
import { nearest } from './nearest.ts';
import { lookUp } from './records.ts';

/** Element types, spelled as ONNX and NumPy do. float16 is held as its bits in a `Uint16Array`. */
export type DType = 'float32' | 'float16' | 'int32' | 'int64' | 'uint8' | 'int8' | 'bool';

export interface DataOf {
  float32: Float32Array;
  float16: Uint16Array;
  int32: Int32Array;
  int64: BigInt64Array;
  uint8: Uint8Array;
  int8: Int8Array;
  bool: Uint8Array;
}

/** A row-major array: `data.length` is the product of `shape`. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DataOf[D];
}

const constructors: { [D in DType]: new (size: number) => DataOf[D] } = {
  float32: Float32Array,
  float16: Uint16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  int8: Int8Array,
  bool: Uint8Array,
};

const elementBytes: { [D in DType]: number } = {
  float32: 4,
  float16: 2,
  int32: 4,
  int64: 8,
  uint8: 1,
  int8: 1,
  bool: 1,
};

/** Number of elements of a shape; 1 for a scalar. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const dim of shape) size *= dim;
  return size;
}

/** Bytes of one element. */
export function bytesPerElement(dtype: DType): number {
  return elementBytes[dtype];
}

/**
 * Makes a tensor, zero-filled when no data is given. Throws `shape` if data and shape disagree, and `argument` for what
 * is no element type, no shape, or data of another type.
 */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data?: DataOf[D]): Tensor<D> {
  const Data = lookUp(constructors, dtype) ?? noType(dtype);
  if (!isShape(shape)) {
    fail('argument', `tensor: shape must be an array of whole numbers of at least 0, got ${shown(shape)}.`);
  }
  if (data !== undefined && !(data instanceof Data)) {
    fail('argument', `tensor: data of ${dtype} must be a ${Data.name}, got ${shown(data)}.`);
  }
  const size = sizeOf(shape);
  const values = data ?? (new Data(size) as DataOf[D]);
  if (values.length !== size) {
    fail(
      'shape',
      `A ${dtype} tensor of shape ${formatShape(shape)} needs ${size} values, got ${values.length}.`,
    );
  }
  return { dtype, shape, data: values };
}

function noType(dtype: unknown): never {
  const known = Object.keys(constructors);
  const near = typeof dtype === 'string' ? nearest(dtype, known) : null;
  return fail(
    'argument',
    `tensor: dtype must be one of ${known.join(', ')}${near === null ? '' : ` (${near}?)`}, got ${shown(dtype)}.`,
  );
}

function isShape(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
}

/** A tensor of one of these element types, whose data has the type and the length that it says. */
export function tensorOf<D extends DType>(...dtypes: readonly D[]) {
  return v.custom<Tensor<D>>(
    (value) => isTensor(value) && (dtypes as readonly DType[]).includes(value.dtype),
    `a tensor of ${dtypes.join(' or ')}`,
  );
}

function isTensor(value: unknown): value is Tensor {
  if (typeof value !== 'object' || value === null) return false;
  const { dtype, shape, data } = value as Partial<Tensor>;
  const Data = typeof dtype === 'string' ? lookUp(constructors, dtype) : undefined;
  return Data !== undefined && isShape(shape) && data instanceof Data && data.length === sizeOf(shape);
}

/** A float32 tensor from plain numbers. Throws as `tensor` does. */
export function float32(shape: readonly number[], values: ArrayLike<number>): Tensor<'float32'> {
  const numbers = Array.isArray(values)
    ? values.every((value) => typeof value === 'number')
    : ArrayBuffer.isView(values) &&
      'length' in values &&
      typeof (values as ArrayLike<unknown>)[0] !== 'bigint';
  if (!numbers) fail('argument', `float32: values must be numbers, got ${shown(values)}.`);
  return tensor('float32', shape, values instanceof Float32Array ? values : Float32Array.from(values));
}

/** Renders a shape as Keras users expect: `(50000, 32, 32, 3)`, `(None, 10)`, `(5,)`. `null` is `None`. */
export function formatShape(shape: readonly (number | null)[]): string {
  const dims = shape.map((dim) => (dim === null ? 'None' : String(dim)));
  return dims.length === 1 ? `(${dims[0]},)` : `(${dims.join(', ')})`;
}

/** True if both shapes have the same dimensions. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** Row-major view of rows `start` (inclusive) to `end` (exclusive) along the first axis; shares memory. */
export function rows<D extends DType>(source: Tensor<D>, start: number, end: number): Tensor<D> {
  const width = sizeOf(source.shape.slice(1));
  const data = source.data.subarray(start * width, end * width) as DataOf[D];
  return { dtype: source.dtype, shape: [end - start, ...source.shape.slice(1)], data };
}

/** Copies of tensors of one shape, one after the other along a new first axis. */
export function stack(tensors: readonly Tensor[]): Tensor {
  const [{ dtype, shape }] = tensors as readonly [Tensor, ...Tensor[]];
  const all = tensor(dtype, [tensors.length, ...shape]);
  const data = all.data as Float32Array;
  for (const [i, each] of tensors.entries()) data.set(each.data as Float32Array, i * sizeOf(shape));
  return all;
}

/** Copies the rows with the given indices along the first axis. */
export function gatherRows<D extends DType>(source: Tensor<D>, indices: ArrayLike<number>): Tensor<D> {
  const into = tensor(source.dtype, [indices.length, ...source.shape.slice(1)]);
  const width = sizeOf(source.shape.slice(1));
  const from = source.data as Float32Array;
  const to = into.data as Float32Array;
  for (let i = 0; i < indices.length; i++) {
    to.set(from.subarray(indices[i]! * width, (indices[i]! + 1) * width), i * width);
  }
  return into;
}

/** Copies rows to the given indices of another tensor, the inverse of `gatherRows`. */
export function scatterRows(source: Tensor, indices: ArrayLike<number>, into: Tensor): void {
  const width = sizeOf(source.shape.slice(1));
  const from = source.data as Float32Array;
  const to = into.data as Float32Array;
  for (let i = 0; i < indices.length; i++) {
    to.set(from.subarray(i * width, (i + 1) * width), indices[i]! * width);
  }
}

/** The bytes of a tensor's data; shares memory. */
export function bytesOf(source: Tensor): Uint8Array {
  const { buffer, byteOffset, byteLength } = source.data;
  return new Uint8Array(buffer, byteOffset, byteLength);
}
