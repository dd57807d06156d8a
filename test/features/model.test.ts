/** Kept features in a training: the frozen part runs once, whoever asks next. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import { DiskFeatures } from '../../src/features/disk.node.ts';
import type { CacheMode, CacheOptions } from '../../src/features/index.ts';
import * as layers from '../../src/layers/index.ts';
import { sequential } from '../../src/training/build.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';
import { Executor } from '../../src/training/executor.ts';
import type { CompileOptions, Model } from '../../src/training/model.ts';
import { temporaryFolder } from './support.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
  vi.restoreAllMocks();
});

const count = 70;
const draw = (purpose: string, size: number) => new Random(1, purpose, 0).fillUniform(new Float32Array(size));
const data = {
  x: float32([count, 8, 8, 3], draw('pictures', count * 8 * 8 * 3)),
  y: tensor(
    'int32',
    [count],
    Int32Array.from({ length: count }, (_, i) => (i * 7) % 3),
  ),
};

/** Two frozen convolutions with weights that no seed changes, a pooling, and a head. */
function makeModel(
  hidden: number | null,
  cache: CacheMode | CacheOptions,
  options: Partial<CompileOptions> = {},
) {
  const frozen = [
    layers.conv2d({ filters: 8, kernelSize: 3, activation: 'relu', name: 'one' }),
    layers.conv2d({ filters: 8, kernelSize: 3, activation: 'relu', name: 'two' }),
  ];
  const model = sequential([
    layers.input({ shape: [8, 8, 3] }),
    ...frozen,
    layers.globalAveragePooling2d(),
    ...(hidden === null ? [] : [layers.dense({ units: hidden, activation: 'relu' })]),
    layers.dense({ units: 3, activation: 'softmax' }),
  ]);
  for (const layer of frozen) {
    for (const variable of layer.variables) {
      variable.assign(draw(variable.path, variable.size).map((value) => value - 0.45));
    }
    layer.trainable = false;
  }
  const usual = { loss: 'sparse_categorical_crossentropy', metrics: ['accuracy'], threads: 1 } as const;
  model.compile({ ...usual, optimizer: 'sgd', cache, ...options });
  open.push(model);
  return model;
}

/** Pictures that went through the frozen part since the last call. */
function countFrozen(): () => number {
  const spy = vi.spyOn(Executor.prototype, 'features');
  return () => {
    const total = spy.mock.calls.reduce((sum, [, images]) => sum + images.shape[0]!, 0);
    spy.mockClear();
    return total;
  };
}

const quiet = { batchSize: 16, verbose: false };

describe('the frozen part', () => {
  it('runs once for each picture, however many epochs, and not at all in the next run', async () => {
    const folder = await temporaryFolder();
    const frozen = countFrozen();
    await makeModel(null, { folder }).fit(data, { ...quiet, epochs: 3 });
    expect(frozen()).toBe(count);
    await makeModel(5, { folder }, { optimizer: 'adam', seed: 9 }).fit(data, { ...quiet, epochs: 2 });
    expect(frozen(), 'another head, optimizer and seed').toBe(0);
    await makeModel(null, { folder }).evaluate(data, quiet);
    expect(frozen(), 'evaluate').toBe(0);
    await makeModel(null, { folder, mode: 'disk' }).fit(data, quiet);
    expect(frozen(), 'from disk').toBe(0);
  });

  it('keeps the features of validation pictures too', async () => {
    const folder = await temporaryFolder();
    const frozen = countFrozen();
    const options = { ...quiet, epochs: 2, validationSplit: 0.3 };
    await makeModel(null, { folder }).fit(data, options);
    expect(frozen()).toBe(count);
    expect((await readdir(join(folder, 'features'))).length).toBe(2);
    await makeModel(null, { folder }).fit(data, options);
    expect(frozen()).toBe(0);
  });

  it('runs again for other frozen weights, another precision, or other pictures', async () => {
    const folder = await temporaryFolder();
    const frozen = countFrozen();
    const counts: number[] = [];
    const run = async (model: Model, given = data) => {
      await model.fit(given, quiet);
      counts.push(frozen());
    };
    await run(makeModel(null, { folder }));
    await run(makeModel(null, { folder, precision: 'float32' }));
    await run(makeModel(null, { folder, precision: 'uint8' }));
    const other = makeModel(null, { folder });
    const [kernel] = other.getLayer('one').variables;
    kernel!.assign(kernel!.values.map((value, i) => (i === 0 ? value + 0.01 : value)));
    await run(other);
    const x = float32(data.x.shape, data.x.data.slice());
    x.data[77]! += 0.5;
    await run(makeModel(null, { folder }), { ...data, x });
    expect(counts).toEqual([count, count, count, count, count]);
    await run(makeModel(null, { folder }));
    expect(counts.at(-1)).toBe(0);
  });
});

