/** Reverse-mode differentiation: writes the backward pass as more nodes of the same kind. */
import { fail } from '../core/errors.ts';
import { float32, sameShape } from '../core/tensor.ts';
import { describeShape } from './dimensions.ts';
import { gradients } from './gradients.ts';
import { type Node, type NodeOf, type OpName, topologicalOrder } from './node.ts';
import * as o from './ops.ts';

/**
 * Gradients of a scalar `loss` with respect to each of `targets`, in their order and shapes. A target that
 * the loss does not depend on gets zeros.
 */
export function differentiate(loss: Node, targets: readonly Node[]): Node[] {
  if (loss.shape.length !== 0) {
    fail('shape', `Only a scalar can be differentiated, got shape ${describeShape(loss.shape)}.`);
  }
  const order = topologicalOrder([loss]);
  const relevant = dependents(order, new Set(targets));
  const total = new Map<Node, Node>([[loss, o.scalar(1)]]);

  for (const node of order.reverse()) {
    const g = total.get(node);
    if (g === undefined || !node.inputs.some((input) => relevant.has(input))) continue;
    const parts = gradientOf(node, g);
    node.inputs.forEach((input, i) => {
      const part = parts[i];
      if (!part || !relevant.has(input)) return;
      const undone = sumToShape(part, input);
      const before = total.get(input);
      total.set(input, before ? sum(before, undone) : undone);
    });
  }
  return targets.map((target) => total.get(target) ?? o.expand(o.constant(float32([], [0])), target.shape));
}

function gradientOf(node: Node, g: Node): readonly (Node | null)[] {
  const rule = gradients[node.op] as
    | ((g: Node, node: NodeOf<OpName> & Node) => readonly (Node | null)[])
    | null;
  return rule === null ? [] : rule(g, node);
}

/** The nodes of `order` through which a gradient can flow back to a target. */
function dependents(order: readonly Node[], targets: ReadonlySet<Node>): Set<Node> {
  const result = new Set<Node>();
  for (const node of order) {
    if (targets.has(node)) result.add(node);
    else if (gradients[node.op] !== null && node.inputs.some((input) => result.has(input))) result.add(node);
  }
  return result;
}

/**
 * The sum of two gradients. Those of neighbouring slices are put side by side: padded with zeros and added, each would be
 * as large as what was sliced.
 */
function sum(a: Node, b: Node): Node {
  return sideBySide(a, b) ?? sideBySide(b, a) ?? o.add(a, b);
}

function sideBySide(a: Node, b: Node): Node | null {
  if (a.op !== 'pad' || b.op !== 'pad') return null;
  const [left, right] = [sliceOf(a), sliceOf(b)];
  if (left === null || right === null || left.axis !== right.axis || left.end !== right.start) return null;
  const { axis } = left;
  const pieces = [...piecesOf(a.inputs[0]!, axis), ...piecesOf(b.inputs[0]!, axis)];
  return o.pad(o.concat(pieces, axis), a.attributes.before, b.attributes.after);
}

/** Where zeros surround a tensor along one axis. */
function sliceOf({ inputs: [x], attributes: { before, after, interior, value } }: NodeOf<'pad'> & Node) {
  const [axis, ...others] = x!.shape.flatMap((_, i) => (before[i] || after[i] ? [i] : []));
  if (axis === undefined || others.length > 0 || value !== 0 || interior.some((count) => count > 0))
    return null;
  const start = before[axis]!;
  return { axis, start, end: start + x!.shape[axis]! };
}

function piecesOf(x: Node, axis: number): readonly Node[] {
  return x.op === 'concat' && x.attributes.axis === axis ? x.inputs : [x];
}

/** Sums the axes away along which `input` was broadcast. */
function sumToShape(g: Node, { shape }: Node): Node {
  if (sameShape(g.shape, shape)) return g;
  const extra = g.shape.length - shape.length;
  const axes = g.shape.flatMap((dim, i) => (i < extra || (shape[i - extra] === 1 && dim !== 1) ? [i] : []));
  return o.reshape(o.sum(g, axes, true), shape);
}
