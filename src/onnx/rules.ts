/** How each primitive operation becomes ONNX nodes (opset 20): the emission rule of every operation. */
import { fail } from '../core/errors.ts';
import { symbolicSize } from '../graph/dimensions.ts';
import {
  type GraphDType,
  type Node,
  type NodeOf,
  type OpName,
  type PoolAttributes,
  resolveShape,
} from '../graph/node.ts';
import { columnSums, dynamicShape } from './columns.ts';
import { emitConv2d, emitConv2dInputGradient, emitConv2dKernelGradient } from './convolution.ts';
import type { Emitter } from './emitter.ts';
import { OnnxPart, type Splice } from './foreign.ts';
import {
  axisInChannelsFirst,
  emitConcat,
  emitGather,
  emitGridSample,
  emitPad,
  emitSlice,
  followsChannelsFirst,
} from './moves.ts';
import { elementTypes } from './proto.ts';

type Rule<K extends OpName> = (e: Emitter, node: NodeOf<K> & Node) => void;

/** The value of an elementwise operand beside channels-first maps: a vector lies along the channels. */
function besideChannelsFirst(e: Emitter, operand: Node): string {
  if (operand.shape.length === 4) return e.channelsFirst(operand);
  if (operand.shape.length === 0) return e.value(operand);
  const channels = operand.shape[0]!;
  if (operand.op === 'constant') {
    // As an initializer of this shape the runtime folds it into the convolution.
    const { dtype, data } = operand.attributes.value;
    return e.initializer({ dtype, shape: [channels, 1, 1], data });
  }
  return e.once(`vector/${operand.id}`, () => e.reshape(e.value(operand), [channels, 1, 1]));
}

const elementwise =
  (opType: string) =>
  (e: Emitter, node: Node): void => {
    if (e.blocked.elementwise(node)) return;
    if (followsChannelsFirst(e, node.inputs)) {
      const operands = node.inputs.map((operand) => besideChannelsFirst(e, operand));
      e.defineChannelsFirst(node, e.node(opType, operands));
    } else {
      e.define(
        node,
        e.node(
          opType,
          node.inputs.map((operand) => e.value(operand)),
        ),
      );
    }
  };

function emitCast(e: Emitter, node: Node, to: GraphDType): void {
  if (e.blocked.elementwise(node)) return;
  const x = node.inputs[0]!;
  const type = { to: elementTypes[to] };
  if (followsChannelsFirst(e, [x])) e.defineChannelsFirst(node, e.node('Cast', [e.channelsFirst(x)], type));
  else e.define(node, e.node('Cast', [e.value(x)], type));
}

const reduction =
  (opType: 'ReduceSum' | 'ReduceMax') =>
  (e: Emitter, node: (NodeOf<'sum'> | NodeOf<'reduceMax'>) & Node): void => {
    const { axes, keepDims } = node.attributes;
    const x = node.inputs[0]!;
    // Without the kept axes only the batch and channels remain, in the same order in both layouts.
    const first = followsChannelsFirst(e, [x]) && axes.includes(1) && axes.includes(2);
    const name = first ? e.channelsFirst(x) : e.value(x);
    const mapped = first ? axes.map((axis) => axisInChannelsFirst[axis]!) : axes;
    const reduced = e.node(opType, [name, e.int64(mapped)], { keepdims: keepDims ? 1 : 0 });
    if (first && keepDims) e.defineChannelsFirst(node, reduced);
    else e.define(node, reduced);
  };

function emitSum(e: Emitter, node: NodeOf<'sum'> & Node): void {
  if (e.blocked.sum(node)) return;
  const x = node.inputs[0]!;
  const { axes } = node.attributes;
  const last = x.shape.length - 1;
  const columns = axes.length === last && !axes.includes(last) && last > 0;
  if (!columns || followsChannelsFirst(e, [x])) {
    reduction('ReduceSum')(e, node);
    return;
  }
  const rows = symbolicSize(x.shape.slice(0, last));
  const total = columnSums(e, e.reshape(e.value(x), [-1, x.shape[last]!]), rows, x.shape[last]!);
  e.define(node, e.reshape(total, node.shape));
}

