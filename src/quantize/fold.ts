/**
 * Rewrites a frozen graph so that its convolutions stand alone, as quantization and the runtime want them:
 *
 * - a convolution and the constants along its channels that follow it (batch norm, bias) become one kernel and
 *   one bias, computed in float64 and rounded once;
 * - zeros that are padded in front of a convolution become its own padding, and so do those in front of a maximum of
 *   values that are not negative.
 *
 * It computes the same values. It does not know about integers; that is `units.ts` and `emit.ts`.
 */
import { float32, type Tensor } from '../core/tensor.ts';
import {
  type ConvAttributes,
  type Node,
  type NodeOf,
  type PoolAttributes,
  topologicalOrder,
} from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { evaluate } from '../graph/reference.ts';
import { withInputs } from '../graph/simplify.ts';
import { liftSlices } from './slices.ts';
import { countUses } from './uses.ts';

/** `conv2d(x, kernel) · scale + bias`, the last two along the channels; float64 until it is written. */
interface Affine {
  /** A node of the rewritten graph. */
  readonly x: Node;
  readonly kernel: Numbers;
  readonly scale: Float64Array;
  readonly bias: Float64Array | null;
  readonly attributes: ConvAttributes;
}

interface Numbers {
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array;
}

/** Folds over all outputs together; what they share stays shared. */
export function foldFrozen(outputs: readonly Node[]): Node[] {
  return new Folding(liftSlices(outputs)).rewritten();
}

class Folding {
  readonly #outputs: readonly Node[];
  readonly #order: readonly Node[];
  readonly #uses: ReadonlyMap<Node, number>;
  readonly #constants = new Set<Node>();
  readonly #affine = new Map<Node, Affine>();
  readonly #done = new Map<Node, Node>();

  constructor(outputs: readonly Node[]) {
    this.#outputs = outputs;
    this.#order = topologicalOrder(outputs);
    this.#uses = countUses(outputs);
  }

