/** Test-time augmentation: which pixels each view has, and that predictions are averaged over them. */
import { afterAll, expect, it } from 'vitest';
import { float32, tensor } from '../../src/core/tensor.ts';
import { fromTensors } from '../../src/data/dataset.ts';
import { viewsOf } from '../../src/training/tta.ts';
import { batchOf, smallModel } from '../support/small_model.ts';

const model = smallModel();
afterAll(() => model.close());

it('views are the picture, its mirror image, then both shifted by a sixteenth with the edge repeated', async () => {
  // 16 x 16 pixels of two channels: row, column.
  const x = tensor('uint8', [2, 16, 16, 2]);
  x.data.forEach((_, i) => {
    x.data[i] = i % 2 === 0 ? Math.floor(i / 32) % 16 : Math.floor(i / 2) % 16;
  });
  const pictures = fromTensors(x, tensor('int32', [2], Int32Array.of(4, 5)));
  const views = viewsOf(pictures, 10);
  const last = 15;
  // Where pixel (row, column) of a view comes from: 16 / 16 = 1 pixel.
  const down = (p: number) => Math.min(p + 1, last);
  const up = (p: number) => Math.max(p - 1, 0);
  const same = (p: number) => p;
  const wanted = [
    ...[
      [same, same],
      [up, up],
      [down, down],
      [up, down],
      [down, up],
    ],
  ] as [typeof same, typeof same][];
  for (const [i, view] of views.entries()) {
    const { x: pixels, y } = await view.read([1, 0]);
    expect([...y.data]).toEqual([5, 4]);
    expect(pixels.shape).toEqual([2, 16, 16, 2]);
    const [rows, columns] = wanted[Math.floor(i / 2)]!;
    for (let at = 0; at < 256; at++) {
      const [row, column] = [Math.floor(at / 16), at % 16];
      const expected = [rows(row), columns(i % 2 === 1 ? last - column : column)];
      expect([pixels.data[2 * at], pixels.data[2 * at + 1]], `view ${i}, pixel ${at}`).toEqual(expected);
    }
  }
});

it('predictions are the mean over views', async () => {
  const { x } = batchOf(0);
  const mirrored = x.data.map((_, i) => {
    const [channel, pixel] = [i % 3, Math.floor(i / 3)];
    return x.data[3 * (8 * Math.floor(pixel / 8) + 7 - (pixel % 8)) + channel]!;
  });
  const one = await model.predict(x);
  const other = await model.predict(float32(x.shape, mirrored));
  const both = await model.predict(x, { tta: 2 });
  both.data.forEach((value, i) => {
    expect(value).toBeCloseTo((one.data[i]! + other.data[i]!) / 2, 6);
  });
  expect(Math.max(...one.data.map((value, i) => Math.abs(value - other.data[i]!)))).toBeGreaterThan(0.01);
  expect(await model.predict(x, { tta: 1 })).toEqual(one);
  await expect(model.predict(x, { tta: 11 })).rejects.toThrow('a whole number of views from 1 to 10, got 11');
});
