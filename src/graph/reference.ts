/**
 * The slow, obvious meaning of each operation in float64: what emitted graphs and gradients are checked
 * against, and what folds constants. Plain loops, no cleverness.
 */
import { fail } from '../core/errors.ts';
import { fromFloat16 } from '../core/float16.ts';
import { sizeOf, type Tensor } from '../core/tensor.ts';
import { type Node, type NodeOf, type OpName, resolveShape, topologicalOrder } from './node.ts';
import { spatialRules } from './reference_spatial.ts';
import { broadcastReader, eachIndex, type Rule, stridesOf, type Value } from './reference_values.ts';

export type { Value } from './reference_values.ts';

/** Converts a tensor to float64. */
export function toValue(source: Tensor): Value {
  const { dtype, shape, data } = source;
  const numbers = dtype === 'float16' ? fromFloat16(data as Uint16Array) : data;
  return { shape, data: Float64Array.from(numbers as ArrayLike<number | bigint>, Number) };
}

/**
 * Computes nodes from named input values. `batch` is what the batch dimension stands for; it defaults to the
 * batch of the first fed input that has one.
 */
export function evaluate(
  outputs: readonly Node[],
  feeds: Readonly<Record<string, Value>>,
  batch: number = inferBatch(outputs, feeds),
): Value[] {
  const values = new Map<Node, Value>();
  for (const node of topologicalOrder(outputs)) {
    const shape = resolveShape(node.shape, batch);
    if (node.op === 'input') {
      const value = feeds[node.attributes.name];
      if (value === undefined) fail('argument', `Input ${node.attributes.name} was not fed.`);
      if (value.data.length !== sizeOf(shape)) {
        fail('shape', `Input ${node.attributes.name} needs shape [${shape}], got [${value.shape}].`);
      }
      values.set(node, { shape, data: value.data });
      continue;
    }
    const rule = rules[node.op] as Rule<OpName>;
    const inputs = node.inputs.map((input) => values.get(input)!);
    values.set(node, { shape, data: rule(inputs, node, shape) });
  }
  return outputs.map((output) => values.get(output)!);
}

function inferBatch(outputs: readonly Node[], feeds: Readonly<Record<string, Value>>): number {
  const order = topologicalOrder(outputs);
  for (const node of order) {
    if (node.op !== 'input') continue;
    const axis = node.shape.findIndex((dim) => dim < 0);
    const fed = feeds[node.attributes.name];
    if (axis >= 0 && fed !== undefined) return fed.shape[axis]! / -node.shape[axis]!;
  }
  if (order.some(({ shape }) => shape.some((dim) => dim < 0))) {
    fail('argument', 'Shapes contain the batch, but no fed input tells its size: pass it to evaluate.');
  }
  return 1;
}

function elementwise(f: (...values: number[]) => number) {
  return (inputs: readonly Value[], _node: unknown, shape: readonly number[]): Float64Array => {
    const readers = inputs.map(broadcastReader);
    const out = new Float64Array(sizeOf(shape));
    eachIndex(shape, (index, flat) => {
      out[flat] = f(...readers.map((read) => read(index)));
    });
    return out;
  };
}

