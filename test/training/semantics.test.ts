/** What a training promises: it can be repeated and continued bit for bit, and says what is wrong with its input. */
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import { fromTensors, slice } from '../../src/data/dataset.ts';
import * as layers from '../../src/layers/index.ts';
import { l2 } from '../../src/layers/regularizers.ts';
import { adam, sgd } from '../../src/optimizers/index.ts';
import { cosineDecay } from '../../src/optimizers/schedules.ts';
import { sequential } from '../../src/training/build.ts';
import type { Callback, Logs, TrainingState } from '../../src/training/callback.ts';
import {
  earlyStopping,
  lambdaCallback,
  modelCheckpoint,
  reduceLROnPlateau,
} from '../../src/training/callbacks.ts';
import { backup, loadCheckpoint, saveCheckpoint } from '../../src/training/checkpoint.node.ts';
import { Executor } from '../../src/training/executor.ts';
import type { CompileOptions, Model } from '../../src/training/model.ts';
import { labels, smallModel, x, y } from '../support/small_model.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-semantics-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

function compiled(model: Model, options: Partial<CompileOptions> = {}): Model {
  model.compile({
    loss: 'categorical_crossentropy',
    metrics: ['accuracy'],
    threads: 1,
    cache: 'memory',
    ...options,
  });
  open.push(model);
  return model;
}

/** A frozen convolution, then batch normalization that learns, dropout, and a regularizer. */
function lively(): Model {
  return sequential([
    layers.input({ shape: [8, 8, 3] }),
    layers.conv2d({ filters: 4, kernelSize: 9, padding: 'same', activation: 'relu', trainable: false }),
    layers.conv2d({ filters: 5, kernelSize: 3, strides: 2, kernelRegularizer: l2(1e-3) }),
    layers.batchNormalization({ momentum: 0.8 }),
    layers.relu(),
    layers.dropout({ rate: 0.3 }),
    layers.flatten(),
    layers.dense({ units: 8, activation: 'relu' }),
    layers.dropout({ rate: 0.2 }),
    layers.dense({ units: 5, activation: 'softmax' }),
  ]);
}

const data = fromTensors(x, y);
const fitOptions = {
  epochs: 5,
  batchSize: 16,
  verbose: false,
  validationData: slice(data, 0, 20),
};

