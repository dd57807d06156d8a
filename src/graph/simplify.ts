/**
 * Rewriting of graphs: the same value computed twice becomes one node, and broadcasts that an elementwise
 * operation does by itself disappear. The result computes the same numbers.
 */
import { sameShape } from '../core/tensor.ts';
import { broadcastShapes } from './dimensions.ts';
import { type Node, type NodeOf, type OpName, topologicalOrder } from './node.ts';
import * as o from './ops.ts';

/** Replaces nodes and rebuilds whatever depends on them. Nodes not in `replacements` keep their identity. */
export function substitute(outputs: readonly Node[], replacements: ReadonlyMap<Node, Node>): Node[] {
  const done = new Map<Node, Node>(replacements);
  for (const node of topologicalOrder(outputs, (candidate) => replacements.has(candidate))) {
    if (done.has(node)) continue;
    done.set(node, withInputs(node, done));
  }
  return outputs.map((output) => done.get(output)!);
}

/** A node with its inputs replaced; itself if they stay. */
export function withInputs(node: Node, done: ReadonlyMap<Node, Node>): Node {
  const inputs = node.inputs.map((input) => done.get(input)!);
  if (inputs.every((input, i) => input === node.inputs[i])) return node;
  return o.makeNode(node.op, inputs, node.attributes as NodeOf<OpName>['attributes'], node);
}

/** Merges equal nodes and drops needless broadcasts, over all outputs together. */
export function simplify(outputs: readonly Node[]): Node[] {
  const done = new Map<Node, Node>();
  const known = new Map<string, Node>();
  for (const node of topologicalOrder(outputs)) {
    const rebuilt = sumFirst(dropBroadcasts(withInputs(node, done)));
    const key = keyOf(rebuilt);
    const same = known.get(key);
    if (same === undefined) known.set(key, rebuilt);
    done.set(node, same ?? rebuilt);
  }
  return outputs.map((output) => done.get(output)!);
}

/** Two nodes with one key compute the same value. Big constants and inputs are themselves. */
function keyOf(node: Node): string {
  if (node.op === 'input') return `input ${node.attributes.name}`;
  if (node.op === 'constant') {
    const { dtype, shape, data } = node.attributes.value;
    return data.length <= 64 ? `constant ${dtype} [${shape}] ${data}` : `constant #${node.id}`;
  }
  return `${node.op} ${node.inputs.map(({ id }) => id)} ${JSON.stringify(node.attributes)}`;
}

const broadcasting: ReadonlySet<OpName> = new Set([
  ...(['add', 'sub', 'mul', 'div', 'max', 'min', 'greater', 'equal', 'select'] as const),
]);

/** Σ −x is −Σ x: the sum is smaller. Gradients of what was subtracted from every row are full of these. */
function sumFirst(node: Node): Node {
  const negated = node.op === 'sum' ? node.inputs[0]! : null;
  if (negated?.op !== 'neg') return node;
  const { axes, keepDims } = (node as NodeOf<'sum'> & Node).attributes;
  return o.neg(o.sum(negated.inputs[0]!, axes, keepDims));
}

/** `a + expand(b)` is `a + b` if a has the full shape already. */
function dropBroadcasts(node: Node): Node {
  if (!broadcasting.has(node.op)) return node;
  const inputs = [...node.inputs];
  for (const [i, input] of inputs.entries()) {
    if (input.op !== 'expand') continue;
    const source = input.inputs[0]!;
    const shape = inputs.reduce<readonly number[]>(
      (total, other, j) => broadcastShapes(total, i === j ? source.shape : other.shape),
      [],
    );
    if (sameShape(shape, node.shape)) inputs[i] = source;
  }
  if (inputs.every((input, i) => input === node.inputs[i])) return node;
  return o.makeNode(node.op, inputs, node.attributes as NodeOf<OpName>['attributes']);
}
