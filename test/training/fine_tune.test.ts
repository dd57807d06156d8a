/**
 * Fine-tuning in two phases: what each of them trains, with which rates, equals two fits by hand; the frozen part is
 * computed once; a stopped training goes on in its phase.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { float32 } from '../../src/core/tensor.ts';
import { type Dataset, fromTensors } from '../../src/data/dataset.ts';
import * as layers from '../../src/layers/index.ts';
import { rmsprop, schedules, sgd } from '../../src/optimizers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { Training, TrainingState } from '../../src/training/callback.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';
import type { CompileOptions, Model } from '../../src/training/model.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

const size = 12;
const x = float32(
  [40, size, size, 3],
  Float32Array.from({ length: 40 * size * size * 3 }, (_, i) => Math.sin(i * 0.37 + (i % 40))),
);
const y = { dtype: 'int32', shape: [40], data: Int32Array.from({ length: 40 }, (_, i) => i % 4) } as const;
const data = fromTensors(x, y);

/** A backbone with batch normalization and enough work to be worth a cut, and a head. */
function build(): { readonly model: Model; readonly backbone: Model } {
  const backbone = sequential(
    [
      layers.input({ shape: [size, size, 3] }),
      layers.conv2d({ filters: 16, kernelSize: 3, name: 'a' }),
      layers.batchNormalization({ name: 'a_bn' }),
      layers.relu({ name: 'a_relu' }),
      layers.conv2d({ filters: 16, kernelSize: 3, name: 'b' }),
      layers.batchNormalization({ name: 'b_bn' }),
    ],
    { name: 'backbone' },
  );
  const parts = [
    layers.input({ shape: [size, size, 3] }),
    backbone,
    layers.globalAveragePooling2d({ name: 'pool' }),
    layers.dropout({ rate: 0.3, name: 'drop' }),
    layers.dense({ units: 4, activation: 'softmax', name: 'head' }),
  ];
  const model = sequential(parts, { name: 'classifier' });
  open.push(model);
  return { model, backbone };
}

const compile: CompileOptions = {
  ...{ optimizer: rmsprop({ learningRate: 0.02 }), loss: 'sparse_categorical_crossentropy' },
  ...{ metrics: ['accuracy'], seed: 2, threads: 1, cache: 'memory' },
};
/** 32 pictures and 8 to validate: 4 steps an epoch. */
const fit = { batchSize: 8, validationSplit: 0.2, verbose: false } as const;

/** Rates of all steps. */
function rateLogger(rates: number[]) {
  return lambdaCallback({
    onTrainBatchEnd: (_batch, _logs, training) => {
      rates.push(training.model.compiled.optimizer.rateAt(training.step - 1));
    },
  });
}

