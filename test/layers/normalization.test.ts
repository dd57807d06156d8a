/** Normalization where the mean is large beside the deviation, beside float64 and Keras. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import { models } from '../../src/index.ts';
import * as layers from '../../src/layers/index.ts';
import { sgd } from '../../src/optimizers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

/** Means in deviations, channel by channel in turn; the deviations themselves go from 0.01 to 100. */
const ratios = [0, 1, 10, 100, 1000, -1000];

/** Uniform values of mean 0 and variance 1. */
function unitVariance(random: Random, out: Float32Array): Float32Array {
  return random.fillUniform(out).map((value) => (value - 0.5) * Math.sqrt(12));
}

function drawn(batch: number, size: number, channels: number) {
  const random = new Random(7, 'normalization');
  const x = float32(
    [batch, size, size, channels],
    unitVariance(random, new Float32Array(batch * size * size * channels)),
  );
  for (let i = 0; i < x.data.length; i++) {
    const channel = i % channels;
    x.data[i] = 10 ** ((channel % 5) - 2) * (ratios[channel % ratios.length]! + x.data[i]!);
  }
  return x;
}

/** Mean and variance of each channel in float64, in two passes. */
function statistics(data: Float32Array, channels: number) {
  const count = data.length / channels;
  const mean = new Float64Array(channels);
  const variance = new Float64Array(channels);
  for (let i = 0; i < data.length; i++) mean[i % channels]! += data[i]! / count;
  for (let i = 0; i < data.length; i++) {
    variance[i % channels]! += (data[i]! - mean[i % channels]!) ** 2 / count;
  }
  return { mean, variance };
}

describe('the variance of a batch is right to 1e-5 up to a mean of a thousand deviations', () => {
  it.each([
    { what: 'vectors', batch: 32, size: 1, channels: 30, convolution: false },
    { what: 'maps', batch: 16, size: 40, channels: 6, convolution: false },
    // The runtime's own layout takes channels in blocks of 8 or 16, the other one the rest.
    {
      what: 'maps of a convolution in blocks of channels',
      batch: 16,
      size: 40,
      channels: 32,
      convolution: true,
    },
    { what: 'maps of a convolution without blocks', batch: 16, size: 40, channels: 30, convolution: true },
  ])('$what', async ({ batch, size, channels, convolution }) => {
    const x = drawn(batch, size, channels);
    const identity = layers.conv2d({ filters: channels, kernelSize: 1, useBias: false });
    // With a momentum of 0 the moving averages are the batch's own.
    const normalization = layers.batchNormalization({ momentum: 0 });
    const model = sequential([
      layers.input({ shape: [size, size, channels] }),
      ...(convolution ? [identity] : []),
      normalization,
      layers.globalAveragePooling2d(),
      layers.dense({ units: 2, activation: 'softmax' }),
    ]);
    open.push(model);
    model.compile({ optimizer: sgd({ learningRate: 0 }), loss: 'sparseCategoricalCrossentropy', seed: 1 });
    for (const { values } of identity.variables) {
      values.fill(0);
      for (let c = 0; c < channels; c++) values[c * channels + c] = 1;
    }
    const y = tensor(
      'int32',
      [batch],
      Int32Array.from({ length: batch }, (_, i) => i % 2),
    );
    await model.fit({ x, y }, { epochs: 1, batchSize: batch, shuffle: false, verbose: false });
    const { mean, variance } = statistics(x.data, channels);
    const [movingMean, movingVariance] = normalization.variables.slice(-2).map(({ values }) => values);
    for (let c = 0; c < channels; c++) {
      expect(Math.abs(movingVariance![c]! / variance[c]! - 1), `variance of ${c}`).toBeLessThan(1e-5);
      const inDeviations = (movingMean![c]! - mean[c]!) / Math.sqrt(variance[c]!);
      // Float32 has steps of 6e-5 deviations where the mean is a thousand of them.
      expect(Math.abs(inDeviations), `mean of ${c}`).toBeLessThan(1e-3);
    }
  });
});

it('values of 100 ± 0.05 give the loss of float64 and of Keras', async () => {
  const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
  const bytes = await readFile(fixture('bn.f32'));
  const x = float32([8, 6], new Float32Array(Uint8Array.from(bytes).buffer));
  const labels = [0, 1, 2, 0, 1, 2, 0, 1];
  const model = await models.load(fixture('bn_precision.keras'));
  open.push(model);
  const [gamma, beta, , , kernel, bias] = model.layers
    .flatMap((layer) => layer.variables)
    .map(({ values }) => Float64Array.from(values));
  const { mean, variance } = statistics(x.data, 6);
  const losses = labels.map((label, row) => {
    const logits = Array.from({ length: 3 }, (_, unit) =>
      Array.from({ length: 6 }, (_, c) => {
        const normal = (x.data[row * 6 + c]! - mean[c]!) / Math.sqrt(variance[c]! + 1e-3);
        return (normal * gamma![c]! + beta![c]!) * kernel![c * 3 + unit]!;
      }).reduce((total, value) => total + value, bias![unit]!),
    );
    return Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0)) - logits[label]!;
  });
  const expected = losses.reduce((total, loss) => total + loss, 0) / labels.length;
  expect(expected).toBeCloseTo(1.34032, 5);
  const y = tensor('int32', [8], Int32Array.from(labels));
  const { epochs } = await model.fit({ x, y }, { epochs: 1, batchSize: 8, shuffle: false, verbose: false });
  // Keras 3.15 on TensorFlow gives 1.34033.
  expect(Math.abs(epochs[0]!['loss']! - expected)).toBeLessThan(2e-5);
});

it('LayerNormalization takes the variance of values a thousand deviations from 0 as float64 does', async () => {
  const random = new Random(3, 'layer normalization');
  const x = float32([4, 256], unitVariance(random, new Float32Array(4 * 256)));
  for (let i = 0; i < x.data.length; i++) x.data[i] = 1000 + x.data[i]!;
  const model = sequential([layers.input({ shape: [256] }), layers.layerNormalization({ epsilon: 1e-9 })]);
  open.push(model);
  model.initialize(0);
  const { data } = await model.predict(x);
  for (let row = 0; row < 4; row++) {
    const values = x.data.subarray(row * 256, (row + 1) * 256);
    const { mean, variance } = statistics(values, 1);
    for (let i = 0; i < 256; i++) {
      const expected = (values[i]! - mean[0]!) / Math.sqrt(variance[0]! + 1e-9);
      expect(Math.abs(data[row * 256 + i]! - expected)).toBeLessThan(2e-4);
    }
  }
});