describe('a training can be repeated', () => {
  it('two runs with one seed have equal histories and weights; another seed has not', async () => {
    const run = async (seed: number) => {
      const model = compiled(lively(), { optimizer: 'adam', seed });
      const history = await model.fit(data, { ...fitOptions, epochs: 2 });
      return { history, weights: model.getWeights() };
    };
    const first = await run(4);
    expect(await run(4)).toEqual(first);
    expect((await run(5)).history).not.toEqual(first.history);
  });

  it('with one thread or two, and with features kept or not, runs repeat as well', async () => {
    const run = async () => {
      const model = compiled(lively(), { threads: 2, cache: 'off' });
      await model.fit(data, { ...fitOptions, epochs: 1 });
      return model.getWeights();
    };
    expect(await run()).toEqual(await run());
  });

  it('whoever watches steps sees each before the next begins, and changes nothing', async () => {
    const run = async (callbacks: Callback[]) => {
      const optimizer = sgd({ learningRate: cosineDecay({ initialLearningRate: 0.1, decaySteps: 9 }) });
      const model = compiled(lively(), { optimizer });
      const { epochs } = await model.fit(data, { ...fitOptions, epochs: 3, callbacks });
      return { epochs, weights: model.getWeights() };
    };
    const runs = vi.spyOn(Executor.prototype, 'send');
    const together = () => runs.mock.calls.splice(0).map(([, batches]) => batches.length);
    const steps: number[] = [];
    const watching = lambdaCallback({ onTrainBatchEnd: (_batch, _logs, { step }) => void steps.push(step) });
    const watched = await run([watching]);
    expect(steps).toEqual(Array.from({ length: steps.length }, (_, i) => i + 1));
    expect(new Set(together())).toEqual(new Set([1]));
    expect(await run([])).toEqual(watched);
    // Epochs of three whole batches and a smaller one; in the first, features go to the engine, batch by batch.
    const unwatched = together();
    expect(unwatched.reduce((sum, count) => sum + count)).toBe(steps.length);
    expect(unwatched.slice(4)).toEqual([3, 1, 3, 1]);
    // A callback that can wait sees the same numbers of each step.
    const seen: (readonly [number, Logs])[][] = [[], []];
    const note = (list: number, stepwise: boolean): Callback => ({
      name: 'note',
      stepwise,
      onTrainBatchEnd: (batch, logs) => void seen[list]!.push([batch, logs]),
    });
    expect(await run([note(0, false)])).toEqual(watched);
    expect(Math.max(...together())).toBe(3);
    await run([note(1, true)]);
    expect(seen[0]).toEqual(seen[1]);
    runs.mockRestore();
  });

  it('batches that do not fit together are steps of their own', async () => {
    const run = async (callbacks: Callback[]) => {
      const model = compiled(lively(), { optimizer: 'adam', cache: 'off' });
      // 60 pictures by 8: the last batch has 4.
      const { epochs } = await model.fit(data, { ...fitOptions, batchSize: 8, epochs: 3, callbacks });
      return { epochs, weights: model.getWeights() };
    };
    const runs = vi.spyOn(Executor.prototype, 'send');
    const grouped = await run([]);
    const sizes = runs.mock.calls.map(([, batches]) =>
      batches.map(({ sampleWeight }) => sampleWeight.length),
    );
    expect(Math.max(...sizes.map(({ length }) => length))).toBeGreaterThan(1);
    for (const [first, ...others] of sizes) expect(others.every((size) => size === first)).toBe(true);
    runs.mockRestore();
    expect(await run([lambdaCallback({ onTrainBatchEnd: () => undefined })])).toEqual(grouped);
  });

  it('a run is sent 32 MB of features at most', async () => {
    const large = sequential([
      layers.input({ shape: [512, 512, 3] }),
      layers.globalAveragePooling2d(),
      layers.dense({ units: 2, activation: 'softmax' }),
    ]);
    const model = compiled(large, { loss: 'sparse_categorical_crossentropy' });
    const pictures = fromTensors(tensor('float32', [24, 512, 512, 3]), tensor('int32', [24]));
    const runs = vi.spyOn(Executor.prototype, 'send');
    await model.fit(pictures, { epochs: 2, batchSize: 1, verbose: false });
    const together = runs.mock.calls.map(([, batches]) => batches.length);
    runs.mockRestore();
    // A picture has 512 · 512 · 3 · 4 bytes = 3 MB.
    expect(Math.max(...together)).toBeLessThanOrEqual(10);
    expect(Math.max(...together)).toBeGreaterThan(1);
  });

  it('an epoch has another order than the one before, unless shuffle is off', async () => {
    const seen = async (shuffle: boolean) => {
      const model = compiled(lively(), { optimizer: sgd({ learningRate: 0 }) });
      const losses: number[][] = [[], []];
      const note = lambdaCallback({
        onTrainBatchEnd: (batch, { accuracy, loss }, { epoch }) => {
          losses[epoch]![batch] = loss! + accuracy!;
        },
      });
      // Without dropout and at rate zero, only the order can make a difference.
      await model.fit(data, { ...fitOptions, epochs: 2, shuffle, callbacks: [note] });
      return losses;
    };
    const [first, second] = await seen(true);
    expect(first).not.toEqual(second);
  });
});

