/**
 * Puts the frozen part of a model behind a data set: features are computed once and kept where that is allowed,
 * else computed whenever they are read.
 */
import { freemem } from 'node:os';
import type { Tensor } from '../core/tensor.ts';
import { batches, type Dataset, fromTensors, lengthOf, type Rows } from '../data/dataset.ts';
import { FeatureStore, rowBytes } from '../features/store.ts';
import type { Executor, FeatureBatch, ProgramKind } from './executor.ts';
import { progressFor } from './progress.ts';

/**
 * Whether features are kept in memory: `auto` does if they fit into half of the free memory, `memory` always,
 * `off` never.
 */
export type CacheMode = 'auto' | 'memory' | 'off';

/** Pictures and labels: a data set, or tensors in memory. */
export type Data =
  | Dataset
  | { readonly x: Tensor<'uint8' | 'float32'>; readonly y: Tensor<'int32' | 'float32'> };

export function asDataset(data: Data): Dataset {
  return 'read' in data ? data : fromTensors(data.x, data.y);
}

/** A data set behind the cut, ready to be read in batches. */
export interface Prepared {
  readonly rows: Rows<Omit<FeatureBatch, 'sampleWeight'>>;
  readonly kind: ProgramKind;
}

export interface PrepareOptions {
  readonly cache: CacheMode;
  readonly batchSize: number;
  readonly verbose: boolean;
}

/** Features that have been computed, by what they were computed from. */
export type FeatureStores = Map<string, FeatureStore>;

/** The form of a data set, for which a program is built. */
export function kindOf(dataset: Dataset, y: Tensor, featureDType: 'float16' | 'float32'): ProgramKind {
  return { imageDType: dataset.dtype, labels: y.dtype === 'int32' ? 'ids' : 'rows', featureDType };
}

export async function prepare(
  executor: Executor,
  dataset: Dataset,
  stores: FeatureStores,
  options: PrepareOptions,
): Promise<Prepared> {
  const { y } = await dataset.read([0]);
  // Kept features are half as wide; passing ones stay as they were computed. A device without float16 keeps them.
  const kept = kindOf(dataset, y, executor.options.device === 'cpu' ? 'float16' : 'float32');
  const program = executor.program(kept);
  const bytes = rowBytes(program.features) * lengthOf(dataset);
  const keep = options.cache === 'memory' || (options.cache === 'auto' && bytes < freemem() / 2);
  if (program.frozen === null || !keep) return passing(executor, dataset, kindOf(dataset, y, 'float32'));

  const key = `${program.frozenDigest}/${kept.featureDType}/${dataset.fingerprint}`;
  let store = stores.get(key);
  if (store === undefined) {
    store = new FeatureStore(dataset.name, lengthOf(dataset), program.features);
    await extract(executor, dataset, store, kept, options);
    stores.set(key, store);
  }
  return { kind: kept, rows: labelled(store, await readLabels(dataset)) };
}

/** Computes features when they are read. */
function passing(executor: Executor, dataset: Dataset, kind: ProgramKind): Prepared {
  const read = async (indices: ArrayLike<number>) => {
    const { x, y } = await dataset.read(indices);
    return { features: await executor.features(kind, x), y };
  };
  return { kind, rows: { name: dataset.name, shape: dataset.shape, read } };
}

async function extract(
  executor: Executor,
  dataset: Dataset,
  store: FeatureStore,
  kind: ProgramKind,
  { batchSize, verbose }: PrepareOptions,
): Promise<void> {
  const title = `Computing frozen features of ${dataset.name}`;
  const progress = progressFor(verbose, { title, total: lengthOf(dataset), unit: 'image' });
  for await (const { x } of batches(dataset, { batchSize: Math.max(batchSize, 16) })) {
    store.append(await executor.features(kind, x));
    progress.update(store.filled, {});
  }
  progress.end({});
}

function labelled(store: FeatureStore, labels: Labels): Prepared['rows'] {
  const read = async (indices: ArrayLike<number>) => ({ ...(await store.read(indices)), y: labels(indices) });
  return { name: store.name, shape: store.shape, read };
}

type Labels = (indices: ArrayLike<number>) => Tensor<'int32' | 'float32'>;

/** All labels of a data set, which are small. */
async function readLabels(dataset: Dataset): Promise<Labels> {
  const parts: Tensor<'int32' | 'float32'>[] = [];
  for await (const { y } of batches(dataset, { batchSize: 4096 })) parts.push(y);
  const { dtype, shape } = parts[0]!;
  const width = shape[1] ?? 1;
  const make = (rows: number) => (dtype === 'int32' ? new Int32Array(rows) : new Float32Array(rows * width));
  const all = make(lengthOf(dataset));
  let at = 0;
  for (const { data } of parts) {
    all.set(data, at);
    at += data.length;
  }
  return (indices) => {
    const data = make(indices.length);
    for (let i = 0; i < indices.length; i++) {
      data.set(all.subarray(indices[i]! * width, (indices[i]! + 1) * width), i * width);
    }
    return { dtype, shape: [indices.length, ...shape.slice(1)], data } as Tensor<'int32' | 'float32'>;
  };
}
