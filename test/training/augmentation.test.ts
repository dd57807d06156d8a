/** Models that augment: what a training step sees, what evaluation sees, what files keep. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { draw } from '../../src/core/distributions.ts';
import { Random } from '../../src/core/random.ts';
import { type Tensor, tensor } from '../../src/core/tensor.ts';
import { fromTensors, slice } from '../../src/data/dataset.ts';
import * as layers from '../../src/layers/index.ts';
import type { Layer } from '../../src/layers/layer.ts';
import { sgd } from '../../src/optimizers/index.ts';
import { load, sequential } from '../../src/training/build.ts';
import type { TrainingState } from '../../src/training/callback.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';
import type { CompileOptions, Model } from '../../src/training/model.ts';
import { labels, x, y } from '../support/small_model.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-augmentation-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

const augmentations = () => [
  layers.randomFlip({ mode: 'horizontal' }),
  layers.randomTranslation({ heightFactor: 0.2, widthFactor: 0.2 }),
  layers.randomRotation({ factor: 0.05 }),
  layers.randomZoom({ heightFactor: 0.1 }),
  layers.randomContrast({ factor: 0.2, valueRange: [-3, 3] }),
  layers.randomBrightness({ factor: 0.1, valueRange: [-3, 3] }),
  layers.randomErasing({ factor: 0.5, valueRange: [-3, 3] }),
  layers.mixUp(),
  layers.cutMix(),
];

/** Layers in front of a small classifier with a frozen convolution. */
function behind(front: readonly Layer[], options: Partial<CompileOptions> = {}): Model {
  const made = sequential([
    layers.input({ shape: [8, 8, 3] }),
    ...front,
    layers.conv2d({ filters: 4, kernelSize: 5, padding: 'same', activation: 'relu', trainable: false }),
    layers.globalAveragePooling2d(),
    layers.dense({ units: 5, activation: 'softmax' }),
  ]);
  made.compile({
    ...{ loss: 'categorical_crossentropy', metrics: ['accuracy'], threads: 1, cache: 'off', seed: 3 },
    ...options,
  });
  open.push(made);
  return made;
}

const data = fromTensors(x, labels);
const fitOptions = { epochs: 3, batchSize: 16, verbose: false, validationData: slice(data, 0, 20) };
const firstBatch = {
  x: tensor('float32', [6, 8, 8, 3], x.data.slice(0, 6 * 192)) as Tensor<'float32'>,
  ids: tensor('int32', [6], labels.data.slice(0, 6)),
  rows: tensor('float32', [6, 5], y.data.slice(0, 30)),
};

describe('a training with augmentation', () => {
  it('continues bit for bit from the middle of an epoch', async () => {
    const whole = behind(augmentations());
    const expected = await whole.fit(data, fitOptions);

    const first = behind(augmentations());
    let state: TrainingState | null = null;
    const stop = lambdaCallback({
      onTrainBatchEnd: (batch, _logs, training) => {
        if (training.epoch === 1 && batch === 1) training.stop('step');
      },
      onSettled: async (training) => {
        if (training.stopping === 'step') state = await training.state();
      },
    });
    await first.fit(data, { ...fitOptions, callbacks: [stop] });
    const second = behind(augmentations(), { seed: 3 });
    const history = await second.fit(data, { ...fitOptions, resume: state });
    expect(history.epochs).toEqual(expected.epochs);
    expect(second.getWeights()).toEqual(whole.getWeights());
  });

  it('sees other pictures in each step, and evaluation sees them as they are', async () => {
    const plain = behind([]);
    const moving = behind(augmentations());
    moving.setWeights(plain.getWeights());
    expect((await moving.predict(x)).data).toEqual((await plain.predict(x)).data);
    expect(await moving.evaluate(data, { verbose: false })).toEqual(
      await plain.evaluate(data, { verbose: false }),
    );
    // With a learning rate of zero only the pictures change.
    const still = behind([layers.randomTranslation({ heightFactor: 0.5, widthFactor: 0.5 })], {
      optimizer: sgd({ learningRate: 0 }),
    });
    const losses: number[] = [];
    for (let step = 0; step < 3; step++) {
      losses.push((await still.trainOnBatch(firstBatch.x, firstBatch.ids))['loss']!);
    }
    expect(new Set(losses).size).toBe(3);
  });

  it('is the same with class ids and with one-hot rows', async () => {
    const losses = async (y: Tensor<'int32' | 'float32'>) =>
      (await behind(augmentations()).trainOnBatch(firstBatch.x, y))['loss'];
    expect(await losses(firstBatch.ids)).toBe(await losses(firstBatch.rows));
  });
});

