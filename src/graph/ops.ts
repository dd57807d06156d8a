/**
 * The vocabulary for writing graphs: one function for each primitive operation, and the small compositions
 * that everybody needs (mean, softmax, square). Functions only write nodes; nothing is computed here.
 */
import { fail } from '../core/errors.ts';
import { float32, sameShape, type Tensor, tensor } from '../core/tensor.ts';
import { symbolicSize } from './dimensions.ts';
import type {
  Attributes,
  ConvAttributes,
  Foreign,
  GraphDType,
  Node,
  OpName,
  Pair,
  PoolAttributes,
  SampleAttributes,
  Shape,
} from './node.ts';
import { shapeRules, type ValueType } from './shapes.ts';

let nextId = 0;

/** Makes a node: the only place that does. */
export function makeNode<K extends OpName>(
  op: K,
  inputs: readonly Node[],
  attributes: Attributes[K],
  given?: ValueType,
): Node {
  const type = shapeRules[op](inputs, attributes, given);
  // TypeScript does not carry the correlation between op and attributes through the generic.
  return Object.freeze({ id: nextId++, op, inputs, attributes, ...type }) as unknown as Node;
}

const unary =
  <
    K extends
      | 'neg'
      | 'exp'
      | 'log'
      | 'sqrt'
      | 'sin'
      | 'cos'
      | 'erf'
      | 'tanh'
      | 'sigmoid'
      | 'relu'
      | 'stopGradient',
  >(
    op: K,
  ) =>
  (x: Node): Node =>
    makeNode(op, [x], {});

const binary =
  <K extends 'add' | 'sub' | 'mul' | 'div' | 'max' | 'min' | 'greater' | 'equal'>(op: K) =>
  (a: Node | number, b: Node | number): Node =>
    makeNode(op, [asNode(a), asNode(b)], {});

/** A value fed at run time. */
export function input(name: string, shape: Shape, dtype: GraphDType = 'float32'): Node {
  return makeNode('input', [], { name }, { shape, dtype });
}

export function constant(value: Tensor): Node {
  return makeNode('constant', [], { value });
}

export function scalar(value: number): Node {
  return constant(float32([], [value]));
}

/** Plain numbers become float32 scalars. */
export function asNode(value: Node | number): Node {
  return typeof value === 'number' ? scalar(value) : value;
}

export const add = binary('add');
export const sub = binary('sub');
export const mul = binary('mul');
export const div = binary('div');
export const max = binary('max');
export const min = binary('min');
/** a > b, as bool. */
export const greater = binary('greater');
export const equal = binary('equal');
export const neg = unary('neg');
export const exp = unary('exp');
export const log = unary('log');
export const sqrt = unary('sqrt');
export const sin = unary('sin');
export const cos = unary('cos');
export const erf = unary('erf');
export const tanh = unary('tanh');
export const sigmoid = unary('sigmoid');
export const relu = unary('relu');
export const stopGradient = unary('stopGradient');

export function select(condition: Node, a: Node | number, b: Node | number): Node {
  return makeNode('select', [condition, asNode(a), asNode(b)], {});
}

export function cast(x: Node, to: GraphDType): Node {
  return x.dtype === to ? x : makeNode('cast', [x], { to });
}

function allAxes(x: Node): number[] {
  return x.shape.map((_, i) => i);
}

/** Negative axes count from the end. */
function normalizeAxes(x: Node, axes: readonly number[] | undefined): number[] {
  return axes === undefined ? allAxes(x) : axes.map((axis) => (axis < 0 ? axis + x.shape.length : axis));
}

export function sum(x: Node, axes?: readonly number[], keepDims = false): Node {
  const normalized = normalizeAxes(x, axes);
  return normalized.length === 0 ? x : makeNode('sum', [x], { axes: normalized, keepDims });
}

export function reduceMax(x: Node, axes?: readonly number[], keepDims = false): Node {
  const normalized = normalizeAxes(x, axes);
  return normalized.length === 0 ? x : makeNode('reduceMax', [x], { axes: normalized, keepDims });
}

export function argMax(x: Node, axis: number): Node {
  return makeNode('argMax', [x], { axis: axis < 0 ? axis + x.shape.length : axis });
}

/** Number of elements along the axes; a constant unless the batch is among them. */
export function count(x: Node, axes?: readonly number[]): Node {
  const normalized = normalizeAxes(x, axes);
  const size = symbolicSize(normalized.map((axis) => x.shape[axis]!));
  return size >= 0 ? scalar(size) : makeNode('count', [x], { axes: normalized });
}

export function mean(x: Node, axes?: readonly number[], keepDims = false): Node {
  const size = symbolicSize(normalizeAxes(x, axes).map((axis) => x.shape[axis]!));
  const total = sum(x, axes, keepDims);
  return size >= 0 ? mul(total, 1 / size) : div(total, count(x, axes));
}

export function square(x: Node): Node {
  return mul(x, x);
}

export function reshape(x: Node, shape: Shape): Node {
  return sameShape(x.shape, shape) ? x : makeNode('reshape', [x], { shape });
}

export function transpose(x: Node, order: readonly number[]): Node {
  return order.every((axis, i) => axis === i) ? x : makeNode('transpose', [x], { order });
}

export function expand(x: Node, shape: Shape): Node {
  return sameShape(x.shape, shape) ? x : makeNode('expand', [x], { shape });
}

export function concat(inputs: readonly Node[], axis: number): Node {
  if (inputs.length === 0) fail('shape', 'concat needs at least one input.');
  const normalized = axis < 0 ? axis + inputs[0]!.shape.length : axis;
  return inputs.length === 1 ? inputs[0]! : makeNode('concat', inputs, { axis: normalized });
}

