/** The shapes of a convolution, by which its formulation is chosen. */
import type { ConvAttributes } from '../graph/node.ts';

export interface Geometry {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly kernel: readonly number[];
  readonly attributes: ConvAttributes;
}

/** True for a 1x1 convolution that maps each position to itself. */
export function seesEachPosition({ kernel, attributes: { strides, pads } }: Geometry): boolean {
  const [height, width] = kernel;
  return height === 1 && width === 1 && pads.every((amount) => amount === 0) && strides.every((s) => s === 1);
}
