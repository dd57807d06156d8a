/**
 * Puts the frozen part of a model behind a data set: features are computed once and kept where that is allowed,
 * else computed whenever they are read.
 */
import type { Program } from '../compile/program.ts';
import type { Tensor } from '../core/tensor.ts';
import { type Dataset, fromTensors } from '../data/dataset.ts';
import {
  type CacheMode,
  type CacheOptions,
  type ColumnSpec,
  cacheOptions,
  type Features,
  keepFeatures,
  type Place,
  Plan,
  placeOf,
  type ResolvedCache,
  type Watcher,
} from '../features/index.ts';
import type { Executor, FeatureBatch, ProgramKind } from './executor.ts';
import { type Progress, progressFor } from './progress.ts';

export type { CacheMode, CacheOptions };

/** Pictures and labels: a data set, or tensors in memory. */
export type Data =
  | Dataset
  | { readonly x: Tensor<'uint8' | 'float32'>; readonly y: Tensor<'int32' | 'float32'> };

export function asDataset(data: Data): Dataset {
  return 'read' in data ? data : fromTensors(data.x, data.y);
}

/** A data set behind the cut, ready to be read in batches. */
export interface Prepared {
  readonly rows: {
    readonly name: string;
    readonly shape: readonly number[];
    read(indices: ArrayLike<number>): Promise<Omit<FeatureBatch, 'sampleWeight'>>;
  };
  readonly kind: ProgramKind;
}

export interface PrepareOptions {
  readonly cache: ResolvedCache;
  readonly verbose: boolean;
}

/** Features that this process has at hand, by their key. */
export type KeptFeatures = Map<string, Features>;

/** The form of a data set, for which a program is built. */
export function kindOf(dataset: Dataset, y: Tensor, featureDType: 'float16' | 'float32'): ProgramKind {
  return { imageDType: dataset.dtype, labels: y.dtype === 'int32' ? 'ids' : 'rows', featureDType };
}

/** What becomes of the features of a data set. */
interface FeaturePlan {
  readonly kind: ProgramKind;
  /** Null if nothing is kept: the model has no frozen part, or the cache is off. */
  readonly plan: Plan | null;
}

async function planOf(executor: Executor, dataset: Dataset, cache: ResolvedCache): Promise<FeaturePlan> {
  const { y } = await dataset.read([0]);
  const { device } = executor.options;
  // A device without float16 keeps them as they were computed.
  const { mode, precision = device === 'cpu' ? 'float16' : 'float32' } = cache;
  const kind = kindOf(dataset, y, precision === 'float16' ? 'float16' : 'float32');
  const program = executor.program(kind);
  // Features that are only passed on stay as they were computed.
  if (mode === 'off' || program.frozen === null) return { kind: kindOf(dataset, y, 'float32'), plan: null };
  const plan = new Plan({
    source: dataset,
    columns: columnsOf(program, y, precision === 'uint8'),
    origin: { frozen: executor.frozenDigest(kind), dataset: dataset.fingerprint, device },
    compute: async (indices) => {
      const { features, y } = await compute(executor, dataset, kind, indices);
      return { ...features, y };
    },
  });
  return { kind, plan };
}

/** What keeping the features of a data set will take. */
export interface FeatureCost {
  readonly bytes: number;
  readonly keep: boolean;
  readonly place: Place['at'] | null;
}

/** Says what `prepare` will do; computes nothing. Throws as it does if there is no room. */
export async function planFeatures(
  executor: Executor,
  dataset: Dataset,
  cache: CacheMode | CacheOptions,
): Promise<FeatureCost> {
  const options = cacheOptions(cache);
  const { plan } = await planOf(executor, dataset, options);
  if (plan === null || options.mode === 'off') return { bytes: 0, keep: false, place: null };
  const { at } = await placeOf(plan, { ...options, mode: options.mode });
  return { bytes: plan.bytes(), keep: true, place: at };
}

export async function prepare(
  executor: Executor,
  dataset: Dataset,
  kept: KeptFeatures,
  { cache, verbose }: PrepareOptions,
): Promise<Prepared> {
  const { kind, plan } = await planOf(executor, dataset, cache);
  if (plan === null || cache.mode === 'off') return passing(executor, dataset, kind);
  const { mode } = cache;
  let features = kept.get(plan.key);
  if (features === undefined) {
    features = await keepFeatures(plan, { ...cache, mode, watcher: watcherFor(dataset.name, verbose) });
    kept.set(plan.key, features);
  }
  return { kind, rows: labelled(features) };
}

/** Computes features when they are read. */
function passing(executor: Executor, dataset: Dataset, kind: ProgramKind): Prepared {
  const read = (indices: ArrayLike<number>) => compute(executor, dataset, kind, indices);
  return { kind, rows: { name: dataset.name, shape: dataset.shape, read } };
}

async function compute(executor: Executor, dataset: Dataset, kind: ProgramKind, indices: ArrayLike<number>) {
  const { x, y } = await dataset.read(indices);
  return { features: await executor.features(kind, x), y };
}

/** What is kept of a picture: its features, and its label, so that the pictures are not needed again. */
function columnsOf({ features }: Program, y: Tensor, eightBit: boolean): ColumnSpec[] {
  return [
    ...features.map((feature) => ({
      ...feature,
      encoding: eightBit ? ('uint8' as const) : ('plain' as const),
    })),
    { name: 'y', shape: y.shape.slice(1), dtype: y.dtype, encoding: 'plain' },
  ];
}

/** Kept features and labels, told apart. */
function labelled(kept: Features): Prepared['rows'] {
  const read = async (indices: ArrayLike<number>) => {
    const { y, ...features } = (await kept.read(indices)).features;
    return { features, y: y as Tensor<'int32' | 'float32'> };
  };
  return { name: kept.name, shape: kept.shape, read };
}

/** Shows an extraction on the terminal. */
function watcherFor(name: string, verbose: boolean): Watcher {
  let progress: Progress | null = null;
  return {
    onBegin(text, total) {
      const title = `Computing frozen features of ${name}: ${text}`;
      progress = progressFor(verbose, { title, total, unit: 'image' });
    },
    onRows: (done) => progress?.update(done, {}),
    onEnd: () => progress?.end({}),
    note(text) {
      if (verbose) process.stderr.write(`${text}\n`);
    },
  };
}
