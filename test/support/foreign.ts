/** Foreign ONNX models of the golden files, and what ONNX Runtime itself makes of them. */
import { join } from 'node:path';
import { Random } from '../../src/core/random.ts';
import { type Tensor, tensor } from '../../src/core/tensor.ts';
import { goldenPath } from './golden.ts';
import { ort } from './ort.ts';

export const foreignFile = (name: string): string => goldenPath(join('onnx', name));

/** Pictures of noise, (count, size, size, 3). */
export function pictures(count: number, size: number): Tensor<'uint8'> {
  const random = new Random(3, 'pictures');
  const result = tensor('uint8', [count, size, size, 3]);
  for (let i = 0; i < result.data.length; i++) result.data[i] = random.below(256);
  return result;
}

export interface Run {
  /** Of each channel; ImageNet's if nothing is said. */
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  readonly layout?: 'NCHW' | 'NHWC';
}

/** The session of the file as it is, without Graft: pictures one after the other, normalised here. */
export async function runForeign(
  path: string,
  images: Tensor<'uint8'>,
  output: string,
  { mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225], layout = 'NCHW' }: Run = {},
): Promise<{ readonly shape: readonly number[]; readonly data: number[] }> {
  const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const [count, height, width] = images.shape as [number, number, number];
  const size = height * width;
  const data: number[] = [];
  let shape: readonly number[] = [];
  for (let n = 0; n < count; n++) {
    const values = new Float32Array(3 * size);
    for (let i = 0; i < size; i++) {
      for (let c = 0; c < 3; c++) {
        const value = (images.data[(n * size + i) * 3 + c]! / 255 - mean[c]!) / std[c]!;
        values[layout === 'NCHW' ? c * size + i : i * 3 + c] = value;
      }
    }
    const dims = layout === 'NCHW' ? [1, 3, height, width] : [1, height, width, 3];
    const [name] = session.inputNames;
    const results = await session.run({ [name!]: new ort.Tensor('float32', values, dims) });
    shape = results[output]!.dims.slice(1);
    data.push(...(results[output]!.data as Float32Array));
  }
  await session.release();
  return { shape, data };
}

/** Maps of Graft (channels-last) in the order of ONNX. */
export function channelsFirst({ shape, data }: Tensor<'float32'>): number[] {
  if (shape.length !== 4) return [...data];
  const [count, height, width, channels] = shape as [number, number, number, number];
  const result = new Array<number>(data.length);
  for (let n = 0; n < count; n++)
    for (let i = 0; i < height * width; i++)
      for (let c = 0; c < channels; c++)
        result[(n * channels + c) * height * width + i] = data[(n * height * width + i) * channels + c]!;
  return result;
}

/** The largest difference of two lists. */
export function apart(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}
