/** Random layers in front of the frozen part: what training sees, what evaluation sees, and what runs beside the step. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import { type Dataset, fromTensors } from '../../src/data/dataset.ts';
import type { CacheMode, CacheOptions } from '../../src/features/index.ts';
import * as layers from '../../src/layers/index.ts';
import { sgd } from '../../src/optimizers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { TrainingState } from '../../src/training/callback.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';
import { Executor } from '../../src/training/executor.ts';
import type { CompileOptions, Model } from '../../src/training/model.ts';
import { temporaryFolder } from './support.ts';

const open: Model[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const model of open.splice(0)) await model.close();
});

const count = 40;
const width = 8 * 8 * 3;
const rate = 0.3;
const draw = (purpose: string, size: number) => new Random(1, purpose, 0).fillUniform(new Float32Array(size));
const pictures = draw('pictures', count * width);
const x = float32([count, 8, 8, 3], pictures);
const y = tensor(
  'int32',
  [count],
  Int32Array.from({ length: count }, (_, i) => (i * 7) % 3),
);
const data = fromTensors(x, y);

/** Dropout on the pictures, two frozen convolutions whose weights no seed changes, and a head with dropout. */
function makeModel(
  cache: CacheMode | CacheOptions,
  options: Partial<CompileOptions> & { readonly random?: boolean } = {},
): Model {
  const { random = true, ...compile } = options;
  const frozen = ['one', 'two'].map((name) =>
    layers.conv2d({ filters: 8, kernelSize: 3, activation: 'relu', name }),
  );
  const model = sequential([
    layers.input({ shape: [8, 8, 3] }),
    ...(random ? [layers.dropout({ rate })] : []),
    ...frozen,
    layers.globalAveragePooling2d(),
    layers.dropout({ rate: 0.2 }),
    layers.dense({ units: 3, activation: 'softmax', name: 'classifier' }),
  ]);
  for (const layer of frozen) {
    for (const variable of layer.variables) {
      variable.assign(draw(variable.path, variable.size).map((value) => value - 0.45));
    }
    layer.trainable = false;
  }
  const usual = { loss: 'sparse_categorical_crossentropy', metrics: ['accuracy'], threads: 1 } as const;
  model.compile({ ...usual, optimizer: sgd({ learningRate: 0.5 }), seed: 3, cache, ...compile });
  open.push(model);
  return model;
}

const quiet = { batchSize: 16, verbose: false };
const kind = { imageDType: 'float32', labels: 'ids', featureDType: 'float32' } as const;

async function trained(model: Model, epochs = 4) {
  const history = await model.fit(data, { ...quiet, epochs });
  return { losses: history.epochs.map(({ loss }) => loss!), weights: model.getWeights() };
}

/** Pictures that went through the frozen part. */
function countFrozen(): () => number {
  const spy = vi.spyOn(Executor.prototype, 'features');
  return () => spy.mock.calls.reduce((sum, [, images]) => sum + images.shape[0]!, 0);
}

describe('what training sees', () => {
  it('is each picture with its own noise, by seed, view and position, whatever its batch', async () => {
    const { executor } = makeModel('off').compiled;
    const rows = [5, 31, 9];
    const chosen = float32([3, 8, 8, 3], Float32Array.from(rows.flatMap((row) => [...pictureOf(row)])));
    const seen = await executor.features(kind, chosen, { view: 6, rows });
    // Dropout keeps what has noise of at least its rate, and scales it.
    const dropped = rows.flatMap((row) => {
      const noise = new Random(3, 'noise0/view 6', row).fillUniform(new Float32Array(width));
      return [...pictureOf(row)].map((value, i) => (noise[i]! >= rate ? value / (1 - rate) : 0));
    });
    const wanted = await executor.features(kind, float32([3, 8, 8, 3], Float32Array.from(dropped)));
    const plain = await executor.features(kind, chosen);
    const far = (a: Float32Array, b: Float32Array) =>
      Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));
    const values = (features: typeof seen) => features['feature0']!.data as Float32Array;
    expect(far(values(seen), values(wanted))).toBeLessThan(1e-6);
    expect(far(values(seen), values(plain)), 'noise matters').toBeGreaterThan(0.01);
    const alone = await executor.features(kind, float32([1, 8, 8, 3], pictureOf(31)), {
      view: 6,
      rows: [31],
    });
    expect(far(values(alone), values(seen).slice(8, 16))).toBeLessThan(1e-6);
  });

  const pictureOf = (row: number) => pictures.slice(row * width, (row + 1) * width);

  it('is never what evaluation and prediction see', async () => {
    const random = makeModel('off');
    await random.fit(data, { ...quiet, epochs: 2 });
    const plain = makeModel('off', { random: false });
    plain.setWeights(random.getWeights());
    expect(await random.evaluate(data, quiet)).toEqual(await plain.evaluate(data, quiet));
    expect(await random.predict(x)).toEqual(await plain.predict(x));
  });

  it('differs from epoch to epoch, and from that of another seed', async () => {
    const still = { optimizer: sgd({ learningRate: 0 }) };
    const losses = async (seed: number) => (await trained(makeModel('off', { ...still, seed }), 3)).losses;
    const first = await losses(3);
    expect(new Set(first).size).toBe(3);
    expect(await losses(3)).toEqual(first);
    expect(await losses(4)).not.toEqual(first);
  });
});

