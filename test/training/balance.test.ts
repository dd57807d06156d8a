/** Classes of unequal size: weights in the loss, and a sampler that draws them equally often. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { gatherRows } from '../../src/core/tensor.ts';
import { fromTensors } from '../../src/data/dataset.ts';
import { balancedOrder } from '../../src/data/sampling.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';
import { backup, loadCheckpoint } from '../../src/training/checkpoint.node.ts';
import type { FitOptions } from '../../src/training/fit.ts';
import type { Model } from '../../src/training/model.ts';
import { labels, smallModel, x } from '../support/small_model.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-balance-'));
});
afterAll(() => rm(folder, { recursive: true }));

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

function compiled(): Model {
  const model = smallModel();
  model.compile({ loss: 'sparse_categorical_crossentropy', optimizer: 'adam', threads: 1, seed: 9 });
  open.push(model);
  return model;
}

/** 40 pictures of class 0, 10 of class 1, 5 of each other: any labels will do. */
const unequal = Int32Array.from({ length: 60 }, (_, i) => (i < 40 ? 0 : i < 50 ? 1 : i < 55 ? 2 : 4));
const data = fromTensors(x, { ...labels, data: unequal });
const usual: FitOptions = { epochs: 2, batchSize: 8, verbose: false };

it("classWeight 'balanced' weighs class c by n / (k * n_c)", async () => {
  // 60 pictures, 4 classes that occur.
  const classWeight = { 0: 60 / (4 * 40), 1: 60 / (4 * 10), 2: 60 / (4 * 5), 4: 60 / (4 * 5) };
  const byHand = await compiled().fit(data, { ...usual, classWeight });
  const balanced = await compiled().fit(data, { ...usual, classWeight: 'balanced' });
  expect(balanced).toEqual(byHand);
  expect(balanced).not.toEqual(await compiled().fit(data, usual));
});

it("sampler 'balanced' trains on the balanced order, step by step", async () => {
  const fitted = compiled();
  await fitted.fit(data, { ...usual, sampler: 'balanced' });
  const stepped = compiled();
  for (const epoch of [0, 1]) {
    const order = balancedOrder(unequal, 9, epoch);
    expect(Array.from(order).filter((index) => unequal[index] === 2)).toHaveLength(15);
    for (let at = 0; at < 60; at += 8) {
      const rows = order.slice(at, at + 8);
      const y = gatherRows({ ...labels, data: unequal }, rows);
      await stepped.trainOnBatch(gatherRows(x, rows), y);
    }
  }
  expect(await fitted.currentWeights()).toEqual(await stepped.currentWeights());
});

it('a training with the sampler goes on bit for bit after any step', async () => {
  const options: FitOptions = { ...usual, sampler: 'balanced' };
  const whole = compiled();
  const { epochs } = await whole.fit(data, options);
  for (const last of [0, 3, 10]) {
    const path = join(folder, `${last}.safetensors`);
    let step = 0;
    const stop = lambdaCallback({
      onTrainBatchEnd: (_batch, _logs, training) => {
        if (step++ === last) training.stop('step');
      },
    });
    const { completed } = await compiled().fit(data, { ...options, callbacks: [stop, backup(path)] });
    expect(completed).toBe(false);
    const continued = compiled();
    const resumed = await continued.fit(data, { ...options, resume: await loadCheckpoint(path) });
    expect(resumed.epochs).toEqual(epochs);
    expect(await continued.currentWeights()).toEqual(await whole.currentWeights());
  }
});

it('the sampler decides the order itself', async () => {
  await expect(compiled().fit(data, { ...usual, sampler: 'balanced', shuffle: false })).rejects.toThrow(
    "model.fit draws in an order of its own with sampler: 'balanced'; leave out shuffle: false.",
  );
});
