/** Callbacks beside Keras's over made-up epochs, and what they do in a real fit. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sgd } from '../../src/optimizers/index.ts';
import { exponentialDecay } from '../../src/optimizers/schedules.ts';
import { load } from '../../src/training/build.ts';
import type { Callback, Training } from '../../src/training/callback.ts';
import {
  csvLogger,
  earlyStopping,
  jsonLogger,
  lambdaCallback,
  learningRateScheduler,
  modelCheckpoint,
  reduceLROnPlateau,
  terminateOnNaN,
} from '../../src/training/callbacks.ts';
import type { Model } from '../../src/training/model.ts';
import { goldenJson } from '../support/golden.ts';
import { smallModel, x, y } from '../support/small_model.ts';

type Options = Readonly<Record<string, number | boolean | string>>;

interface Case {
  readonly options: Options;
  readonly series: string;
}

const golden = await goldenJson<{
  series: Record<string, readonly (number | null)[]>;
  early_stopping: readonly (Case & { epochs: number; weight: number })[];
  reduce_lr_on_plateau: readonly (Case & { rates: readonly number[]; last: number })[];
  model_checkpoint: readonly (Case & { saved: readonly number[] })[];
}>('callbacks.json');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-callbacks-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Drives a callback as the golden's script did: after epoch e the model's only weight is e. */
async function drive(callback: Callback, series: string) {
  let weights: Float32Array[] = [Float32Array.of(0)];
  const saved: string[] = [];
  const rates: number[] = [];
  let epochs = 0;
  const training = {
    model: {
      currentWeights: async () => weights.map((values) => values.slice()),
      setWeights: (values: Float32Array[]) => {
        weights = values;
      },
      save: async (path: string) => {
        saved.push(path);
      },
    } as unknown as Model,
    learningRate: 0.1,
    stopping: null as Training['stopping'],
    stop(when: 'epoch' | 'step' = 'epoch') {
      this.stopping = when;
    },
  };
  const run = training as unknown as Training;
  await callback.onTrainBegin?.(run);
  for (const [epoch, read] of golden.series[series]!.entries()) {
    const value = read ?? Number.NaN;
    weights = [Float32Array.of(epoch)];
    const added = await callback.onEpochEnd?.(epoch, { loss: value, valLoss: value }, run);
    if (added?.['learningRate'] !== undefined) rates.push(added['learningRate']);
    epochs++;
    if (training.stopping !== null) break;
  }
  await callback.onTrainEnd?.(run);
  return { epochs, weight: weights[0]![0]!, saved, rates, last: training.learningRate };
}

const camel = (options: Options) =>
  Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  );

const titled = <T extends Case>(cases: readonly T[]) =>
  cases.map((each) => [`${JSON.stringify(each.options)} over ${each.series}`, each] as const);

describe('earlyStopping stops when Keras does and leaves its weights', () => {
  it.each(titled(golden.early_stopping))('%s', async (_, { options, series, epochs, weight }) => {
    const callback = earlyStopping(camel(options));
    const first = await drive(callback, series);
    expect({ epochs: first.epochs, weight: first.weight }).toEqual({ epochs, weight });
    // As in Keras, it can be used for another training.
    expect(await drive(callback, series)).toEqual(first);
  });
});

describe('reduceLROnPlateau lowers the rate when Keras does', () => {
  it.each(titled(golden.reduce_lr_on_plateau))('%s', async (_, { options, series, rates, last }) => {
    const got = await drive(reduceLROnPlateau(camel(options)), series);
    expect(got.rates.length).toBe(rates.length);
    [...got.rates, got.last].forEach((rate, epoch) => {
      const wanted = [...rates, last][epoch]!;
      expect(Math.abs(rate - wanted) / wanted, `epoch ${epoch}: ${rate} beside ${wanted}`).toBeLessThan(1e-6);
    });
  });

  it('a factor of one would never lower it', () => {
    expect(() => reduceLROnPlateau({ factor: 1 })).toThrow(
      'factor must be a number from 0 to below 1, got 1',
    );
  });
});

