/**
 * The shape and dtype rule of each operation. A rule checks that its inputs fit and throws `shape` with what
 * came and what was expected; everything after it may rely on that.
 */
import { fail } from '../core/errors.ts';
import { sameShape } from '../core/tensor.ts';
import { broadcastShapes, describeShape, reducedShape, symbolicSize, windowOutput } from './dimensions.ts';
import type {
  Attributes,
  ConvAttributes,
  GraphDType,
  Node,
  OpName,
  Pair,
  PoolAttributes,
  Shape,
} from './node.ts';

export interface ValueType {
  readonly shape: Shape;
  readonly dtype: GraphDType;
}

type Rule<K extends OpName> = (
  inputs: readonly Node[],
  attributes: Attributes[K],
  given?: ValueType,
) => ValueType;

function requireFloat(op: string, inputs: readonly Node[]): void {
  for (const input of inputs) {
    if (input.dtype !== 'float32') fail('shape', `${op} works on float32, got ${input.dtype}; cast first.`);
  }
}

function requireRank(op: string, node: Node, rank: number): void {
  if (node.shape.length !== rank) {
    fail('shape', `${op} needs an input of rank ${rank}, got shape ${describeShape(node.shape)}.`);
  }
}

const unary =
  (op: OpName): ((inputs: readonly Node[]) => ValueType) =>
  (inputs) => {
    requireFloat(op, inputs);
    return { shape: inputs[0]!.shape, dtype: 'float32' };
  };

const binary =
  (op: OpName, dtype: GraphDType): ((inputs: readonly Node[]) => ValueType) =>
  ([a, b]) => {
    if (a!.dtype !== b!.dtype)
      fail('shape', `${op} needs operands of one dtype, got ${a!.dtype} and ${b!.dtype}.`);
    if (dtype === 'float32') requireFloat(op, [a!, b!]);
    return { shape: broadcastShapes(a!.shape, b!.shape), dtype };
  };

function slidingShape(
  op: string,
  x: Node,
  size: Pair,
  a: ConvAttributes | PoolAttributes,
  channels: number,
): ValueType {
  requireFloat(op, [x]);
  requireRank(op, x, 4);
  const [batch, height, width] = x.shape as [number, number, number, number];
  const outHeight = windowOutput(height, size[0], a.strides[0], a.dilations[0], a.pads[0], a.pads[2]);
  const outWidth = windowOutput(width, size[1], a.strides[1], a.dilations[1], a.pads[1], a.pads[3]);
  if (outHeight < 1 || outWidth < 1) {
    fail('shape', `${op}: a window of ${size.join('x')} does not fit into ${describeShape(x.shape)}.`);
  }
  return { shape: [batch, outHeight, outWidth, channels], dtype: 'float32' };
}