const pooling =
  (opType: 'MaxPool' | 'AveragePool') =>
  (e: Emitter, node: (NodeOf<'maxPool'> | NodeOf<'averagePool'>) & Node): void => {
    const { size, strides, pads, dilations }: PoolAttributes = node.attributes;
    const window = { kernel_shape: size, strides, pads, dilations };
    const x = node.inputs[0]!;
    const source = opType === 'MaxPool' && x.op === 'pad' ? paddedForMaximum(e, x) : e.channelsFirst(x);
    e.defineChannelsFirst(node, e.node(opType, [source], window));
  };

/**
 * Zeros around a map whose maxima are taken. The runtime (1.30) folds a Pad of 0 into MaxPool, whose own padding is −∞,
 * so that windows of negative values lose the zero; a Pad of the smallest normal number it leaves alone.
 */
function paddedForMaximum(e: Emitter, pad: NodeOf<'pad'> & Node): string {
  const { before, after, interior, value } = pad.attributes;
  if (value !== 0 || interior.some((amount) => amount > 0)) return e.channelsFirst(pad);
  const order = [0, 3, 1, 2];
  const pads = [...order.map((axis) => before[axis]!), ...order.map((axis) => after[axis]!)];
  return e.node('Pad', [e.channelsFirst(pad.inputs[0]!), e.int64(pads), e.scalar(2 ** -126)]);
}

function emitMatmul(e: Emitter, node: NodeOf<'matmul'> & Node): void {
  const [a, b] = node.inputs as [Node, Node];
  const { transposeA, transposeB } = node.attributes;
  if (!transposeA && !transposeB) {
    e.define(node, e.node('MatMul', [e.value(a), e.value(b)]));
  } else if (!transposeA && hasFewRows(e, a, b)) {
    const product = e.node('MatMul', [e.value(b), e.transpose(e.value(a), [1, 0])]);
    e.define(node, e.transpose(product, [1, 0]));
  } else if (a.shape.length === 2 && b.shape.length === 2) {
    const flags = { ...(transposeA ? { transA: 1 } : {}), ...(transposeB ? { transB: 1 } : {}) };
    e.define(node, e.node('Gemm', [e.value(a), e.value(b)], flags));
  } else {
    const swapped = (x: Node, flag: boolean) => {
      const axes = x.shape.map((_, axis) => axis);
      const last = axes.splice(-2).reverse();
      return flag ? e.transpose(e.value(x), [...axes, ...last]) : e.value(x);
    };
    e.define(node, e.node('MatMul', [swapped(a, transposeA), swapped(b, transposeB)]));
  }
}

/**
 * A Bᵀ where A has a row for each picture of a small batch and B is a large kernel: as (B Aᵀ)ᵀ the runtime does not copy
 * the kernel into panels for so few rows (8 instead of 12 ms for 26 million weights and 32 rows).
 */
function hasFewRows({ blocked: { batch } }: Emitter, a: Node, b: Node): boolean {
  if (batch === 0 || a.shape.length !== 2 || b.shape.length !== 2) return false;
  const [[rows], [columns, inner]] = [resolveShape(a.shape, batch), resolveShape(b.shape, batch)];
  return rows! <= 64 && columns! >= 16 * rows! && columns! * inner! >= 2 ** 20;
}

function emitCount(e: Emitter, node: NodeOf<'count'> & Node): void {
  const { batch } = e.blocked;
  const x = node.inputs[0]!;
  if (batch > 0) {
    const sizes = resolveShape(x.shape, batch);
    e.define(node, e.scalar(node.attributes.axes.reduce((product, axis) => product * sizes[axis]!, 1)));
    return;
  }
  const shape = e.node('Shape', [e.value(x)]);
  const dims = e.node('Gather', [shape, e.int64(node.attributes.axes)]);
  const product = e.node('ReduceProd', [e.node('Cast', [dims], { to: elementTypes.float32 })], {
    keepdims: 0,
  });
  e.define(node, product);
}