describe('modelCheckpoint writes in the epochs in which Keras does', () => {
  it.each(titled(golden.model_checkpoint))('%s', async (_, { options, series, saved }) => {
    const got = await drive(modelCheckpoint('{epoch:02d}.h5', camel(options)), series);
    expect(got.saved).toEqual(saved.map((epoch) => `${String(epoch).padStart(2, '0')}.h5`));
  });

  it('fills its path with numbers as Python formats them', async () => {
    const got = await drive(modelCheckpoint('{epoch}-{val_loss:.2f}-{loss:06.3f}.h5'), 'falling');
    expect(got.saved.slice(0, 2)).toEqual(['1-1.00-01.000.h5', '2-0.90-00.900.h5']);
    await expect(drive(modelCheckpoint('{val_acc}.h5'), 'falling')).rejects.toThrow(
      /names "val_acc"; this training has .*valLoss.* Give fit validationData or validationSplit\.$/,
    );
    // Before an epoch is trained for nothing.
    expect(() => modelCheckpoint('{epoch:e}.h5')).toThrow('the format "e"');
  });
});

it('a number that the training does not have cannot be monitored; the message has those that it has', async () => {
  const run = drive(earlyStopping({ monitor: 'val_accuracy', mode: 'max' }), 'falling');
  await expect(run).rejects.toThrow(
    'There is no "valAccuracy" to monitor; this training has loss, valLoss. Give fit validationData or validationSplit.',
  );
});

