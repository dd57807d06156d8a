/** Computes what several trainings share, before the first of them begins: the features of their frozen parts. */
import type { Model } from '../training/model.ts';
import { planFeatures } from '../training/prepare.ts';
import { explainWeights, fetchWeights } from './backbone.ts';
import { cacheOf, type TrainConfig } from './config.ts';
import { type LoadedData, loadData } from './data.ts';
import type { Output } from './output.ts';
import { buildTraining } from './training_run.ts';

/** What a training takes. */
export interface Needs {
  /** Bytes of memory, by estimate; null where the backbone is at work too, whose needs nobody knows beforehand. */
  readonly memory: number | null;
  /** Bytes of all features. */
  readonly features: number;
}

/** Node, ONNX Runtime and the pictures of a step; measured. */
const base = 400e6;
/** Float32, in two processes, with what the optimizer keeps. */
const bytesOfParameter = 12;

/**
 * The needs of the greediest of some trainings. Features go where `--cache` says; those that are there already are
 * not computed again.
 */
export async function prepareFeatures(
  configs: readonly TrainConfig[],
  mirror: string | undefined,
  out: Output,
): Promise<Needs> {
  const distinct = new Map(configs.map((config) => [frozenPartOf(config), config]));
  const needs: Needs[] = [];
  for (const config of distinct.values()) needs.push(await prepareOne(config, mirror, out));
  const unknown = needs.some(({ memory }) => memory === null);
  return {
    memory: unknown ? null : Math.max(...needs.map(({ memory }) => memory!)),
    features: Math.max(...needs.map(({ features }) => features)),
  };
}

/** True if nothing is left to do for each picture but the head's part: its features are kept. */
export function trainsOnFeatures({ unfreezeFrom, augment, cache, cachedViews }: TrainConfig): boolean {
  return unfreezeFrom === null && cache !== 'off' && (augment === 'none' || cachedViews !== null);
}

/** Trainings with the same text have the same features: what they differ in comes after the frozen part. */
function frozenPartOf(config: TrainConfig): string {
  const { data, limit, validationLimit, validationSplit, splitSeed, cropToAspectRatio, padToAspectRatio } =
    config;
  const { backbone, weights, imageSize, preprocessing, backboneOutput, unfreezeFrom, head, augment } = config;
  const { cache, cachePrecision, cachedViews, precision, device, seed } = config;
  const seeded = weights === 'none' || cachedViews !== null || precision === 'int8';
  return JSON.stringify([
    ...[data, limit, validationLimit, validationSplit, splitSeed, cropToAspectRatio, padToAspectRatio],
    ...[backbone, weights, imageSize, preprocessing, backboneOutput, unfreezeFrom, head, augment],
    ...[cache, cachePrecision, cachedViews, precision, device, seeded ? seed : null],
  ]);
}

async function prepareOne(config: TrainConfig, mirror: string | undefined, out: Output): Promise<Needs> {
  return withModel(config, mirror, out, async (model, data) => {
    const uses = usesOf(data);
    const { bytes } = await planFeatures(model.compiled.executor, uses, cacheOf(config));
    await model.prepare(uses, out.verbose);
    return {
      memory: trainsOnFeatures(config) ? base + bytes + bytesOfParameter * model.countParams() : null,
      features: bytes,
    };
  });
}

/** Does something with the compiled model of a training, and its pictures. */
export async function withModel<Result>(
  config: TrainConfig,
  mirror: string | undefined,
  out: Output,
  use: (model: Model, data: LoadedData) => Promise<Result>,
): Promise<Result> {
  const data = await loadData(config, mirror, out);
  const weights = await fetchWeights(config, mirror, out);
  const { model } = await buildTraining({ config, out }, data, weights).catch(explainWeights);
  try {
    return await use(model, data);
  } finally {
    await model.close();
  }
}

/** In the order in which a training asks for them. */
export function usesOf({ train, validation, test }: LoadedData) {
  return [
    { dataset: train, training: true },
    { dataset: validation, training: false },
    ...(test === null ? [] : [{ dataset: test, training: false }]),
  ];
}