/** Writes a part of an ONNX model, or `instead` of it; gives the names of the outputs after its first. */
export function emitForeign(e: Emitter, node: NodeOf<'foreign'> & Node, instead?: Splice): string[] {
  const { code } = node.attributes;
  const x = node.inputs[0]!;
  if (!(code instanceof OnnxPart)) {
    return fail('state', 'Only parts of ONNX models can be written as ONNX.');
  }
  const { input, output, splice } = code;
  const source = input.layout === 'channelsFirst' ? e.channelsFirst(x) : e.value(x);
  const [y, ...others] = e.splice(instead ?? splice, source) as [string, ...string[]];
  if (node.shape.length === 4 && output.layout === 'channelsFirst') e.defineChannelsFirst(node, y);
  else e.define(node, y);
  return others;
}

/** The emission rule of every operation. Inputs are declared by `emitModel`. */
export const emissions: { readonly [K in OpName]: Rule<K> } = {
  input: (_e, { attributes: { name } }) => fail('state', `Input ${name} is declared, not emitted.`),
  constant: (e, node) => e.define(node, e.initializer(node.attributes.value)),

  add: elementwise('Add'),
  sub: elementwise('Sub'),
  mul: elementwise('Mul'),
  div: elementwise('Div'),
  max: elementwise('Max'),
  min: elementwise('Min'),
  greater: elementwise('Greater'),
  equal: elementwise('Equal'),
  select: elementwise('Where'),
  neg: elementwise('Neg'),
  exp: elementwise('Exp'),
  log: elementwise('Log'),
  sqrt: elementwise('Sqrt'),
  sin: elementwise('Sin'),
  cos: elementwise('Cos'),
  erf: elementwise('Erf'),
  tanh: elementwise('Tanh'),
  sigmoid: elementwise('Sigmoid'),
  relu: elementwise('Relu'),
  stopGradient: elementwise('Identity'),
  cast: (e, node) => emitCast(e, node, node.attributes.to),

  sum: emitSum,
  reduceMax: reduction('ReduceMax'),
  argMax: (e, node) => {
    const index = e.node('ArgMax', [e.value(node.inputs[0]!)], { axis: node.attributes.axis, keepdims: 0 });
    e.define(node, e.node('Cast', [index], { to: elementTypes.int32 }));
  },
  count: emitCount,

  reshape: (e, node) => e.define(node, e.reshape(e.value(node.inputs[0]!), node.shape)),
  transpose: (e, node) => e.define(node, e.transpose(e.value(node.inputs[0]!), node.attributes.order)),
  expand: (e, node) =>
    e.define(node, e.node('Expand', [e.value(node.inputs[0]!), dynamicShape(e, node.shape)])),
  concat: emitConcat,
  slice: emitSlice,
  pad: emitPad,
  gather: emitGather,

  matmul: emitMatmul,
  conv2d: emitConv2d,
  conv2dInputGradient: emitConv2dInputGradient,
  conv2dKernelGradient: emitConv2dKernelGradient,
  maxPool: pooling('MaxPool'),
  averagePool: pooling('AveragePool'),
  resize: (e, node) => {
    const { size, interpolation } = node.attributes;
    // All four sizes, not two with `axes`: the runtime's transpose optimizer (1.30) breaks a Resize with axes.
    const sizes = dynamicShape(e, [node.shape[0]!, node.shape[3]!, ...size]);
    const resized = e.node('Resize', [e.channelsFirst(node.inputs[0]!), '', '', sizes], {
      coordinate_transformation_mode: 'half_pixel',
      mode: interpolation === 'bilinear' ? 'linear' : 'nearest',
      ...(interpolation === 'nearest' ? { nearest_mode: 'round_prefer_ceil' } : {}),
    });
    e.defineChannelsFirst(node, resized);
  },
  gridSample: emitGridSample,
  foreign: (e, node) => {
    emitForeign(e, node);
  },
};
