/** `precision: 'int8'` as a person meets it: compile, fit, evaluate. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { tensor } from '../../src/core/tensor.ts';
import { type Dataset, fromTensors } from '../../src/data/index.ts';
import * as layers from '../../src/layers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { CompileOptions, Model } from '../../src/training/model.ts';

const rows = 48;
const pixels = new Random(3, 'pixels');
const x = tensor(
  'uint8',
  [rows, 12, 12, 3],
  Uint8Array.from({ length: rows * 432 }, () => pixels.below(256)),
);
const y = tensor(
  'int32',
  [rows],
  Int32Array.from({ length: rows }, (_, i) => i % 3),
);
const data = { x, y };

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

/** Two frozen convolutions and a trainable classifier. */
function classifier(frozen = true): Model {
  const made = sequential([
    layers.input({ shape: [12, 12, 3] }),
    layers.rescaling({ scale: 1 / 127.5, offset: -1 }),
    layers.conv2d({ filters: 32, kernelSize: 3, activation: 'relu', trainable: !frozen }),
    layers.conv2d({ filters: 32, kernelSize: 3, activation: 'relu', trainable: !frozen }),
    layers.globalAveragePooling2d(),
    layers.dense({ units: 3, activation: 'softmax' }),
  ]);
  open.push(made);
  return made;
}

function compiled(options: Partial<CompileOptions> = {}, frozen = true): Model {
  const made = classifier(frozen);
  made.initialize(1);
  made.compile({ optimizer: 'sgd', loss: 'sparseCategoricalCrossentropy', cache: 'off', ...options });
  return made;
}

const trained = (model: Model) => model.fit(data, { epochs: 2, batchSize: 16, verbose: false });

describe("precision 'int8'", () => {
  it('learns nearly what float32 learns', async () => {
    const [whole, integers] = [compiled(), compiled({ precision: 'int8' })];
    await trained(whole);
    await trained(integers);
    const [expected, got] = [await whole.predict(x), await integers.predict(x)];
    const errors = expected.data.map((value, i) => Math.abs(value - got.data[i]!));
    expect(Math.max(...errors)).toBeLessThan(5e-3);
    expect(Math.max(...errors), 'it is no float32').toBeGreaterThan(1e-6);
  });

  it('learns the same in each run, kept features or not', async () => {
    const weights: Float32Array[][] = [];
    for (const cache of ['off', 'off', 'memory'] as const) {
      const made = compiled({
        precision: 'int8',
        cache: { mode: cache, ...(cache === 'memory' ? { precision: 'float32' } : {}) },
      });
      await trained(made);
      weights.push(made.getWeights());
    }
    expect(weights[1]).toEqual(weights[0]);
    expect(weights[2]).toEqual(weights[0]);
  });

  it('does not take the kept features of another precision, or of other ranges, for its own', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'graft-int8-'));
    const cache = { mode: 'disk', folder, precision: 'float32' } as const;
    const dark = {
      y,
      x: tensor(
        'uint8',
        x.shape,
        x.data.map((value) => value >> 4),
      ),
    };
    try {
      await trained(compiled({ cache }));
      const narrow = compiled({ precision: 'int8', cache });
      narrow.calibrate(dark);
      await narrow.evaluate(data, { verbose: false });
      const [kept, passing] = [compiled({ precision: 'int8', cache }), compiled({ precision: 'int8' })];
      await trained(kept);
      await trained(passing);
      expect(kept.getWeights()).toEqual(passing.getWeights());
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('takes its ranges from all over the data set, not from its beginning', async () => {
    // Dark pictures first, as in a folder that is sorted by class: more than are looked at.
    const count = 600;
    const many = tensor('uint8', [count, 12, 12, 3]);
    many.data.forEach((_, i) => {
      many.data[i] = x.data[i % x.data.length]! >> (i < (count / 2) * 432 ? 5 : 0);
    });
    const made = compiled({ precision: 'int8' });
    made.calibrate(fromTensors(many, tensor('int32', [count])));
    const [expected, got] = [await compiled().predict(x), await made.predict(x)];
    const errors = expected.data.map((value, i) => Math.abs(value - got.data[i]!));
    expect(Math.max(...errors)).toBeLessThan(5e-3);
  });

  it('looks at training pictures again after they could not be read', async () => {
    const dataset = fromTensors(x, y);
    let failures = 1;
    const read: Dataset['read'] = async (indices) => {
      if (failures-- > 0) throw new Error('The disk is gone.');
      return dataset.read(indices);
    };
    const made = compiled({ precision: 'int8' });
    made.calibrate({ ...dataset, fingerprint: dataset.fingerprint, read });
    await expect(made.predict(x)).rejects.toThrow('The disk is gone.');
    expect((await made.predict(x)).shape).toEqual([rows, 3]);
  });

  it('refuses a device that has no integers', () => {
    expect(() => compiled({ precision: 'int8', device: 'webgpu' })).toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: 'Precision int8 runs on the device cpu, not on webgpu; use precision float32 there.',
      }),
    );
  });

  it('refuses a model of which nothing is frozen', async () => {
    await expect(trained(compiled({ precision: 'int8' }, false))).rejects.toThrow(
      expect.objectContaining({
        code: 'state',
        message: expect.stringContaining('this model has none worth keeping apart; freeze layers'),
      }),
    );
  });

  it('refuses to evaluate before it has seen training pictures, and works after', async () => {
    for (const cache of ['off', 'memory'] as const) {
      const made = compiled({ precision: 'int8', cache });
      await expect(made.evaluate(data, { verbose: false })).rejects.toThrow(
        expect.objectContaining({ code: 'state', message: expect.stringContaining('call model.fit first') }),
      );
      made.calibrate(data);
      expect((await made.evaluate(data, { verbose: false }))['loss']).toBeGreaterThan(0);
    }
  });

  it('refuses a precision that it does not know', () => {
    expect(() => compiled({ precision: 'int4' as 'int8' })).toThrow(
      'precision must be one of "float32", "int8" (int8?), got "int4".',
    );
  });
});
