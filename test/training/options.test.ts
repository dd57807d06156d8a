/** What the calls of a model are given is checked before anything is computed. */
import { afterAll, describe, expect, it } from 'vitest';
import { float32, tensor } from '../../src/core/tensor.ts';
import { fromTensors } from '../../src/data/dataset.ts';
import * as layers from '../../src/layers/index.ts';
import { accuracy, type Metric } from '../../src/metrics/index.ts';
import { sgd } from '../../src/optimizers/index.ts';
import { sequential } from '../../src/training/build.ts';
import {
  earlyStopping,
  lambdaCallback,
  modelCheckpoint,
  reduceLROnPlateau,
} from '../../src/training/callbacks.ts';
import type { CompileOptions, Model } from '../../src/training/model.ts';

const x = float32(
  [6, 4],
  Array.from({ length: 24 }, (_, i) => ((i * 7) % 11) / 11),
);
const y = tensor('int32', [6], Int32Array.of(0, 0, 1, 1, 2, 2));
const open: Model[] = [];
afterAll(async () => {
  for (const model of open) await model.close();
});

function made(options: Partial<CompileOptions> = {}): Model {
  const model = sequential([layers.input({ shape: [4] }), layers.dense({ units: 3, activation: 'softmax' })]);
  const loss = 'sparseCategoricalCrossentropy';
  model.compile({ loss, optimizer: sgd({ learningRate: 0.1 }), threads: 1, seed: 1, ...options });
  open.push(model);
  return model;
}

const quiet = { verbose: false };
const wrong = (options: unknown) => options as never;

describe('a monitored number has a direction', () => {
  const grows = () => lambdaCallback({ onEpochEnd: (epoch) => ({ valF1: 0.1 * (epoch + 1) }) });
  const asks =
    /nobody knows whether "valF1" should grow or fall; .* loss\. Give mode: 'max' or mode: 'min'\.$/;

  it.each([
    ['earlyStopping', () => earlyStopping({ monitor: 'valF1', patience: 2 })],
    ['reduceLROnPlateau', () => reduceLROnPlateau({ monitor: 'valF1', patience: 2 })],
    ['modelCheckpoint', () => modelCheckpoint('never.keras', { monitor: 'val_f1', saveBestOnly: true })],
  ])('%s asks for mode where only a callback knows the number, before the first epoch', async (_, make) => {
    let epochs = 0;
    const counts = lambdaCallback({
      onEpochBegin: () => {
        epochs++;
      },
    });
    const fit = made().fit({ x, y }, { ...quiet, epochs: 3, callbacks: [counts, make()] });
    await expect(fit).rejects.toMatchObject({ code: 'argument', message: expect.stringMatching(asks) });
    expect(epochs).toBe(0);
  });

  it('mode says it: a growing number does not stop a training that wants it to grow', async () => {
    const trained = async (mode: 'max' | 'min') => {
      const stop = earlyStopping({ monitor: 'valF1', patience: 2, mode });
      return (await made().fit({ x, y }, { ...quiet, epochs: 6, callbacks: [grows(), stop] })).epochs.length;
    };
    expect(await trained('max')).toBe(6);
    // The first epoch is the best of a number that should fall; two more without a better one end it.
    expect(await trained('min')).toBe(3);
  });

  it('a metric of the model is asked, whatever it is called', async () => {
    const recall: Metric = { ...accuracy(), name: 'recall' };
    const regret: Metric = { ...accuracy(), name: 'accuracyGap', direction: 'down' };
    const begin = async (metric: Metric, monitor: string) => {
      const model = made({ metrics: [metric] });
      const stop = earlyStopping({ monitor, patience: 1 });
      const training = { model, stop: () => stopped.push(monitor) } as never;
      const stopped: string[] = [];
      await stop.onTrainBegin?.(training);
      return async (...values: number[]) => {
        for (const [epoch, value] of values.entries()) {
          await stop.onEpochEnd?.(epoch, { [monitor]: value }, training);
        }
        return stopped.length;
      };
    };
    expect(await (await begin(recall, 'valRecall'))(0.1, 0.2, 0.3)).toBe(0);
    expect(await (await begin(recall, 'valRecall'))(0.3, 0.2)).toBe(1);
    expect(await (await begin(regret, 'valAccuracyGap'))(0.3, 0.2, 0.1)).toBe(0);
    expect(await (await begin(regret, 'valAccuracyGap'))(0.1, 0.2)).toBe(1);
  });

  it('a metric that the model was not compiled with has none; the nearest one is named', async () => {
    const fit = made({ metrics: ['accuracy'] }).fit(
      { x, y },
      { ...quiet, callbacks: [earlyStopping({ monitor: 'val_acc' })] },
    );
    await expect(fit).rejects.toThrow('the model was compiled with loss, accuracy (accuracy?).');
  });

  it('a mode that there is not is refused', () => {
    expect(() => earlyStopping(wrong({ mode: 'maximum' }))).toThrow(
      'callbacks.earlyStopping: mode must be one of "auto", "min", "max"',
    );
  });
});

