/**
 * Puts the frozen part of a model behind a data set: features are computed once and kept where that is allowed,
 * else computed whenever they are read.
 */
import * as v from 'valibot';
import type { Program } from '../compile/program.ts';
import { checked } from '../core/checked.ts';
import { tell } from '../core/console.node.ts';
import { fail } from '../core/errors.ts';
import { formatShape, type Tensor, tensorOf } from '../core/tensor.ts';
import { type Dataset, datasetSchema, examplesSchema, fromTensors } from '../data/dataset.ts';
import {
  type CacheMode,
  type CacheOptions,
  type ColumnSpec,
  cacheOptions,
  type Features,
  type KeepOptions,
  keepFeatures,
  type Place,
  Plan,
  placeOf,
  type ResolvedCache,
  type Watcher,
} from '../features/index.ts';
import type { Executor } from './executor.ts';
import type { FeatureBatch } from './feeds.ts';
import type { CalibrationWatcher } from './integers.ts';
import type { ProgramKind } from './programs.ts';
import { type Progress, progressFor } from './progress.ts';
import { leaveStatusLine } from './status_line.ts';

export type { CacheMode, CacheOptions };

/** Pictures and labels: a data set, or tensors in memory. */
export type Data =
  | Dataset
  | { readonly x: Tensor<'uint8' | 'float32'>; readonly y: Tensor<'int32' | 'float32'> };

/** What is handed in where images and labels belong. */
export const dataSchema = v.union([datasetSchema, examplesSchema]);

const images = tensorOf('uint8', 'float32');

/** Throws `argument` for what is neither; `where` names the call. */
export function asDataset(data: Data, where: string): Dataset {
  if (v.is(images, data)) {
    const came = `a tensor of ${data.dtype} ${formatShape(data.shape)}`;
    fail('argument', `${where}: images and their labels come as one object { x, y }, got ${came}.`);
  }
  const given = checked(dataSchema, data, where);
  return 'read' in given ? given : fromTensors(given.x, given.y);
}

/** A data set behind the cut, ready to be read in batches. */
export interface Prepared {
  readonly kind: ProgramKind;
  /** True if all features are there: the frozen part is not needed any more. */
  readonly kept: boolean;
  /** True if every epoch reads the same rows, from memory. */
  readonly steady: boolean;
  /** What an epoch reads: always the same, but where random layers stand in front of the frozen part. */
  rows(epoch: number): PreparedRows;
}

export interface PreparedRows {
  readonly name: string;
  readonly shape: readonly number[];
  read(indices: ArrayLike<number>): Promise<Omit<FeatureBatch, 'sampleWeight'>>;
}

/** A data set, and whether it is trained on: then random layers in front of the frozen part are at work. */
export interface Use {
  readonly dataset: Dataset;
  readonly training: boolean;
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
  /** Whether random layers in front of the frozen part are at work. */
  readonly random: boolean;
  /** One for each view. None if nothing is kept: no frozen part, the cache off, random layers without views. */
  readonly plans: readonly Plan[];
}

async function planOf(
  executor: Executor,
  { dataset, training }: Use,
  { mode, views, ...cache }: ResolvedCache,
): Promise<FeaturePlan> {
  const { y } = await dataset.read([0]);
  const { device, seed } = executor.options;
  // A device without float16 keeps them as they were computed.
  const { precision = device === 'cpu' ? 'float16' : 'float32' } = cache;
  const kind = kindOf(dataset, y, precision === 'float16' ? 'float16' : 'float32');
  if (training) executor.checkStep(kind);
  const program = executor.program(kind);
  const random = training && program.augmented !== null;
  if (training && views !== undefined && !random) fail('argument', nothingRandom);
  // Features that are only passed on stay as they were computed, and so do the results of a model of which nothing
  // trains: there is nothing behind them for which they would be kept.
  const final = !training && program.weights.size === 0;
  if (mode === 'off' || program.frozen === null || final || (random && views === undefined)) {
    return { kind: kindOf(dataset, y, 'float32'), random, plans: [] };
  }
  const planFor = (view: number | null) =>
    new Plan({
      source: dataset,
      columns: columnsOf(program, y, precision === 'uint8'),
      origin: {
        frozen: executor.frozenDigest(kind, random),
        dataset: dataset.fingerprint,
        device,
        ...(view === null ? {} : { view: `${view} of seed ${seed}` }),
      },
      compute: async (indices) => {
        const { features, y } = await compute(executor, dataset, kind, indices, view);
        return { ...features, y };
      },
    });
  const plans = random ? Array.from({ length: views! }, (_, view) => planFor(view)) : [planFor(null)];
  return { kind, random, plans };
}

const nothingRandom =
  'cache.views (--cached-views) keeps several versions of what random layers make of each picture, but no random ' +
  'layer stands in front of the frozen part of this model; leave it out.';

/** What keeping the features of data sets will take. */
export interface FeatureCost {
  readonly bytes: number;
  /** False if those of one of them are computed in every epoch. */
  readonly keep: boolean;
  /** True if random layers stand in front of the frozen part in training. */
  readonly random: boolean;
  readonly place: Place['at'] | null;
}

