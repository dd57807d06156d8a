/** Moving pictures by affine maps, as TensorFlow's ImageProjectiveTransform does under Keras's layers. */
import { type Entries, number, oneOf, optional } from '../../core/checked.ts';
import { float32 } from '../../core/tensor.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import { interpolationSchema } from '../reshaping.ts';

const fillModes = ['reflect', 'wrap', 'constant', 'nearest'] as const;
export type FillMode = (typeof fillModes)[number];

/** How pictures are read between and beside their pixels. */
export interface Resampling {
  /**
   * What lies outside of a picture. `reflect`: mirrored, the edge pixel twice; `wrap`: the opposite edge;
   * `nearest`: the edge pixel; `constant`: `fillValue`. Defaults to `reflect`.
   */
  readonly fillMode: FillMode;
  /** Defaults to `bilinear`. */
  readonly interpolation: 'bilinear' | 'nearest';
  /** Defaults to 0. */
  readonly fillValue: number;
}

/** Schemas with Keras's defaults. */
export const resamplingEntries = {
  fillMode: optional(oneOf(...fillModes), 'reflect'),
  interpolation: optional(interpolationSchema, 'bilinear'),
  fillValue: optional(number, 0),
} satisfies Entries<Partial<Resampling>>;

/** A row of a map: p · x + q · y + r, each a number or one for each picture (batch, 1). */
export type Row = readonly [p: Node | number, q: Node | number, r: Node | number];

/**
 * Reads each pixel (x, y) of the result at (`toX`, `toY`) of the picture, in pixels, the first pixel's centre being
 * (0, 0).
 */
export function affineTransform(pictures: Node, toX: Row, toY: Row, resampling: Resampling): Node {
  const { fillMode, interpolation, fillValue } = resampling;
  const [, height, width] = pictures.shape as [number, number, number, number];
  const xs = Array.from({ length: height * width }, (_, i) => i % width);
  const ys = Array.from({ length: height * width }, (_, i) => Math.floor(i / width));
  const [x, y] = [xs, ys].map((values) => o.constant(float32([1, height * width], values))) as [Node, Node];
  const along = ([p, q, r]: Row, length: number) => {
    const position = o.add(o.add(times(p, x), times(q, y)), r);
    const mapped = fillMode === 'wrap' ? wrapped(position, length) : position;
    return o.reshape(o.expand(mapped, [-1, height * width]), [-1, height, width, 1]);
  };
  const positions = o.concat([along(toX, width), along(toY, height)], 3);
  if (fillMode !== 'constant') {
    const padding = fillMode === 'reflect' ? 'reflection' : 'border';
    return o.gridSample(pictures, positions, { interpolation, padding });
  }
  // Around pictures that are lowered by the fill value lie zeros.
  const lowered = fillValue === 0 ? pictures : o.sub(pictures, fillValue);
  const sampled = o.gridSample(lowered, positions, { interpolation, padding: 'zeros' });
  return fillValue === 0 ? sampled : o.add(sampled, fillValue);
}

function times(factor: Node | number, positions: Node): Node | number {
  if (factor === 0) return 0;
  return factor === 1 ? positions : o.mul(factor, positions);
}

/** TensorFlow's WRAP: a picture repeats every `length` pixels, and positions between two copies go to the edge. */
function wrapped(position: Node, length: number): Node {
  if (length === 1) return o.mul(position, 0);
  const turns = (x: Node) => o.cast(o.cast(o.div(x, length - 1), 'int32'), 'float32');
  const below = o.add(position, o.mul(o.add(turns(o.neg(position)), 1), length));
  const above = o.sub(position, o.mul(turns(position), length));
  const inside = o.select(o.greater(position, length - 1), above, position);
  return o.min(o.max(o.select(o.greater(0, position), below, inside), 0), length - 1);
}
