/** The training loop. */
import { fail } from '../core/errors.ts';
import { type Batch, batches, labelsOf } from '../data/batches.ts';
import { classOf, type Dataset, lengthOf, splitValidation } from '../data/dataset.ts';
import { balancedWeights } from '../data/sampling.ts';
import type { Callback, Logs, TrainingState } from './callback.ts';
import { bytesSent, type FeatureBatch, fitTogether, type SentSteps } from './feeds.ts';
import type { Model } from './model.ts';
import { asDataset, type Data, type Prepared } from './prepare.ts';
import { type Progress, progressFor } from './progress.ts';
import { Run } from './run.ts';
import { keptByEngine } from './steady_rows.ts';

/** Options of `model.fit`. */
export interface FitOptions {
  /** Defaults to 1. */
  readonly epochs?: number;
  /** Defaults to 32. */
  readonly batchSize?: number;
  /** A new order each epoch, from the model's seed. Defaults to true. */
  readonly shuffle?: boolean;
  /** What to validate on after each epoch. */
  readonly validationData?: Data;
  /** Share of the data, taken from its end, to validate on. */
  readonly validationSplit?: number;
  /** Called and awaited in this order. */
  readonly callbacks?: readonly Callback[];
  /**
   * Weight of each class in the loss, by class id; classes left out weigh 1. `balanced` for n / (k * n_c), with which
   * every class counts the same.
   */
  readonly classWeight?: Readonly<Record<number, number>> | 'balanced';
  /** `balanced` draws every class equally often, in an epoch of the usual length. Defaults to each picture once. */
  readonly sampler?: 'balanced';
  /** Weight of each picture in the loss. */
  readonly sampleWeight?: Float32Array;
  /** Progress on the terminal. Defaults to true. */
  readonly verbose?: boolean;
  /** Where an earlier training stopped. */
  readonly resume?: TrainingState | null;
}

/** What a training came to. */
export interface History {
  /** The numbers of each epoch. */
  readonly epochs: readonly Logs[];
  /** False if training stopped inside an epoch. */
  readonly completed: boolean;
}

export async function train(model: Model, data: Dataset, options: FitOptions): Promise<History> {
  return historyOf(
    await trainPart(model, data, options, { begins: true, ends: true, epochs: options.epochs ?? 1 }),
  );
}

export function historyOf({ history, stopping }: Run): History {
  return { epochs: history, completed: stopping !== 'step' };
}

/** Whether a training begins and ends with this call, or goes on from one and into another. */
export interface Part {
  readonly begins: boolean;
  readonly ends: boolean;
  /** Epochs of the whole training. */
  readonly epochs: number;
}

/** Trains until `epochs` epochs are done or a callback stops it, which ends the training wherever it is. */
export async function trainPart(
  model: Model,
  data: Dataset,
  options: FitOptions,
  { begins, ends, epochs: total }: Part,
): Promise<Run> {
  const { epochs = 1, batchSize = 32, callbacks = [], verbose = true, resume = null } = options;
  if (model.trainableVariables.length === 0) {
    fail('state', `Model ${model.name} has no trainable weights; thaw a layer with layer.trainable = true.`);
  }
  if (options.classWeight && options.sampleWeight) {
    fail('argument', 'Give fit classWeight or sampleWeight, not both.');
  }
  const { training, validation } = splitData(data, options);
  const { executor } = model.compiled;
  const run = new Run(model, { epochs: total, batchSize, samples: lengthOf(training), callbacks });
  // Before the features: they are computed with the weights of the state.
  if (resume) run.restore(resume);
  executor.calibrateOn(training);
  const drawing = await drawingOf(training, options);
  await run.each((callback) => callback.onFeaturesBegin?.(run));
  const uses = [{ dataset: training, training: true }];
  if (validation) uses.push({ dataset: validation, training: false });
  const all = await model.prepare(uses, verbose);
  if (all.every(({ kept }) => kept)) await executor.endExtraction();
  if (begins) await run.each((callback) => callback.onTrainBegin?.(run));
  if (resume) run.restoreCallbacks(resume);
  const [prepared, preparedValidation] =
    epochs > 1 ? all.map((each, i) => keptByEngine(executor, each, `data set ${i}`)) : all;
  // Here too: an earlier training may have ended in an error.
  await executor.forgetRows();
  while (run.epoch < epochs && run.stopping === null) {
    await trainEpoch(run, prepared!, preparedValidation, drawing, verbose);
  }
  await executor.forgetRows();
  if (ends || run.stopping !== null) {
    // A training that stops inside an epoch will be continued.
    if (run.stopping !== 'step') await executor.takeAverages();
    await run.each((callback) => callback.onTrainEnd?.(run));
  }
  await executor.pull();
  return run;
}

/** In which order pictures come and how much each counts. */
interface Drawing {
  readonly shuffle: boolean;
  /** The class of each picture, if classes are drawn equally often. */
  readonly balance: Int32Array | null;
  readonly classWeight: Readonly<Record<number, number>> | undefined;
  readonly sampleWeight: Float32Array | undefined;
}

async function drawingOf(training: Dataset, options: FitOptions): Promise<Drawing> {
  const { shuffle = true, sampler, classWeight, sampleWeight } = options;
  if (sampler === 'balanced' && !shuffle) {
    fail('argument', "fit: sampler 'balanced' decides the order itself; leave out shuffle: false.");
  }
  const balanced = classWeight === 'balanced' ? balancedWeights(await labelsOf(training)) : classWeight;
  const balance = sampler === 'balanced' ? await labelsOf(training) : null;
  return { shuffle, balance, classWeight: balanced, sampleWeight };
}