describe('weights of classes and images', () => {
  const named = fromTensors(x, y, { classNames: ['bird', 'cat', 'dog'] });
  it.each([
    [
      'balance',
      'model.fit: classWeight must be "balanced" or an object of class ids and weights, got "balance".',
    ],
    [
      new Map([[0, 9]]),
      'model.fit: classWeight must be "balanced" or an object of class ids and weights, got a Map.',
    ],
    [
      [1, 2, 3],
      'model.fit: classWeight must be "balanced" or an object of class ids and weights, got [1, 2, 3].',
    ],
    [{ 0: Number.NaN }, 'model.fit: classWeight[0] must be a number of at least 0, got NaN.'],
    [{ 0: -1 }, 'model.fit: classWeight[0] must be a number of at least 0, got -1.'],
    [{ 1: '2' }, 'model.fit: classWeight[1] must be a number of at least 0, got "2".'],
    [
      { cat: 5 },
      /classWeight has a weight for "cat", but the classes of sequential\S* are 0 … 2; cat is class 1\.$/,
    ],
    [{ 3: 5 }, /classWeight has a weight for "3", but the classes of sequential\S* are 0 … 2\.$/],
    [{ '-1': 5 }, /classWeight has a weight for "-1", but the classes of sequential\S* are 0 … 2\.$/],
  ])('classWeight %o is refused', async (classWeight, message) => {
    const fit = made().fit(named, { ...quiet, classWeight: classWeight as never });
    await expect(fit).rejects.toMatchObject({
      code: 'argument',
      message: typeof message === 'string' ? message : expect.stringMatching(message),
    });
  });

  it.each([
    [Float32Array.of(1, 1, 1, Number.NaN, 1, 1), 'must have weights of at least 0, but weight 3 is NaN.'],
    [Float32Array.of(1, Number.POSITIVE_INFINITY, 1, 1, 1, 1), 'but weight 1 is Infinity.'],
    [Float32Array.of(-1, 1, 1, 1, 1, 1), 'but weight 0 is -1.'],
    [new Float32Array(7), 'tensors has 6, got 7 weights.'],
    [
      [1, 1, 1, 1, 1, 1],
      'sampleWeight must be a Float32Array with a weight for each image, got [1, 1, 1, 1, 1, 1].',
    ],
  ])('sampleWeight %o is refused', async (sampleWeight, message) => {
    const fit = made().fit({ x, y }, { ...quiet, sampleWeight: sampleWeight as never });
    await expect(fit).rejects.toMatchObject({ code: 'argument', message: expect.stringContaining(message) });
  });

  it('as in Keras, the weights of what validationSplit sets aside weigh the validation loss', async () => {
    // A rate of 0: both losses are those of the first weights.
    const model = made({ optimizer: sgd({ learningRate: 0 }) });
    const sampleWeight = Float32Array.of(1, 1, 1, 1, 3, 0);
    const { epochs } = await model.fit({ x, y }, { ...quiet, sampleWeight, validationSplit: 1 / 3 });
    const { loss } = await model.evaluate(
      { x: float32([1, 4], x.data.slice(16, 20)), y: tensor('int32', [1], Int32Array.of(2)) },
      quiet,
    );
    // (3 · l₄ + 0 · l₅) / 2
    expect(epochs[0]!['valLoss']).toBeCloseTo((3 * loss!) / 2, 5);
  });
});