describe('fineTune', () => {
  it('is two fits by hand: the head, then all of it with a new optimizer and a rate for each group', async () => {
    const { model } = build();
    model.compile(compile);
    const history = await model.fineTune(data, { ...fit, freezeEpochs: 2, epochs: 3 });
    expect(history.completed).toBe(true);

    const hand = build();
    // Rates as written in fastai: base/25 to base in 99 % of the steps, then base/2/5 to base/2 in 30 %, to 1e-5 of it.
    const cycle = (from: number, top: number, warmupSteps: number, decaySteps: number) =>
      schedules.cosineDecay({
        ...{ initialLearningRate: from, warmupTarget: top, warmupSteps, decaySteps, alpha: 1e-5 },
      });
    hand.backbone.trainable = false;
    hand.model.compile({ ...compile, optimizer: rmsprop({ learningRate: cycle(0.02 / 25, 0.02, 8, 1) }) });
    const first = await hand.model.fit(data, { ...fit, epochs: 2 });
    await hand.model.close();
    hand.backbone.trainable = true;
    hand.model.compile({
      ...compile,
      optimizer: rmsprop({ learningRate: cycle(0.002, 0.01, 4, 8) }),
      learningRateMultipliers: { a: 0.01, b: 0.1, pool: 1 },
    });
    // Orders of pictures go by the epoch, so the second fit is the third to fifth epoch.
    const state: TrainingState = {
      ...{ epoch: 2, batch: 0, finished: false, step: 0, learningRate: 0, totals: {} },
      ...{ history: first.epochs, callbacks: {}, weights: hand.model.getWeights(), slots: {} },
    };
    const second = await hand.model.fit(data, { ...fit, epochs: 5, resume: state });
    expect(history).toEqual(second);
    const weights = await model.currentWeights();
    (await hand.model.currentWeights()).forEach((wanted, i) => {
      expect(weights[i], model.variables[i]!.path).toEqual(wanted);
    });
  });

  it('has the rates of fastai at the corners of both cycles', async () => {
    const { model } = build();
    model.compile({ ...compile, optimizer: sgd({ learningRate: 0.1 }) });
    const rates: number[] = [];
    await model.fineTune(data, { ...fit, freezeEpochs: 1, epochs: 5, callbacks: [rateLogger(rates)] });
    // 4 steps, all of them climbing; then 20 steps, 6 of them climbing.
    expect(rates).toHaveLength(24);
    expect(rates[0]).toBeCloseTo(0.1 / 25, 12);
    expect(rates[2]).toBeCloseTo((0.1 / 25 + 0.1) / 2, 12);
    expect(rates[4]).toBeCloseTo(0.05 / 5, 12);
    expect(rates[10]).toBeCloseTo(0.05, 12);
    expect(rates[17]).toBeCloseTo(0.05 * ((1 - 1e-5) * 0.5 + 1e-5), 12);
    expect(rates[3]).toBeCloseTo(0.1 / 25 + (0.1 - 0.1 / 25) * 0.75, 12);
  });

  it('leaves the backbone alone in the first phase, statistics included, and computes its features once', async () => {
    const { model, backbone } = build();
    model.compile(compile);
    const start = backbone.getWeights();
    let reads = 0;
    const counted: Dataset = {
      ...data,
      name: data.name,
      shape: data.shape,
      dtype: data.dtype,
      fingerprint: data.fingerprint,
      // What lies in memory would go to the engine once.
      inMemory: false,
      read: (indices) => {
        reads += indices.length;
        return data.read(indices);
      },
    };
    const seen: { readonly epoch: number; readonly same: boolean; readonly reads: number }[] = [];
    const watch = lambdaCallback({
      onEpochEnd: async (epoch, _logs, training) => {
        await training.model.currentWeights();
        const same = backbone.getWeights().every((values, i) => values.every((v, j) => v === start[i]![j]));
        seen.push({ epoch, same, reads });
        return undefined;
      },
    });
    const { validationSplit: _, ...plain } = fit;
    await model.fineTune(counted, { ...plain, freezeEpochs: 3, epochs: 2, callbacks: [watch] });
    expect(seen.map(({ epoch, same }) => [epoch, same])).toEqual([
      ...[
        [0, true],
        [1, true],
        [2, true],
        [3, false],
        [4, false],
      ],
    ]);
    // In the first phase pictures are read before the first epoch and never again, in the second in each epoch.
    expect(seen[2]!.reads).toBe(seen[0]!.reads);
    expect(seen[4]!.reads - seen[3]!.reads).toBe(40);
    const moving = backbone.variables.findIndex(({ path }) => path === 'a_bn/moving_mean');
    expect(backbone.getWeights()[moving], 'statistics move in the second phase').not.toEqual(start[moving]);
  });

  it('callbacks hear of one training, and what stops it stops both phases', async () => {
    const { model } = build();
    model.compile(compile);
    const heard: string[] = [];
    const listener = (stopAt: number) =>
      lambdaCallback({
        onFeaturesBegin: () => void heard.push('features'),
        onTrainBegin: () => void heard.push('begin'),
        onEpochBegin: (epoch, training: Training) => {
          heard.push(`${epoch} of ${training.epochs}`);
          if (epoch === stopAt) training.stop();
        },
        onTrainEnd: () => void heard.push('end'),
      });
    await model.fineTune(data, { ...fit, freezeEpochs: 2, epochs: 2, callbacks: [listener(9)] });
    expect(heard.splice(0)).toEqual([
      ...['features', 'begin', '0 of 4', '1 of 4', 'features', '2 of 4', '3 of 4', 'end'],
    ]);
    model.compile(compile);
    const { epochs } = await model.fineTune(data, {
      ...fit,
      freezeEpochs: 2,
      epochs: 2,
      callbacks: [listener(0)],
    });
    expect(heard).toEqual(['features', 'begin', '0 of 4', 'end']);
    expect(epochs).toHaveLength(1);
    expect(
      model.trainingPlan().every(({ trainable }) => trainable),
      'the flags are the caller’s again',
    ).toBe(true);
    await model.evaluate(data, { verbose: false });
  });

  it('goes on bit for bit from any step of both phases', async () => {
    const states: TrainingState[] = [];
    const keep = lambdaCallback({
      onSettled: async (training) => void states.push(await training.state()),
    });
    const options = { ...fit, freezeEpochs: 2, epochs: 2 } as const;
    const whole = build().model;
    const averaged = { ...compile, optimizer: rmsprop({ learningRate: 0.02, momentum: 0.9, useEma: true }) };
    whole.compile(averaged);
    const history = await whole.fineTune(data, { ...options, callbacks: [keep] });
    expect(states.map(({ epoch, batch }) => `${epoch}.${batch}`)).toHaveLength(16);
    // Inside the first phase, at its end, and inside the second.
    for (const at of [2, 7, 8, 13]) {
      const { model } = build();
      model.compile(averaged);
      const resumed = await model.fineTune(data, { ...options, resume: states[at]! });
      expect(resumed, `step ${at}`).toEqual(history);
      expect(await model.currentWeights(), `step ${at}`).toEqual(await whole.currentWeights());
    }
  });

  it('says what it needs', async () => {
    const { model, backbone } = build();
    backbone.trainable = false;
    model.compile(compile);
    await expect(model.fineTune(data, fit)).rejects.toThrow(
      'trains the head of classifier first and then what is in front of pool, of which nothing is trainable. Thaw it',
    );
    backbone.trainable = true;
    const cosine = schedules.cosineDecay({ initialLearningRate: 0.1, decaySteps: 10 });
    model.compile({ ...compile, optimizer: sgd({ learningRate: cosine }) });
    await expect(model.fineTune(data, fit)).rejects.toThrow('compile with a number as learningRate');
    model.compile({ ...compile, learningRateMultipliers: { head: 2 } });
    await expect(model.fineTune(data, { ...fit, rateRatio: 10 })).rejects.toThrow('not both');
    const flat = sequential([
      layers.input({ shape: [size, size, 3] }),
      layers.flatten(),
      layers.dense({ units: 4 }),
    ]);
    flat.compile(compile);
    await expect(flat.fineTune(data, fit)).rejects.toThrow('name the first layer of the head: headFrom');
  });
});
