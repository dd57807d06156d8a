/** The range test: suggestions beside fastai's own code, rates and averages by their formulas, nothing left behind. */
import { afterEach, describe, expect, it } from 'vitest';
import { fromTensors } from '../../src/data/dataset.ts';
import { adam, sgd } from '../../src/optimizers/index.ts';
import { suggest } from '../../src/training/lr_find.ts';
import type { Model } from '../../src/training/model.ts';
import { smallModel, x, y } from '../support/small_model.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

describe('suggestions', () => {
  const steps = 100;
  const rates = Array.from({ length: steps }, (_, i) => 1e-7 * (10 / 1e-7) ** (i / steps));
  /** Flat, falling around 10^-2.5, leaving around 1; with a ripple. */
  const losses = rates.map((rate, i) => {
    const at = Math.log10(rate);
    const fall = 1.5 / (1 + Math.exp(-3 * (at + 2.5)));
    return 2.3 - fall + 0.02 * Math.sin(1.7 * i) + Math.exp(2.2 * (at - 0.2));
  });

  // The numbers are what `valley` and `steep` of fastai 2.7 (callback/schedule.py), run on the same lists, give.
  it('are those of fastai', () => {
    const found = suggest(rates, losses, steps)!;
    expect(found.valley).toBeCloseTo(0.0020892961308540407, 12);
    expect(found.steepest).toBeCloseTo(0.00363078054770101, 12);
    let average = 0;
    const smoothed = losses.map((loss, k) => {
      average = loss + 0.98 * (average - loss);
      return average / (1 - 0.98 ** (k + 1));
    });
    const smooth = suggest(rates, smoothed, steps)!;
    expect(smooth.valley).toBeCloseTo(0.0030199517204020187, 12);
    expect(smooth.steepest).toBeCloseTo(0.013182567385564075, 12);
  });

  it('of a loss that falls from the first to the last step are in its middle third', () => {
    const falling = Array.from({ length: 49 }, (_, i) => 5 - 0.01 * i);
    // Four of 40 steps and the last five are left out; fastai's index among the other 40 is 18.
    expect(suggest(rates.slice(0, 49), falling, 40)!.valley).toBe(rates[22]);
  });

  it('end where the loss is no number, and are none where it never falls', () => {
    const broken = losses.map((loss, i) => (i > 65 ? Number.NaN : loss));
    expect(suggest(rates, broken, steps)!.steepest).toBeCloseTo(0.00363078054770101, 12);
    expect(
      suggest(
        rates,
        Array.from({ length: steps }, (_, i) => i),
        steps,
      ),
    ).toBeNull();
    expect(suggest(rates.slice(0, 12), losses.slice(0, 12), steps)).toBeNull();
  });
});

describe('lrFind', () => {
  const data = fromTensors(x, y);
  const compiled = (optimizer: ReturnType<typeof sgd>) => {
    const model = smallModel();
    open.push(model);
    model.compile({ optimizer, loss: 'categorical_crossentropy', seed: 3, threads: 1, cache: 'off' });
    return model;
  };
  const options = { steps: 20, batchSize: 12, verbose: false } as const;

  it('raises the rate exponentially, averages the loss, and stops when that leaves', async () => {
    const model = compiled(sgd());
    const found = await model.lrFind(data, { ...options, startLearningRate: 1e-4, endLearningRate: 1e4 });
    for (const [i, rate] of found.learningRates.entries()) {
      expect(rate).toBeCloseTo(1e-4 * 10 ** ((8 * i) / 20), 9);
    }
    // The weighted mean of the losses so far, the newest counting most.
    found.smoothedLosses.forEach((smoothed, k) => {
      const weights = found.losses.slice(0, k + 1).map((_, i) => 0.98 ** (k - i));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const mean = weights.reduce((sum, weight, i) => sum + weight * found.losses[i]!, 0) / total;
      if (Number.isFinite(mean)) expect(Math.abs(smoothed - mean)).toBeLessThan(1e-9 * Math.max(1, mean));
    });
    expect(found.diverged).toBe(true);
    expect(found.losses.length).toBeLessThan(20);
    const before = found.smoothedLosses.slice(0, -1);
    for (const [i, value] of before.entries()) {
      expect(value).toBeLessThanOrEqual(4 * Math.min(...before.slice(0, i + 1)));
    }
  });

  it('leaves weights, statistics, optimizer and order as they were: training goes on as if nothing had been', async () => {
    const fit = { batchSize: 20, epochs: 1, verbose: false } as const;
    const [plain, tried] = [compiled(adam({ learningRate: 0.01 })), compiled(adam({ learningRate: 0.01 }))];
    await tried.lrFind(data, options);
    for (const model of [plain, tried]) await model.fit(data, fit);
    expect(await tried.currentWeights()).toEqual(await plain.currentWeights());
    const { learningRates } = await tried.lrFind(data, options);
    expect(learningRates).toHaveLength(20);
    for (const model of [plain, tried]) await model.fit(data, fit);
    expect(await tried.currentWeights()).toEqual(await plain.currentWeights());
    expect(tried.compiled.executor.step).toBe(6);
  });

  it('refuses rates that do not grow and too few steps', async () => {
    const model = compiled(sgd());
    await expect(model.lrFind(data, { startLearningRate: 1, endLearningRate: 0.1 })).rejects.toThrow(
      'model.lrFind needs startLearningRate below endLearningRate, got 1 and 0.1.',
    );
    await expect(model.lrFind(data, { steps: 5 })).rejects.toThrow('at least 20, got 5');
  });
});
