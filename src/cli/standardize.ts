/** Statistics of features over a data set, for a head that standardizes them. */
import { batches, type Dataset, lengthOf } from '../data/index.ts';
import { unscored } from '../losses/index.ts';
import type { CompileOptions, Model } from '../training/model.ts';
import { progressFor } from '../training/progress.ts';

/**
 * Mean and variance (of the population, as keras.layers.Normalization.adapt) of each feature, summed up in float64
 * as the features come by. What the frozen part computes for it is kept for the training, if the cache is on:
 * `model.takeFeatures(features)`. Close `features` afterwards.
 */
export async function measureFeatures(
  features: Model,
  dataset: Dataset,
  options: Omit<CompileOptions, 'loss'> & { readonly batchSize: number; readonly verbose: boolean },
): Promise<{ mean: number[]; variance: number[] }> {
  const { batchSize, verbose, ...compile } = options;
  features.compile({ ...compile, loss: unscored });
  features.calibrate(dataset);
  const { executor } = features.compiled;
  const [prepared] = await features.prepare([{ dataset, training: false }], verbose);
  const { rows, kind } = prepared!;
  const length = lengthOf(dataset);
  const width = features.result.shape[0]!;
  const sums = new Float64Array(width);
  const squares = new Float64Array(width);
  const title = `Measuring the features of ${dataset.name}, to standardize them`;
  const progress = progressFor(verbose, { title, total: length, unit: 'image' });
  let done = 0;
  for await (const batch of batches(rows(0), { batchSize })) {
    const { data } = await executor.predict(kind, batch.features);
    for (let i = 0; i < data.length; i++) {
      sums[i % width]! += data[i]!;
      squares[i % width]! += data[i]! ** 2;
    }
    done += batch.indices.length;
    progress.update(done, {});
  }
  progress.end({});
  const mean = Array.from(sums, (sum) => sum / length);
  const variance = Array.from(squares, (sum, i) => Math.max(sum / length - mean[i]! ** 2, 0));
  return { mean, variance: withFloor(variance) };
}

/**
 * A feature that is all but silent in training must not drown the others when a new picture wakes it: no deviation
 * counts as less than a hundredth of the usual one.
 */
function withFloor(variance: readonly number[]): number[] {
  const usual = variance.reduce((total, value) => total + value, 0) / variance.length;
  return variance.map((value) => Math.max(value, usual * 1e-4));
}
