/** Weights under PyTorch's names, against what PyTorch computed with them (`test/golden/make_torch.py`). */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadWeights } from '../../src/applications/pretrained.node.ts';
import { loadTorchWeights } from '../../src/applications/torch_weights.node.ts';
import { float32 } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { readSafetensors, writeSafetensors } from '../../src/saving/safetensors.node.ts';
import { model } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { expectNear, goldenPath } from '../support/golden.ts';

const path = goldenPath('formats/torch_vgg16.safetensors');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-torch-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** The golden's narrow network under Keras's names. */
function narrow({ name = 'vgg16', top = true } = {}): Model {
  const image = layers.input({ shape: [64, 64, 3] });
  let x = image;
  [2, 2, 3, 3, 4].forEach((filters, i) => {
    for (let j = 1; j <= (i < 2 ? 2 : 3); j++) {
      const conv = `block${i + 1}_conv${j}`;
      x = layers.conv2d({ filters, kernelSize: 3, padding: 'same', activation: 'relu', name: conv }).apply(x);
    }
    x = layers.maxPooling2d({ poolSize: 2 }).apply(x);
  });
  if (top) {
    x = layers.flatten().apply(x);
    x = layers.dense({ units: 6, activation: 'relu', name: 'fc1' }).apply(x);
    x = layers.dense({ units: 6, activation: 'relu', name: 'fc2' }).apply(x);
    x = layers.dense({ units: 5, activation: 'softmax', name: 'predictions' }).apply(x);
  }
  return model({ inputs: image, outputs: x, name });
}

describe('weights of PyTorch', () => {
  it('in a VGG16 give the probabilities of PyTorch, classifier included', async () => {
    const size = 2 * 64 * 64 * 3;
    const x = float32(
      [2, 64, 64, 3],
      Float32Array.from({ length: size }, (_, i) => ((i * 37) % 101) / 50 - 1),
    );
    const network = narrow();
    await loadTorchWeights(network, path);
    const expected = (await readSafetensors(path)).get('probabilities')!;
    expectNear('torch', 'vgg16', await network.predict(x), expected, 1e-5);
    await network.close();
  });

  it('fit a model without the classifier too', async () => {
    const network = narrow({ top: false });
    await loadTorchWeights(network, path);
    const kernel = (await readSafetensors(path)).get('features.28.weight')!;
    // (out, in, height, width) = (4, 4, 3, 3): element [3][2][1][0] is [1][0][2][3] of (height, width, in, out).
    const own = network.getLayer('block5_conv3').variables[0]!;
    expect(own.shape).toEqual([3, 3, 4, 4]);
    expect(own.values[((1 * 3 + 0) * 4 + 2) * 4 + 3]).toBe(kernel.data[((3 * 4 + 2) * 3 + 1) * 3 + 0]);
  });

  it('are refused, with the reason, where the architecture is another one', async () => {
    await expect(loadTorchWeights(narrow({ name: 'resnet50' }), path)).rejects.toThrow(
      /The resnet50 of PyTorch is not that of Keras: PyTorch strides the 3x3 convolution/,
    );
    await expect(loadTorchWeights(narrow({ name: 'mine' }), path)).rejects.toThrow(
      /for mine; it has them for vgg16, vgg19/,
    );
    const tensors = [...(await readSafetensors(path))].map(([name, tensor]) => ({ name, tensor }));
    const normalized = join(folder, 'bn.safetensors');
    await writeSafetensors(normalized, [
      ...tensors,
      { name: 'features.1.running_mean', tensor: float32([1], [0]) },
    ]);
    await expect(loadTorchWeights(narrow(), normalized)).rejects.toThrow(
      'a variant with batch normalization',
    );
    const short = join(folder, 'short.safetensors');
    await writeSafetensors(
      short,
      tensors.filter(({ name }) => name !== 'features.0.bias'),
    );
    await expect(loadTorchWeights(narrow(), short)).rejects.toThrow('lacks features.0.bias of vgg16');
  });

  it('are not taken for those of Keras', async () => {
    await expect(loadWeights(narrow(), path)).rejects.toThrow(
      /names of PyTorch.*loadTorchWeights.*preprocessing\('torch'\)/s,
    );
  });
});