describe('kept views', () => {
  it.each(['memory', 'disk'] as const)(
    'in %s, as many as epochs, in float32, give the training that computes anew',
    async (mode) => {
      const anew = await trained(makeModel('off'));
      const folder = await temporaryFolder();
      const kept = await trained(makeModel({ mode, precision: 'float32', views: 4, folder }));
      kept.losses.forEach((loss, epoch) => {
        expect(Math.abs(loss - anew.losses[epoch]!)).toBeLessThan(1e-6);
      });
      kept.weights.forEach((values, i) => {
        values.forEach((value, j) => {
          expect(Math.abs(value - anew.weights[i]![j]!)).toBeLessThan(1e-6);
        });
      });
    },
  );

  it('take turns: epoch e trains on view e mod K, computed once for each picture', async () => {
    const frozen = countFrozen();
    const model = makeModel({ mode: 'memory', precision: 'float32', views: 2 });
    await model.fit(data, { ...quiet, epochs: 5 });
    expect(frozen()).toBe(2 * count);
    const [prepared] = await model.prepare([{ dataset: data, training: true }], false);
    const features = async (epoch: number) => (await prepared!.rows(epoch).read([7, 2])).features;
    expect(await features(2)).toEqual(await features(0));
    expect(await features(3)).toEqual(await features(1));
    expect(await features(1)).not.toEqual(await features(0));
  });

  it('lie side by side on disk, for the same seed and frozen part only; evaluation has features of its own', async () => {
    const folder = await temporaryFolder();
    const frozen = countFrozen();
    const run = async (seed: number) => {
      await makeModel({ folder, views: 2 }, { seed }).fit(data, {
        ...quiet,
        epochs: 2,
        validationData: data,
      });
      const names = await readdir(join(folder, 'features'));
      return [frozen(), names.length];
    };
    expect(await run(3)).toEqual([3 * count, 3]);
    expect(await run(3), 'everything is there').toEqual([3 * count, 3]);
    expect(await run(4), 'another seed has other views').toEqual([5 * count, 5]);
  });

  it('that do not all fit are refused before the first is computed', async () => {
    const frozen = countFrozen();
    // 40 pictures with 8 features in float16, a label and two checksums: 1160 bytes a view.
    const model = makeModel({ folder: await temporaryFolder(), mode: 'disk', views: 3, limit: 3000 });
    await expect(model.fit(data, quiet)).rejects.toThrow(
      /^The features of tensors \(120 images\) take 3\.\d kB, and the limit is 3\.0 kB\./,
    );
    expect(frozen()).toBe(0);
  });

  it('of a model without random layers in front are refused', async () => {
    const model = makeModel({ views: 2 }, { random: false });
    await expect(model.fit(data, quiet)).rejects.toThrow(
      'cache.views (--cached-views) keeps several versions of what random layers make of each picture, but no ' +
        'random layer stands in front of the frozen part of this model; leave it out.',
    );
    expect(() => makeModel({ mode: 'off', views: 2 })).toThrow('cache takes no views while it is off');
    expect(() => makeModel({ views: 0 })).toThrow('views must be a whole number of at least 1, got 0.');
  });
});