describe('labels of mixed pictures', () => {
  it('are weighed as the pictures are', async () => {
    const model = behind([layers.mixUp({ alpha: 1 })], { optimizer: sgd({ learningRate: 0 }) });
    const { loss, accuracy } = await model.trainOnBatch(firstBatch.x, firstBatch.ids);
    // The first step's noise, in the order in which the layer asks.
    const order = draw(new Random(3, 'noise0', 0), 'permutation', [6]).data as Int32Array;
    const weights = draw(new Random(3, 'noise1', 0), { beta: [1, 1] }, [6]).data as Float32Array;
    const mixed = new Float32Array(6 * 192);
    const rows = new Float64Array(30);
    for (let i = 0; i < 6; i++) {
      const [own, other] = [weights[i]!, 1 - weights[i]!];
      for (let p = 0; p < 192; p++) {
        mixed[i * 192 + p] = own * x.data[i * 192 + p]! + other * x.data[order[i]! * 192 + p]!;
      }
      rows[i * 5 + labels.data[i]!]! += own;
      rows[i * 5 + labels.data[order[i]!]!]! += other;
    }
    // Prediction does not mix, so it tells what the classifier makes of the mixed pictures.
    const predictions = (await model.predict(tensor('float32', [6, 8, 8, 3], mixed))).data;
    const best = (of: ArrayLike<number>, i: number) => {
      const row = Array.from({ length: 5 }, (_, c) => of[i * 5 + c]!);
      return row.indexOf(Math.max(...row));
    };
    let expected = 0;
    let right = 0;
    for (let i = 0; i < 6; i++) {
      for (let c = 0; c < 5; c++) expected -= (rows[i * 5 + c]! * Math.log(predictions[i * 5 + c]!)) / 6;
      if (best(rows, i) === best(predictions, i)) right++;
    }
    expect(Math.abs(loss! - expected)).toBeLessThan(1e-5);
    expect(accuracy).toBeCloseTo(right / 6, 6);
  });

  it('are refused by a loss that takes class ids only', async () => {
    const model = behind([layers.cutMix({ name: 'cut' })], { loss: 'sparse_categorical_crossentropy' });
    await expect(model.trainOnBatch(firstBatch.x, firstBatch.ids)).rejects.toThrow(
      'Layer cut mixes labels, which sparse_categorical_crossentropy cannot take; compile with ' +
        'categorical_crossentropy',
    );
  });
});

describe('behind a trainable layer', () => {
  const around = (between: readonly Layer[]) => {
    const model = sequential([
      layers.input({ shape: [8, 8, 3] }),
      layers.conv2d({ filters: 4, kernelSize: 3 }),
      ...between,
      layers.flatten(),
      layers.dense({ units: 5, activation: 'softmax' }),
    ]);
    open.push(model);
    model.compile({ loss: 'sparse_categorical_crossentropy', metrics: ['accuracy'], threads: 1, seed: 3 });
    return model;
  };
  const resampled = () =>
    around([layers.randomRotation({ factor: 0.1 }), layers.randomZoom({ heightFactor: 0.1 })]);
  const refusal = 'There is no gradient through gridSample, which rotates, shifts and zooms pictures';
  const data = { x: firstBatch.x, y: firstBatch.ids };

  it('there is no gradient through resampling, which whatever trains says before anything is computed', async () => {
    const model = resampled();
    const begun: string[] = [];
    const callbacks = [lambdaCallback({ onTrainBegin: () => void begun.push('training') })];
    await expect(model.trainOnBatch(data.x, data.y)).rejects.toThrow(refusal);
    await expect(model.fit(data, { callbacks, verbose: false })).rejects.toThrow(refusal);
    await expect(model.lrFind(data, { verbose: false })).rejects.toThrow(refusal);
    expect(begun).toEqual([]);
    expect(model.enginePids).toEqual([]);
  });

  it('resampling does nothing in prediction and evaluation, which need no gradient', async () => {
    const [model, plain] = [resampled(), around([])];
    plain.setWeights(model.getWeights());
    const { data: predicted } = await model.predict(data.x);
    const expected = (await plain.predict(data.x)).data;
    expect(predicted.every((value, i) => Math.abs(value - expected[i]!) < 1e-6)).toBe(true);
    const rows = Array.from(data.y.data, (id, i) => ({ id, row: [...predicted.slice(i * 5, i * 5 + 5)] }));
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const { loss, accuracy } = await model.evaluate(data, { verbose: false });
    // Finer than what float16 could keep.
    expect(loss! / mean(rows.map(({ id, row }) => -Math.log(row[id]!)))).toBeCloseTo(1, 6);
    expect(accuracy).toBeCloseTo(
      mean(rows.map(({ id, row }) => Number(row.indexOf(Math.max(...row)) === id))),
      6,
    );
    const path = join(folder, 'resampled.h5');
    await model.save(path);
    const loaded = await load(path);
    open.push(loaded);
    expect((await loaded.predict(data.x)).data).toEqual(predicted);
  });

  it('what is frozen afterwards leaves a head that trains', async () => {
    const model = resampled();
    await model.predict(data.x);
    model.layers[0]!.trainable = false;
    model.compile({ loss: 'sparse_categorical_crossentropy', threads: 1 });
    const before = await model.predict(data.x);
    await model.trainOnBatch(data.x, data.y);
    expect((await model.predict(data.x)).data).not.toEqual(before.data);
  });
});

it('a compiled model of which nothing trains predicts and evaluates', async () => {
  const model = behind([]);
  const predicted = (await model.predict(firstBatch.x)).data;
  const before = await model.evaluate({ x: firstBatch.x, y: firstBatch.ids }, { verbose: false });
  for (const layer of model.layers) layer.trainable = false;
  model.compile({ loss: 'sparse_categorical_crossentropy', metrics: ['accuracy'], threads: 1 });
  expect((await model.predict(firstBatch.x)).data).toEqual(predicted);
  const { loss, accuracy } = await model.evaluate({ x: firstBatch.x, y: firstBatch.ids }, { verbose: false });
  expect(loss).toBeCloseTo(before['loss']!, 6);
  expect(accuracy).toBe(before['accuracy']);
});

it('a saved model augments again, with the same options', async () => {
  const made = behind([...augmentations(), layers.randomCrop({ height: 6, width: 6 })]);
  await made.trainOnBatch(firstBatch.x, firstBatch.ids);
  const path = join(folder, 'augmented.h5');
  await made.save(path);
  const loaded = await load(path);
  open.push(loaded);
  expect(loaded.layers.map((layer) => [layer.name, layer.className, layer.config()])).toEqual(
    made.layers.map((layer) => [layer.name, layer.className, layer.config()]),
  );
  expect((await loaded.predict(x)).data).toEqual((await made.predict(x)).data);
});