describe('a training can be continued', () => {
  // Limits at which every callback has something to do: the loss falls by less, and growing is what is asked.
  const optimizer = () => adam({ learningRate: 0.03 });
  const callbacks = (run: string): Callback[] => [
    reduceLROnPlateau({ patience: 1, mode: 'max', factor: 0.5, cooldown: 2 }),
    earlyStopping({ patience: 3, mode: 'max', restoreBestWeights: true }),
    modelCheckpoint(join(folder, `${run}.h5`), { saveBestOnly: true }),
  ];

  const uninterrupted = async () => {
    const model = compiled(lively(), { optimizer: optimizer(), seed: 3 });
    const history = await model.fit(data, { ...fitOptions, callbacks: callbacks('whole') });
    return { history, weights: model.getWeights() };
  };

  it('stopped after any step and continued in another model, it ends the same bit for bit', async () => {
    const whole = await uninterrupted();
    const rates = whole.history.epochs.map(({ learningRate }) => learningRate);
    expect(new Set(rates).size, 'the rate was lowered').toBeGreaterThan(1);
    expect(whole.history.epochs.length, 'it was stopped early').toBeLessThan(fitOptions.epochs);
    const steps = whole.history.epochs.length * 4;
    for (let stopAfter = 1; stopAfter <= steps; stopAfter++) {
      let kept: TrainingState | null = null;
      const stop = lambdaCallback({
        onTrainBatchEnd: (_batch, _logs, training) => {
          if (training.step === stopAfter) training.stop('step');
        },
        onSettled: async (training) => {
          if (training.stopping === 'step') kept = await training.state();
        },
      });
      const before = compiled(lively(), { optimizer: optimizer(), seed: 3 });
      const history = await before.fit(data, { ...fitOptions, callbacks: [...callbacks('part'), stop] });
      expect(history.completed).toBe(false);
      await before.close();

      const path = join(folder, 'state.safetensors');
      await saveCheckpoint(path, kept!);
      const resume = await loadCheckpoint(path);
      expect(resume.step).toBe(stopAfter);
      // Weights of its own, which the state replaces.
      const after = compiled(lively(), { optimizer: optimizer(), seed: 3 });
      after.setWeights(after.getWeights().map((values) => values.map((value) => value + 1)));
      const continued = await after.fit(data, { ...fitOptions, callbacks: callbacks('part'), resume });
      expect(continued, `stopped after step ${stopAfter}`).toEqual(whole.history);
      expect(after.getWeights(), `stopped after step ${stopAfter}`).toEqual(whole.weights);
      await after.close();
    }
  }, 120_000);

  it('stopped by a callback that does not see each step, it goes on after those that were under way', async () => {
    const whole = await uninterrupted();
    const states: TrainingState[] = [];
    const stop: Callback = {
      name: 'stop',
      stepwise: false,
      // In the second epoch, whose first three steps are one run; the fourth is under way by then.
      onTrainBatchEnd: (batch, _logs, training) => {
        if (training.epoch === 1 && batch === 1) training.stop('step');
      },
      onSettled: async (training) => void states.push(await training.state()),
    };
    const before = compiled(lively(), { optimizer: optimizer(), seed: 3 });
    await before.fit(data, { ...fitOptions, callbacks: [...callbacks('part'), stop] });
    expect(states.map(({ epoch, batch, step }) => [epoch, batch, step])).toEqual([
      [1, 0, 4],
      [1, 4, 8],
    ]);
    const after = compiled(lively(), { optimizer: optimizer(), seed: 3 });
    const resume = states.at(-1)!;
    expect(await after.fit(data, { ...fitOptions, callbacks: callbacks('part'), resume })).toEqual(
      whole.history,
    );
    expect(after.getWeights()).toEqual(whole.weights);
  });

  it('from a checkpoint that was written inside an epoch because it was time, it ends the same bit for bit', async () => {
    const whole = await uninterrupted();
    const checkpoint = join(folder, 'timed.safetensors');
    const batchesOfCheckpoints = async (minutes: number, path: (number: number) => string) => {
      const batches: number[] = [];
      const copy: Callback = {
        name: 'copy',
        stepwise: false,
        onSettled: async ({ batch }) => {
          await copyFile(checkpoint, path(batches.length));
          batches.push(batch);
        },
      };
      const model = compiled(lively(), { optimizer: optimizer(), seed: 3 });
      const timed = [...callbacks('part'), backup(checkpoint, { minutes }), copy];
      expect(await model.fit(data, { ...fitOptions, callbacks: timed })).toEqual(whole.history);
      return batches;
    };
    const path = (number: number) => join(folder, `timed-${number}.safetensors`);
    expect(new Set(await batchesOfCheckpoints(60, path))).toEqual(new Set([0]));
    const batches = await batchesOfCheckpoints(1e-9, path);
    const inside = [...batches.keys()].filter((number) => batches[number] !== 0);
    // Epochs have four steps, of which up to three run at once.
    expect(inside.length).toBeGreaterThan(1);
    for (const number of inside.slice(0, 2)) {
      const after = compiled(lively(), { optimizer: optimizer(), seed: 3 });
      const resume = await loadCheckpoint(path(number));
      expect(resume.batch).toBe(batches[number]);
      const again = await after.fit(data, { ...fitOptions, callbacks: callbacks('part'), resume });
      expect(again, `checkpoint ${number}`).toEqual(whole.history);
      expect(after.getWeights()).toEqual(whole.weights);
      await after.close();
    }
  }, 60_000);

  it('a training that a callback has ended trains no further when it is continued', async () => {
    const states: TrainingState[] = [];
    const keep = lambdaCallback({
      onSettled: async (training) => {
        states.push(await training.state());
      },
    });
    const model = compiled(lively(), { optimizer: optimizer(), seed: 3 });
    const history = await model.fit(data, { ...fitOptions, callbacks: [...callbacks('ended'), keep] });
    const last = states.at(-1)!;
    expect(last.finished).toBe(true);
    expect(states.at(-2)!.finished).toBe(false);
    expect(last.history).toEqual(history.epochs);
    const again = compiled(lively(), { optimizer: optimizer(), seed: 3 });
    const options = { ...fitOptions, callbacks: callbacks('again'), resume: last };
    expect(await again.fit(data, options)).toEqual(history);
    expect(again.getWeights(), 'the best weights are set at the end').toEqual(model.getWeights());
  });

  it('a schedule goes on where it was', async () => {
    const make = () => {
      const learningRate = cosineDecay({ initialLearningRate: 0.05, decaySteps: 12 });
      return compiled(lively(), { optimizer: sgd({ learningRate, momentum: 0.9 }) });
    };
    const whole = make();
    const history = await whole.fit(data, { ...fitOptions, epochs: 3 });
    let kept: TrainingState | null = null;
    const stop = lambdaCallback({
      onSettled: async (training) => {
        if (training.step !== 6) return;
        kept = await training.state();
        training.stop('step');
      },
    });
    const before = make();
    await before.fit(data, { ...fitOptions, epochs: 3, callbacks: [stop] });
    const after = make();
    expect(await after.fit(data, { ...fitOptions, epochs: 3, resume: kept })).toEqual(history);
    expect(after.getWeights()).toEqual(whole.getWeights());
  });
});

