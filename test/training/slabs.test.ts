/** A weight of more than 32 MB is state in several slabs; nobody who trains with it can see that. */
import { expect, it } from 'vitest';
import { buildProgram } from '../../src/compile/program.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import { fromTensors } from '../../src/data/dataset.ts';
import * as layers from '../../src/layers/index.ts';
import { l2 } from '../../src/layers/regularizers.ts';
import { categoricalCrossentropy } from '../../src/losses/index.ts';
import { sgd } from '../../src/optimizers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { TrainingState } from '../../src/training/callback.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';

// 40 MB: three slabs of rows 0 … 3333 … 6666 … 10000.
const [inputs, classes, rate, momentum] = [10_000, 1_000, 2e-3, 0.5];
const picture = Float32Array.from({ length: inputs }, (_, i) => ((i * 7) % 13) / 13);
const data = fromTensors(float32([1, 100, 100, 1], picture), tensor('int32', [1], Int32Array.of(3)));

function oneLayer() {
  const dense = layers.dense({
    units: classes,
    activation: 'softmax',
    useBias: false,
    kernelInitializer: 'zeros',
    kernelRegularizer: l2(10),
  });
  const model = sequential([layers.input({ shape: [100, 100, 1] }), layers.flatten(), dense]);
  const optimizer = sgd({ learningRate: rate, momentum });
  model.compile({ optimizer, loss: 'categorical_crossentropy', seed: 1 });
  return { model, optimizer };
}

it('lies in the engine in three slabs', () => {
  const { model, optimizer } = oneLayer();
  const { weights, slots } = buildProgram({
    ...{ network: model, optimizer, loss: categoricalCrossentropy(), metrics: [] },
    ...{ trains: true, imageDType: 'float32', labels: 'ids', featureDType: 'float32' },
  });
  expect([...weights.keys()]).toEqual(['w0[0:3333]', 'w0[3333:6666]', 'w0[6666:10000]']);
  expect([...slots.values()].map(({ shape }) => shape)).toEqual([
    [3333, classes],
    [3333, classes],
    [3334, classes],
  ]);
});

it('learns what the whole would, and its state can be kept and restored', async () => {
  const { model } = oneLayer();
  let state: TrainingState | null = null;
  const keep = lambdaCallback({
    onSettled: async (training) => {
      state ??= await training.state();
    },
  });
  const { epochs } = await model.fit(data, { batchSize: 1, epochs: 2, callbacks: [keep] });
  // From zero weights all classes are equally likely: dW = x · (1/1000 - [class is 3]), velocity and W are -rate · dW.
  const gradient = (row: number, column: number) => picture[row]! * (1 / classes - (column === 3 ? 1 : 0));
  const rows = [0, 5, 3332, 3333, 6665, 6666, 6667, 9999];
  const { slots, weights } = state!;
  for (const row of rows)
    for (const column of [0, 3, 999]) {
      const wanted = -rate * gradient(row, column);
      expect(weights[0]![row * classes + column], `weight ${row}, ${column}`).toBeCloseTo(wanted, 8);
      expect(slots['w0/momentum']![row * classes + column], `state ${row}, ${column}`).toBeCloseTo(wanted, 8);
    }
  // The second step sees logits x · W and the penalty 10 · Σ W², from all slabs.
  const square = picture.reduce((sum, value) => sum + value * value, 0);
  const [right, wrong] = [rate * square * (1 - 1 / classes), (-rate * square) / classes];
  const crossentropy = Math.log(1 + (classes - 1) * Math.exp(wrong - right));
  const penalty = 10 * rate ** 2 * square * ((1 - 1 / classes) ** 2 + (classes - 1) / classes ** 2);
  expect(epochs[1]!.loss).toBeCloseTo(crossentropy + penalty, 4);
  const [whole] = model.getWeights();
  await model.close();

  const { model: continued } = oneLayer();
  await continued.fit(data, { batchSize: 1, epochs: 2, resume: state! });
  expect(Buffer.from(continued.getWeights()[0]!.buffer).equals(Buffer.from(whole!.buffer))).toBe(true);
  await continued.close();
}, 60_000);
