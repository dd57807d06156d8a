/**
 * Numbers as integers: `value ≈ (q − zeroPoint) · scale`. Activations are uint8 with one scale for each map, kernels
 * int8 with one for each filter and zero point 0, biases int32 in units of the product.
 */
import { type Tensor, tensor } from '../core/tensor.ts';
import type { Range } from './ranges.ts';

export interface Quantization {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** 256 steps over a range, so that zero is one of them. */
export function quantizationOf({ low, high }: Range): Quantization {
  const scale = Math.fround((high - low) / 255);
  const zeroPoint = Math.min(Math.max(roundHalfEven(-low / scale), 0), 255);
  return { scale, zeroPoint };
}

/** What a rectifier leaves of a range. */
export function clipped(range: Range, clip: Range): Range {
  return { low: Math.max(range.low, clip.low), high: Math.min(range.high, clip.high) };
}

/** As processors round: ties to the even neighbour. */
export function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

export interface QuantizedKernel {
  /** OIHW. */
  readonly weights: Tensor<'int8'>;
  readonly scales: Float32Array;
  readonly bias: Int32Array;
  /** The same as numbers. */
  readonly correctedBias: Float32Array;
}

/**
 * What two weights that are multiplied and added together may sum up to. Processors before VNNI multiply uint8 by
 * int8 in pairs of neighbouring channels and add each pair in 16 bits, which stick at 32767: 255 · 128 = 32640 fits.
 * So the integers are the same on every processor, where the full eight bits would give wrong ones on some.
 */
const largestPair = 128;
const largestWeight = 127;

/** What a kernel is multiplied with. */
export interface KernelInput {
  readonly scale: number;
  /** Defaults to 1. */
  readonly groups?: number;
  /** The mean of each channel. Defaults to zeros, which leave the bias as it is. */
  readonly means?: Float32Array;
}

/**
 * Integers for a kernel (HWIO) and a bias. Each filter has the finest scale that `largestWeight` and `largestPair`
 * allow, or a coarser one if its bias would not fit into 30 bits. The bias takes off what rounded weights add to the
 * mean of the result (bias correction; Nagel et al. 2019): the error of a weight is the same for every picture.
 */
export function quantizeKernel(
  kernel: Tensor<'float32'>,
  bias: Float32Array,
  { scale: inputScale, groups = 1, means }: KernelInput,
): QuantizedKernel {
  const [height, width, channels, filters] = kernel.shape as [number, number, number, number];
  const positions = height * width;
  const perGroup = filters / groups;
  const scales = finestScales(kernel).map((scale, f) =>
    Math.max(scale, Math.abs(bias[f]!) / inputScale / 2 ** 30, 2 ** -60),
  );
  const weights = tensor('int8', [filters, channels, height, width]);
  const corrected = Float64Array.from(bias);
  for (let p = 0, i = 0; p < positions; p++)
    for (let c = 0; c < channels; c++)
      for (let f = 0; f < filters; f++, i++) {
        const q = roundHalfEven(kernel.data[i]! / scales[f]!);
        weights.data[(f * channels + c) * positions + p] = q;
        const mean = means?.[Math.floor(f / perGroup) * channels + c] ?? 0;
        corrected[f]! -= (q * scales[f]! - kernel.data[i]!) * mean;
      }
  const units = Int32Array.from(corrected, (value, f) => roundHalfEven(value / (inputScale * scales[f]!)));
  return { weights, scales, bias: units, correctedBias: Float32Array.from(corrected) };
}

/** Per filter. Neighbours are so in the order in which products are added: taps, and in each the channels. */
function finestScales({ shape, data }: Tensor<'float32'>): Float32Array {
  const filters = shape[3]!;
  const scales = new Float32Array(filters);
  for (let i = 0; i < data.length; i += filters) {
    for (let f = 0; f < filters; f++) {
      const weight = data[i + f]!;
      // Only weights of one sign add up.
      const neighbour = Math.max((data[i + filters + f] ?? 0) * Math.sign(weight), 0);
      const magnitude = Math.abs(weight);
      const needed = Math.max(magnitude / largestWeight, (magnitude + neighbour) / largestPair);
      if (needed > scales[f]!) scales[f] = needed;
    }
  }
  // A little coarser, so that float32 rounding of a scale lets no pair exceed the bound.
  return scales.map((scale) => scale * (1 + 2 ** -20));
}
