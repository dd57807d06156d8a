/**
 * Models that train: Keras's compile, fit, evaluate, predict, save on top of a network of layers. The loop itself
 * is in `fit.ts`, the running in `executor.ts`.
 */
import * as v from 'valibot';
import { type ExportOptions, exportModel, exportOptions } from '../compile/export.ts';
import { checked, type Entries, fields, flag, optional, text, wholeNumber } from '../core/checked.ts';
import { tell } from '../core/console.node.ts';
import { fail } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { formatShape, sameShape, type Tensor, tensor, tensorOf } from '../core/tensor.ts';
import { type Dataset, datasetSchema, examplesSchema, fromTensors, lengthOf } from '../data/dataset.ts';
import { unscored } from '../losses/index.ts';
import { Network, someOf } from '../models/network.ts';
import { type SummaryOptions, summary, summaryOptions } from '../models/summary.ts';
import { type SavedModel, type SavedTraining, saveModel } from '../saving/index.ts';
import { loadWeights, saveWeights } from '../saving/weights.ts';
import type { Logs } from './callback.ts';
import { type Compiled, type CompileOptions, compileNetwork } from './compiled.ts';
import { savedTraining, takeOptimizer } from './files.ts';
import { type FineTuneOptions, fineTune } from './fine_tune.ts';
import { type FitOptions, type History, sampleWeightSchema, train } from './fit.ts';
import { type LrFindOptions, type LrFindResult, lrFind } from './lr_find.ts';
import { type Evaluation, evaluateRows, predictRows, unprepared } from './passes.ts';
import {
  asDataset,
  type Data,
  type KeptFeatures,
  kindOf,
  type Prepared,
  prepare,
  type Use,
} from './prepare.ts';
import { type Progress, progressFor } from './progress.ts';
import { Totals } from './totals.ts';
import { meanOf, mostViews, viewsOf } from './tta.ts';

export type { CompileOptions } from './compiled.ts';

/** Options of `model.evaluate`. */
export interface RunOptions {
  /** Pictures of a batch. Defaults to 32. */
  readonly batchSize?: number;
  /** Progress on the terminal. Defaults to true for evaluate, false for predict. */
  readonly verbose?: boolean;
}

/** Options of `model.predict`. */
export interface PredictOptions extends RunOptions {
  /**
   * Test-time augmentation: the mean output of so many views of each picture, from 1 to 10: as it is, mirrored, then
   * shifted by a sixteenth. Defaults to 1.
   */
  readonly tta?: number;
}

/** Options of `model.trainOnBatch`. */
export interface TrainOnBatchOptions {
  /** Weight of each image in the loss, at least 0. Defaults to 1. */
  readonly sampleWeight?: Float32Array;
}

const evaluateOptions = fields({
  batchSize: optional(wholeNumber(1), 32),
  verbose: optional(flag, true),
} satisfies Entries<RunOptions>);

const predictOptions = fields({
  batchSize: optional(wholeNumber(1), 32),
  verbose: optional(flag, false),
  tta: optional(
    v.custom<number>(
      (value) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= mostViews,
      `a whole number of views from 1 to ${mostViews}`,
    ),
    1,
  ),
} satisfies Entries<PredictOptions>);

const trainOnBatchOptions = fields({
  sampleWeight: optional(sampleWeightSchema),
} satisfies Entries<TrainOnBatchOptions>);

const imagesSchema = v.union([tensorOf('uint8', 'float32'), datasetSchema]);

/**
 * A network that trains, predicts and goes into files (keras.Model). `model`, `sequential` and the applications make
 * some.
 */
export class Model extends Network {
  readonly #features: KeptFeatures = new Map();
  #compiled: Compiled | null = null;

  /**
   * Says how to train. Weights that have no values yet are drawn from the seed. A model that was training keeps
   * its weights; its optimizer starts anew.
   */
  compile(options: CompileOptions): void {
    this.#compile(options, true);
  }

