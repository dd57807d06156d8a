/**
 * Finds where the frozen part of a model ends. Frozen is whatever depends on no weight that changes and on no label,
 * and on noise only if that comes from random layers in front of it; the **cut** is the set of frozen values, computed
 * from the picture, that the rest uses. Residual and dense graphs may have several.
 */
import { bytesPerElement, sameShape } from '../core/tensor.ts';
import { type Node, type OpName, topologicalOrder } from '../graph/node.ts';
import { elements, multiplyAdds } from '../graph/work.ts';

/**
 * Multiply-adds that a frozen part must save for each byte of its features to be worth a cut: computing less than
 * that again is quicker than storing and moving the features.
 */
const workPerByte = 50;

export interface Cut {
  /** The values that cross, in graph order; the picture alone if nothing worth keeping is frozen. */
  readonly nodes: readonly Node[];
  /** The noises that they depend on: those of random layers in front of the frozen part. */
  readonly noises: readonly Node[];
}

/**
 * Where the frozen part ends. `roots` is everything that the trainable part computes; `changing` are the inputs that
 * differ from step to step, `noises` among them. Noise belongs to the frozen part only where nothing worth keeping
 * could be frozen without it, as with random layers in front of a backbone.
 */
export function chooseCut(
  roots: readonly Node[],
  image: Node,
  changing: ReadonlySet<Node>,
  noises: readonly Node[],
): Cut {
  const fixed = { nodes: findCut(roots, image, changing), noises: [] };
  if (!fixed.nodes.includes(image)) return fixed;
  const early = earlyNoises(roots, image, changing, noises);
  if (early.length === 0) return fixed;
  const others = new Set([...changing].filter((node) => !early.includes(node)));
  const nodes = findCut(roots, image, others, early);
  if (nodes.includes(image)) return fixed;
  const used = new Set(topologicalOrder(nodes));
  return { nodes, noises: early.filter((noise) => used.has(noise)) };
}

/**
 * The values that cross the cut, in graph order. If the frozen part does little, or the trainable part uses the
 * picture or a frozen noise itself, the cut is `[image]`.
 */
export function findCut(
  roots: readonly Node[],
  image: Node,
  changing: ReadonlySet<Node>,
  frozenNoises: readonly Node[] = [],
): Node[] {
  const order = topologicalOrder(roots);
  const sources = new Set([image, ...frozenNoises]);
  const moves = new Set<Node>();
  const fromSources = new Set<Node>();
  let saved = 0;
  for (const node of order) {
    const sees = sources.has(node) || node.inputs.some((input) => fromSources.has(input));
    if (changing.has(node) || node.inputs.some((input) => moves.has(input))) moves.add(node);
    // What mixes the pictures of a batch, as batch normalization does, depends on who is in the batch.
    else if (sees && !(node.shape[0]! < 0)) moves.add(node);
    else if (sees) {
      fromSources.add(node);
      saved += multiplyAdds(node);
    }
  }
  const crossing = new Set<Node>();
  // Features are numbers: a class that was chosen or a comparison is made again from what it was made of.
  const cross = (node: Node): void => {
    if (node.dtype === 'float32' || sources.has(node)) crossing.add(node);
    else for (const input of node.inputs) if (fromSources.has(input)) cross(input);
  };
  for (const node of order) {
    if (!moves.has(node)) continue;
    for (const input of node.inputs) if (fromSources.has(input)) cross(beforeArithmetic(input, fromSources));
  }
  for (const root of roots) if (fromSources.has(root)) cross(root);
  const stored = [...crossing].reduce((bytes, node) => bytes + bytesOfRow(node), 0);
  const nothing = crossing.size === 0 || [...sources].some((source) => crossing.has(source));
  return nothing || saved < workPerByte * stored ? [image] : order.filter((node) => crossing.has(node));
}

/**
 * The noises with heavy frozen work behind them: operations on the picture that depend on them and on nothing else
 * that changes. Dropout in a head has none.
 */
function earlyNoises(
  roots: readonly Node[],
  image: Node,
  changing: ReadonlySet<Node>,
  noises: readonly Node[],
): Node[] {
  // Noise that the pictures of a batch share cannot be drawn for each of them.
  const candidates = new Set(noises.filter(({ shape }) => shape[0]! < 0));
  const moves = new Set<Node>();
  const fromImage = new Set<Node>();
  const drawn = new Map<Node, ReadonlySet<Node>>();
  const early = new Set<Node>();
  for (const node of topologicalOrder(roots)) {
    const moving = changing.has(node) && !candidates.has(node);
    if (moving || node.inputs.some((input) => moves.has(input))) moves.add(node);
    else {
      const own = candidates.has(node) ? [node] : [];
      const before = new Set([...own, ...node.inputs.flatMap((input) => [...(drawn.get(input) ?? [])])]);
      if (before.size > 0) drawn.set(node, before);
      if (node === image || node.inputs.some((input) => fromImage.has(input))) fromImage.add(node);
      if (fromImage.has(node) && multiplyAdds(node) > 0) for (const noise of before) early.add(noise);
    }
  }
  return noises.filter((noise) => early.has(noise));
}

const arithmetic: ReadonlySet<OpName> = new Set(['add', 'sub', 'mul', 'div']);

/**
 * Steps back over arithmetic of a vector with a constant vector, as standardization is: it is cheaper than a
 * lookup, and models that differ only in those constants share their features.
 */
function beforeArithmetic(node: Node, fromSources: ReadonlySet<Node>): Node {
  let current = node;
  while (arithmetic.has(current.op) && current.shape.length === 2) {
    const [source, ...others] = [...current.inputs].sort(
      (a, b) => Number(fromSources.has(b)) - Number(fromSources.has(a)),
    );
    const vector = others.every((other) => !fromSources.has(other) && elements(other.shape) > 1);
    if (!vector || !sameShape(source!.shape, current.shape)) break;
    current = source!;
  }
  return current;
}

function bytesOfRow({ shape, dtype }: Node): number {
  return elements(shape) * bytesPerElement(dtype);
}
