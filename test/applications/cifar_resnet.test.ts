/** Graft's own backbone: beside the same layers in Keras, and on the photographs that it is judged by. */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { afterEach, describe, expect, it } from 'vitest';
import * as applications from '../../src/applications/index.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import { datasets, limit } from '../../src/data/index.ts';
import * as layers from '../../src/layers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { expectNear, goldenJson } from '../support/golden.ts';

const { cifarResnet } = applications;
const { record } = cifarResnet;

const golden = await goldenJson<{
  readonly parameters: number;
  readonly layers: readonly (readonly [name: string, className: string, ...shape: number[]])[];
  /** The first 16 of each picture. */
  readonly features: readonly (readonly number[])[];
  readonly probabilities: readonly (readonly number[])[];
}>('cifar_resnet.json');

const open: Model[] = [];
afterEach(async () => {
  for (const made of open.splice(0)) await made.close();
});

function withPreprocessing(network: Model): Model {
  const made = sequential([
    layers.input({ shape: [32, 32, 3] }),
    applications.preprocessing(record.preprocessing!),
    network,
  ]);
  open.push(made);
  return made;
}

function pictures() {
  const images = tensor('uint8', [2, 32, 32, 3]);
  for (let i = 0; i < images.data.length; i++) {
    const [channel, column] = [i % 3, Math.floor(i / 3) % 32];
    const [row, picture] = [Math.floor(i / 96) % 32, Math.floor(i / 3072)];
    images.data[i] = (row * (channel + 1) + column * (3 - channel) + 40 * picture) % 256;
  }
  return images;
}

function flat(rows: readonly (readonly number[])[]) {
  return float32([rows.length, rows[0]!.length], rows.flat());
}

describe('CifarResNet', () => {
  it('has the layers that the same words make in Keras', () => {
    const network = cifarResnet.structure({ weights: null });
    const lines = network.layers
      .slice(1)
      .map(({ name, className, output }) => [name, className, ...output.shape]);
    expect(lines).toEqual(golden.layers);
    expect(network.countParams()).toBe(golden.parameters);
    expect(record.parameters).toBe(golden.parameters);
    expect(network.getLayer(record.lastStage)).toBeDefined();
  });

  it('predicts what Keras predicts with the weights of the package', async () => {
    const whole = withPreprocessing(await cifarResnet());
    expectNear(
      'cifar_resnet',
      'probabilities',
      await whole.predict(pictures()),
      flat(golden.probabilities),
      1e-5,
    );
  });

  it('gives features without the classifier, from the same file', async () => {
    const base = withPreprocessing(await cifarResnet({ includeTop: false, pooling: 'avg' }));
    const features = await base.predict(pictures());
    expect(features.shape).toEqual([2, 192]);
    const first = [0, 1].flatMap((picture) => [...features.data.subarray(192 * picture, 192 * picture + 16)]);
    expectNear('cifar_resnet', 'features', float32([2, 16], first), flat(golden.features), 1e-5);
  });

  it('has weights of no more than 1.5 MB', async () => {
    const { size } = await stat(await applications.fetchPublished(record.top));
    // 687,978 values and statistics of two bytes, and a header.
    expect(size).toBeGreaterThan(2 * record.parameters);
    expect(size).toBeLessThan(1.5e6);
  });

  it('says what its weights are not', async () => {
    await expect(cifarResnet({ weights: 'imagenet' })).rejects.toThrow(
      'cifar_resnet has no ImageNet weights; its own were trained on CIFAR-10: cifar10.',
    );
    await expect(applications.resnet50({ weights: 'cifar10' })).rejects.toThrow(
      'resnet50 has no CIFAR-10 weights; its own were trained on ImageNet: imagenet.',
    );
    await expect(cifarResnet({ classes: 7 })).rejects.toThrow(
      'The CIFAR-10 classifier has 10 classes and takes (32, 32, 3); use includeTop: false for others.',
    );
  });
});

const mirror = process.env['GRAFT_MIRROR'] ?? '';
const isThere = /^https?:/.test(mirror) || (mirror !== '' && existsSync(mirror));

describe.skipIf(!isThere)('with a mirror of CIFAR-10 (GRAFT_MIRROR)', () => {
  it('tells photographs apart as well as its record says', async () => {
    const { test } = await datasets.cifar10.load({ mirror });
    const whole = withPreprocessing(await cifarResnet());
    whole.compile({ loss: 'sparseCategoricalCrossentropy', metrics: ['accuracy'], cache: 'off' });
    const { accuracy } = await whole.evaluate(limit(test, 1000), { batchSize: 200, verbose: false });
    // Two standard deviations of the accuracy of 1,000 pictures: 2 * sqrt(0.91 * 0.09 / 1000).
    expect(Math.abs(accuracy! - record.accuracy.top1)).toBeLessThan(0.018);
  });
});
