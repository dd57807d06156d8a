/** The training loop. */
import { fail } from '../core/errors.ts';
import { batches, type Dataset, lengthOf, splitValidation } from '../data/dataset.ts';
import type { Callback, Logs, Training, TrainingState } from './callbacks.ts';
import type { FeatureBatch } from './executor.ts';
import type { Model } from './model.ts';
import { asDataset, type Data, type Prepared } from './prepare.ts';
import { progressFor } from './progress.ts';
import { Totals } from './totals.ts';

export interface FitOptions {
  /** Defaults to 1. */
  readonly epochs?: number;
  /** Defaults to 32. */
  readonly batchSize?: number;
  /** A new order each epoch, from the model's seed. Defaults to true. */
  readonly shuffle?: boolean;
  readonly validationData?: Data;
  /** Share of the data, taken from its end, to validate on. */
  readonly validationSplit?: number;
  readonly callbacks?: readonly Callback[];
  /** Weight of each class in the loss, by class id; classes left out weigh 1. */
  readonly classWeight?: Readonly<Record<number, number>>;
  /** Weight of each picture in the loss. */
  readonly sampleWeight?: Float32Array;
  /** Progress on the terminal. Defaults to true. */
  readonly verbose?: boolean;
  /** Where an earlier training stopped. */
  readonly resume?: TrainingState | null;
}

export interface History {
  /** The numbers of each epoch. */
  readonly epochs: readonly Logs[];
  /** False if training stopped inside an epoch. */
  readonly completed: boolean;
}

export async function train(model: Model, data: Dataset, options: FitOptions): Promise<History> {
  const {
    epochs = 1,
    batchSize = 32,
    shuffle = true,
    callbacks = [],
    verbose = true,
    resume = null,
  } = options;
  if (model.trainableVariables.length === 0) {
    fail('state', `Model ${model.name} has no trainable weights; thaw a layer with layer.trainable = true.`);
  }
  if (options.classWeight && options.sampleWeight) {
    fail('argument', 'Give fit classWeight or sampleWeight, not both.');
  }
  const { training, validation } = splitData(data, options);
  const { executor, seed } = model.compiled;
  const run = new Run(model, { epochs, batchSize, samples: lengthOf(training), callbacks });
  // Before the features: they are computed with the weights of the state.
  if (resume) run.restore(resume);
  executor.calibrateOn(training);
  const prepared = await model.prepare(training, { batchSize, verbose });
  const preparedValidation = validation && (await model.prepare(validation, { batchSize, verbose }));

  await run.each((callback) => callback.onTrainBegin?.(run));
  if (resume) run.restoreCallbacks(resume);
  for (let epoch = run.epoch; epoch < epochs && run.stopping === null; epoch++) {
    run.beginEpoch(epoch);
    if (run.batch === 0) await run.each((callback) => callback.onEpochBegin?.(epoch, run));
    const title = `Epoch ${epoch + 1}/${epochs}`;
    const progress = progressFor(verbose, {
      title,
      total: run.stepsPerEpoch,
      unit: 'step',
      images: batchSize,
    });
    for await (const batch of batches(prepared.rows, {
      batchSize,
      shuffle,
      seed,
      epoch,
      startBatch: run.batch,
    })) {
      const result = await executor.train(
        prepared.kind,
        weighted(batch, options, batch.indices),
        run.learningRate,
      );
      run.totals.add(result, batch.indices.length);
      const done = run.batch++;
      progress.update(run.batch, run.totals.logs());
      await run.each((callback) => callback.onTrainBatchEnd?.(done, run.totals.logs(), run));
      if (run.batch < run.stepsPerEpoch || run.stopping === 'step') {
        await run.each((callback) => callback.onSettled?.(run));
      }
      if (run.stopping === 'step') break;
    }
    if (run.stopping === 'step') {
      progress.end(run.totals.logs());
      break;
    }
    let logs = run.totals.logs();
    if (preparedValidation) logs = { ...logs, ...(await validate(model, preparedValidation, batchSize)) };
    progress.end(logs);
    await run.endEpoch(epoch, logs);
    await run.each((callback) => callback.onSettled?.(run));
  }
  await run.each((callback) => callback.onTrainEnd?.(run));
  await executor.pull();
  return { epochs: run.history, completed: run.stopping !== 'step' };
}

function splitData(data: Dataset, { validationData, validationSplit }: FitOptions) {
  if (validationData !== undefined) return { training: data, validation: asDataset(validationData) };
  if (validationSplit === undefined) return { training: data, validation: null };
  const { train, validation } = splitValidation(data, validationSplit);
  return { training: train, validation };
}