  rewritten(): Node[] {
    for (const node of this.#order) {
      if (node.op !== 'input' && node.inputs.every((input) => this.#constants.has(input))) {
        this.#constants.add(node);
      }
      const affine = this.#affineOf(node);
      if (affine !== null) this.#affine.set(node, affine);
    }
    return this.#outputs.map((output) => this.#rewrite(output));
  }

  #affineOf(node: Node): Affine | null {
    if (node.op === 'conv2d') return this.#convolution(node);
    if (node.op !== 'add' && node.op !== 'sub' && node.op !== 'mul' && node.op !== 'div') return null;
    const [a, b] = node.inputs as [Node, Node];
    const commutes = node.op === 'add' || node.op === 'mul';
    const before = this.#affine.get(a) ?? (commutes ? this.#affine.get(b) : undefined);
    const operand = this.#affine.has(a) ? b : a;
    if (before === undefined || !this.#constants.has(operand)) return null;
    // A value that something else needs too would be computed twice.
    if (this.#uses.get(operand === b ? a : b)! > 1) return null;
    const vector = this.#alongChannels(operand, node.shape);
    return vector && followed(before, node.op, vector);
  }

  #convolution(node: NodeOf<'conv2d'>): Affine | null {
    const [x, kernel] = node.inputs as [Node, Node];
    if (!this.#constants.has(kernel) || this.#constants.has(x)) return null;
    const weights = constantNumbers(kernel);
    const scale = new Float64Array(node.shape[3]!).fill(1);
    const padding = zeroPadding(x);
    if (padding === null) {
      return { x, kernel: weights, scale, bias: null, attributes: node.attributes };
    }
    const pads = node.attributes.pads.map((amount, i) => amount + padding.pads[i]!);
    const attributes = { ...node.attributes, pads: pads as unknown as ConvAttributes['pads'] };
    return { x: padding.source, kernel: weights, scale, bias: null, attributes };
  }

  /** A constant as one number for each channel, or null if it differs along other axes. */
  #alongChannels(operand: Node, shape: readonly number[]): Float64Array | null {
    const channels = shape.at(-1)!;
    const last = operand.shape.at(-1) ?? 1;
    const others = operand.shape.slice(0, -1);
    if (operand.shape.length > shape.length || others.some((dim) => dim !== 1)) return null;
    const [value] = evaluate([operand], {});
    if (last === channels) return value!.data;
    return new Float64Array(channels).fill(value!.data[0]!);
  }

  #rewrite(target: Node): Node {
    const stack = [target];
    while (stack.length > 0) {
      const node = stack[stack.length - 1]!;
      if (this.#done.has(node)) {
        stack.pop();
        continue;
      }
      const affine = this.#affine.get(node);
      const inputs = affine ? [affine.x] : node.inputs;
      const open = inputs.filter((input) => !this.#done.has(input));
      if (open.length > 0) stack.push(...open);
      else {
        stack.pop();
        this.#done.set(
          node,
          affine ? written(affine, this.#done.get(affine.x)!) : padded(withInputs(node, this.#done)),
        );
      }
    }
    return this.#done.get(target)!;
  }
}

function followed(affine: Affine, op: 'add' | 'sub' | 'mul' | 'div', vector: Float64Array): Affine {
  const { scale, bias } = affine;
  if (op === 'mul' || op === 'div') {
    const factor = op === 'mul' ? vector : vector.map((value) => 1 / value);
    const times = (values: Float64Array) => values.map((value, c) => value * factor[c]!);
    return { ...affine, scale: times(scale), bias: bias && times(bias) };
  }
  const sign = op === 'add' ? 1 : -1;
  const start = bias ?? new Float64Array(scale.length);
  return { ...affine, bias: start.map((value, c) => value + sign * vector[c]!) };
}

/** The one rounding. */
function written({ kernel, scale, bias, attributes }: Affine, x: Node): Node {
  const weights = o.constant(float32(kernel.shape, scaled(kernel.data, scale)));
  const y = o.conv2d(x, weights, attributes);
  return bias ? o.add(y, o.constant(float32([scale.length], Float32Array.from(bias)))) : y;
}

function scaled(kernel: Numbers['data'], scale: Float64Array): Float32Array {
  const unchanged = scale.every((factor) => factor === 1);
  if (unchanged) return kernel instanceof Float32Array ? kernel : Float32Array.from(kernel);
  const filters = scale.length;
  const weights = new Float32Array(kernel.length);
  for (let i = 0; i < weights.length; i += filters) {
    for (let f = 0; f < filters; f++) weights[i + f] = kernel[i + f]! * scale[f]!;
  }
  return weights;
}

/** The numbers of a constant node. Kernels are large, so they are only evaluated if something computes them. */
function constantNumbers(node: Node): Numbers {
  let source = node;
  while (source.op === 'reshape') source = source.inputs[0]!;
  if (source.op === 'constant') {
    return { shape: node.shape, data: (source.attributes.value as Tensor<'float32'>).data };
  }
  return evaluate([node], {})[0]!;
}

/** A maximum that pads by itself, if zeros in front of it change nothing. */
function padded(node: Node): Node {
  const padding = node.op === 'maxPool' ? zeroPadding(node.inputs[0]!) : null;
  if (node.op !== 'maxPool' || padding === null || !isRectified(padding.source)) return node;
  const { size, strides, dilations } = node.attributes;
  const pads = node.attributes.pads.map((amount, i) => amount + padding.pads[i]!);
  // The runtime's padding is lower than any value, so each window must see one.
  const seen = [0, 1].every((axis) => {
    const lastStart = (node.shape[axis + 1]! - 1) * strides[axis as 0 | 1] - pads[axis]!;
    return pads[axis]! < size[axis as 0 | 1] && lastStart < padding.source.shape[axis + 1]!;
  });
  if (!seen || dilations.some((step) => step !== 1)) return node;
  return o.maxPool(padding.source, { ...node.attributes, pads: pads as unknown as PoolAttributes['pads'] });
}

/** True if no value can be negative. */
function isRectified(node: Node): boolean {
  let source = node;
  while (source.op === 'maxPool' || source.op === 'slice') source = source.inputs[0]!;
  return source.op === 'relu';
}

/** Zeros around a map: how many on top, left, below, right, and around what. */
function zeroPadding(node: Node): { source: Node; pads: readonly number[] } | null {
  if (node.op !== 'pad') return null;
  const { before, after, interior, value } = node.attributes;
  const amounts = [before[1]!, before[2]!, after[1]!, after[2]!];
  const others = [before[0]!, before[3]!, after[0]!, after[3]!, ...interior];
  const plain =
    value === 0 && others.every((amount) => amount === 0) && amounts.every((amount) => amount >= 0);
  return plain ? { source: node.inputs[0]!, pads: amounts } : null;
}
