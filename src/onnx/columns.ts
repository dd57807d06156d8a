/** Shapes that contain the batch, and the sums of columns that need them. */
import { fail } from '../core/errors.ts';
import type { Shape } from '../graph/node.ts';
import type { Emitter } from './emitter.ts';

/** An int64 shape that contains the batch, computed from an input that has it. */
export function dynamicShape(e: Emitter, shape: Shape): string {
  if (shape.every((dim) => dim >= 0)) return e.int64(shape);
  const parts = shape.map((dim) => {
    if (dim >= 0) return e.int64([dim]);
    const batch = e.once('batch', () =>
      fail('state', 'A graph whose shapes contain the batch needs an input with it.'),
    );
    return dim === -1 ? batch : e.once(`batch*${-dim}`, () => e.node('Mul', [batch, e.int64([-dim])]));
  });
  return e.once(`shape/${shape}`, () => e.node('Concat', parts, { axis: 0 }));
}

/**
 * The sums of a matrix's columns, [1, columns], are 1ᵀX; `rows` may be symbolic. Measured on the CPU provider: 2 to 40
 * times faster than ReduceSum, whose threads share out the channels.
 */
export function columnSums(e: Emitter, matrix: string, rows: number): string {
  const ones = e.once(`ones/${rows}`, () => e.node('Expand', [e.scalar(1), dynamicShape(e, [1, rows])]));
  return e.node('MatMul', [ones, matrix]);
}