describe('options that would change nothing, or that contradict each other', () => {
  it.each([
    [{ validation_split: 0.5 }, 'model.fit does not know "validation_split"; it is written validationSplit.'],
    [{ classWeigth: {} }, 'model.fit does not know "classWeigth"; did you mean classWeight?'],
    [{ epochs: 1.5 }, 'model.fit: epochs must be a whole number of at least 0, got 1.5.'],
    [{ epochs: -1 }, 'model.fit: epochs must be a whole number of at least 0, got -1.'],
    [{ epochs: Number.NaN }, 'model.fit: epochs must be a whole number of at least 0, got NaN.'],
    [{ batchSize: 0 }, 'model.fit: batchSize must be a whole number of at least 1, got 0.'],
    [{ verbose: 2 }, 'model.fit: verbose must be true or false, got 2.'],
    [{ callbacks: [earlyStopping] }, 'model.fit: callbacks[0] must be a callback'],
    [{ callbacks: earlyStopping() }, 'model.fit: callbacks must be an array of callbacks'],
    [
      { callbacks: [{ name: 'mine', onEpochEnds: () => undefined }] },
      'model.fit: callbacks[0] does not know "onEpochEnds"; did you mean onEpochEnd?',
    ],
    [{ validationData: { x } }, 'model.fit: validationData needs y: a tensor of int32 or float32.'],
    [
      { validationSplit: 0.5, validationData: { x, y } },
      'model.fit takes validationData or validationSplit, not both.',
    ],
    [
      { classWeight: 'balanced', sampleWeight: new Float32Array(6) },
      'model.fit takes classWeight or sampleWeight, not both.',
    ],
  ])('fit refuses %o', async (options, message) => {
    const fit = made().fit({ x, y }, { ...quiet, ...(options as object) });
    await expect(fit).rejects.toMatchObject({ code: 'argument', message: expect.stringContaining(message) });
  });

  it.each([
    [null, 'model.fit(data): expected a data set or an object of x, y, got null.'],
    [x, 'model.fit(data): images and their labels come as one object { x, y }, got a tensor of float32'],
    [
      { x, y: tensor('int64', [6]) },
      'model.fit(data): y must be a tensor of int32 or float32, got a tensor of int64 [6].',
    ],
    [{ x, y: { ...y, shape: [7] } }, 'model.fit(data): y must be a tensor of int32 or float32'],
  ])('fit is not given %o', async (data, message) => {
    await expect(made().fit(data as never, quiet)).rejects.toMatchObject({
      code: 'argument',
      message: expect.stringContaining(message),
    });
  });

  it('labels that are no numbers are refused, and negative ones also where classes are balanced', async () => {
    const rows = float32([6, 3], new Float32Array(18).fill(1 / 3));
    rows.data[7] = Number.NaN;
    await expect(made({ loss: 'categoricalCrossentropy' }).fit({ x, y: rows }, quiet)).rejects.toThrow(
      'tensors, example 2: a label is NaN.',
    );
    const negative = { x, y: tensor('int32', [6], Int32Array.of(0, 1, 2, -1, 0, 1)) };
    await expect(made().fit(negative, { ...quiet, classWeight: 'balanced' })).rejects.toThrow(
      'Example 3 has label -1; class ids are whole numbers from 0',
    );
  });

  it('compile says what it knows', () => {
    const model = made();
    expect(() => model.compile(wrong({}))).toThrow(
      'model.compile needs loss: one of "categoricalCrossentropy"',
    );
    expect(() => model.compile(wrong({ loss: 'mse' }))).toThrow('model.compile: loss must be one of');
    expect(() => model.compile(wrong({ loss: 'categorical_crossentropy', metrics: 'accuracy' }))).toThrow(
      'model.compile: metrics must be an array of metrics, got "accuracy".',
    );
    expect(() => model.compile(wrong({ loss: 'categorical_crossentropy', seed: -1 }))).toThrow(
      'model.compile: seed must be a whole number from 0 to 4294967295, got -1.',
    );
    expect(() =>
      model.compile({ loss: 'categorical_crossentropy', cache: { mode: 'off', views: 2 } }),
    ).toThrow('model.compile: cache takes no views while it is off');
  });
});