describe('in a fit', () => {
  const fitted = async (
    callbacks: readonly Callback[],
    { epochs = 3, rate = 0.05 }: { epochs?: number; rate?: number } = {},
  ) => {
    const model = smallModel();
    model.compile({
      optimizer: sgd({ learningRate: rate }),
      loss: 'categorical_crossentropy',
      metrics: ['accuracy'],
      threads: 1,
    });
    try {
      const options = { epochs, batchSize: 20, verbose: false, validationSplit: 0.25, callbacks };
      const history = await model.fit({ x, y }, options);
      return { model, history, weights: model.getWeights() };
    } finally {
      await model.close();
    }
  };

  it('hooks are called and awaited in order, callback by callback', async () => {
    const calls: string[] = [];
    const noting = (who: string): Callback => {
      const note = async (what: string) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        calls.push(`${who} ${what}`);
      };
      return lambdaCallback({
        onTrainBegin: () => note('train begins'),
        onEpochBegin: (epoch) => note(`epoch ${epoch} begins`),
        onTrainBatchEnd: (batch) => note(`batch ${batch}`),
        onEpochEnd: async (epoch) => {
          await note(`epoch ${epoch} ends`);
          return undefined;
        },
        onSettled: () => note('settled'),
        onTrainEnd: () => note('train ends'),
      });
    };
    await fitted([noting('a'), noting('b')], { epochs: 2 });
    const both = (what: string) => [`a ${what}`, `b ${what}`];
    const epoch = (number: number) => [
      ...both(`epoch ${number} begins`),
      ...both('batch 0'),
      ...both('settled'),
      ...both('batch 1'),
      ...both('settled'),
      // 45 pictures in batches of 20: the last batch of an epoch settles with the epoch.
      ...both('batch 2'),
      ...both(`epoch ${number} ends`),
      ...both('settled'),
    ];
    expect(calls).toEqual([...both('train begins'), ...epoch(0), ...epoch(1), ...both('train ends')]);
  });

  it('earlyStopping sets the weights of the best epoch, which the engine uses from then on', async () => {
    // Looking at the weights brings them into the model, so only the first epoch is looked at.
    let first: Float32Array[] = [];
    const keep = lambdaCallback({
      onEpochEnd: async (epoch, _logs, { model }) => {
        if (epoch === 0) first = await model.currentWeights();
        return undefined;
      },
    });
    const stop = earlyStopping({ patience: 2, mode: 'max', monitor: 'loss', restoreBestWeights: true });
    const { model, history, weights } = await fitted([keep, stop], { epochs: 6 });
    expect(history.epochs.length, 'the loss falls, so the first epoch stays the greatest').toBe(3);
    expect(weights).toEqual(first);
    const loss = await model.evaluate({ x, y }, { verbose: false });
    const other = smallModel();
    other.setWeights(first);
    other.compile({ loss: 'categorical_crossentropy', metrics: ['accuracy'], threads: 1 });
    expect(loss).toEqual(await other.evaluate({ x, y }, { verbose: false }));
    await Promise.all([model.close(), other.close()]);
  });

  it('a rate that a callback set stays for the next fit and goes into the file', async () => {
    const { model, history } = await fitted([learningRateScheduler((epoch) => 0.04 / 2 ** epoch)]);
    expect(history.epochs.map(({ learningRate }) => learningRate)).toEqual([0.04, 0.02, 0.01]);
    const seen: number[] = [];
    const see = lambdaCallback({
      onEpochBegin: (_epoch, { learningRate }) => {
        seen.push(learningRate);
      },
    });
    await model.fit({ x, y }, { verbose: false, callbacks: [see] });
    expect(seen).toEqual([0.01]);
    const path = join(folder, 'rate.h5');
    await model.save(path);
    await model.close();
    const loaded = await load(path);
    expect(loaded.compiled.executor.learningRate).toBe(0.01);
  });

  it('a rate cannot be set beside a schedule', async () => {
    const model = smallModel();
    const learningRate = exponentialDecay({ initialLearningRate: 0.1, decaySteps: 2, decayRate: 0.5 });
    model.compile({ optimizer: sgd({ learningRate }), loss: 'categorical_crossentropy', threads: 1 });
    const callbacks = [learningRateScheduler(() => 0.1)];
    await expect(model.fit({ x, y }, { verbose: false, callbacks })).rejects.toThrow(
      'The optimizer has a learning-rate schedule',
    );
    await model.close();
  });

  it('modelCheckpoint writes a model that predicts as the best epoch did', async () => {
    const path = join(folder, 'best-{epoch:02d}.h5');
    const checkpoint = modelCheckpoint(path, { monitor: 'loss', saveBestOnly: true });
    const { model } = await fitted([checkpoint], { epochs: 2 });
    expect((await readdir(folder)).filter((name) => name.startsWith('best'))).toEqual([
      'best-01.h5',
      'best-02.h5',
    ]);
    const loaded = await load(join(folder, 'best-02.h5'));
    expect(await loaded.predict(x)).toEqual(await model.predict(x));
    await Promise.all([model.close(), loaded.close()]);
  });

  it('csvLogger writes a header and a row for each epoch, and can go on', async () => {
    const path = join(folder, 'log.csv');
    await writeFile(path, 'an earlier file\n');
    const { history } = await fitted([csvLogger(path)], { epochs: 2 });
    const rows = (await readFile(path, 'utf8')).split('\n');
    const keys = Object.keys(history.epochs[0]!);
    expect(rows[0]).toBe(['epoch', ...keys].join(','));
    expect(rows.slice(1)).toEqual([
      ...history.epochs.map((logs, epoch) => [epoch, ...keys.map((key) => logs[key])].join(',')),
      '',
    ]);
    await fitted([csvLogger(path, { append: true })], { epochs: 1 });
    const more = (await readFile(path, 'utf8')).split('\n');
    expect(more.length).toBe(rows.length + 1);
    expect(more.slice(0, 3)).toEqual(rows.slice(0, 3));
    const tabs = join(folder, 'log.tsv');
    await fitted([csvLogger(tabs, { separator: '\t' })], { epochs: 1 });
    expect((await readFile(tabs, 'utf8')).split('\n')[0]).toBe(['epoch', ...keys].join('\t'));
  });

  it('jsonLogger writes a line for each epoch, null for what is no number, and can go on', async () => {
    const path = join(folder, 'log.jsonl');
    await writeFile(path, 'an earlier file\n');
    const { history } = await fitted([jsonLogger(path)], { epochs: 2 });
    const lines = async () =>
      (await readFile(path, 'utf8'))
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
    expect(await lines()).toEqual(history.epochs.map((logs, epoch) => ({ epoch, ...logs })));
    await jsonLogger(path, { append: true }).onEpochEnd!(2, { loss: Number.NaN }, undefined as never);
    expect((await lines())[2]).toEqual({ epoch: 2, loss: null });
    expect(await lines()).toHaveLength(3);
  });

  it('terminateOnNaN stops within the epoch in which the loss is lost', async () => {
    const { history } = await fitted([terminateOnNaN()], { rate: 1e30 });
    expect(history.completed).toBe(false);
    expect(history.epochs.length).toBeLessThan(3);
  });
});