it('features on disk are on their way for the next batch while a step trains', async () => {
  const log: string[] = [];
  const { read } = DiskFeatures.prototype;
  const { send } = Executor.prototype;
  let reads = 0;
  let steps = 0;
  vi.spyOn(DiskFeatures.prototype, 'read').mockImplementation(async function (this: DiskFeatures, indices) {
    log.push(`read ${reads++}`);
    return read.call(this, indices);
  });
  vi.spyOn(Executor.prototype, 'send').mockImplementation(async function (this: Executor, ...args) {
    const step = steps++;
    const sent = await send.apply(this, args);
    return { ...sent, results: sent.results.finally(() => void log.push(`trained ${step}`)) };
  });
  const folder = await temporaryFolder();
  const pids: number[] = [];
  const look = lambdaCallback({
    onTrainBatchEnd: (_batch, _logs, { model }) => void pids.push(...model.enginePids),
  });
  const options = { ...quiet, callbacks: [look] };
  await makeModel(null, { folder, mode: 'disk', precision: 'uint8' }).fit(data, options);
  expect(new Set(pids).size, 'the process of the frozen part has ended').toBe(1);
  expect(reads).toBe(5);
  for (let step = 0; step < 4; step++) {
    expect(log.indexOf(`read ${step + 1}`), log.join()).toBeLessThan(log.indexOf(`trained ${step}`));
  }
});

it('another model takes over what one keeps in memory, and computes what it does not', async () => {
  const frozen = countFrozen();
  const first = makeModel(null, 'memory');
  await first.evaluate(data, quiet);
  const second = makeModel(5, 'memory');
  second.takeFeatures(first);
  await first.close();
  expect(frozen()).toBe(count);
  await second.fit(data, quiet);
  expect(frozen(), 'nothing more').toBe(0);
  const folder = await temporaryFolder();
  const onDisk = makeModel(null, { folder, mode: 'disk' });
  await onDisk.evaluate(data, quiet);
  const third = makeModel(5, 'memory');
  third.takeFeatures(onDisk);
  frozen();
  await third.fit(data, quiet);
  expect(frozen(), 'files are not memory').toBe(count);
});

describe('a training', () => {
  const trained = async (cache: CacheOptions) => {
    const model = makeModel(5, cache);
    const { epochs } = await model.fit(data, { ...quiet, epochs: 3 });
    return { epochs, weights: await model.currentWeights() };
  };

  it.each(['float16', 'float32', 'uint8'] as const)(
    'is the same bit for bit from memory and from disk, in %s',
    async (precision) => {
      const folder = await temporaryFolder();
      const memory = await trained({ mode: 'memory', precision });
      expect(await trained({ mode: 'disk', precision, folder })).toEqual(memory);
      expect(await trained({ mode: 'auto', precision, folder })).toEqual(memory);
    },
  );

  it('with kept float32 features is the same as without keeping them', async () => {
    const off = await trained({ mode: 'off' });
    const kept = await trained({ mode: 'memory', precision: 'float32' });
    off.epochs.forEach((logs, epoch) => {
      expect(kept.epochs[epoch]!['loss']).toBeCloseTo(logs['loss']!, 6);
    });
    off.weights.forEach((values, i) => {
      values.forEach((value, j) => {
        expect(Math.abs(kept.weights[i]![j]! - value)).toBeLessThan(1e-6);
      });
    });
  });

  it.each([
    ['float16', 2e-3],
    ['uint8', 2e-2],
  ] as const)('with %s features stays within their rounding', async (precision, tolerance) => {
    const off = await trained({ mode: 'off' });
    const kept = await trained({ mode: 'memory', precision });
    const apart = off.epochs.map((logs, epoch) => Math.abs(kept.epochs[epoch]!['loss']! - logs['loss']!));
    expect(Math.max(...apart)).toBeLessThan(tolerance);
    expect(Math.max(...apart), 'they were rounded').toBeGreaterThan(0);
  });
});

describe('keeping features', () => {
  it('that may be negative in eight bits is refused with a remedy', async () => {
    const model = sequential([
      layers.input({ shape: [8, 8, 3] }),
      layers.conv2d({ filters: 8, kernelSize: 3, name: 'one' }),
      layers.globalAveragePooling2d(),
      layers.dense({ units: 3 }),
    ]);
    model.getLayer('one').trainable = false;
    const [kernel] = model.getLayer('one').variables;
    kernel!.assign(new Float32Array(kernel!.size).fill(-1));
    model.compile({ loss: 'sparse_categorical_crossentropy', cache: { mode: 'memory', precision: 'uint8' } });
    open.push(model);
    await expect(model.fit(data, quiet)).rejects.toThrow(
      'precision uint8 keeps finite features of at least 0',
    );
  });

  it('takes a mode that is known only', () => {
    expect(() => makeModel(null, 'on' as CacheMode)).toThrow(
      'cache must be one of "auto", "memory", "disk", "off" or an object of',
    );
  });
});