describe('a frozen part that runs beside the step', () => {
  it('computes the next batch while a step trains, in a process of its own', async () => {
    const log: string[] = [];
    const { features, send } = Executor.prototype;
    let extractions = 0;
    let steps = 0;
    vi.spyOn(Executor.prototype, 'features').mockImplementation(async function (this: Executor, ...args) {
      log.push(`features ${extractions++}`);
      return features.apply(this, args);
    });
    vi.spyOn(Executor.prototype, 'send').mockImplementation(async function (this: Executor, ...args) {
      const step = steps++;
      const sent = await send.apply(this, args);
      return { ...sent, results: sent.results.finally(() => void log.push(`trained ${step}`)) };
    });
    let pids = 0;
    const look = lambdaCallback({
      onTrainBatchEnd: (_batch, _logs, { model }) => {
        pids = model.enginePids.length;
      },
    });
    await makeModel('auto').fit(data, { ...quiet, batchSize: 10, callbacks: [look] });
    expect(pids).toBe(2);
    const at = (event: string) => log.indexOf(event);
    for (let batch = 0; batch < 3; batch++) {
      expect(at(`features ${batch + 1}`), log.join()).toBeLessThan(at(`trained ${batch}`));
    }
    // Two at most wait for their turn.
    expect(at('features 3')).toBeGreaterThan(at('trained 0') - 1);
  });

  it('goes on bit for bit after an interruption in the middle of an epoch', async () => {
    const whole = await trained(makeModel('off'), 3);
    for (const stopAfter of [1, 4]) {
      let kept: TrainingState | null = null;
      const stop = lambdaCallback({
        onSettled: async (training) => {
          if (training.step !== stopAfter || kept) return;
          kept = await training.state();
          training.stop('step');
        },
      });
      await makeModel('off').fit(data, { ...quiet, epochs: 3, callbacks: [stop] });
      const after = makeModel('off');
      const history = await after.fit(data, { ...quiet, epochs: 3, resume: kept });
      expect(history.epochs.map(({ loss }) => loss)).toEqual(whole.losses);
      expect(after.getWeights()).toEqual(whole.weights);
    }
  });

  /** The data with one picture that cannot be read, and a count of reads under way. */
  const fragile = (bad: number): { readonly dataset: Dataset; readonly reading: () => number } => {
    let reading = 0;
    const read: Dataset['read'] = async (indices) => {
      reading++;
      try {
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (Array.from(indices).includes(bad)) throw new Error(`picture ${bad} is gone`);
        return await data.read(indices);
      } finally {
        reading--;
      }
    };
    return { dataset: { ...data, fingerprint: 'fragile', read }, reading: () => reading };
  };

  it('that fails is the error of its batch: steps before it have trained, and the model can be used again', async () => {
    const batches: number[] = [];
    const note = lambdaCallback({ onTrainBatchEnd: (batch) => void batches.push(batch) });
    const { dataset, reading } = fragile(25);
    const model = makeModel('off');
    const options = { ...quiet, batchSize: 10, shuffle: false, callbacks: [note] };
    await expect(model.fit(dataset, options)).rejects.toThrow('picture 25 is gone');
    expect(batches).toEqual([0, 1]);
    expect(reading()).toBe(0);
    await model.fit(data, options);
    expect(batches).toEqual([0, 1, 0, 1, 2, 3]);
  });

  it('that is stopped, or whose step fails, leaves nothing under way', async () => {
    const { dataset, reading } = fragile(-1);
    const stop = lambdaCallback({ onTrainBatchEnd: (_batch, _logs, training) => training.stop('step') });
    await makeModel('off').fit(dataset, { ...quiet, batchSize: 5, callbacks: [stop] });
    expect(reading()).toBe(0);
    const fail = lambdaCallback({
      onTrainBatchEnd: () => {
        throw new Error('no more');
      },
    });
    const failing = makeModel('off').fit(dataset, { ...quiet, batchSize: 5, callbacks: [fail] });
    await expect(failing).rejects.toThrow('no more');
    expect(reading()).toBe(0);
  });

  it('runs on integers too, its ranges taken from pictures as training sees them', async () => {
    const views = { view: 2, rows: Array.from({ length: count }, (_, i) => i) };
    const featuresIn = async (precision: 'float32' | 'int8') => {
      const model = makeModel('off', { precision });
      model.calibrate(data);
      const { executor } = model.compiled;
      return (await executor.features(kind, x, views))['feature0']!.data as Float32Array;
    };
    const exact = await featuresIn('float32');
    const integers = await featuresIn('int8');
    const worst = Math.max(...exact.map((value, i) => Math.abs(value - integers[i]!)));
    expect(worst).toBeLessThan(0.02 * Math.max(...exact));
    expect(worst, 'they are integers').toBeGreaterThan(1e-5);
  });
});
