/** Arithmetic of graph shapes, in which the batch is a symbol: -1 stands for it and -k for k times it. */
import { fail } from '../core/errors.ts';
import type { Shape } from './node.ts';

/** Renders a graph shape: the batch is `N`. */
export function describeShape(shape: Shape): string {
  return `[${shape.map((dim) => (dim === -1 ? 'N' : dim < 0 ? `${-dim}N` : dim)).join(', ')}]`;
}

/** NumPy broadcasting over symbolic shapes. */
export function broadcastShapes(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  const result: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      fail('shape', `Shapes ${describeShape(a)} and ${describeShape(b)} do not broadcast.`);
    }
    result.push(x === 1 ? y : x);
  }
  return result;
}

/** Size of a symbolic shape: negative if it grows with the batch. */
export function symbolicSize(shape: Shape): number {
  let size = 1;
  let symbols = 0;
  for (const dim of shape) {
    size *= dim;
    if (dim < 0) symbols++;
  }
  if (symbols > 1) fail('shape', `Shape ${describeShape(shape)} contains the batch more than once.`);
  return size;
}

/** A shape without some axes, or with 1 in their place. */
export function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): number[] {
  for (const axis of axes) {
    if (axis < 0 || axis >= shape.length)
      fail('shape', `Axis ${axis} is outside of shape ${describeShape(shape)}.`);
  }
  if (keepDims) return shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
  return shape.filter((_, i) => !axes.includes(i));
}

/** Output length of a window sliding over a padded axis. */
export function windowOutput(
  input: number,
  size: number,
  stride: number,
  dilation: number,
  before: number,
  after: number,
): number {
  return Math.floor((input + before + after - (size - 1) * dilation - 1) / stride) + 1;
}
