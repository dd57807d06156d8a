/**
 * The nodes of a computation graph: frozen records that refer to their inputs. This file owns the list of
 * primitive operations with their attributes, and the meaning of a shape; it owns no rule about them (those
 * are tables total over `OpName`: `shapes.ts`, `gradients.ts`, `reference.ts`, and the emission in `onnx/`).
 */
import type { Tensor } from '../core/tensor.ts';

/** Element types inside a graph. Arithmetic is float32 only; the others enter or leave through `cast`. */
export type GraphDType = 'float32' | 'float16' | 'int32' | 'uint8' | 'bool';

/**
 * Dimensions of a node. A negative dimension −k stands for k × batch, so that one graph serves every batch
 * size: `[-1, 7, 7, 512]` is a batch of feature maps, `[-49, 512]` the same as a matrix.
 */
export type Shape = readonly number[];

type None = Readonly<Record<never, never>>;

/** Two numbers, for height and width. */
export type Pair = readonly [number, number];

/** A two-dimensional window over [batch, height, width, channels]. `pads` are top, left, bottom, right. */
export interface Window {
  readonly strides: Pair;
  readonly pads: readonly [number, number, number, number];
  readonly dilations: Pair;
}

export interface ConvAttributes extends Window {
  readonly groups: number;
}

export interface PoolAttributes extends Window {
  readonly size: Pair;
}

/**
 * Reading feature maps between their pixels. A position is (x, y) in pixels: (0, 0) is the centre of the first.
 * `padding` says what lies outside: zeros; the nearest pixel; or the map mirrored about its edges (d c b a | a b c d).
 */
export interface SampleAttributes {
  readonly interpolation: 'bilinear' | 'nearest';
  readonly padding: 'zeros' | 'border' | 'reflection';
}

/** A computation that a graph cannot look into. */
export interface Foreign {
  /** Tells it from others: two with the same digest compute the same. */
  readonly digest: string;
  /** The digest. */
  toJSON(): string;
}

/** Every primitive operation and its attributes. Adding a line here breaks each table until it is complete. */
export interface Attributes {
  // Leaves.
  /** A value fed at run time. */
  input: { readonly name: string };
  constant: { readonly value: Tensor };

  // Elementwise, with NumPy broadcasting.
  add: None;
  sub: None;
  mul: None;
  div: None;
  max: None;
  min: None;
  greater: None;
  equal: None;
  /** inputs: condition (bool), value if true, value if false. */
  select: None;
  neg: None;
  exp: None;
  log: None;
  sqrt: None;
  sin: None;
  cos: None;
  erf: None;
  tanh: None;
  sigmoid: None;
  relu: None;
  /** Passes the value on and stops the gradient. */
  stopGradient: None;
  cast: { readonly to: GraphDType };

  // Reductions.
  sum: { readonly axes: readonly number[]; readonly keepDims: boolean };
  reduceMax: { readonly axes: readonly number[]; readonly keepDims: boolean };
  /** Index (int32) of the first maximum along an axis, which disappears. */
  argMax: { readonly axis: number };
  /** How many elements lie along the axes, as a float32 scalar: the divisor of a mean with dynamic batch. */
  count: { readonly axes: readonly number[] };

  // Moving data.
  reshape: { readonly shape: Shape };
  transpose: { readonly order: readonly number[] };
  expand: { readonly shape: Shape };
  concat: { readonly axis: number };
  /** Per axis: start, end (exclusive) and step > 0. The batch axis is always taken whole. */
  slice: {
    readonly starts: readonly number[];
    readonly ends: readonly number[];
    readonly steps: readonly number[];
  };
  /** Per axis: values before, after, and `interior` values between neighbours (as XLA's Pad). */
  pad: {
    readonly before: readonly number[];
    readonly after: readonly number[];
    readonly interior: readonly number[];
    readonly value: number;
  };

  /** inputs: x, int32 indices (n). Takes those positions of an axis, as NumPy's `take`. */
  gather: { readonly axis: number };

  // Linear algebra.
  /** Matrix product over the last two axes, the others broadcast; a flag transposes its operand first. */
  matmul: { readonly transposeA: boolean; readonly transposeB: boolean };
  /** inputs: x [batch, height, width, channels], kernel [h, w, channels / groups, filters]. */
  conv2d: ConvAttributes;
  /** inputs: gradient of the output, kernel; gives the gradient of x, whose height and width are `size`. */
  conv2dInputGradient: ConvAttributes & { readonly size: Pair };
  /** inputs: x, gradient of the output; gives the gradient of the kernel, whose height and width are `size`. */
  conv2dKernelGradient: ConvAttributes & { readonly size: Pair };
  maxPool: PoolAttributes;
  /** Padding does not count in the average, as in Keras. */
  averagePool: PoolAttributes;
  /** Half-pixel centres, no antialiasing: `tf.image.resize`. */
  resize: { readonly size: Pair; readonly interpolation: 'bilinear' | 'nearest' };
  /** inputs: x, positions [batch, height, width, 2] in it. See `SampleAttributes`. */
  gridSample: SampleAttributes;

  /** Somebody else's computation, such as part of an ONNX model, with a result of this shape. It has no gradient. */
  foreign: { readonly code: Foreign; readonly shape: Shape };
}

export type OpName = keyof Attributes;

/** One value of a graph: an operation applied to other nodes. */
export interface NodeOf<K extends OpName> {
  readonly id: number;
  readonly op: K;
  readonly inputs: readonly Node[];
  readonly attributes: Attributes[K];
  readonly shape: Shape;
  readonly dtype: GraphDType;
}

export type Node = { [K in OpName]: NodeOf<K> }[OpName];

/**
 * The nodes that `outputs` depend on, each after its inputs. Iterative, so that depth is no limit.
 * `stop` keeps the walk from entering a node's inputs (the node itself is still listed).
 */
export function topologicalOrder(
  outputs: readonly Node[],
  stop: (node: Node) => boolean = () => false,
): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, 'open' | 'done'>();
  const stack: Node[] = [...outputs].reverse();
  while (stack.length > 0) {
    const node = stack[stack.length - 1]!;
    if (state.get(node) === undefined) {
      state.set(node, 'open');
      if (!stop(node)) {
        for (let i = node.inputs.length - 1; i >= 0; i--) {
          if (state.get(node.inputs[i]!) === undefined) stack.push(node.inputs[i]!);
        }
      }
    } else {
      stack.pop();
      if (state.get(node) === 'open') {
        state.set(node, 'done');
        order.push(node);
      }
    }
  }
  return order;
}

/** Replaces −k by k × batch. */
export function resolveShape(shape: Shape, batch: number): number[] {
  return shape.map((dim) => (dim < 0 ? -dim * batch : dim));
}
