/**
 * Which parts of a folded graph run on integers. A **unit** is what one integer kernel computes: a convolution
 * with its bias and rectifier, an addition of two maps with its rectifier, or an operation that only moves or
 * compares values. What is no unit stays in float32, and values cross over where the two meet.
 */
import type { Tensor } from '../core/tensor.ts';
import { type Node, type NodeOf, topologicalOrder } from '../graph/node.ts';
import { consumersOf } from './uses.ts';

/** What a rectifier leaves of a sum. */
export interface Clip {
  readonly low: number;
  readonly high: number;
}

export const unbounded: Clip = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };

interface Common {
  /** The node whose value the unit computes: the last one that it took in. */
  readonly node: Node;
  /** Nodes inside it, which nothing else sees. */
  readonly inside: readonly Node[];
}

export interface ConvUnit extends Common {
  readonly kind: 'conv';
  readonly conv: NodeOf<'conv2d'>;
  readonly x: Node;
  readonly kernel: Tensor<'float32'>;
  /** One number for each filter. */
  readonly bias: Float32Array;
  readonly clip: Clip;
}

export interface AddUnit extends Common {
  readonly kind: 'add';
  readonly a: Node;
  readonly b: Node;
  readonly clip: Clip;
}

/** The result has the quantization of the first input, or for `concat` its own. */
export interface MoveUnit extends Common {
  readonly kind: 'maxPool' | 'averagePool' | 'slice' | 'pad' | 'concat';
}

export type Unit = ConvUnit | AddUnit | MoveUnit;

/** The units of a graph by the node that they compute, in the order of the graph. */
export function findUnits(outputs: readonly Node[]): Map<Node, Unit> {
  const consumers = consumersOf(outputs);
  const kept = new Set(outputs);
  const units = new Map<Node, Unit>();
  const taken = new Set<Node>();
  const next = (node: Node): Node | null => {
    const [only, ...others] = consumers.get(node)!;
    return only !== undefined && others.length === 0 && !kept.has(node) ? only : null;
  };
  for (const node of topologicalOrder(outputs)) {
    if (taken.has(node)) continue;
    const unit = convUnit(node, next) ?? addUnit(node, next, units) ?? moveUnit(node, units);
    if (unit === null) continue;
    units.set(unit.node, unit);
    for (const part of [...unit.inside, unit.node]) taken.add(part);
  }
  return units;
}

type Next = (node: Node) => Node | null;

function convUnit(node: Node, next: Next): ConvUnit | null {
  if (node.op !== 'conv2d') return null;
  const [x, kernel] = node.inputs as [Node, Node];
  if (kernel.op !== 'constant' || isSmall(node, kernel)) return null;
  const chain: Node[] = [node];
  let bias = new Float32Array(node.shape[3]!);
  const after = next(node);
  const addend = after?.op === 'add' ? biasOf(after, node) : null;
  if (after && addend) {
    bias = addend;
    chain.push(after);
  }
  const clip = takeRectifier(chain, next);
  const value = kernel.attributes.value as Tensor<'float32'>;
  return { kind: 'conv', ...ends(chain), conv: node, x, kernel: value, bias, clip };
}

/**
 * Fewer products for each value than this are done as fast in float32, and they are mixtures of colours, which lose most
 * by rounding. A depthwise convolution stays beside its neighbours.
 */
export const worthwhileProducts = 16;

function isSmall({ attributes }: NodeOf<'conv2d'>, kernel: Node): boolean {
  const products = kernel.shape.slice(0, 3).reduce((product, dim) => product * dim, 1);
  return attributes.groups === 1 && products < worthwhileProducts;
}

function addUnit(node: Node, next: Next, units: ReadonlyMap<Node, Unit>): AddUnit | null {
  if (node.op !== 'add') return null;
  const [a, b] = node.inputs as [Node, Node];
  if (!units.has(a) || !units.has(b) || a.shape.some((dim, i) => dim !== b.shape[i])) return null;
  const chain: Node[] = [node];
  const clip = takeRectifier(chain, next);
  return { kind: 'add', ...ends(chain), a, b, clip };
}

function moveUnit(node: Node, units: ReadonlyMap<Node, Unit>): MoveUnit | null {
  const integral = node.shape.length === 4 && node.inputs.every((input) => units.has(input));
  if (!integral || node.inputs.length === 0) return null;
  const { op } = node;
  const moves =
    op === 'maxPool' || op === 'averagePool' || op === 'slice' || (op === 'concat' && onChannels(node));
  if (moves) return { kind: op, node, inside: [] };
  const zeros = op === 'pad' && node.attributes.value === 0 && node.attributes.interior.every((n) => n === 0);
  return zeros ? { kind: op, node, inside: [] } : null;
}

function onChannels(node: NodeOf<'concat'>): boolean {
  return node.attributes.axis === 3;
}

function ends(chain: readonly Node[]): Common {
  return { node: chain.at(-1)!, inside: chain.slice(0, -1) };
}

/** The constant that `sum` adds along the channels of `node`. */
function biasOf(sum: NodeOf<'add'>, node: Node): Float32Array<ArrayBuffer> | null {
  const operand = sum.inputs.find((input) => input !== node);
  if (operand?.op !== 'constant') return null;
  const { data } = operand.attributes.value;
  return data.length === node.shape[3] ? Float32Array.from(data as Float32Array) : null;
}

/** Appends a `relu` and a `min` with a number behind it (relu6) to a chain, and says what they leave. */
function takeRectifier(chain: Node[], next: Next): Clip {
  const rectifier = next(chain.at(-1)!);
  if (rectifier?.op !== 'relu') return unbounded;
  chain.push(rectifier);
  const bound = next(rectifier);
  const limit = bound?.op === 'min' ? bound.inputs.find((input) => input !== rectifier) : undefined;
  if (bound && limit?.op === 'constant' && limit.shape.length === 0) {
    chain.push(bound);
    return { low: 0, high: Number(limit.attributes.value.data[0]) };
  }
  return { low: 0, high: Number.POSITIVE_INFINITY };
}
