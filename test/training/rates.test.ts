/** Learning rates by group of layers, beside Keras with an optimizer for each group; kept in files. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { fromTensors } from '../../src/data/dataset.ts';
import * as layers from '../../src/layers/index.ts';
import { optimizerFromKeras, sgd } from '../../src/optimizers/index.ts';
import { load, sequential } from '../../src/training/build.ts';
import type { TrainingState } from '../../src/training/callback.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';
import { loadCheckpoint, saveCheckpoint } from '../../src/training/checkpoint.node.ts';
import type { Model } from '../../src/training/model.ts';
import { expectNumbers } from '../support/golden.ts';
import { batchOf, smallModel, training, x, y } from '../support/small_model.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

function kept(model: Model): Model {
  open.push(model);
  return model;
}

describe('ten steps with groups of layers', () => {
  it.each(training.json.groups.map((each) => [each.name, each] as const))(
    '%s: losses and weights equal those of one Keras optimizer for each group',
    async (name, { optimizer, config, multipliers, loss }) => {
      const model = kept(smallModel());
      model.compile({
        optimizer: optimizerFromKeras({ class_name: optimizer, config }),
        loss: 'categorical_crossentropy',
        learningRateMultipliers: multipliers,
        threads: 1,
        cache: 'off',
      });
      const losses: number[] = [];
      for (let step = 0; step < loss.length; step++) {
        const { x, y } = batchOf(step);
        losses.push((await model.trainOnBatch(x, y))['loss']!);
      }
      expectNumbers('groups, loss', name, losses, loss, 2e-6);
      await model.currentWeights();
      for (const { path, values } of model.variables) {
        const wanted = training.tensor(`${name}/final/${path}`).data as Float32Array;
        expectNumbers('groups, weights', `${name}/${path}`, [...values], [...wanted], 1e-5);
      }
    },
  );
});

/** What a step of rate 1 does to each weight is its gradient times its multiplier. */
it('a group goes from its first layer to the next that is named, through nested models', async () => {
  const inner = sequential(
    [
      layers.input({ shape: [4, 4, 3] }),
      layers.conv2d({ filters: 2, kernelSize: 3, name: 'first' }),
      layers.conv2d({ filters: 2, kernelSize: 1, name: 'second' }),
    ],
    { name: 'inner' },
  );
  const model = kept(
    sequential([
      layers.input({ shape: [4, 4, 3] }),
      layers.conv2d({ filters: 3, kernelSize: 1, name: 'before' }),
      inner,
      layers.flatten(),
      layers.dense({ units: 2, activation: 'softmax', name: 'head' }),
    ]),
  );
  const data = fromTensors(
    {
      dtype: 'float32',
      shape: [8, 4, 4, 3],
      data: Float32Array.from({ length: 384 }, (_, i) => Math.sin(i)),
    },
    { dtype: 'int32', shape: [8], data: Int32Array.from({ length: 8 }, (_, i) => i % 2) },
  );
  const moved = async (learningRateMultipliers: Readonly<Record<string, number>>) => {
    model.compile({
      ...{ optimizer: sgd({ learningRate: 1 / 8 }), loss: 'sparse_categorical_crossentropy', seed: 1 },
      ...{ learningRateMultipliers, threads: 1, cache: 'off' },
    });
    const start = model.getWeights();
    await model.fit(data, { batchSize: 8, verbose: false });
    const ways = model.variables.map(({ values }, i) => values.map((value, j) => value - start[i]![j]!));
    model.setWeights(start);
    return ways;
  };
  const whole = await moved({});
  const shares = await moved({ inner: 0.25, second: 0.5, head: 2 });
  const expected = { before: 1, first: 0.25, second: 0.5, head: 2 };
  model.variables.forEach(({ layer, path }, i) => {
    const share = expected[layer.name as keyof typeof expected];
    const largest = Math.max(...whole[i]!.map(Math.abs));
    expect(largest, path).toBeGreaterThan(1e-4);
    whole[i]!.forEach((way, j) => {
      // Weights near 1 are rounded to 6e-8 in each of two runs.
      expect(Math.abs(shares[i]![j]! - share * way), path).toBeLessThan(5e-7);
    });
  });
});

it('names that the model lacks, and multipliers that freeze, are refused', () => {
  const model = smallModel();
  const compile = (learningRateMultipliers: Readonly<Record<string, number>>) => () =>
    model.compile({ loss: 'categorical_crossentropy', learningRateMultipliers });
  expect(compile({ conv_c: 0.1 })).toThrow('Model small has no layer named "conv_c".');
  expect(compile({ conv_b: 0 })).toThrow(
    'learningRateMultipliers: expected a number above 0 for conv_b, got 0. To keep layers as they are, set ' +
      'trainable = false.',
  );
});

describe('kept in files', () => {
  const compiled = () => {
    const model = kept(smallModel());
    model.compile({
      optimizer: sgd({ learningRate: 0.05, momentum: 0.9 }),
      loss: 'categorical_crossentropy',
      learningRateMultipliers: { conv_a: 0.1, dense_a: 1 },
      ...{ seed: 4, threads: 1, cache: 'off' },
    });
    return model;
  };
  const options = { batchSize: 20, verbose: false } as const;

  it.each(['.h5', '.keras'])('%s: a model that is loaded goes on at the same rates', async (ending) => {
    const folder = await mkdtemp(join(tmpdir(), 'graft-rates-'));
    try {
      const model = compiled();
      await model.fit(fromTensors(x, y), { ...options, shuffle: false });
      await model.save(join(folder, `model${ending}`));
      const loaded = kept(await load(join(folder, `model${ending}`)));
      expect(loaded.compiled.learningRateMultipliers).toEqual({ conv_a: 0.1, dense_a: 1 });
      for (const each of [model, loaded]) await each.fit(fromTensors(x, y), { ...options, shuffle: false });
      expect(await loaded.currentWeights()).toEqual(await model.currentWeights());
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('a checkpoint inside an epoch continues bit for bit', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'graft-rates-'));
    try {
      const path = join(folder, 'checkpoint.safetensors');
      const whole = compiled();
      const states: TrainingState[] = [];
      const keep = lambdaCallback({
        onSettled: async (training) => void states.push(await training.state()),
      });
      const history = await whole.fit(fromTensors(x, y), { ...options, epochs: 2, callbacks: [keep] });
      await saveCheckpoint(path, states[3]!);
      const continued = compiled();
      const resume = await loadCheckpoint(path);
      expect(await continued.fit(fromTensors(x, y), { ...options, epochs: 2, resume })).toEqual(history);
      expect(await continued.currentWeights()).toEqual(await whole.currentWeights());
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
