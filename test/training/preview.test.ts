/** Pictures as a training step would see them. */
import { expect, it } from 'vitest';
import { draw } from '../../src/core/distributions.ts';
import { Random } from '../../src/core/random.ts';
import { tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { preview } from '../../src/training/preview.ts';

// Four pictures of 1 x 2 pixels.
const images = tensor('uint8', [4, 1, 2, 1], Uint8Array.of(0, 10, 20, 30, 40, 50, 250, 255));

it('shows the draws of a step, the same for the same seed', async () => {
  const show = (seed: number, step = 0) =>
    preview([layers.randomBrightness({ factor: 0.1 })], images, { seed, step });
  const first = await show(1);
  // The step's noise in −0.1 … 0.1 times 255, rounded, within 0 … 255.
  const noise = draw(new Random(1, 'noise0', 0), 'uniform', [4]).data as Float32Array;
  const expected = [...images.data].map((value, i) => {
    const moved = value + (noise[i >> 1]! * 0.2 - 0.1) * 255;
    return Math.round(Math.min(Math.max(moved, 0), 255));
  });
  expect([...first.data]).toEqual(expected);
  expect(first.shape).toEqual([4, 1, 2, 1]);
  expect((await show(1)).data).toEqual(first.data);
  expect((await show(2)).data).not.toEqual(first.data);
  expect((await show(1, 1)).data).not.toEqual(first.data);
});

it('shows layers one after the other, as large as they leave the pictures', async () => {
  const shown = await preview(
    [layers.centerCrop({ height: 1, width: 1 }), layers.rescaling({ scale: 2 })],
    images,
  );
  expect(shown.shape).toEqual([4, 1, 1, 1]);
  expect([...shown.data]).toEqual([0, 40, 80, 255]);
});

it('refuses layers with weights by name', async () => {
  const made = [layers.flatten(), layers.dense({ name: 'classify', units: 2 })];
  await expect(preview(made, images)).rejects.toThrow(
    'A preview shows layers without weights, but classify has classify/kernel.',
  );
});
