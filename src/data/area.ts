/** Pictures at other sizes by area: for thumbnails of a few characters or a few bits. */
import type { Tensor } from '../core/tensor.ts';

export type Colour = readonly [red: number, green: number, blue: number];

/** A picture at another size: the mean of the pixels that a new one covers, each by the part that is covered. */
export function areaSampler({ shape, data }: Tensor<'uint8'>, rows: number, columns: number) {
  const [height, width] = shape as [number, number];
  return (row: number, column: number): Colour => {
    const sums = [0, 0, 0];
    let total = 0;
    for (const [y, heightShare] of covered(row, rows, height)) {
      for (const [x, widthShare] of covered(column, columns, width)) {
        const weight = heightShare * widthShare;
        total += weight;
        for (let channel = 0; channel < 3; channel++) {
          sums[channel]! += weight * data[(y * width + x) * 3 + channel]!;
        }
      }
    }
    return sums.map((sum) => Math.round(sum / total)) as unknown as Colour;
  };
}

/** The old positions under a new one, and how much of each lies under it. */
function covered(index: number, count: number, length: number): [position: number, share: number][] {
  const [start, end] = [(index * length) / count, ((index + 1) * length) / count];
  const found: [number, number][] = [];
  for (let at = Math.floor(start); at < end - 1e-9; at++) {
    found.push([at, Math.min(at + 1, end) - Math.max(at, start)]);
  }
  return found;
}