  #compile(options: CompileOptions, trains: boolean): void {
    if (this.#compiled?.executor.ahead) {
      fail('state', 'The engine holds newer weights; await model.close() before compiling again.');
    }
    const previous = this.#compiled?.executor;
    this.#compiled = compileNetwork(this, options, trains);
    previous?.abandon();
  }

  /** Goes on with a training that a file described. */
  restoreTraining({ step, slots, ...decided }: SavedTraining): void {
    this.compile(decided);
    this.compiled.executor.setSlots(slots, step);
  }

  get isCompiled(): boolean {
    return this.#compiled?.trains ?? false;
  }

  /** What `compile` decided. Throws `state` if it was not called, or `trainable` flags have changed since. */
  get compiled(): Compiled {
    if (!this.isCompiled) fail('state', `Model ${this.name} must be compiled first: model.compile({...}).`);
    return this.#upToDate();
  }

  #upToDate(): Compiled {
    const compiled = this.#compiled!;
    const changed = [...compiled.flags].filter(([layer, flag]) => layer.trainable !== flag);
    if (changed.length > 0) {
      const names = someOf(changed.map(([layer]) => layer.name));
      fail('state', `trainable has changed since compile: ${names}. Call model.compile again.`);
    }
    return compiled;
  }

  /** Trains the model; returns the numbers of each epoch. */
  async fit(data: Data, options: FitOptions = {}): Promise<History> {
    return train(this, asDataset(data, 'model.fit(data)'), options);
  }

  /**
   * Trains in two phases, as fastai's fine_tune: first the head alone, then everything that is trainable, with lower
   * rates for earlier layers. `fine_tune.ts` tells what is in it.
   */
  async fineTune(data: Data, options: FineTuneOptions = {}): Promise<History> {
    return fineTune(this, asDataset(data, 'model.fineTune(data)'), options);
  }

  /** Tries growing learning rates on the compiled model and suggests one; leaves the model as it was. */
  async lrFind(data: Data, options: LrFindOptions = {}): Promise<LrFindResult> {
    return lrFind(this, asDataset(data, 'model.lrFind(data)'), options);
  }

  /** Loss and metrics over a data set, as Keras averages them. */
  async evaluate(data: Data, options: RunOptions = {}): Promise<Logs> {
    const { batchSize, verbose } = checked(evaluateOptions, options, 'model.evaluate');
    const dataset = asDataset(data, 'model.evaluate(data)');
    const [prepared] = await this.prepare([{ dataset, training: false }], verbose);
    const progress = stepProgress(verbose, lengthOf(dataset), batchSize);
    const logs = await this.evaluatePrepared(prepared!, batchSize, { progress });
    progress.end(logs);
    return logs;
  }

  /** `evaluate` on a data set that is behind the cut already. */
  async evaluatePrepared(prepared: Prepared, batchSize: number, how: Evaluation = {}): Promise<Logs> {
    return evaluateRows(this.compiled, prepared, batchSize, how);
  }

  /** The model's output for each picture: (n, classes). Needs weights, not `compile`. */
  async predict(
    x: Tensor<'uint8' | 'float32'> | Dataset,
    options: PredictOptions = {},
  ): Promise<Tensor<'float32'>> {
    const { tta, batchSize, verbose } = checked(predictOptions, options, 'model.predict');
    const images = checked(imagesSchema, x, 'model.predict(x)');
    const dataset =
      'read' in images ? images : fromTensors(images, tensor('int32', images.shape.slice(0, 1)));
    const views = viewsOf(dataset, tta);
    if (this.#compiled === null) this.#compileForPrediction();
    const { executor } = this.#upToDate();
    this.#checkShape(dataset);
    const steps = Math.ceil(lengthOf(dataset) / batchSize);
    const progress = progressFor(verbose, { title: '', total: tta * steps, unit: 'step' });
    const outputs: Tensor<'float32'>[] = [];
    for (const [i, view] of views.entries()) {
      const update = (done: number) => progress.update(i * steps + done, {});
      outputs.push(await predictRows(executor, unprepared(executor, view), batchSize, { update }));
    }
    progress.end({});
    return outputs.length === 1 ? outputs[0]! : meanOf(outputs);
  }

  /** `predict` on a data set that is behind the cut already. */
  async predictPrepared(
    prepared: Prepared,
    batchSize: number,
    progress?: Pick<Progress, 'update'>,
  ): Promise<Tensor<'float32'>> {
    return predictRows(this.#upToDate().executor, prepared, batchSize, progress);
  }

  #compileForPrediction(): void {
    const missing = this.variables.find((variable) => !variable.initialized);
    if (missing !== undefined) {
      fail('state', `${missing.path} has no values; compile the model or load weights before predicting.`);
    }
    this.#compile({ loss: unscored }, false);
  }

  /** One update on one batch (Keras's train_on_batch); returns its loss and metrics. */
  async trainOnBatch(
    x: Tensor<'uint8' | 'float32'>,
    y: Tensor<'int32' | 'float32'>,
    options: TrainOnBatchOptions = {},
  ): Promise<Logs> {
    const { sampleWeight } = checked(trainOnBatchOptions, options, 'model.trainOnBatch');
    checked(examplesSchema, { x, y }, 'model.trainOnBatch');
    const { executor, metrics } = this.compiled;
    const dataset = fromTensors(x, y);
    this.#checkShape(dataset);
    const kind = kindOf(dataset, y, 'float32');
    const size = lengthOf(dataset);
    if (sampleWeight !== undefined && sampleWeight.length !== size) {
      fail(
        'argument',
        `model.trainOnBatch: sampleWeight needs a weight for each image: x has ${size}, got ${sampleWeight.length} weights.`,
      );
    }
    executor.checkStep(kind);
    const batch = {
      features: await executor.features(kind, x, { view: executor.step, rows: indicesOf(size) }),
      y,
      sampleWeight: sampleWeight ?? new Float32Array(size).fill(1),
    };
    const totals = new Totals(metrics.map(({ name }) => name));
    totals.add(await executor.train(kind, batch), size);
    return totals.logs();
  }

  /** Takes the ranges of `precision: 'int8'` from pictures of this data set, as `fit` does from its own. */
  calibrate(data: Data): void {
    this.compiled.executor.calibrateOn(asDataset(data, 'model.calibrate(data)'));
  }

  /** Puts data sets behind the cut, in their order. Refuses before it computes if there is no room for all. */
  async prepare(uses: readonly Use[], verbose: boolean): Promise<Prepared[]> {
    for (const { dataset } of uses) this.#checkShape(dataset);
    const { executor, cache } = this.compiled;
    return prepare(executor, uses, this.#features, { verbose, cache });
  }

  /** Takes over what another model keeps in memory: features of the same frozen part, and ranges of its integers. */
  takeFeatures(other: Model): void {
    this.compiled.executor.takeRanges(other.compiled.executor);
    for (const [key, features] of other.#features) if (features.inMemory) this.#features.set(key, features);
  }

  #checkShape(dataset: Dataset): void {
    const came = dataset.shape.slice(1);
    if (sameShape(came, this.input.shape)) return;
    const expected = formatShape(this.input.shape);
    const way = sameShape(dataset.shape, this.input.shape)
      ? ` One image is a batch of one: reshape it to ${formatShape([1, ...dataset.shape])}.`
      : '';
    fail(
      'shape',
      `Model ${this.name} takes images of shape ${expected}, ${dataset.name} has ${formatShape(came)}.${way}`,
    );
  }

  /** Copies of all weights as training has them now. */
  async currentWeights(): Promise<Float32Array[]> {
    await this.#compiled?.executor.pull();
    return this.getWeights();
  }

  /**
   * Writes the model; the file's ending says the format: `.keras` (Keras 3), `.h5` (every Keras), or `.onnx` (see
   * `export`). The file appears whole or not at all.
   */
  async save(path: string): Promise<void> {
    checked(text, path, 'model.save(path)');
    if (path.toLowerCase().endsWith('.onnx')) return this.export(path);
    await saveModel(path, await this.#saved());
  }

  /**
   * Writes the model as ONNX, for inference in any program that has ONNX Runtime: preprocessing and resizing inside,
   * pictures (batch, height, width, channels) in, predictions out. `compile/export.ts` tells what is in the file.
   */
  async export(path: string, options: ExportOptions = {}): Promise<void> {
    checked(text, path, 'model.export(path)');
    if (!path.toLowerCase().endsWith('.onnx')) fail('argument', `Graft exports to .onnx; got "${path}".`);
    const how = checked(exportOptions, options, 'model.export');
    await this.#compiled?.executor.pull();
    await writeAtomically(path, exportModel(this, how));
  }

  /**
   * Writes the weights alone: `.weights.h5` (Keras 3, with the optimizer's state if the model is compiled), `.h5`
   * (every Keras) or `.safetensors` (tensors called `layer/weight`).
   */
  async saveWeights(path: string): Promise<void> {
    checked(text, path, 'model.saveWeights(path)');
    await saveWeights(path, await this.#saved());
  }

  /**
   * Sets all weights from such a file, or from the file of a whole model; layers pair by their order, in safetensors
   * by name. A compiled model takes the optimizer's state of `.weights.h5` and `.keras` too if it fits, and says so on
   * stderr if it does not. Throws `weights`, and changes nothing, if the weights do not fit.
   */
  async loadWeights(path: string): Promise<void> {
    checked(text, path, 'model.loadWeights(path)');
    const variables = await loadWeights(path, this);
    if (variables === null || !this.isCompiled) return;
    takeOptimizer(path, this, this.#compiled!, variables);
  }

  async #saved(): Promise<SavedModel> {
    await this.#compiled?.executor.pull();
    return { network: this, training: this.#compiled?.trains ? await savedTraining(this.#compiled) : null };
  }

  /** Prints Keras's table. */
  summary(options: SummaryOptions = {}): void {
    tell(process.stdout, summary(this, checked(summaryOptions, options, 'model.summary')));
  }

  /** The engines' processes, to measure their memory: the step's, and the frozen part's while it has one. */
  get enginePids(): readonly number[] {
    return this.#compiled?.executor.enginePids ?? [];
  }

  /** Ends the engine and forgets kept features. The model can be used again; it starts a new one. */
  async close(): Promise<void> {
    await this.#compiled?.executor.close();
    this.#features.clear();
  }
}

function indicesOf(size: number): Int32Array {
  return Int32Array.from({ length: size }, (_, i) => i);
}

function stepProgress(verbose: boolean, length: number, batchSize: number): Progress {
  return progressFor(verbose, { title: '', total: Math.ceil(length / batchSize), unit: 'step' });
}
