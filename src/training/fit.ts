/** The training loop. */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  flag,
  isPlain,
  notNegative,
  oneOf,
  optional,
  wholeNumber,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { type Batch, batches, labelsOf } from '../data/batches.ts';
import { classOf, type Dataset, lengthOf, splitValidation } from '../data/dataset.ts';
import { balancedWeights } from '../data/sampling.ts';
import {
  type Callback,
  callbackSchema,
  type Logs,
  type TrainingState,
  trainingStateSchema,
} from './callback.ts';
import { bytesSent, type FeatureBatch, fitTogether, type SentSteps } from './feeds.ts';
import type { Model } from './model.ts';
import { asDataset, type Data, dataSchema, type Prepared } from './prepare.ts';
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
  /**
   * Share of the data, taken from its end, to validate on, in place of validationData. Its part of sampleWeight weighs
   * the validation loss.
   */
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
  /** Weight of each image in the loss, at least 0, in the order of the data. */
  readonly sampleWeight?: Float32Array;
  /** Progress on the terminal. Defaults to true. */
  readonly verbose?: boolean;
  /** Where an earlier training stopped. */
  readonly resume?: TrainingState | null;
}

/** A weight in the loss for each image: one linear pass, once a call. */
export const sampleWeightSchema = v.pipe(
  v.instance(Float32Array, 'a Float32Array with a weight for each image'),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const at = dataset.value.findIndex((weight) => !(weight >= 0 && weight < Number.POSITIVE_INFINITY));
    if (at >= 0)
      addIssue({ message: `must have weights of at least 0, but weight ${at} is ${dataset.value[at]}` });
  }),
);

const classWeightSchema = v.union([
  oneOf('balanced'),
  v.pipe(
    v.custom<Readonly<Record<string, unknown>>>(isPlain, 'an object of class ids and weights'),
    v.record(v.string(), notNegative),
  ),
]);

/** Schemas of the options that `fit` and `fineTune` share. */
export const fitEntries = {
  epochs: optional(wholeNumber(0), 1),
  batchSize: optional(wholeNumber(1), 32),
  shuffle: optional(flag, true),
  validationData: optional(dataSchema),
  validationSplit: optional(
    v.custom<number>(
      (value) => Number.isFinite(value) && (value as number) > 0 && (value as number) < 1,
      'a number between 0 and 1',
    ),
  ),
  callbacks: optional(v.array(callbackSchema, 'an array of callbacks'), []),
  classWeight: optional(classWeightSchema),
  sampler: optional(oneOf('balanced')),
  sampleWeight: optional(sampleWeightSchema),
  verbose: optional(flag, true),
  resume: optional(v.nullable(trainingStateSchema), null),
} satisfies Entries<FitOptions>;

/** What is wrong with options of `fit` or `fineTune` together, as a predicate; null if nothing is. */
export function conflictOf({
  validationData,
  validationSplit,
  classWeight,
  sampleWeight,
  sampler,
  shuffle,
}: FitOptions): string | null {
  if (validationData !== undefined && validationSplit !== undefined) {
    return 'takes validationData or validationSplit, not both';
  }
  if (classWeight !== undefined && sampleWeight !== undefined)
    return 'takes classWeight or sampleWeight, not both';
  if (sampler === 'balanced' && shuffle === false) {
    return "draws in an order of its own with sampler: 'balanced'; leave out shuffle: false";
  }
  return null;
}

const fitOptions = fields(fitEntries);

/** What a training came to. */
export interface History {
  /** The numbers of each epoch. */
  readonly epochs: readonly Logs[];
  /** False if training stopped inside an epoch. */
  readonly completed: boolean;
}

export async function train(model: Model, data: Dataset, given: FitOptions): Promise<History> {
  const options = checked(fitOptions, given, 'model.fit');
  const conflict = conflictOf(given);
  if (conflict !== null) fail('argument', `model.fit ${conflict}.`);
  const part = { begins: true, ends: true, epochs: options.epochs };
  return historyOf(await trainPart(model, data, options, part));
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
  checkWeights(model, data, options);
  const { training, validation, validationWeight } = splitData(data, options);
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
  const validating = preparedValidation && { prepared: preparedValidation, sampleWeight: validationWeight };
  // Here too: an earlier training may have ended in an error.
  await executor.forgetRows();
  while (run.epoch < epochs && run.stopping === null) {
    await trainEpoch(run, prepared!, validating, drawing, verbose);
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
  const balanced = classWeight === 'balanced' ? balancedWeights(await labelsOf(training)) : classWeight;
  const balance = sampler === 'balanced' ? await labelsOf(training) : null;
  return { shuffle, balance, classWeight: balanced, sampleWeight };
}

/** What is validated on after each epoch, and how much each image counts. */
interface Validation {
  readonly prepared: Prepared;
  readonly sampleWeight: Float32Array | undefined;
}

/** An epoch from where the run is, and its end unless a callback stops it inside. */
async function trainEpoch(
  run: Run,
  prepared: Prepared,
  validation: Validation | undefined,
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

/** Throws `argument` for weights that do not belong to these images or to the classes of the model. */
function checkWeights(model: Model, data: Dataset, { classWeight, sampleWeight }: FitOptions): void {
  const length = lengthOf(data);
  if (sampleWeight !== undefined && sampleWeight.length !== length) {
    fail(
      'argument',
      `sampleWeight needs a weight for each image: ${data.name} has ${length}, got ${sampleWeight.length} weights.`,
    );
  }
  if (classWeight === undefined || classWeight === 'balanced') return;
  const classes = model.result.shape.at(-1)!;
  for (const key of Object.keys(classWeight)) {
    if (/^(0|[1-9]\d*)$/.test(key) && Number(key) < classes) continue;
    const id = data.classNames?.indexOf(key) ?? -1;
    fail(
      'argument',
      `classWeight has a weight for "${key}", but the classes of ${model.name} are 0 … ${classes - 1}` +
        `${id >= 0 ? `; ${key} is class ${id}` : ''}.`,
    );
  }
}

/** What is trained on, and what is validated on. */
export function splitData(
  data: Dataset,
  { validationData, validationSplit, sampleWeight }: FitOptions,
): {
  readonly training: Dataset;
  readonly validation: Dataset | null;
  /** As in Keras, the weights of what was set aside weigh the validation loss. */
  readonly validationWeight?: Float32Array | undefined;
} {
  if (validationData !== undefined) {
    return { training: data, validation: asDataset(validationData, 'model.fit: validationData') };
  }
  if (validationSplit === undefined) return { training: data, validation: null };
  const { train, validation } = splitValidation(data, validationSplit);
  return { training: train, validation, validationWeight: sampleWeight?.subarray(lengthOf(train)) };
}

async function validate(
  model: Model,
  { prepared, sampleWeight }: Validation,
  batchSize: number,
  progress: Progress,
): Promise<Logs> {
  const part = progress.part('Validating', Math.ceil(lengthOf(prepared.rows(0)) / batchSize));
  const logs = await model.evaluatePrepared(prepared, batchSize, { progress: part, sampleWeight });
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
    if (sampleWeight) weights[i] = sampleWeight[indices[i]!]!;
    else if (classWeight) weights[i] = classWeight[classOf(batch.y, i)] ?? 1;
  }
  return { ...batch, sampleWeight: weights };
}
