/** Gradient accumulation in a training: several small batches are one large one. Keras's numbers are in keras.test.ts. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { fromTensors, slice } from '../../src/data/dataset.ts';
import * as layers from '../../src/layers/index.ts';
import { l2 } from '../../src/layers/regularizers.ts';
import { adam, type Optimizer, sgd } from '../../src/optimizers/index.ts';
import { load, sequential } from '../../src/training/build.ts';
import type { TrainingState } from '../../src/training/callback.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';
import { loadCheckpoint, saveCheckpoint } from '../../src/training/checkpoint.node.ts';
import type { Model } from '../../src/training/model.ts';
import { x, y } from '../support/small_model.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-accumulation-'));
});
afterAll(() => rm(folder, { recursive: true }));

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

/** Everything that an average of gradients must get right, and batch normalization if that is asked for. */
function makeModel(
  optimizer: Optimizer,
  options: { readonly normalized?: boolean; readonly l2?: number } = {},
) {
  const model = sequential([
    layers.input({ shape: [8, 8, 3] }),
    layers.conv2d({ filters: 4, kernelSize: 3, strides: 2, activation: 'relu' }),
    ...(options.normalized
      ? [layers.batchNormalization({ momentum: 0.8 }), layers.dropout({ rate: 0.3 })]
      : []),
    layers.flatten(),
    layers.dense({ units: 5, activation: 'softmax', kernelRegularizer: l2(options.l2 ?? 0.05) }),
  ]);
  model.compile({ optimizer, loss: 'categorical_crossentropy', metrics: ['accuracy'], threads: 1, seed: 2 });
  open.push(model);
  return model;
}

const data = fromTensors(x, y);

describe('batches of 20 in groups of three', () => {
  /** The weights after six epochs over 60 pictures, in order. */
  const trained = async (
    make: (group: number | null) => Optimizer,
    group: number | null,
    penalty?: number,
  ) => {
    const model = makeModel(make(group), penalty === undefined ? {} : { l2: penalty });
    await model.fit(data, { epochs: 6, batchSize: group === null ? 60 : 20, shuffle: false, verbose: false });
    return model.getWeights();
  };
  /** The largest difference between two lists of weights. */
  const apart = (one: readonly Float32Array[], other: readonly Float32Array[]) =>
    Math.max(...one.flatMap((values, i) => [...values].map((value, j) => Math.abs(value - other[i]![j]!))));

  it.each([
    [
      'plain',
      (steps: number | null) => sgd({ learningRate: 0.1, momentum: 0.9, gradientAccumulationSteps: steps }),
    ],
    [
      'with gradients clipped by their norm together',
      (steps: number | null) =>
        sgd({ learningRate: 0.1, globalClipnorm: 0.2, gradientAccumulationSteps: steps }),
    ],
    ['with Adam', (steps: number | null) => adam({ learningRate: 1e-3, gradientAccumulationSteps: steps })],
  ])('move the weights as batches of 60 do, %s, a regularizer counted once', async (_, make) => {
    const whole = await trained(make, null);
    expect(apart(await trained(make, 3), whole)).toBeLessThan(2e-6);
    expect(apart(await trained(make, null, 0.051), whole), 'the regularizer matters').toBeGreaterThan(2e-5);
  });

  it('are clipped as a whole, not one by one', async () => {
    const clipped = (limit: number) => (steps: number | null) =>
      sgd({ learningRate: 0.1, globalClipnorm: limit, gradientAccumulationSteps: steps });
    expect(apart(await trained(clipped(0.2), 3), await trained(clipped(1e9), 3))).toBeGreaterThan(1e-3);
  });
});

describe('a group of batches', () => {
  // Four batches an epoch in groups of three, so that groups go across the ends of epochs.
  const options = { epochs: 3, batchSize: 16, verbose: false, validationData: slice(data, 0, 20) };
  const make = () =>
    makeModel(adam({ learningRate: 0.01, gradientAccumulationSteps: 3 }), { normalized: true });

  it('that is interrupted anywhere ends the same bit for bit when it is continued', async () => {
    const whole = make();
    const history = await whole.fit(data, options);
    for (const stopAfter of [1, 2, 3, 4, 5, 8, 11]) {
      let kept: TrainingState | null = null;
      const stop = lambdaCallback({
        onSettled: async (training) => {
          if (training.step !== stopAfter || kept) return;
          kept = await training.state();
          training.stop('step');
        },
      });
      const before = make();
      await before.fit(data, { ...options, callbacks: [stop] });
      await before.close();
      const path = join(folder, 'state.safetensors');
      await saveCheckpoint(path, kept!);
      const after = make();
      const continued = await after.fit(data, { ...options, resume: await loadCheckpoint(path) });
      expect(continued, `stopped after batch ${stopAfter}`).toEqual(history);
      expect(after.getWeights(), `stopped after batch ${stopAfter}`).toEqual(whole.getWeights());
      await after.close();
    }
  });

  it('that a file interrupts goes on from the file', async () => {
    const path = join(folder, 'group.h5');
    const model = make();
    await model.fit(data, { ...options, epochs: 1 });
    await model.save(path);
    const loaded = await load(path);
    open.push(loaded);
    expect(loaded.compiled.optimizer.options.gradientAccumulationSteps).toBe(3);
    const next = { epochs: 1, batchSize: 16, verbose: false };
    expect(await loaded.fit(data, next)).toEqual(await model.fit(data, next));
    expect(loaded.getWeights()).toEqual(model.getWeights());
  });

  it('moves statistics with each batch, weights and their optimizer state with the last', async () => {
    const model = make();
    const moved: string[] = [];
    let before = model.getWeights();
    for (let batch = 0; batch < 3; batch++) {
      await model.trainOnBatch(x, y);
      const now = await model.currentWeights();
      const changed = model.variables.filter((_, i) => now[i]!.some((value, j) => value !== before[i]![j]));
      moved.push(changed.map(({ name }) => name).join(' '));
      before = now;
    }
    const statistics = 'moving_mean moving_variance';
    expect(moved).toEqual([statistics, statistics, `kernel bias gamma beta ${statistics} kernel bias`]);
  });
});
