/** What each way of training costs with all pictures, from a run on a sample of them. */
import { lengthOf } from '../data/index.ts';
import { shareOf } from '../report/scores.ts';
import type { Way } from '../search/recommend.ts';
import type { Model } from '../training/model.ts';
import { kindOf, planFeatures } from '../training/prepare.ts';
import { cacheOf, type TrainConfig } from './config.ts';
import type { LoadedData } from './data.ts';
import { usesOf } from './prepare_features.ts';
import type { FinishedRecord, Phase } from './run_folder.ts';
import { phasesOf } from './run_report.ts';

/** What is measured before a trial. */
export interface FrozenCost {
  /** Pictures that go through the frozen part in a second, read from the disk and computed. */
  readonly imagesPerSecond: number;
  /** Bytes of the features of a picture; 0 if none are kept. */
  readonly bytesPerImage: number;
}

/** Pictures of the whole job. */
export interface Amounts {
  readonly training: number;
  /** Those that are trained and validated on. */
  readonly all: number;
}

export interface Cost extends Way {
  readonly name: string;
  readonly imageSize: number;
  /** False if the head alone trains. */
  readonly trainsBackbone: boolean;
  /** To compute the features of all pictures, once. */
  readonly featureSeconds: number;
  /** Of all pictures, validation included. */
  readonly epochSeconds: number;
  readonly epochs: number;
  /** Bytes of features on disk, and of memory at most. */
  readonly disk: number;
  readonly memory: number;
}

const measuredBatch = 16;
const measuredBatches = 3;

/** Measures the frozen part on a few pictures, whether or not their features are kept already. */
export async function measureFrozen(
  model: Model,
  data: LoadedData,
  config: TrainConfig,
): Promise<FrozenCost> {
  const { executor } = model.compiled;
  const { train } = data;
  const count = Math.min(measuredBatch, lengthOf(train));
  const rows = (batch: number) =>
    Int32Array.from({ length: count }, (_, i) => (batch * count + i) % lengthOf(train));
  const { y } = await train.read([0]);
  const kind = kindOf(train, y, config.device === 'cpu' ? 'float16' : 'float32');
  const compute = async (batch: number) => executor.features(kind, (await train.read(rows(batch))).x);
  await compute(0); // It loads the graph.
  const start = performance.now();
  for (let batch = 1; batch <= measuredBatches; batch++) await compute(batch);
  const seconds = (performance.now() - start) / 1000;
  const uses = usesOf(data);
  const images = uses.reduce((sum, { dataset }) => sum + lengthOf(dataset), 0);
  const { bytes } = await planFeatures(executor, uses, cacheOf(config));
  return { imagesPerSecond: (count * measuredBatches) / seconds, bytesPerImage: bytes / images };
}

/** The pictures that the whole job would have. */
export function amountsOf({ whole: { train, validation, test } }: LoadedData): Amounts {
  const judged = validation ?? test;
  return { training: lengthOf(train), all: lengthOf(train) + (judged === null ? 0 : lengthOf(judged)) };
}

/** From the record of a finished trial on a sample. */
export function costOf(name: string, record: FinishedRecord, frozen: FrozenCost, amounts: Amounts): Cost {
  const { config, data, metrics } = record;
  const { valAccuracy, epochs } = metrics;
  const phases = phasesOf(record);
  const seconds = (wanted: Phase['name']) => phases.find(({ name }) => name === wanted)?.seconds ?? 0;
  // Training and validation grow with the pictures; keeping the best epoch does not.
  const growing = (seconds('training') + seconds('validation')) / epochs;
  const epochSeconds = growing * (amounts.training / data.trainingImages) + seconds('saving') / epochs;
  const featureSeconds = amounts.all / frozen.imagesPerSecond;
  const disk = amounts.all * frozen.bytesPerImage;
  const here = (data.trainingImages + data.validationImages) * frozen.bytesPerImage;
  const peak = Math.max(...phases.map(({ memory }) => memory));
  return {
    ...{ name, imageSize: config.imageSize, trainsBackbone: config.unfreezeFrom !== null },
    accuracy: shareOf(Math.round(valAccuracy * data.validationImages), data.validationImages),
    ...{ featureSeconds, epochSeconds, epochs, disk },
    seconds: featureSeconds + epochs * epochSeconds,
    // Features are read into memory where they fit into half of it.
    memory: peak + (disk <= process.availableMemory() / 2 ? disk - here : 0),
  };
}