/** Takes start:end:step of the given axes, all of the others. */
export function slice(
  x: Node,
  ranges: readonly { axis: number; start: number; end: number; step?: number }[],
): Node {
  const starts = x.shape.map(() => 0);
  const ends = x.shape.map((dim) => Math.abs(dim));
  const steps = x.shape.map(() => 1);
  for (const { axis, start, end, step } of ranges) {
    starts[axis] = start;
    ends[axis] = end;
    steps[axis] = step ?? 1;
  }
  const whole = x.shape.every((dim, i) => starts[i] === 0 && ends[i] === Math.abs(dim) && steps[i] === 1);
  return whole ? x : makeNode('slice', [x], { starts, ends, steps });
}

export function pad(
  x: Node,
  before: readonly number[],
  after: readonly number[],
  options: PadOptions = {},
): Node {
  const interior = options.interior ?? x.shape.map(() => 0);
  const nothing = [before, after, interior].every((amounts) => amounts.every((amount) => amount === 0));
  return nothing ? x : makeNode('pad', [x], { before, after, interior, value: options.value ?? 0 });
}

/** Positions of an axis, in the order of int32 `indices` (n). */
export function gather(x: Node, indices: Node, axis: number): Node {
  return makeNode('gather', [x, indices], { axis: axis < 0 ? axis + x.shape.length : axis });
}

export interface PadOptions {
  readonly interior?: readonly number[];
  readonly value?: number;
}

export function matmul(
  a: Node,
  b: Node,
  { transposeA = false, transposeB = false }: { transposeA?: boolean; transposeB?: boolean } = {},
): Node {
  return makeNode('matmul', [a, b], { transposeA, transposeB });
}

/**
 * Two-dimensional convolution. A 1x1 kernel with strides sees only every n-th position, so it is written as
 * a slice and a plain 1x1 convolution: then a cut in front of it keeps a quarter of the features, and two
 * such convolutions of one tensor share the slice.
 */
export function conv2d(x: Node, kernel: Node, attributes: ConvAttributes): Node {
  const { strides, pads } = attributes;
  const pointwise = kernel.shape[0] === 1 && kernel.shape[1] === 1 && pads.every((amount) => amount === 0);
  if (pointwise && (strides[0] > 1 || strides[1] > 1)) {
    const sampled = slice(x, [
      { axis: 1, start: 0, end: x.shape[1]!, step: strides[0] },
      { axis: 2, start: 0, end: x.shape[2]!, step: strides[1] },
    ]);
    return makeNode('conv2d', [sampled, kernel], { ...attributes, strides: [1, 1], dilations: [1, 1] });
  }
  return makeNode('conv2d', [x, kernel], attributes);
}

export function conv2dInputGradient(
  g: Node,
  kernel: Node,
  attributes: Attributes['conv2dInputGradient'],
): Node {
  return makeNode('conv2dInputGradient', [g, kernel], attributes);
}

export function conv2dKernelGradient(x: Node, g: Node, attributes: Attributes['conv2dKernelGradient']): Node {
  return makeNode('conv2dKernelGradient', [x, g], attributes);
}

export function maxPool(x: Node, attributes: PoolAttributes): Node {
  return makeNode('maxPool', [x], attributes);
}

export function averagePool(x: Node, attributes: PoolAttributes): Node {
  return makeNode('averagePool', [x], attributes);
}

export function resize(x: Node, size: Pair, interpolation: 'bilinear' | 'nearest'): Node {
  const same = x.shape[1] === size[0] && x.shape[2] === size[1];
  return same ? x : makeNode('resize', [x], { size, interpolation });
}

/** Values of maps [batch, height, width, channels] at positions (x, y) [batch, height', width', 2], in pixels. */
export function gridSample(x: Node, positions: Node, attributes: SampleAttributes): Node {
  return makeNode('gridSample', [x, positions], attributes);
}

/** Somebody else's computation of x, whose result has this shape. */
export function foreign(x: Node, code: Foreign, shape: Shape): Node {
  return makeNode('foreign', [x], { code, shape });
}

/** log(softmax(x)) along the last axis; the maximum is subtracted first, so that nothing overflows. */
export function logSoftmax(x: Node): Node {
  const shifted = sub(x, stopGradient(reduceMax(x, [-1], true)));
  return sub(shifted, log(sum(exp(shifted), [-1], true)));
}

/** Softmax along the last axis. */
export function softmax(x: Node): Node {
  const powers = exp(sub(x, stopGradient(reduceMax(x, [-1], true))));
  return div(powers, sum(powers, [-1], true));
}

/** One-hot rows (float32) of int32 class ids [batch]. */
export function oneHot(ids: Node, classes: number): Node {
  const range = tensor(
    'int32',
    [1, classes],
    Int32Array.from({ length: classes }, (_, i) => i),
  );
  return cast(equal(reshape(ids, [...ids.shape, 1]), constant(range)), 'float32');
}

/**
 * The same values, reshaped for a layer of Keras's that reshapes: behind it, even where the shape stays, no loss looks
 * through a softmax or a sigmoid.
 */
export function reshapeApart(x: Node, shape: Shape): Node {
  return x.shape.length === 2 ? makeNode('reshape', [x], { shape }) : reshape(x, shape);
}

/** The logits behind a node that `softmax` wrote, or `null`: then log(softmax) can be taken without rounding. */
export function logitsOf(probabilities: Node): Node | null {
  const powers = probabilities.op === 'div' ? probabilities.inputs[0]! : null;
  const shifted = powers?.op === 'exp' ? powers.inputs[0]! : null;
  return shifted?.op === 'sub' && shifted.inputs[1]!.op === 'stopGradient' ? shifted.inputs[0]! : null;
}
