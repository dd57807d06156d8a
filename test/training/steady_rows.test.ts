/** Small rows go to the engine once; from then on their positions do. Nothing else about a training changes. */
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import { type Dataset, fromTensors } from '../../src/data/dataset.ts';
import * as layers from '../../src/layers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { FitOptions } from '../../src/training/fit.ts';
import type { Model } from '../../src/training/model.ts';

const width = 6;

function examples(count: number, purpose: string): Dataset {
  const values = new Random(5, purpose).fillUniform(new Float32Array(count * width));
  const labels = Int32Array.from({ length: count }, (_, i) => (i * 7) % 3);
  return fromTensors(float32([count, width], values), tensor('int32', [count], labels));
}

/** The same data set, and the positions that were read of it. */
function watched(dataset: Dataset): { readonly dataset: Dataset; readonly read: number[] } {
  const read: number[] = [];
  const watching: Dataset = {
    ...dataset,
    read: (indices) => {
      read.push(...Array.from(indices));
      return dataset.read(indices);
    },
  };
  return { dataset: watching, read };
}

function compiled(): Model {
  const model = sequential([
    layers.input({ shape: [width] }),
    layers.dropout({ rate: 0.3 }),
    layers.dense({ units: 3, activation: 'softmax' }),
  ]);
  model.compile({
    optimizer: 'adam',
    loss: 'sparse_categorical_crossentropy',
    metrics: ['accuracy'],
    seed: 3,
  });
  return model;
}

async function trained(model: Model, data: Dataset, validationData: Dataset, options: FitOptions = {}) {
  const { epochs } = await model.fit(data, {
    ...{ epochs: 3, batchSize: 8, verbose: false, validationData },
    ...options,
  });
  return { epochs, weights: await model.currentWeights() };
}

describe('rows that lie in memory', () => {
  const training = examples(30, 'training');
  const validation = examples(11, 'validation');

  it('are read once, and train as those that are read in every epoch', async () => {
    const plain = compiled();
    const kept = compiled();
    try {
      const anew = watched({ ...training, inMemory: false });
      const once = watched(training);
      const expected = await trained(plain, anew.dataset, { ...validation, inMemory: false });
      expect(await trained(kept, once.dataset, validation)).toEqual(expected);
      // Row 0 is looked at before, for its labels' form.
      const all = Array.from({ length: 30 }, (_, i) => i);
      const ascending = (rows: number[]) => [...rows].sort((a, b) => a - b);
      expect(ascending(once.read)).toEqual(ascending([0, ...all]));
      expect(ascending(anew.read)).toEqual(ascending([0, ...all, ...all, ...all]));
    } finally {
      await Promise.all([plain.close(), kept.close()]);
    }
  });

  it('come as often as a balanced sampler draws them', async () => {
    const plain = compiled();
    const kept = compiled();
    try {
      const options = { sampler: 'balanced', classWeight: { 1: 2 } } as const;
      const expected = await trained(plain, { ...training, inMemory: false }, validation, options);
      expect(await trained(kept, training, validation, options)).toEqual(expected);
    } finally {
      await Promise.all([plain.close(), kept.close()]);
    }
  });

  it('are forgotten by the next training, also after one that broke off', async () => {
    const other = examples(40, 'other');
    const plain = compiled();
    const kept = compiled();
    try {
      const broken = {
        callbacks: [
          {
            name: 'broken',
            onEpochBegin: (epoch: number) => {
              if (epoch === 1) throw new Error('enough');
            },
          },
        ],
      };
      const away = { ...training, inMemory: false };
      await expect(trained(plain, away, validation, broken)).rejects.toThrow('enough');
      await expect(trained(kept, training, validation, broken)).rejects.toThrow('enough');
      const expected = await trained(plain, { ...other, inMemory: false }, validation);
      expect(await trained(kept, other, validation)).toEqual(expected);
    } finally {
      await Promise.all([plain.close(), kept.close()]);
    }
  });
});