/** An epoch from where the run is, and its end unless a callback stops it inside. */
async function trainEpoch(
  run: Run,
  prepared: Prepared,
  validation: Prepared | undefined,
  drawing: Drawing,
  verbose: boolean,
): Promise<void> {
  const { model, epoch, epochs, batchSize, stepsPerEpoch } = run;
  run.beginEpoch();
  if (run.batch === 0) await run.each((callback) => callback.onEpochBegin?.(epoch, run));
  const progress = progressFor(verbose, {
    title: `Epoch ${epoch + 1}/${epochs}`,
    total: stepsPerEpoch,
    unit: 'step',
    images: batchSize,
  });
  await trainSteps(run, prepared, drawing, progress);
  const logs = run.totals.logs();
  if (run.stopping === 'step') return progress.end(logs);
  if (validation) await run.each((callback) => callback.onTestBegin?.(run));
  const all = validation ? { ...logs, ...(await validate(model, validation, batchSize, progress)) } : logs;
  progress.end(all);
  await run.endEpoch(all);
  await run.each((callback) => callback.onSettled?.(run));
}

/** The steps of an epoch, from where the run is. */
async function trainSteps(
  run: Run,
  { rows, kind }: Prepared,
  drawing: Drawing,
  progress: Progress,
): Promise<void> {
  const { executor, seed } = run.model.compiled;
  const { shuffle, balance } = drawing;
  const { batchSize, epoch } = run;
  const place = { batchSize, shuffle, balance, seed, epoch, startBatch: run.batch };
  // A continued epoch shows where it goes on, also if no step is left of it.
  if (run.batch > 0) progress.update(run.batch, run.totals.logs());
  // Where nobody watches each step, the engine gets the next before the last one's numbers are here, and several at once.
  const together = !run.stepwise && executor.runsSteps(kind);
  const sent: SentSteps[] = [];
  const settle = async (asked = run.stepwise) => {
    await settleSteps(run, sent.shift()!, progress);
    // The last step settles with its epoch.
    const settles = run.stopping === 'step' || (asked && run.batch < run.stepsPerEpoch);
    if (sent.length === 0 && settles) await run.each((callback) => callback.onSettled?.(run));
  };
  const settleAll = async () => {
    while (sent.length > 0) await settle(true);
    run.pace.pause();
  };
  const all = weightedBatches(batches(rows(epoch), place), drawing);
  for await (const group of grouped(all, () => (together ? run.pace.steps : 1))) {
    if (run.wantsToSettle) await settleAll();
    while (sent.length > run.pace.ahead) await settle();
    if (run.stopping !== 'step') sent.push(await executor.send(kind, group));
    if (run.stepwise) await settle();
    if (run.stopping === 'step') break;
  }
  while (sent.length > 0) await settle();
  run.pace.pause();
}

/** Most bytes of features that a run is sent: they are there several times, and the next run's beside them. */
const largestRun = 32 * 2 ** 20;

/** Runs of batches that can be steps of one run of the engine, of as many as are wanted at the time. */
async function* grouped(
  all: AsyncIterable<FeatureBatch>,
  wanted: () => number,
): AsyncGenerator<FeatureBatch[]> {
  let group: FeatureBatch[] = [];
  for await (const batch of all) {
    const [first] = group;
    if (first !== undefined && !fitTogether(first, batch)) {
      yield group;
      group = [];
    }
    group.push(batch);
    const full = group.length >= wanted() || (group.length + 1) * bytesSent(batch) > largestRun;
    if (!full) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

async function settleSteps(run: Run, { results, size, steps }: SentSteps, progress: Progress): Promise<void> {
  for (const result of await results) {
    run.totals.add(result, size);
    const done = run.batch++;
    const logs = run.totals.logs();
    progress.update(run.batch, logs);
    await run.each((callback) => callback.onTrainBatchEnd?.(done, logs, run));
  }
  run.pace.done(steps);
}

/** What is trained on, and what is validated on. */
export function splitData(
  data: Dataset,
  { validationData, validationSplit }: FitOptions,
): {
  readonly training: Dataset;
  readonly validation: Dataset | null;
} {
  if (validationData !== undefined) return { training: data, validation: asDataset(validationData) };
  if (validationSplit === undefined) return { training: data, validation: null };
  const { train, validation } = splitValidation(data, validationSplit);
  return { training: train, validation };
}

async function validate(
  model: Model,
  prepared: Prepared,
  batchSize: number,
  progress: Progress,
): Promise<Logs> {
  const part = progress.part('Validating', Math.ceil(lengthOf(prepared.rows(0)) / batchSize));
  const logs = await model.evaluatePrepared(prepared, batchSize, part);
  const named = ([name, value]: [string, number]) => [`val${name[0]!.toUpperCase()}${name.slice(1)}`, value];
  return Object.fromEntries(Object.entries(logs).map(named));
}

/** Adds the weight of each picture in the loss. */
async function* weightedBatches(
  all: AsyncIterable<Batch<Omit<FeatureBatch, 'sampleWeight'>>>,
  drawing: Drawing,
): AsyncGenerator<FeatureBatch> {
  for await (const batch of all) yield weighted(batch, drawing, batch.indices);
}

function weighted(
  batch: Omit<FeatureBatch, 'sampleWeight'>,
  { classWeight, sampleWeight }: Drawing,
  indices: Int32Array,
): FeatureBatch {
  const weights = new Float32Array(indices.length).fill(1);
  for (let i = 0; i < weights.length; i++) {
    if (sampleWeight) {
      weights[i] =
        sampleWeight[indices[i]!] ?? fail('argument', 'sampleWeight needs a weight for each picture.');
    } else if (classWeight) weights[i] = classWeight[classOf(batch.y, i)] ?? 1;
  }
  return { ...batch, sampleWeight: weights };
}
