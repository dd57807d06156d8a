/** What a training writes about itself into `run.json`: what went in, and what has been measured up to now. */
import { fail } from '../core/errors.ts';
import { lengthOf } from '../data/index.ts';
import type { Beside } from '../report/curves.ts';
import type { History } from '../training/fit.ts';
import type { Model } from '../training/model.ts';
import type { WeightsFile } from './backbone.ts';
import type { TrainConfig } from './config.ts';
import { dataTitle, type LoadedData } from './data.ts';
import type { Meter } from './meter.ts';
import {
  type Metrics,
  type PhaseName,
  type RunFolder,
  type RunRecord,
  type Session,
  versions,
} from './run_folder.ts';

/** A continued run is only the same run if it sees the same pictures and starts from the same weights. */
export function checkUnchanged(
  previous: RunRecord | null,
  data: LoadedData,
  weights: WeightsFile | null,
): void {
  if (previous === null) return;
  if (previous.data.fingerprint !== data.train.fingerprint) {
    fail(
      'argument',
      `The run was trained on other pictures: ${previous.data.fingerprint}, now ${data.train.fingerprint}.`,
    );
  }
  if (previous.weights?.sha256 !== weights?.sha256) {
    fail(
      'argument',
      `The run began with other weights: sha256 ${previous.weights?.sha256}, now ${weights?.sha256} (${weights?.path}).`,
    );
  }
}

/** What a session begins with. */
export interface Begun {
  readonly config: TrainConfig;
  /** What an earlier session left. */
  readonly previous: RunRecord | null;
  /** A training to compare with in the report. */
  readonly beside?: Beside;
}

/** The record at the beginning of a session. */
export function newRecord(
  { config, previous, beside = previous?.beside }: Begun,
  data: LoadedData,
  weights: WeightsFile | null,
  model: Model,
): RunRecord {
  return {
    format: 1,
    status: 'running',
    config,
    versions: versions(),
    data: {
      fingerprint: data.train.fingerprint,
      trainingImages: lengthOf(data.train),
      validationImages: lengthOf(data.validation),
      testImages: data.test && lengthOf(data.test),
      validatesOn: data.validatesOn,
      classNames: data.classNames,
    },
    weights,
    model: {
      file: modelFile(config),
      parameters: model.countParams(),
      trainable: model.trainableVariables.reduce((total, { size }) => total + size, 0),
    },
    ...(beside && { beside }),
    sessions: previous?.sessions ?? [],
    metrics: null,
    memory: previous?.memory ?? null,
    command: previous === null ? process.argv.slice(2) : (previous.command ?? []),
  };
}

export function modelFile({ data }: TrainConfig): string {
  return `${dataTitle(data)}.h5`;
}

export interface Progressed {
  readonly folder: RunFolder;
  /** What an earlier session left. */
  readonly previous: RunRecord | null;
  readonly record: RunRecord;
  readonly meter: Meter;
  readonly history: History;
  readonly start: number;
}

/** Writes the record with what has been measured up to now. */
export async function writeRecord(progressed: Progressed, status: RunRecord['status']): Promise<RunRecord> {
  const record = await recordOf(progressed, status);
  await progressed.folder.write(record);
  return record;
}

/** The record with what has been measured up to now. */
export async function recordOf(
  { previous, record, meter, history, start }: Progressed,
  status: RunRecord['status'],
  evaluated: Partial<Metrics> = {},
): Promise<RunRecord> {
  const phases = meter.phases();
  const secondsOf = (wanted: PhaseName) => phases.find(({ name }) => name === wanted)?.seconds ?? 0;
  const session: Session = {
    seconds: (performance.now() - start) / 1000,
    preparationSeconds: secondsOf('loading') + secondsOf('features'),
    trainingSeconds: secondsOf('training'),
    images: meter.images,
    phases,
  };
  const sessions = [...record.sessions, session];
  return {
    ...record,
    status,
    sessions,
    metrics: history.epochs.length === 0 ? null : { ...metricsOf(history, sessions), ...evaluated },
    memory: await meter.memory(previous?.memory ?? null),
  };
}

/** The epoch that modelCheckpoint kept, from 0: the first of those with the highest validation accuracy. */
export function bestEpochOf({ epochs }: History): number {
  const accuracies = epochs.map((logs) => logs['valAccuracy']!);
  return accuracies.reduce((best, value, epoch) => (value > accuracies[best]! ? epoch : best), 0);
}

function metricsOf(history: History, sessions: readonly Session[]): Metrics {
  const { epochs } = history;
  const best = bestEpochOf(history);
  const { accuracy, loss, valAccuracy, valLoss } = epochs[best] as Record<keyof Metrics, number>;
  const total = (key: Exclude<keyof Session, 'phases'>) =>
    sessions.reduce((sum, session) => sum + session[key], 0);
  return {
    ...{ accuracy, loss, valAccuracy, valLoss },
    seconds: total('seconds'),
    preparationSeconds: total('preparationSeconds'),
    imagesPerSecond: total('images') / total('trainingSeconds'),
    epochs: epochs.length,
    bestEpoch: best + 1,
  };
}