/** The shape rule of every operation. */
export const shapeRules: { readonly [K in OpName]: Rule<K> } = {
  input: (_inputs, { name }, given) => given ?? fail('shape', `Input ${name} needs a shape.`),
  constant: (_inputs, { value }) => {
    const { dtype } = value;
    if (dtype === 'int64' || dtype === 'int8')
      fail('shape', `A constant of dtype ${dtype} has no place in a graph.`);
    return { shape: value.shape, dtype };
  },

  add: binary('add', 'float32'),
  sub: binary('sub', 'float32'),
  mul: binary('mul', 'float32'),
  div: binary('div', 'float32'),
  max: binary('max', 'float32'),
  min: binary('min', 'float32'),
  greater: binary('greater', 'bool'),
  equal: binary('equal', 'bool'),
  select: ([condition, a, b]) => {
    if (condition!.dtype !== 'bool') fail('shape', `select needs a bool condition, got ${condition!.dtype}.`);
    requireFloat('select', [a!, b!]);
    const shape = broadcastShapes(condition!.shape, broadcastShapes(a!.shape, b!.shape));
    return { shape, dtype: 'float32' };
  },
  neg: unary('neg'),
  exp: unary('exp'),
  log: unary('log'),
  sqrt: unary('sqrt'),
  sin: unary('sin'),
  cos: unary('cos'),
  erf: unary('erf'),
  tanh: unary('tanh'),
  sigmoid: unary('sigmoid'),
  relu: unary('relu'),
  stopGradient: unary('stopGradient'),
  cast: ([x], { to }) => ({ shape: x!.shape, dtype: to }),

  sum: ([x], { axes, keepDims }) => {
    requireFloat('sum', [x!]);
    return { shape: reducedShape(x!.shape, axes, keepDims), dtype: 'float32' };
  },
  reduceMax: ([x], { axes, keepDims }) => {
    requireFloat('reduceMax', [x!]);
    return { shape: reducedShape(x!.shape, axes, keepDims), dtype: 'float32' };
  },
  argMax: ([x], { axis }) => ({ shape: reducedShape(x!.shape, [axis], false), dtype: 'int32' }),
  count: ([x], { axes }) => {
    reducedShape(x!.shape, axes, false);
    return { shape: [], dtype: 'float32' };
  },

  reshape: ([x], { shape }) => {
    if (symbolicSize(x!.shape) !== symbolicSize(shape)) {
      fail(
        'shape',
        `Cannot reshape ${describeShape(x!.shape)} to ${describeShape(shape)}: the sizes differ.`,
      );
    }
    return { shape, dtype: x!.dtype };
  },
  transpose: ([x], { order }) => {
    if (order.length !== x!.shape.length || [...order].sort((a, b) => a - b).some((axis, i) => axis !== i)) {
      fail('shape', `Order [${order.join(', ')}] does not permute the axes of ${describeShape(x!.shape)}.`);
    }
    return { shape: order.map((axis) => x!.shape[axis]!), dtype: x!.dtype };
  },
  expand: ([x], { shape }) => {
    if (!sameShape(broadcastShapes(x!.shape, shape), shape)) {
      fail('shape', `Cannot expand ${describeShape(x!.shape)} to ${describeShape(shape)}.`);
    }
    return { shape, dtype: x!.dtype };
  },
  concat: (inputs, { axis }) => {
    const first = inputs[0]!;
    if (first.shape[axis]! < 0) {
      fail('shape', `Cannot concatenate along the batch, axis ${axis} of ${describeShape(first.shape)}.`);
    }
    let length = 0;
    for (const { shape, dtype } of inputs) {
      const fits =
        dtype === first.dtype &&
        shape.length === first.shape.length &&
        shape.every((dim, i) => i === axis || dim === first.shape[i]);
      if (!fits) {
        fail(
          'shape',
          `Cannot concatenate ${describeShape(first.shape)} and ${describeShape(shape)} on axis ${axis}.`,
        );
      }
      length += shape[axis]!;
    }
    return { shape: first.shape.map((dim, i) => (i === axis ? length : dim)), dtype: first.dtype };
  },
  slice: ([x], { starts, ends, steps }) => ({
    shape: x!.shape.map((dim, i) => {
      if (dim < 0) return dim;
      const length = Math.ceil((ends[i]! - starts[i]!) / steps[i]!);
      if (starts[i]! < 0 || ends[i]! > dim || length < 1) {
        fail(
          'shape',
          `Slice ${starts[i]}:${ends[i]}:${steps[i]} is outside of axis ${i} of ${describeShape(x!.shape)}.`,
        );
      }
      return length;
    }),
    dtype: x!.dtype,
  }),
  pad: ([x], { before, after, interior }) => ({
    shape: x!.shape.map((dim, i) => {
      if (dim < 0) return dim;
      return before[i]! + dim + interior[i]! * (dim - 1) + after[i]!;
    }),
    dtype: x!.dtype,
  }),
  gather: ([x, indices], { axis }) => {
    requireRank('gather, indices:', indices!, 1);
    if (indices!.dtype !== 'int32') fail('shape', `gather needs int32 indices, got ${indices!.dtype}.`);
    if (!(axis >= 0 && axis < x!.shape.length))
      fail('shape', `Axis ${axis} is outside of shape ${describeShape(x!.shape)}.`);
    const shape = x!.shape.map((dim, i) => (i === axis ? indices!.shape[0]! : dim));
    symbolicSize(shape);
    return { shape, dtype: x!.dtype };
  },

  matmul: ([a, b], { transposeA, transposeB }) => {
    requireFloat('matmul', [a!, b!]);
    if (a!.shape.length < 2 || b!.shape.length < 2) fail('shape', 'matmul needs operands of rank 2 or more.');
    const [m, k] = transposeA ? [a!.shape.at(-1)!, a!.shape.at(-2)!] : [a!.shape.at(-2)!, a!.shape.at(-1)!];
    const [k2, n] = transposeB ? [b!.shape.at(-1)!, b!.shape.at(-2)!] : [b!.shape.at(-2)!, b!.shape.at(-1)!];
    if (k !== k2) {
      fail(
        'shape',
        `matmul: inner dimensions ${k} and ${k2} of ${describeShape(a!.shape)} and ${describeShape(b!.shape)} differ.`,
      );
    }
    return {
      shape: [...broadcastShapes(a!.shape.slice(0, -2), b!.shape.slice(0, -2)), m, n],
      dtype: 'float32',
    };
  },
  conv2d: ([x, kernel], attributes) => {
    requireFloat('conv2d', [kernel!]);
    requireRank('conv2d', kernel!, 4);
    const [height, width, inputs, filters] = kernel!.shape as [number, number, number, number];
    const { groups } = attributes;
    if (x!.shape[3] !== inputs * groups || filters % groups !== 0) {
      fail(
        'shape',
        `conv2d: kernel ${describeShape(kernel!.shape)} with ${groups} group(s) needs ${inputs * groups} input ` +
          `channels and filters divisible by the groups, got input ${describeShape(x!.shape)}.`,
      );
    }
    return slidingShape('conv2d', x!, [height, width], attributes, filters);
  },
  conv2dInputGradient: ([gradient, kernel], { size, groups }) => ({
    shape: [gradient!.shape[0]!, size[0], size[1], kernel!.shape[2]! * groups],
    dtype: 'float32',
  }),
  conv2dKernelGradient: ([x, gradient], { size, groups }) => ({
    shape: [size[0], size[1], x!.shape[3]! / groups, gradient!.shape[3]!],
    dtype: 'float32',
  }),
  maxPool: ([x], attributes) => slidingShape('maxPool', x!, attributes.size, attributes, x!.shape[3]!),
  averagePool: ([x], attributes) =>
    slidingShape('averagePool', x!, attributes.size, attributes, x!.shape[3]!),
  resize: ([x], { size }) => {
    requireFloat('resize', [x!]);
    requireRank('resize', x!, 4);
    return { shape: [x!.shape[0]!, size[0], size[1], x!.shape[3]!], dtype: 'float32' };
  },
  gridSample: ([x, positions]) => {
    requireFloat('gridSample', [x!, positions!]);
    requireRank('gridSample', x!, 4);
    const [batch, height, width, pair] = positions!.shape as [number, number, number, number];
    if (positions!.shape.length !== 4 || batch !== x!.shape[0] || pair !== 2) {
      fail(
        'shape',
        `gridSample needs positions [${describeShape(x!.shape.slice(0, 1)).slice(1, -1)}, height, width, 2] ` +
          `in ${describeShape(x!.shape)}, got ${describeShape(positions!.shape)}.`,
      );
    }
    return { shape: [batch, height, width, x!.shape[3]!], dtype: 'float32' };
  },
  foreign: ([x], { shape }) => {
    requireFloat('foreign', [x!]);
    return { shape, dtype: 'float32' };
  },
};