describe('weights that are set while the engine trains', () => {
  it('win over the ones of the engine, in the model and in the next step', async () => {
    const model = compiled(smallModel(), { optimizer: sgd({ learningRate: 0.1 }) });
    const start = model.getWeights();
    const first = await model.trainOnBatch(x, y);
    model.setWeights(start);
    expect(await model.currentWeights()).toEqual(start);
    expect((await model.trainOnBatch(x, y))['loss']).toBe(first['loss']);
    expect((await model.trainOnBatch(x, y))['loss']).not.toBe(first['loss']);
  });
});

describe('errors of a training', () => {
  it('fit, evaluate and trainOnBatch before compile, also after predict', async () => {
    const model = smallModel();
    open.push(model);
    await model.predict(x);
    const message = 'Model small must be compiled first: model.compile({...}).';
    await expect(model.fit(data, { verbose: false })).rejects.toThrow(message);
    await expect(model.evaluate(data, { verbose: false })).rejects.toThrow(message);
    await expect(model.trainOnBatch(x, y)).rejects.toThrow(message);
    expect(model.isCompiled).toBe(false);
  });

  it('predict without weights', async () => {
    await expect(lively().predict(x)).rejects.toThrow('kernel has no values; compile the model or load');
  });

  it('a trainable flag that changed after compile, by the names of the layers', async () => {
    const model = compiled(smallModel());
    model.getLayer('conv_a').trainable = false;
    model.getLayer('bn_b').trainable = false;
    const message = 'trainable has changed since compile: conv_a, bn_b. Call model.compile again.';
    await expect(model.fit(data, { verbose: false })).rejects.toThrow(message);
    model.getLayer('conv_a').trainable = true;
    model.getLayer('bn_b').trainable = true;
    await model.trainOnBatch(x, y);
  });

  it('no trainable weight', async () => {
    const model = smallModel();
    model.freeze();
    compiled(model);
    await expect(model.fit(data, { verbose: false })).rejects.toThrow(
      'Model small has no trainable weights; thaw a layer with layer.trainable = true.',
    );
  });

  it('pictures of another shape', async () => {
    const model = compiled(smallModel());
    const small = float32([2, 4, 4, 3], new Float32Array(96));
    const message = 'Model small takes images of shape (8, 8, 3), tensors has (4, 4, 3).';
    await expect(model.fit({ x: small, y: labels }, { verbose: false })).rejects.toThrow();
    await expect(model.predict(small)).rejects.toThrow(message);
  });

  it('one image that is no batch', async () => {
    const image = float32([8, 8, 3], new Float32Array(192));
    await expect(compiled(smallModel()).predict(image)).rejects.toThrow(
      'tensors has (8, 3). One image is a batch of one: reshape it to (1, 8, 8, 3).',
    );
  });

  it('a tensor of images without its labels', async () => {
    const alone = x as unknown as { x: typeof x; y: typeof labels };
    await expect(compiled(smallModel()).fit(alone, { verbose: false })).rejects.toThrow(
      /^model\.fit\(data\): images and their labels come as one object { x, y }, got a tensor of float32 \(\d+, 8, 8, 3\)\.$/,
    );
  });

  const ids = (...values: number[]): Tensor<'int32'> =>
    tensor('int32', [values.length], Int32Array.from(values));
  const three = {
    dtype: 'float32',
    shape: [3, 8, 8, 3],
    data: x.data.slice(0, 3 * 192),
  } as Tensor<'float32'>;

  it.each(['off', 'memory'] as const)(
    'a class id that the model does not predict, features %s',
    async (cache) => {
      for (const [frozen, wrong] of [
        [[], 5],
        [['conv_a', 'bn_a'], -1],
      ] as const) {
        const model = compiled(smallModel(frozen), { loss: 'sparse_categorical_crossentropy', cache });
        const message = `Example 2 has label ${wrong}; the model predicts 5 classes, 0 … 4.`;
        const bad = { x: three, y: ids(0, 4, wrong) };
        await expect(model.fit(bad, { verbose: false })).rejects.toThrow(message);
        await expect(model.evaluate(bad, { verbose: false })).rejects.toThrow(message);
        await expect(model.trainOnBatch(bad.x, bad.y)).rejects.toThrow(message);
        await expect(model.trainOnBatch(three, ids(0, 4, 4))).resolves.toHaveProperty('loss');
      }
    },
  );

  it('one-hot rows of another width, and one-hot rows under the sparse loss', async () => {
    const rows = float32([3, 4], new Float32Array(12));
    const model = compiled(smallModel());
    const fit = model.fit({ x: three, y: rows }, { verbose: false });
    await expect(fit).rejects.toThrow('predicts 5 classes, but the labels have 4 columns');
    const sparse = compiled(smallModel(), { loss: 'sparse_categorical_crossentropy' });
    await expect(sparse.fit(data, { verbose: false })).rejects.toThrow('for one-hot rows use');
  });

  it('a sample weight that is missing', async () => {
    const model = compiled(smallModel());
    const fit = model.fit(data, { verbose: false, sampleWeight: new Float32Array(59), shuffle: false });
    await expect(fit).rejects.toThrow(
      'sampleWeight needs a weight for each image: tensors has 60, got 59 weights.',
    );
  });

  it('compiling while the engine holds newer weights', async () => {
    const model = compiled(smallModel());
    await model.trainOnBatch(x, y);
    expect(() => model.compile({ loss: 'categorical_crossentropy' })).toThrow('await model.close() before');
  });
});

