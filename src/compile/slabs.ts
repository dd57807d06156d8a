/**
 * Large matrices are state in several pieces, slabs of rows. Each step replaces all state by fresh memory; pieces of the
 * size of an activation find room in the gaps of the heap where a matrix of 100 MB finds none, and the gradient of one
 * slab can go before that of the next comes.
 */
import { bytesPerElement, sizeOf } from '../core/tensor.ts';
import type { Variable } from '../layers/layer.ts';

/** Rows `start` to `end` of a variable's first axis, or of optimizer state for it. */
export interface Slab {
  /** The engine's name for it, and the name that the whole has. */
  readonly name: string;
  readonly whole: string;
  readonly variable: Variable;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

/** Smaller weights stay whole. */
const largeWeight = 32 * 2 ** 20;
const largestSlab = 16 * 2 ** 20;

/** The slabs of a weight: one, of the same name, unless its layer takes rows and it is large. */
export function slabsOf(whole: string, variable: Variable, cuts: boolean): readonly Slab[] {
  const { shape, byRows } = variable;
  const bytes = sizeOf(shape) * bytesPerElement('float32');
  const [rows = 1, ...others] = shape;
  if (!cuts || !byRows || bytes < largeWeight) {
    return [{ name: whole, whole, variable, shape, start: 0, end: rows }];
  }
  const count = Math.min(rows, Math.ceil(bytes / largestSlab));
  return Array.from({ length: count }, (_, i) => {
    const [start, end] = [Math.floor((rows * i) / count), Math.floor((rows * (i + 1)) / count)];
    const name = `${whole}[${start}:${end}]`;
    return { name, whole, variable, shape: [end - start, ...others], start, end };
  });
}

/** A slab's part of its variable's values, or of what has their shape: the same memory. */
export function partOf({ variable, start, end }: Slab, values: Float32Array): Float32Array {
  const perRow = values.length / (variable.shape[0] ?? 1);
  return values.subarray(start * perRow, end * perRow);
}

/** Slabs by the whole that they make, in order. */
export function byWhole<S extends Slab>(slabs: Iterable<S>): Map<string, S[]> {
  const groups = new Map<string, S[]>();
  for (const slab of slabs) groups.set(slab.whole, [...(groups.get(slab.whole) ?? []), slab]);
  return groups;
}