async function validate(model: Model, prepared: Prepared, batchSize: number): Promise<Logs> {
  const logs = await model.evaluatePrepared(prepared, batchSize);
  const named = ([name, value]: [string, number]) => [`val${name[0]!.toUpperCase()}${name.slice(1)}`, value];
  return Object.fromEntries(Object.entries(logs).map(named));
}

/** Adds the weight of each picture in the loss. */
function weighted(
  batch: Omit<FeatureBatch, 'sampleWeight'>,
  { classWeight, sampleWeight }: FitOptions,
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

function classOf({ dtype, shape, data }: FeatureBatch['y'], row: number): number {
  if (dtype === 'int32') return data[row]!;
  const classes = shape[1]!;
  const values = data.subarray(row * classes, (row + 1) * classes);
  return values.indexOf(Math.max(...values));
}

/** The state of one call of `fit`. */
class Run implements Training {
  readonly model: Model;
  readonly epochs: number;
  readonly batchSize: number;
  readonly samples: number;
  readonly history: Logs[] = [];
  readonly #callbacks: readonly Callback[];
  totals: Totals;
  epoch = 0;
  batch = 0;
  stopping: 'epoch' | 'step' | null = null;

  constructor(
    model: Model,
    options: { epochs: number; batchSize: number; samples: number; callbacks: readonly Callback[] },
  ) {
    this.model = model;
    this.epochs = options.epochs;
    this.batchSize = options.batchSize;
    this.samples = options.samples;
    this.#callbacks = options.callbacks;
    this.totals = this.#newTotals();
  }

  get stepsPerEpoch(): number {
    return Math.ceil(this.samples / this.batchSize);
  }

  get step(): number {
    return this.model.compiled.executor.step;
  }

  get learningRate(): number {
    return this.model.compiled.executor.learningRate;
  }

  set learningRate(value: number) {
    this.model.compiled.executor.learningRate = value;
  }

  stop(when: 'epoch' | 'step' = 'epoch'): void {
    this.stopping = when;
  }

  async each(call: (callback: Callback) => unknown): Promise<void> {
    for (const callback of this.#callbacks) await call(callback);
  }

  beginEpoch(epoch: number): void {
    if (epoch !== this.epoch || this.batch === 0) this.totals = this.#newTotals();
    this.epoch = epoch;
  }

  async endEpoch(epoch: number, logs: Logs): Promise<void> {
    let all = logs;
    this.epoch = epoch + 1;
    this.batch = 0;
    this.totals = this.#newTotals();
    for (const callback of this.#callbacks) {
      all = { ...all, ...((await callback.onEpochEnd?.(epoch, all, this)) ?? {}) };
    }
    this.history.push(all);
  }

  #newTotals(sums: Logs = {}): Totals {
    return new Totals(
      this.model.compiled.metrics.map(({ name }) => name),
      sums,
    );
  }

  async state(): Promise<TrainingState> {
    const weights = await this.model.currentWeights();
    const { executor } = this.model.compiled;
    const callbacks = this.#callbacks.flatMap((callback, i) =>
      callback.saveState ? [[`${i}/${callback.name}`, callback.saveState()] as const] : [],
    );
    return {
      epoch: this.epoch,
      batch: this.batch,
      finished: this.stopping === 'epoch' && this.batch === 0,
      step: executor.step,
      learningRate: this.learningRate,
      totals: this.totals.state(),
      history: [...this.history],
      callbacks: Object.fromEntries(callbacks),
      weights,
      slots: executor.slots ?? {},
    };
  }

  restore(state: TrainingState): void {
    this.epoch = state.epoch;
    this.batch = state.batch;
    this.totals = this.#newTotals(state.totals);
    this.history.push(...state.history);
    this.stopping = state.finished ? 'epoch' : null;
    const { executor, optimizer } = this.model.compiled;
    if (typeof optimizer.options.learningRate === 'number') executor.learningRate = state.learningRate;
    this.model.setWeights(state.weights);
    executor.setSlots(state.slots, state.step);
  }

  /** After `onTrainBegin`, at which callbacks forget an earlier training. */
  restoreCallbacks(state: TrainingState): void {
    this.#callbacks.forEach((callback, i) => {
      const saved = state.callbacks[`${i}/${callback.name}`];
      if (saved) callback.restoreState?.(saved);
    });
  }
}
