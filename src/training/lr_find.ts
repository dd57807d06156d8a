/**
 * The learning-rate range test (Smith 2017, Cyclical Learning Rates for Training Neural Networks) as fastai's
 * `lr_find`: a mock training whose rate grows exponentially, until the loss leaves.
 */
import * as v from 'valibot';
import { checked, type Entries, fields, flag, optional, positive, wholeNumber } from '../core/checked.ts';
import { batches } from '../data/batches.ts';
import { type Dataset, lengthOf, limit } from '../data/dataset.ts';
import type { Model } from './model.ts';
import { progressFor } from './progress.ts';

/** Options of `model.lrFind`. */
export interface LrFindOptions {
  /** The rate of the first step. Defaults to 1e-7. */
  readonly startLearningRate?: number;
  /** Where the rate would be after the last step. Defaults to 10. */
  readonly endLearningRate?: number;
  /** At least 20; defaults to 100. */
  readonly steps?: number;
  /** Defaults to 32. */
  readonly batchSize?: number;
  /** Progress on the terminal. Defaults to true. */
  readonly verbose?: boolean;
}

const lrFindOptions = v.pipe(
  fields({
    startLearningRate: optional(positive, 1e-7),
    endLearningRate: optional(positive, 10),
    steps: optional(wholeNumber(20), 100),
    batchSize: optional(wholeNumber(1), 32),
    verbose: optional(flag, true),
  } satisfies Entries<LrFindOptions>),
  v.check(
    ({ startLearningRate, endLearningRate }) => startLearningRate < endLearningRate,
    ({ input }) =>
      `needs startLearningRate below endLearningRate, got ${input.startLearningRate} and ${input.endLearningRate}`,
  ),
);

/** What a learning-rate range test found. */
export interface LrFindResult {
  /** Of each step that was done. */
  readonly learningRates: readonly number[];
  /** The loss of each. */
  readonly losses: readonly number[];
  /** Their exponential moving average (0.98), without its bias to zero. */
  readonly smoothedLosses: readonly number[];
  /** True if it stopped early: the smoothed loss was more than four times its best, or no number. */
  readonly diverged: boolean;
  /** Null where the loss never falls, or leaves at once. */
  readonly suggestions: Suggestions | null;
}

/** Learning rates to train with, by two rules of fastai. */
export interface Suggestions {
  /** Half of the way down the longest valley of the smoothed loss: the usual choice. */
  readonly valley: number;
  /** Where the smoothed loss falls fastest: bolder or timider, by chance. */
  readonly steepest: number;
}

/**
 * Looks for a learning rate on the first steps · batchSize pictures at most. The rate of step i is
 * start · (end / start)^(i / steps). Weights, moving statistics and the optimizer's state are as before afterwards.
 */
export async function lrFind(
  model: Model,
  data: Dataset,
  options: LrFindOptions = {},
): Promise<LrFindResult> {
  const {
    startLearningRate: start,
    endLearningRate: end,
    steps,
    batchSize,
    verbose,
  } = checked(lrFindOptions, options, 'model.lrFind');
  const { executor, seed } = model.compiled;
  const used = lengthOf(data) > steps * batchSize ? limit(data, steps * batchSize) : data;
  executor.calibrateOn(used);
  const [prepared] = await model.prepare([{ dataset: used, training: true }], verbose);
  const restore = await remember(model);
  const curve = new Curve();
  const progress = progressFor(verbose, { title: 'Looking for a learning rate', total: steps, unit: 'step' });
  try {
    for (let epoch = 0; curve.length < steps && !curve.diverged; epoch++) {
      for await (const batch of batches(prepared!.rows(epoch), { batchSize, shuffle: true, seed, epoch })) {
        const rate = start * (end / start) ** (curve.length / steps);
        const sampleWeight = new Float32Array(batch.indices.length).fill(1);
        const { loss } = await executor.train(prepared!.kind, { ...batch, sampleWeight }, rate);
        curve.add(rate, loss!);
        progress.update(curve.length, { learningRate: rate, loss: curve.smoothed });
        if (curve.length === steps || curve.diverged) break;
      }
    }
  } finally {
    progress.end({});
    await restore();
  }
  return curve.result(steps);
}

/** Gives back a function that puts everything that training changes back in place. */
async function remember(model: Model): Promise<() => Promise<void>> {
  const { executor } = model.compiled;
  await executor.pull();
  const slots = await executor.slots();
  const { step } = executor;
  const before = model.variables.map((variable) => ({
    variable,
    version: variable.version,
    values: variable.values,
  }));
  return async () => {
    await executor.pull();
    // What never moved keeps its version: frozen parts are not compiled again.
    for (const { variable, version, values } of before) {
      if (variable.version !== version) variable.assign(values);
    }
    executor.setSlots(slots, step);
  };
}

/** fastai's AvgSmoothLoss. */
const momentum = 0.98;

class Curve {
  readonly #rates: number[] = [];
  readonly #losses: number[] = [];
  readonly #smoothed: number[] = [];
  #average = 0;
  #best = Number.POSITIVE_INFINITY;
  diverged = false;

  get length(): number {
    return this.#rates.length;
  }

  get smoothed(): number {
    return this.#smoothed.at(-1)!;
  }

  add(rate: number, loss: number): void {
    this.#average = momentum * this.#average + (1 - momentum) * loss;
    this.#rates.push(rate);
    this.#losses.push(loss);
    this.#smoothed.push(this.#average / (1 - momentum ** this.#rates.length));
    this.#best = Math.min(this.#best, this.smoothed);
    this.diverged = !(this.smoothed <= 4 * this.#best);
  }

  result(steps: number): LrFindResult {
    return {
      learningRates: this.#rates,
      losses: this.#losses,
      smoothedLosses: this.#smoothed,
      diverged: this.diverged,
      suggestions: suggest(this.#rates, this.#smoothed, steps),
    };
  }
}

/** As fastai: without the first tenth of the steps, in which the average settles, and the last five. */
export function suggest(
  rates: readonly number[],
  losses: readonly number[],
  steps: number,
): Suggestions | null {
  const [from, to] = [Math.floor(steps / 10), -5];
  const known = losses.slice(from, to);
  const end = known.findIndex((loss) => !Number.isFinite(loss));
  const used = end < 0 ? known : known.slice(0, end);
  const ours = rates.slice(from, to).slice(0, used.length);
  if (used.length < 2 || used.every((loss, i) => i === 0 || loss >= used[i - 1]!)) return null;
  return { valley: ours[valley(used)]!, steepest: ours[steepest(ours, used)]! };
}

/** The middle of the second third of the longest valley, which is the longest falling subsequence of losses. */
function valley(losses: readonly number[]): number {
  const lengths = losses.map(() => 1);
  let end = 0;
  for (let i = 1; i < losses.length; i++) {
    for (let j = 0; j < i; j++) {
      if (losses[i]! < losses[j]!) lengths[i] = Math.max(lengths[i]!, lengths[j]! + 1);
    }
    if (lengths[i]! > lengths[end]!) end = i;
  }
  const start = end - lengths[end]!;
  const third = (end - start) / 3;
  return Math.max(start + Math.floor(third) + Math.floor(third / 2), 0);
}

/** The least slope of the loss over the logarithm of the rate. */
function steepest(rates: readonly number[], losses: readonly number[]): number {
  const slopes = losses
    .slice(1)
    .map((loss, i) => (loss - losses[i]!) / (Math.log(rates[i + 1]!) - Math.log(rates[i]!)));
  return slopes.indexOf(Math.min(...slopes));
}