/** Says what `prepare` will do; computes nothing. Throws as it does if there is no room. */
export async function planFeatures(
  executor: Executor,
  uses: readonly Use[],
  cache: CacheMode | CacheOptions,
): Promise<FeatureCost> {
  const options = cacheOptions(cache);
  const planned = await planAll(executor, uses, options);
  const plans = planned.flatMap((each) => each.plans);
  return {
    bytes: plans.reduce((total, plan) => total + plan.bytes(), 0),
    keep: planned.every((each) => each.plans.length > 0),
    random: planned.some((each) => each.random),
    place: await commonPlace(plans, options),
  };
}

async function planAll(executor: Executor, uses: readonly Use[], cache: ResolvedCache) {
  const planned: FeaturePlan[] = [];
  for (const use of uses) planned.push(await planOf(executor, use, cache));
  return planned;
}

/** Throws if there is no room for all of them, before the first is computed. */
async function commonPlace(plans: readonly Plan[], { mode, ...cache }: ResolvedCache) {
  return mode === 'off' || plans.length === 0 ? null : (await placeOf(plans, { ...cache, mode })).at;
}

export async function prepare(
  executor: Executor,
  uses: readonly Use[],
  kept: KeptFeatures,
  { cache, verbose }: PrepareOptions,
): Promise<Prepared[]> {
  const planned = await planAll(executor, uses, cache);
  const missing = planned.flatMap(({ plans }) => plans.filter(({ key }) => !kept.has(key)));
  await commonPlace(missing, cache);
  const prepared: Prepared[] = [];
  for (const [i, { kind, plans }] of planned.entries()) {
    const { mode } = cache;
    if (mode === 'off' || plans.length === 0) {
      prepared.push(passing(executor, uses[i]!, kind));
      continue;
    }
    const views: PreparedRows[] = [];
    for (const [view, plan] of plans.entries()) {
      const name = plans.length === 1 ? plan.name : `${plan.name}, view ${view + 1} of ${plans.length}`;
      const known = kept.get(plan.key);
      const features = known ?? (await computeWatched(executor, plan, { ...cache, mode }, { name, verbose }));
      kept.set(plan.key, features);
      views.push(labelled(features));
    }
    const steady = plans.every(({ key }) => kept.get(key)!.inMemory) && views.length === 1;
    prepared.push({ kind, kept: true, steady, rows: (epoch) => views[epoch % views.length]! });
  }
  return prepared;
}

/** Features that are kept, computed as far as they are missing, while a terminal shows how far that is. */
async function computeWatched(
  executor: Executor,
  plan: Plan,
  options: Omit<KeepOptions, 'watcher'>,
  shown: { readonly name: string; readonly verbose: boolean },
): Promise<Features> {
  const watcher = watcherFor(shown);
  executor.watchCalibration(watcher.onCalibration);
  try {
    return await keepFeatures(plan, { ...options, watcher });
  } finally {
    executor.watchCalibration(null);
  }
}

/** Computes features when they are read; what random layers do differs from epoch to epoch. */
function passing(executor: Executor, { dataset, training }: Use, kind: ProgramKind): Prepared {
  return {
    kind,
    kept: false,
    steady: dataset.inMemory === true && executor.program(kind).frozen === null,
    rows: (epoch) => ({
      name: dataset.name,
      shape: dataset.shape,
      read: (indices) => compute(executor, dataset, kind, indices, training ? epoch : null),
    }),
  };
}

async function compute(
  executor: Executor,
  dataset: Dataset,
  kind: ProgramKind,
  indices: ArrayLike<number>,
  view: number | null,
) {
  const { x, y } = await dataset.read(indices);
  const features = await executor.features(kind, x, view === null ? null : { view, rows: indices });
  return { features, y };
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
function labelled(kept: Features): PreparedRows {
  const read = async (indices: ArrayLike<number>) => {
    const { y, ...features } = (await kept.read(indices)).features;
    return { features, y: y as Tensor<'int32' | 'float32'> };
  };
  return { name: kept.name, shape: kept.shape, read };
}

/** Shows an extraction on the terminal. */
function watcherFor({ name, verbose }: { readonly name: string; readonly verbose: boolean }): Watcher & {
  readonly onCalibration: CalibrationWatcher;
} {
  let progress: Progress | null = null;
  let calibration: Pick<Progress, 'update'> | null = null;
  return {
    onBegin(text, total) {
      const title = `Computing frozen features of ${name}: ${text}`;
      progress = progressFor(verbose, { title, total, unit: 'image' });
    },
    onCalibration(done, total) {
      calibration ??= progress?.part('Calibrating int8', total) ?? null;
      calibration?.update(done, {});
    },
    onRows: (done) => progress?.update(done, {}),
    onEnd: () => progress?.end({}),
    note(text) {
      if (!verbose) return;
      leaveStatusLine();
      tell(process.stderr, `${text}\n`);
    },
  };
}