describe('batches of every size', () => {
  it('one picture a batch, and a batch greater than the data', async () => {
    const model = compiled(lively());
    const five = slice(data, 0, 5);
    const { epochs } = await model.fit(five, { batchSize: 1, verbose: false });
    expect(epochs[0]!['loss']).toBeGreaterThan(0);
    const steps: number[] = [];
    const count = lambdaCallback({ onTrainBatchEnd: (batch) => void steps.push(batch) });
    await model.fit(five, { batchSize: 100, verbose: false, callbacks: [count] });
    expect(steps).toEqual([0]);
    const one = await model.evaluate(five, { batchSize: 1, verbose: false });
    const all = await model.evaluate(five, { batchSize: 5, verbose: false });
    expect(one['loss']).toBeCloseTo(all['loss']!, 5);
    expect(one['accuracy']).toBe(all['accuracy']);
  });

  it('predictions do not depend on how pictures are grouped', async () => {
    const model = smallModel();
    open.push(model);
    const whole = await model.predict(x, { batchSize: 60 });
    const parts = await model.predict(x, { batchSize: 7 });
    expect(whole.shape).toEqual([60, 5]);
    const apart = whole.data.map((value, i) => Math.abs(value - parts.data[i]!));
    expect(Math.max(...apart)).toBeLessThan(1e-6);
  });

  it('pictures as bytes give what they give as numbers', async () => {
    const bytes = tensor(
      'uint8',
      [60, 8, 8, 3],
      Uint8Array.from(x.data, (value) => 128 + 20 * value),
    );
    const numbers = float32(bytes.shape, Float32Array.from(bytes.data));
    const model = smallModel();
    open.push(model);
    expect(await model.predict(bytes)).toEqual(await model.predict(numbers));
  });
});
