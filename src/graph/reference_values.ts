/** Float64 arrays of the reference, and ways through them. */
import { sizeOf } from '../core/tensor.ts';
import type { NodeOf, OpName } from './node.ts';

/** A float64 array with a concrete shape; bool is 0 and 1. */
export interface Value {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Computes one node from its inputs; the shape has its batch filled in. */
export type Rule<K extends OpName> = (
  inputs: readonly Value[],
  node: NodeOf<K>,
  shape: readonly number[],
) => Float64Array;

export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i]!;
  }
  return strides;
}

/** Calls `visit` with each multi-index of a shape in row-major order. The index array is reused. */
export function eachIndex(
  shape: readonly number[],
  visit: (index: readonly number[], flat: number) => void,
): void {
  const index = shape.map(() => 0);
  const size = sizeOf(shape);
  for (let flat = 0; flat < size; flat++) {
    visit(index, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
}

/** Offset of an output index in an input that broadcasts to it. */
export function broadcastReader({ shape, data }: Value): (index: readonly number[]) => number {
  const strides = stridesOf(shape).map((stride, i) => (shape[i] === 1 ? 0 : stride));
  return (index) => {
    let offset = 0;
    for (let i = 0; i < strides.length; i++)
      offset += strides[i]! * index[index.length - strides.length + i]!;
    return data[offset]!;
  };
}
