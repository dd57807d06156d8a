/**
 * Test-time augmentation: the mean of what a model makes of a picture, its mirror image, and both shifted to the four
 * diagonals, as the ten crops of Krizhevsky et al. (2012), with the picture's edge repeated where it moved away.
 */
import { float32, type Tensor } from '../core/tensor.ts';
import type { Dataset } from '../data/dataset.ts';

/** Rows and columns, as shares of height and width. */
const step = 1 / 16;
const shifts: readonly (readonly [number, number])[] = [
  [0, 0],
  [-step, -step],
  [step, step],
  [-step, step],
  [step, -step],
];

/** How many views of a picture there are. */
export const mostViews = 2 * shifts.length;

/** The first so many views: the picture, its mirror image, then shifted, mirrored and so on; at most `mostViews`. */
export function viewsOf(dataset: Dataset, count: number): Dataset[] {
  return Array.from({ length: count }, (_, i) => (i === 0 ? dataset : viewOf(dataset, i)));
}

function viewOf(dataset: Dataset, index: number): Dataset {
  const [, height, width] = dataset.shape as [number, number, number, number];
  const [down, right] = shifts[Math.floor(index / 2)]!;
  const mirrored = index % 2 === 1;
  const rows = positions(height, Math.round(down * height), false);
  const columns = positions(width, Math.round(right * width), mirrored);
  return {
    name: dataset.name,
    shape: dataset.shape,
    dtype: dataset.dtype,
    classNames: dataset.classNames,
    fingerprint: `${dataset.fingerprint}:view ${index}`,
    async read(indices) {
      const { x, y } = await dataset.read(indices);
      return { x: gathered(x, rows, columns), y };
    },
  };
}

/** Where each row or column of a view comes from: shifted, the last one repeated; then mirrored. */
function positions(length: number, shift: number, mirrored: boolean): number[] {
  const from = Array.from({ length }, (_, i) => Math.min(Math.max(i + shift, 0), length - 1));
  return mirrored ? from.reverse() : from;
}

/** Pixels (n, height, width, channels) by their rows and columns. */
function gathered<T extends Tensor<'uint8' | 'float32'>>(
  x: T,
  rows: readonly number[],
  columns: readonly number[],
): T {
  const [count, height, width, channels] = x.shape as [number, number, number, number];
  const data = x.data.slice();
  let at = 0;
  for (let n = 0; n < count; n++) {
    for (const row of rows) {
      for (const column of columns) {
        const from = ((n * height + row) * width + column) * channels;
        for (let c = 0; c < channels; c++) data[at++] = x.data[from + c]!;
      }
    }
  }
  return { ...x, data };
}

/** The mean of tensors of one shape. */
export function meanOf(tensors: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const [first] = tensors;
  const sums = new Float64Array(first!.data.length);
  for (const { data } of tensors) {
    for (let i = 0; i < sums.length; i++) sums[i]! += data[i]!;
  }
  return float32(
    first!.shape,
    Float32Array.from(sums, (sum) => sum / tensors.length),
  );
}
