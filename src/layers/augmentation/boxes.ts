/** Random rectangles in pictures, for RandomErasing and CutMix. */
import { float32 } from '../../core/tensor.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import type { NoiseSource } from './base.ts';

/** Where something begins and ends on an axis, (batch, 1, 1, 1) each, in pixels with fractions. */
export interface Span {
  readonly start: Node;
  readonly end: Node;
}

/** A span of `share` (batch, 1, 1, 1) of a length, anywhere within it. */
export function randomSpan(length: number, share: Node, noise: NoiseSource): Span {
  const size = o.mul(share, length);
  const start = o.mul(noise.uniform([-1, 1, 1, 1]), o.sub(length, size));
  return { start, end: o.add(start, size) };
}

/** 1 for the pixels of an axis with start ≤ pixel < end, 0 for the others. */
function covered({ start, end }: Span, axis: 1 | 2, length: number): Node {
  const shape = [1, 1, 1, 1].map((one, i) => (i === axis ? length : one));
  const pixels = o.constant(
    float32(
      shape,
      Array.from({ length }, (_, i) => i),
    ),
  );
  const before = o.cast(o.greater(start, pixels), 'float32');
  return o.mul(o.cast(o.greater(end, pixels), 'float32'), o.sub(1, before));
}

/** True (batch, height, width, 1) where both spans cover a pixel. */
export function boxMask(x: Node, horizontal: Span, vertical: Span): Node {
  const inside = o.mul(covered(vertical, 1, x.shape[1]!), covered(horizontal, 2, x.shape[2]!));
  return o.greater(inside, 0.5);
}
