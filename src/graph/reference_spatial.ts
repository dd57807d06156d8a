/** The reference of operations over pictures: convolutions, pooling, resizing, sampling. Layout: NHWC, kernels HWIO. */
import { sizeOf } from '../core/tensor.ts';
import type { ConvAttributes, NodeOf, SampleAttributes } from './node.ts';
import { eachIndex, type Rule, type Value } from './reference_values.ts';
import { interpolationMatrix } from './resampling.ts';

/** Visits every product of a convolution: offsets into x, kernel and y. */
function eachProduct(
  xShape: readonly number[],
  kernelShape: readonly number[],
  yShape: readonly number[],
  { strides, pads, dilations, groups }: ConvAttributes,
  visit: (x: number, kernel: number, y: number) => void,
): void {
  const [batch, height, width, channels] = xShape as [number, number, number, number];
  const [kernelHeight, kernelWidth, perGroup, filters] = kernelShape as [number, number, number, number];
  const [, outHeight, outWidth] = yShape as [number, number, number, number];
  const filtersPerGroup = filters / groups;
  for (let n = 0; n < batch; n++)
    for (let oy = 0; oy < outHeight; oy++)
      for (let ox = 0; ox < outWidth; ox++)
        for (let ky = 0; ky < kernelHeight; ky++)
          for (let kx = 0; kx < kernelWidth; kx++) {
            const iy = oy * strides[0] - pads[0] + ky * dilations[0];
            const ix = ox * strides[1] - pads[1] + kx * dilations[1];
            if (iy < 0 || ix < 0 || iy >= height || ix >= width) continue;
            for (let f = 0; f < filters; f++) {
              const group = Math.floor(f / filtersPerGroup);
              for (let c = 0; c < perGroup; c++) {
                visit(
                  ((n * height + iy) * width + ix) * channels + group * perGroup + c,
                  ((ky * kernelWidth + kx) * perGroup + c) * filters + f,
                  ((n * outHeight + oy) * outWidth + ox) * filters + f,
                );
              }
            }
          }
}

/** Folds the unpadded elements of each pooling window. */
function pool(
  [x]: readonly Value[],
  { attributes: { size, strides, pads, dilations } }: NodeOf<'maxPool'> | NodeOf<'averagePool'>,
  shape: readonly number[],
  fold: (values: readonly number[]) => number,
): Float64Array {
  const [, height, width, channels] = x!.shape as [number, number, number, number];
  const out = new Float64Array(sizeOf(shape));
  eachIndex(shape, ([n, oy, ox, c], flat) => {
    const inside: number[] = [];
    for (let i = 0; i < size[0]; i++) {
      for (let j = 0; j < size[1]; j++) {
        const iy = oy! * strides[0] - pads[0] + i * dilations[0];
        const ix = ox! * strides[1] - pads[1] + j * dilations[1];
        if (iy < 0 || ix < 0 || iy >= height || ix >= width) continue;
        inside.push(x!.data[((n! * height + iy) * width + ix) * channels + c!]!);
      }
    }
    out[flat] = fold(inside);
  });
  return out;
}

/** The pixels beside a position on one axis, and how much of each it sees. */
function tapsAt(position: number, interpolation: SampleAttributes['interpolation']) {
  if (interpolation === 'nearest') return [[Math.round(position), 1]] as const;
  const low = Math.floor(position);
  return [
    [low, 1 - (position - low)],
    [low + 1, position - low],
  ] as const;
}

/** The pixel that stands for one outside of 0 … size − 1; `null` for zero. */
function insideOf(pixel: number, size: number, padding: SampleAttributes['padding']): number | null {
  if (pixel >= 0 && pixel < size) return pixel;
  if (padding === 'zeros') return null;
  if (padding === 'border') return pixel < 0 ? 0 : size - 1;
  const turn = ((pixel % (2 * size)) + 2 * size) % (2 * size);
  return turn < size ? turn : 2 * size - 1 - turn;
}

type SpatialOp =
  | 'conv2d'
  | 'conv2dInputGradient'
  | 'conv2dKernelGradient'
  | 'maxPool'
  | 'averagePool'
  | 'resize'
  | 'gridSample';

export const spatialRules: { readonly [K in SpatialOp]: Rule<K> } = {
  conv2d: ([x, kernel], { attributes }, shape) => {
    const out = new Float64Array(sizeOf(shape));
    eachProduct(x!.shape, kernel!.shape, shape, attributes, (i, k, y) => {
      out[y]! += x!.data[i]! * kernel!.data[k]!;
    });
    return out;
  },
  conv2dInputGradient: ([g, kernel], { attributes }, shape) => {
    const out = new Float64Array(sizeOf(shape));
    eachProduct(shape, kernel!.shape, g!.shape, attributes, (i, k, y) => {
      out[i]! += g!.data[y]! * kernel!.data[k]!;
    });
    return out;
  },
  conv2dKernelGradient: ([x, g], { attributes }, shape) => {
    const out = new Float64Array(sizeOf(shape));
    eachProduct(x!.shape, shape, g!.shape, attributes, (i, k, y) => {
      out[k]! += x!.data[i]! * g!.data[y]!;
    });
    return out;
  },
  maxPool: (inputs, node, shape) => pool(inputs, node, shape, (values) => Math.max(...values)),
  averagePool: (inputs, node, shape) =>
    pool(inputs, node, shape, (values) => values.reduce((total, value) => total + value, 0) / values.length),
  resize: ([x], { attributes: { size, interpolation } }, shape) => {
    const [, height, width, channels] = x!.shape as [number, number, number, number];
    const high = interpolationMatrix(height, size[0], interpolation).data;
    const wide = interpolationMatrix(width, size[1], interpolation).data;
    const out = new Float64Array(sizeOf(shape));
    eachIndex(shape, ([n, oy, ox, c], flat) => {
      for (let iy = 0; iy < height; iy++)
        for (let ix = 0; ix < width; ix++) {
          const weight = high[oy! * height + iy]! * wide[ox! * width + ix]!;
          if (weight !== 0)
            out[flat]! += weight * x!.data[((n! * height + iy) * width + ix) * channels + c!]!;
        }
    });
    return out;
  },
  gridSample: ([x, positions], { attributes: { interpolation, padding } }, shape) => {
    const [, height, width, channels] = x!.shape as [number, number, number, number];
    const [, outHeight, outWidth] = shape as [number, number, number, number];
    const out = new Float64Array(sizeOf(shape));
    eachIndex(shape, ([n, oy, ox, c], flat) => {
      const at = ((n! * outHeight + oy!) * outWidth + ox!) * 2;
      const taps = (axis: 0 | 1) => tapsAt(positions!.data[at + axis]!, interpolation);
      for (const [iy, high] of taps(1))
        for (const [ix, wide] of taps(0)) {
          const y = insideOf(iy, height, padding);
          const x0 = insideOf(ix, width, padding);
          if (y !== null && x0 !== null)
            out[flat]! += high * wide * x!.data[((n! * height + y) * width + x0) * channels + c!]!;
        }
    });
    return out;
  },
};
