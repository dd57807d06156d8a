/** Models whose outputs no process can hold. */
import { expect, it } from 'vitest';
import { float32, layers, sequential } from '../../src/index.ts';

it('an output that no process can hold is refused with its shape', async () => {
  const padding = 1e9;
  const model = sequential([
    layers.input({ shape: [2, 2, 3] }),
    layers.zeroPadding2d({
      padding: [
        [padding, padding],
        [padding, padding],
      ],
    }),
  ]);
  await expect(model.predict(float32([1, 2, 2, 3], new Float32Array(12)))).rejects.toMatchObject({
    code: 'shape',
    message: expect.stringContaining(
      "The model's output has the shape (2000000002, 2000000002, 3): of 1 images",
    ),
  });
  await model.close();
});