/** erf by the Maclaurin series near 0, the continued fraction of erfc beyond, both to 1e-15. */
function erf(x: number): number {
  const magnitude = Math.abs(x);
  if (magnitude < 2) {
    let term = x;
    let total = x;
    for (let n = 1; n < 200 && Math.abs(term) > 1e-18; n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * total;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (magnitude + fraction);
  const complement = Math.exp(-x * x) / Math.sqrt(Math.PI) / (magnitude + fraction);
  return Math.sign(x) * (1 - complement);
}

function reduce(start: number, merge: (total: number, value: number) => number) {
  return (
    [x]: readonly Value[],
    { attributes: { axes } }: NodeOf<'sum'> | NodeOf<'reduceMax'>,
    shape: readonly number[],
  ) => {
    const out = new Float64Array(sizeOf(shape)).fill(start);
    const kept = x!.shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
    const strides = stridesOf(kept).map((stride, i) => (axes.includes(i) ? 0 : stride));
    eachIndex(x!.shape, (index, flat) => {
      const at = index.reduce((offset, position, axis) => offset + position * strides[axis]!, 0);
      out[at] = merge(out[at]!, x!.data[flat]!);
    });
    return out;
  };
}

const unary = (f: (x: number) => number) => elementwise(f);

const rules: { readonly [K in OpName]: Rule<K> } = {
  input: (_inputs, { attributes: { name } }) => fail('state', `Input ${name} is fed, not computed.`),
  constant: (_inputs, { attributes: { value } }) => toValue(value).data,

  add: elementwise((a, b) => a + b),
  sub: elementwise((a, b) => a - b),
  mul: elementwise((a, b) => a * b),
  div: elementwise((a, b) => a / b),
  max: elementwise((a, b) => Math.max(a, b)),
  min: elementwise((a, b) => Math.min(a, b)),
  greater: elementwise((a, b) => Number(a > b)),
  equal: elementwise((a, b) => Number(a === b)),
  select: elementwise((condition, a, b) => (condition ? a : b)),
  neg: unary((x) => -x),
  exp: unary(Math.exp),
  log: unary(Math.log),
  sqrt: unary(Math.sqrt),
  sin: unary(Math.sin),
  cos: unary(Math.cos),
  erf: unary(erf),
  tanh: unary(Math.tanh),
  sigmoid: unary((x) => 1 / (1 + Math.exp(-x))),
  relu: unary((x) => Math.max(x, 0)),
  stopGradient: unary((x) => x),
  cast: ([x], { attributes: { to } }) => {
    if (to === 'bool') return x!.data.map((value) => Number(value !== 0));
    return to === 'float32' || to === 'float16' ? x!.data : x!.data.map(Math.trunc);
  },

  sum: reduce(0, (total, value) => total + value),
  reduceMax: reduce(Number.NEGATIVE_INFINITY, Math.max),
  argMax: ([x], { attributes: { axis } }, shape) => {
    const best = new Float64Array(sizeOf(shape)).fill(Number.NEGATIVE_INFINITY);
    const out = new Float64Array(sizeOf(shape));
    const strides = stridesOf(shape);
    eachIndex(x!.shape, (index, flat) => {
      const rest = index.filter((_, i) => i !== axis);
      const at = rest.reduce((offset, position, i) => offset + position * strides[i]!, 0);
      if (x!.data[flat]! > best[at]!) {
        best[at] = x!.data[flat]!;
        out[at] = index[axis]!;
      }
    });
    return out;
  },
  count: ([x], { attributes: { axes } }) => Float64Array.of(sizeOf(axes.map((axis) => x!.shape[axis]!))),

  reshape: ([x]) => x!.data,
  transpose: ([x], { attributes: { order } }, shape) => {
    const strides = stridesOf(x!.shape);
    const out = new Float64Array(sizeOf(shape));
    eachIndex(shape, (index, flat) => {
      out[flat] = x!.data[order.reduce((offset, axis, i) => offset + strides[axis]! * index[i]!, 0)]!;
    });
    return out;
  },
  expand: elementwise((x) => x),
  concat: (inputs, { attributes: { axis } }, shape) => {
    const out = new Float64Array(sizeOf(shape));
    const strides = stridesOf(shape);
    let start = 0;
    for (const { shape: part, data } of inputs) {
      eachIndex(part, (index, flat) => {
        out[index.reduce((offset, p, i) => offset + (i === axis ? p + start : p) * strides[i]!, 0)] =
          data[flat]!;
      });
      start += part[axis]!;
    }
    return out;
  },
  slice: ([x], { attributes: { starts, steps } }, shape) => {
    const strides = stridesOf(x!.shape);
    const out = new Float64Array(sizeOf(shape));
    eachIndex(shape, (index, flat) => {
      out[flat] = x!.data[index.reduce((at, p, i) => at + (starts[i]! + p * steps[i]!) * strides[i]!, 0)]!;
    });
    return out;
  },
  pad: ([x], { attributes: { before, interior, value } }, shape) => {
    const out = new Float64Array(sizeOf(shape)).fill(value);
    const strides = stridesOf(shape);
    eachIndex(x!.shape, (index, flat) => {
      out[index.reduce((at, p, i) => at + (before[i]! + p * (interior[i]! + 1)) * strides[i]!, 0)] =
        x!.data[flat]!;
    });
    return out;
  },
  gather: ([x, indices], { attributes: { axis } }, shape) => {
    const strides = stridesOf(x!.shape);
    const out = new Float64Array(sizeOf(shape));
    eachIndex(shape, (index, flat) => {
      const at = (i: number) => (i === axis ? indices!.data[index[i]!]! : index[i]!);
      out[flat] = x!.data[strides.reduce((offset, stride, i) => offset + stride * at(i), 0)]!;
    });
    return out;
  },

  matmul: ([a, b], { attributes: { transposeA, transposeB } }, shape) => {
    const out = new Float64Array(sizeOf(shape));
    const leading = shape.slice(0, -2);
    const [m, n] = [shape.at(-2)!, shape.at(-1)!];
    const k = transposeA ? a!.shape.at(-2)! : a!.shape.at(-1)!;
    // Broadcasting over the leading axes: pick matrices by the offsets of an index over them.
    const matrices = ({ shape: s, data }: Value) => {
      const size = s.at(-2)! * s.at(-1)!;
      const heads = s.slice(0, -2);
      const numbers = Float64Array.from({ length: sizeOf(heads) }, (_, i) => i);
      const pick = broadcastReader({ shape: heads, data: numbers });
      return (index: readonly number[]) => data.subarray(pick(index) * size, (pick(index) + 1) * size);
    };
    const [pickA, pickB] = [matrices(a!), matrices(b!)];
    eachIndex(leading, (index, flat) => {
      const [left, right] = [pickA(index), pickB(index)];
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let total = 0;
          for (let l = 0; l < k; l++) {
            total += left[transposeA ? l * m + i : i * k + l]! * right[transposeB ? j * k + l : l * n + j]!;
          }
          out[(flat * m + i) * n + j] = total;
        }
    });
    return out;
  },
  ...spatialRules,
  foreign: () => fail('unsupported', 'The reference cannot compute a foreign ONNX model.'),
};
