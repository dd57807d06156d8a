/**
 * Finds where the frozen part of a model ends. Frozen is whatever depends on no weight that changes, on no
 * noise and on no label; the **cut** is the set of frozen values, computed from the picture, that the rest
 * uses. Residual and dense graphs may have several.
 */
import { type Node, type OpName, topologicalOrder } from '../graph/node.ts';

/** Operations worth computing once: a frozen part without any of them is cheaper to repeat than to keep. */
const heavy: ReadonlySet<OpName> = new Set(['conv2d', 'matmul']);

/**
 * The values that cross the cut, in graph order. `roots` is everything that the trainable part computes;
 * `changing` are the inputs that differ from step to step. Without frozen convolutions, or if the trainable part
 * uses the picture itself, the cut is `[image]`.
 */
export function findCut(roots: readonly Node[], image: Node, changing: ReadonlySet<Node>): Node[] {
  const order = topologicalOrder(roots);
  const moves = new Set<Node>();
  const fromImage = new Set<Node>();
  let worthwhile = false;
  for (const node of order) {
    if (changing.has(node) || node.inputs.some((input) => moves.has(input))) moves.add(node);
    else if (node === image || node.inputs.some((input) => fromImage.has(input))) {
      fromImage.add(node);
      worthwhile ||= heavy.has(node.op);
    }
  }
  if (!worthwhile) return [image];
  const crossing = new Set<Node>();
  for (const node of order) {
    if (moves.has(node)) for (const input of node.inputs) if (fromImage.has(input)) crossing.add(input);
  }
  for (const root of roots) if (fromImage.has(root)) crossing.add(root);
  // Whoever needs the picture itself can compute the rest from it.
  if (crossing.has(image)) return [image];
  return order.filter((node) => crossing.has(node));
}
