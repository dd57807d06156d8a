/** Going once through a data set, behind the cut: measuring and predicting. */
import { fail } from '../core/errors.ts';
import { float32, sizeOf, type Tensor } from '../core/tensor.ts';
import { batches } from '../data/batches.ts';
import { type Dataset, lengthOf } from '../data/dataset.ts';
import type { Logs } from './callback.ts';
import type { Compiled } from './compiled.ts';
import type { Executor } from './executor.ts';
import type { Prepared } from './prepare.ts';
import type { ProgramKind } from './programs.ts';
import type { Progress } from './progress.ts';
import { Totals } from './totals.ts';

/** How a data set is measured. */
export interface Evaluation {
  readonly progress?: Pick<Progress, 'update'> | undefined;
  /** Weight of each image in the loss. Defaults to 1. */
  readonly sampleWeight?: Float32Array | undefined;
}

/** Loss and metrics, as Keras averages them. */
export async function evaluateRows(
  { executor, metrics }: Pick<Compiled, 'executor' | 'metrics'>,
  { rows, kind }: Prepared,
  batchSize: number,
  { progress, sampleWeight }: Evaluation = {},
): Promise<Logs> {
  const totals = new Totals(metrics.map(({ name }) => name));
  let done = 0;
  for await (const batch of batches(rows(0), { batchSize })) {
    const weights = Float32Array.from(batch.indices, (index) => sampleWeight?.[index] ?? 1);
    const result = await executor.evaluate(kind, { ...batch, sampleWeight: weights });
    totals.add(result, batch.indices.length);
    progress?.update(++done, totals.logs());
  }
  return totals.logs();
}

/** The model's output for each picture: (n, classes). */
export async function predictRows(
  executor: Executor,
  { rows, kind }: Prepared,
  batchSize: number,
  progress?: Pick<Progress, 'update'>,
): Promise<Tensor<'float32'>> {
  const all = rows(0);
  const { shape } = executor.options.network.result;
  const output = roomFor(lengthOf(all), shape);
  let at = 0;
  let done = 0;
  for await (const { features } of batches(all, { batchSize })) {
    const { data } = await executor.predict(kind, features);
    output.set(data, at);
    at += data.length;
    progress?.update(++done, {});
  }
  return float32([lengthOf(all), ...shape], output);
}

/** Throws `shape` if the outputs of all images are more than this process can hold. */
function roomFor(images: number, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const size = images * sizeOf(shape);
  try {
    return new Float32Array(size);
  } catch (error) {
    return fail(
      'shape',
      `The model's output has the shape (${shape.join(', ')}): of ${images} images that is more than this process ` +
        `can hold, ${size.toLocaleString('en')} numbers. Predict fewer images at a time, or use a model that ends in ` +
        'the probabilities of classes.',
      error,
    );
  }
}

/** Pictures that pass the frozen part as they are read; nothing is kept. */
export function unprepared(executor: Executor, dataset: Dataset): Prepared {
  const kind: ProgramKind = { imageDType: dataset.dtype, labels: 'ids', featureDType: 'float32' };
  const read = async (indices: ArrayLike<number>) => {
    const { x: images, y } = await dataset.read(indices);
    return { features: await executor.features(kind, images), y };
  };
  const rows = { name: dataset.name, shape: dataset.shape, read };
  return { kind, kept: false, steady: false, rows: () => rows };
}
