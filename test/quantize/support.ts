/** Graphs with drawn constants, and what integer kernels compute, written out. */
import type { Tensor } from '../../src/core/tensor.ts';
import { type ConvAttributes, type Node, topologicalOrder } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { decodeModel } from '../../src/onnx/proto.ts';
import { type Quantization, type QuantizedKernel, roundHalfEven } from '../../src/quantize/arithmetic.ts';
import { drawTensor } from '../support/operation_cases.ts';

export const drawn = (shape: readonly number[], purpose: string): Tensor<'float32'> =>
  drawTensor(shape, 'float32', 'normal', purpose) as Tensor<'float32'>;

export const drawnConstant = (shape: readonly number[], purpose: string): Node =>
  o.constant(drawn(shape, purpose));

/** Batch norm in inference as layers write it: one scale and one shift, each computed from four vectors. */
export function batchNorm(x: Node, purpose: string): Node {
  const channels = x.shape[3]!;
  const vector = (name: string) => drawnConstant([channels], `${purpose}/${name}`);
  const variance = o.square(vector('deviation'));
  const scale = o.div(vector('gamma'), o.sqrt(o.add(variance, 0.01)));
  return o.add(o.mul(x, scale), o.add(o.neg(o.mul(vector('mean'), scale)), vector('beta')));
}

/** How often each operation occurs outside of what only constants go into. */
export function countOperations(outputs: readonly Node[]): Record<string, number> {
  const counts: Record<string, number> = {};
  const constant = new Set<Node>();
  for (const node of topologicalOrder(outputs)) {
    if (node.op !== 'input' && node.inputs.every((input) => constant.has(input))) constant.add(node);
    else counts[node.op] = (counts[node.op] ?? 0) + 1;
  }
  return counts;
}

/** How many convolutions of a model have weights whose zero points are not 0. */
export function shifted(model: Uint8Array): number {
  const { node, initializer } = decodeModel(model).graph;
  const constants = node.flatMap(({ opType, output, attribute }) =>
    opType === 'Constant' ? [[output[0]!, attribute[0]!.t!] as const] : [],
  );
  const values = new Map([...initializer.map((each) => [each.name!, each] as const), ...constants]);
  const zeroPoints = node.flatMap(({ opType, input }) => (opType === 'QLinearConv' ? [input[5]!] : []));
  return zeroPoints.filter((name) => values.get(name)!.rawData!.some((byte) => byte !== 0)).length;
}

/** QuantizeLinear: division in float32, ties to even. */
export function quantize(values: ArrayLike<number>, { scale, zeroPoint }: Quantization): Uint8Array {
  return Uint8Array.from(values, (value) =>
    Math.min(Math.max(roundHalfEven(Math.fround(value / scale)) + zeroPoint, 0), 255),
  );
}

/** DequantizeLinear. */
export function dequantize(values: Uint8Array, { scale, zeroPoint }: Quantization): Float32Array {
  return Float32Array.from(values, (value) => (value - zeroPoint) * scale);
}

export interface IntegerMap extends Quantization {
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/**
 * QLinearConv on a channels-last map: integers are added up exactly, and the sum is scaled by
 * `x scale · kernel scale / y scale` in float32 and rounded to even.
 */
export function integerConvolution(
  x: IntegerMap,
  { weights, scales, bias }: QuantizedKernel,
  { strides, pads, dilations, groups }: ConvAttributes,
  y: Quantization & { readonly shape: readonly number[] },
): Uint8Array {
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const [filters, perGroup, kernelHeight, kernelWidth] = weights.shape as [number, number, number, number];
  const [, outHeight, outWidth] = y.shape as [number, number, number];
  const factors = scales.map((scale) => Math.fround(Math.fround(x.scale * scale) / y.scale));
  const out = new Uint8Array(batch * outHeight * outWidth * filters);
  let at = 0;
  for (let n = 0; n < batch; n++)
    for (let oy = 0; oy < outHeight; oy++)
      for (let ox = 0; ox < outWidth; ox++)
        for (let f = 0; f < filters; f++) {
          const group = Math.floor(f / (filters / groups));
          let sum = bias[f]!;
          for (let ky = 0; ky < kernelHeight; ky++)
            for (let kx = 0; kx < kernelWidth; kx++) {
              const iy = oy * strides[0] - pads[0] + ky * dilations[0];
              const ix = ox * strides[1] - pads[1] + kx * dilations[1];
              if (iy < 0 || ix < 0 || iy >= height || ix >= width) continue;
              for (let c = 0; c < perGroup; c++) {
                const value = x.data[((n * height + iy) * width + ix) * channels + group * perGroup + c]!;
                const weight = weights.data[((f * perGroup + c) * kernelHeight + ky) * kernelWidth + kx]!;
                sum += (value - x.zeroPoint) * weight;
              }
            }
          const scaled = Math.fround(Math.fround(sum) * factors[f]!);
          out[at++] = Math.min(Math.max(roundHalfEven(scaled) + y.zeroPoint, 0), 255);
        }
  return out;
}
