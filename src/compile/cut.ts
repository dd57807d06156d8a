/**
 * Finds where the frozen part of a model ends. Frozen is whatever depends on no weight that changes, on no
 * noise and on no label; the **cut** is the set of frozen values, computed from the picture, that the rest
 * uses. Residual and dense graphs may have several.
 */
import { bytesPerElement, sameShape } from '../core/tensor.ts';
import { type Node, type OpName, topologicalOrder } from '../graph/node.ts';

/**
 * Multiply-adds that a frozen part must save for each byte of its features to be worth a cut: computing less than
 * that again is quicker than storing and moving the features.
 */
const workPerByte = 50;

/**
 * The values that cross the cut, in graph order. `roots` is everything that the trainable part computes;
 * `changing` are the inputs that differ from step to step. If the frozen part does little, or the trainable part
 * uses the picture itself, the cut is `[image]`.
 */
export function findCut(roots: readonly Node[], image: Node, changing: ReadonlySet<Node>): Node[] {
  const order = topologicalOrder(roots);
  const moves = new Set<Node>();
  const fromImage = new Set<Node>();
  let saved = 0;
  for (const node of order) {
    const seesImage = node === image || node.inputs.some((input) => fromImage.has(input));
    if (changing.has(node) || node.inputs.some((input) => moves.has(input))) moves.add(node);
    // What mixes the pictures of a batch, as batch normalization does, depends on who is in the batch.
    else if (seesImage && !(node.shape[0]! < 0)) moves.add(node);
    else if (seesImage) {
      fromImage.add(node);
      saved += multiplyAdds(node);
    }
  }
  const crossing = new Set<Node>();
  for (const node of order) {
    if (!moves.has(node)) continue;
    for (const input of node.inputs)
      if (fromImage.has(input)) crossing.add(beforeArithmetic(input, fromImage));
  }
  for (const root of roots) if (fromImage.has(root)) crossing.add(root);
  const stored = [...crossing].reduce((bytes, node) => bytes + bytesOfRow(node), 0);
  const nothing = crossing.size === 0 || crossing.has(image);
  return nothing || saved < workPerByte * stored ? [image] : order.filter((node) => crossing.has(node));
}

const arithmetic: ReadonlySet<OpName> = new Set(['add', 'sub', 'mul', 'div']);

/**
 * Steps back over arithmetic of a vector with a constant vector, as standardization is: it is cheaper than a
 * lookup, and models that differ only in those constants share their features.
 */
function beforeArithmetic(node: Node, fromImage: ReadonlySet<Node>): Node {
  let current = node;
  while (arithmetic.has(current.op) && current.shape.length === 2) {
    const [source, ...others] = [...current.inputs].sort(
      (a, b) => Number(fromImage.has(b)) - Number(fromImage.has(a)),
    );
    const vector = others.every((other) => !fromImage.has(other) && elements(other.shape) > 1);
    if (!vector || !sameShape(source!.shape, current.shape)) break;
    current = source!;
  }
  return current;
}

function bytesOfRow({ shape, dtype }: Node): number {
  return elements(shape) * bytesPerElement(dtype);
}

/** Multiply-adds for one picture of the operations that have many. */
function multiplyAdds({ op, inputs, shape }: Node): number {
  if (op === 'conv2d') {
    const [height, width, channels] = inputs[1]!.shape as [number, number, number];
    return elements(shape) * height * width * channels;
  }
  // The inner dimension is what A has besides the rows of the result.
  if (op === 'matmul') return elements(shape) * Math.abs(innerDimension(inputs[0]!, shape));
  return 0;
}

function innerDimension(a: Node, result: readonly number[]): number {
  return elements(a.shape.slice(-2)) / Math.abs(result.at(-2)!);
}

/** Elements for one picture: the batch counts as 1. */
function elements(shape: readonly number[]): number {
  return shape.reduce((size, dim) => size * Math.abs(dim), 1);
}
