/** How much work the nodes of a graph are. */
import type { Node } from './node.ts';

/** Multiply-adds for one picture of the operations that have many. */
export function multiplyAdds({ op, inputs, shape }: Node): number {
  if (op === 'conv2d') {
    const [height, width, channels] = inputs[1]!.shape as [number, number, number];
    return elements(shape) * height * width * channels;
  }
  // Nobody knows, but it is somebody's whole backbone.
  if (op === 'foreign') return Number.POSITIVE_INFINITY;
  // The inner dimension is what A has besides the rows of the result.
  if (op === 'matmul') return elements(shape) * Math.abs(innerDimension(inputs[0]!, shape));
  return 0;
}

function innerDimension(a: Node, result: readonly number[]): number {
  return elements(a.shape.slice(-2)) / Math.abs(result.at(-2)!);
}

/** Elements for one picture: the batch counts as 1. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((size, dim) => size * Math.abs(dim), 1);
}
