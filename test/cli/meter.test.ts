/** Under which phase the time of a training is booked. */
import { afterEach, expect, it, vi } from 'vitest';
import { Meter } from '../../src/cli/meter.ts';
import type { Training } from '../../src/training/callback.ts';

afterEach(() => {
  vi.useRealTimers();
});

it('books each stretch of a training in two phases under what happened in it', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const training = { batchSize: 8, samples: 12, stepsPerEpoch: 2, learningRate: 0.1 } as Training;
  using meter = new Meter();
  const { callback } = meter;
  const pass = (seconds: number) => vi.advanceTimersByTime(1000 * seconds);
  const epoch = async (number: number) => {
    await callback.onEpochBegin!(number, training);
    pass(5);
    await callback.onTrainBatchEnd!(0, {}, training);
    pass(6);
    await callback.onTrainBatchEnd!(1, {}, training);
    pass(2);
    await callback.onEpochEnd!(number, {}, training);
    pass(1);
  };
  pass(3);
  await callback.onFeaturesBegin!(training);
  pass(20);
  await callback.onTrainBegin!(training);
  await epoch(0);
  // The second phase has features of its own.
  await callback.onFeaturesBegin!(training);
  pass(40);
  await epoch(1);
  meter.enter('evaluation');
  pass(7);
  expect(meter.phases().map(({ name, seconds }) => [name, seconds])).toEqual([
    ['loading', 3],
    ['features', 60],
    ['training', 22],
    ['validation', 4],
    ['saving', 2],
    ['evaluation', 7],
  ]);
  expect(meter.images).toBe(24);
});
