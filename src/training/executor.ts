/**
 * Runs a compiled model: owns the engine of its step. Which graphs are in it is `programs.ts`'s concern, which weights
 * and optimizer state `engine_state.ts`'s; the frozen part runs in `extractor.ts`.
 */
import type { Program } from '../compile/program.ts';
import { byWhole } from '../compile/slabs.ts';
import { fail, GraftError } from '../core/errors.ts';
import { float32, type Tensor } from '../core/tensor.ts';
import type { Dataset } from '../data/dataset.ts';
import type { Variable } from '../layers/layer.ts';
import type { Loss } from '../losses/index.ts';
import type { Metric } from '../metrics/index.ts';
import type { Network } from '../models/network.ts';
import type { LearningRateMultipliers } from '../models/rates.ts';
import { averageSlot, type Optimizer } from '../optimizers/index.ts';
import { Engine, type Tensors } from '../runtime/engine.node.ts';
import { EngineState, type Lost, type Slots } from './engine_state.ts';
import { Extractor, type ExtractorOptions } from './extractor.ts';
import {
  type BatchResult,
  checkLabels,
  type FeatureBatch,
  labelled,
  only,
  runOn,
  type SentSteps,
  stackFeeds,
  stepNoise,
  type Views,
} from './feeds.ts';
import type { CalibrationWatcher } from './integers.ts';
import { type ProgramKind, Programs } from './programs.ts';

export interface ExecutorOptions extends ExtractorOptions {
  readonly network: Network;
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  readonly learningRateMultipliers: LearningRateMultipliers;
  readonly trains: boolean;
}

const ended = "The engine's process has ended.";

interface LostTraining {
  readonly error: GraftError;
  /** Whether weights were lost, or the optimizer's state alone. */
  readonly weights: boolean;
  /** Whether a request was rejected with it. Steps that were under way meanwhile are refused all the same. */
  told: boolean;
}

export class Executor {
  readonly options: ExecutorOptions;
  readonly #programs: Programs;
  readonly #extractor: Extractor;
  readonly #state = new EngineState();
  #engine: Engine | null = null;
  /** The step whose weights the model has. */
  #pulled = 0;
  /** What was lost with an engine that ended by itself, until whoever goes on without it has been told. */
  #loss: LostTraining | null = null;
  /** A learning rate that was set in place of the optimizer's. */
  #rate: number | null = null;
  /** Batches trained (Keras's optimizer.iterations where each has an update). */
  step = 0;

  constructor(options: ExecutorOptions) {
    this.options = options;
    this.#extractor = new Extractor(options);
    this.#programs = new Programs(options, (old) => this.#extractor.forget([old.frozen, old.augmented]));
  }

  /** The program for this kind of data; rebuilt if weights that were compiled in have changed since. */
  program(kind: ProgramKind): Program {
    return this.#programs.load(kind).program;
  }

  /** Throws what keeps the model from training on this kind of data, such as an operation without a gradient. */
  checkStep(kind: ProgramKind): void {
    this.#programs.checkStep(kind);
  }

  /** Says which pictures the ranges of integers come from. Without `precision: 'int8'` it does nothing. */
  calibrateOn(dataset: Dataset): void {
    this.#extractor.calibrateOn(dataset);
  }

  /** Takes over the ranges that another has found by the same pictures. */
  takeRanges(other: Executor): void {
    this.#extractor.takeRanges(other.#extractor);
  }

  /** Whoever wants to hear how far the search for those ranges is; null for nobody. */
  watchCalibration(watch: CalibrationWatcher | null): void {
    this.#extractor.onCalibration = watch;
  }

  /** Identifies what the frozen part computes, with the random layers in front of it or without. */
  frozenDigest(kind: ProgramKind, augmented: boolean): string {
    const { frozen, augmented: random } = this.program(kind);
    return this.#extractor.digest((augmented ? random : frozen)!);
  }

  /** Runs the frozen part on pictures (batch, height, width, channels), as training sees them if views are given. */
  async features(kind: ProgramKind, images: Tensor, views: Views | null = null): Promise<Tensors> {
    return this.#extractor.run(this.program(kind), images, views);
  }

  /** Ends the frozen part's engine. Features that are asked for later start it again. */
  async endExtraction(): Promise<void> {
    await this.#extractor.close();
  }

  /** One batch, and an update unless the optimizer collects more batches for it. */
  async train(
    kind: ProgramKind,
    batch: FeatureBatch,
    learningRate = this.learningRate,
  ): Promise<BatchResult> {
    this.#goOn();
    const [result] = await (await this.send(kind, [batch], learningRate)).results;
    return result!;
  }

  /**
   * The same, but answers as soon as the batch is on its way to the engine, which takes batches in order. Several that
   * `fitTogether` are steps of one run, where `runsSteps` says that there can be such runs.
   */
  async send(kind: ProgramKind, batches: readonly FeatureBatch[], learningRate?: number): Promise<SentSteps> {
    for (const batch of batches) checkLabels(batch, this.#classes);
    if (this.#loss !== null) throw this.#tell();
    this.checkStep(kind);
    const loaded = this.#programs.load(kind);
    const { optimizer, seed } = this.options;
    const name = optimizer.updatesAt(this.step) ? 'step' : 'accumulate';
    const engine = this.#started();
    const session = await this.#programs.session(engine, loaded, name, batches);
    await this.#state.push(engine, loaded.program);
    await this.#state.pushSlots(engine, loaded.program);
    // A step that is lost already must not count.
    if (engine !== this.#engine) throw this.#loss === null ? new GraftError('device', ended) : this.#tell();
    const { features, noises } = loaded.program;
    const size = batches[0]!.sampleWeight.length;
    const steps = batches.map((batch): Tensors => {
      const step = this.step++;
      const scalars = Object.entries(optimizer.scalarsAt(step, learningRate ?? this.#rateAt(step)));
      return {
        ...labelled(batch),
        ...Object.fromEntries(scalars.map(([name, value]) => [name, float32([], [value])])),
        ...stepNoise(noises, seed, step, size),
      };
    });
    this.#state.engineIsNewer = true;
    const results = runOn(session, loaded.program[name]!, stackFeeds(steps), batches, features);
    // Their turn may come late; until then a rejection must not count as unhandled.
    results.catch(() => undefined);
    return { results, size, steps: batches.length };
  }

  /** True if several steps can be one run. */
  runsSteps(kind: ProgramKind): boolean {
    // On a device the body of a Scan would run, but the state would cross to main memory.
    return this.options.device === 'cpu' && this.program(kind).accumulate === null;
  }

  /** Loss and metrics of a batch, without an update. */
  async evaluate(kind: ProgramKind, batch: FeatureBatch): Promise<BatchResult> {
    checkLabels(batch, this.#classes);
    // Rows that the engine has been sent before are part of a training.
    this.#checkLoss(batch.kept !== undefined);
    const loaded = this.#programs.load(kind);
    const engine = this.#started();
    const session = await this.#programs.session(engine, loaded, 'evaluate', [batch]);
    await this.#state.push(engine, loaded.program);
    const { evaluate, features } = loaded.program;
    const [result] = await runOn(session, evaluate, labelled(batch), [batch], features);
    return result!;
  }

  /** The model's output for features. */
  async predict(kind: ProgramKind, features: Tensors): Promise<Tensor<'float32'>> {
    this.#checkLoss(false);
    const loaded = this.#programs.load(kind);
    const engine = this.#started();
    const session = await this.#programs.session(engine, loaded, 'predict');
    await this.#state.push(engine, loaded.program);
    const results = await session.run(only(features, loaded.program.predict));
    return results['output'] as Tensor<'float32'>;
  }

  /** Frees the rows that the engine has kept (`keptByEngine`), at the beginning and the end of a training. */
  async forgetRows(): Promise<void> {
    this.#goOn();
    await this.#engine?.forgetRows();
  }

  /** Brings the weights of the engine into the model. */
  async pull(): Promise<void> {
    this.#checkLoss(false);
    const { step } = this;
    await this.#state.pull(this.#engine, () => this.#programs.any());
    this.#pulled = step;
  }

  /** A copy of the optimizer's state by name (`w3/velocity`), or `null` before the first step. */
  async slots(): Promise<Slots | null> {
    this.#checkLoss(true);
    return this.#state.slots(this.#engine, () => this.#programs.any());
  }

  /**
   * Puts the moving averages that the optimizer keeps in the place of their weights. Answers the weights that they
   * replace: none before the first step, or without `useEma`.
   */
  async takeAverages(): Promise<readonly (readonly [Variable, Float32Array])[]> {
    if (!this.options.optimizer.options.useEma) return [];
    this.#checkLoss(true);
    await this.pull();
    const slots = await this.#state.slots(this.#engine, () => this.#programs.any(), averageSlot);
    if (slots === null || this.#programs.none) return [];
    const kept = byWhole([...this.#programs.any().slots.values()].filter(({ slot }) => slot === averageSlot));
    return [...kept].flatMap(([whole, [slab]]) => {
      const average = slots[whole];
      if (average === undefined) return [];
      const { variable } = slab!;
      const { values } = variable;
      variable.assign(average.slice());
      return [[variable, values] as const];
    });
  }

  /** Sets optimizer state, as from a file. */
  setSlots(slots: Slots | null, step: number): void {
    this.#state.setSlots(slots);
    this.step = step;
    this.#pulled = step;
    this.#loss = null;
  }

  /** The rate of the next step. Setting it is an error if the optimizer has a schedule. */
  get learningRate(): number {
    return this.#rateAt(this.step);
  }

  #rateAt(step: number): number {
    return this.#rate ?? this.options.optimizer.rateAt(step);
  }

  set learningRate(value: number) {
    if (typeof this.options.optimizer.options.learningRate !== 'number') {
      fail('state', 'The optimizer has a learning-rate schedule; a callback cannot set the rate beside it.');
    }
    this.#rate = value;
  }

  /** True while the engine has weights that the model does not. */
  get ahead(): boolean {
    return this.#state.engineIsNewer;
  }

  /** The processes at work: the step's, and the frozen part's while it has one. */
  get enginePids(): number[] {
    return [this.#engine?.pid, this.#extractor.enginePid].filter((pid) => pid !== undefined);
  }

  /** Ends the engine without waiting. */
  abandon(): void {
    for (const engine of [this.#engine, this.#extractor]) engine?.close().catch(() => undefined);
    this.#engine = null;
  }

  /** Takes weights and optimizer state back and ends the engines. What an engine took with it the next use tells. */
  async close(): Promise<void> {
    let slots: Slots | null = null;
    if (this.#loss === null) {
      try {
        await this.pull();
        slots = await this.slots();
      } catch (error) {
        // Of an engine that is still there this would be a bug.
        if (this.#engine !== null) throw error;
        this.#loss = { error: error as GraftError, weights: true, told: false };
      }
    }
    await Promise.all([this.#engine?.close(), this.#extractor.close()]);
    this.#engine = null;
    this.#programs.clear();
    this.#state.forget();
    this.#state.setSlots(slots);
  }

  get #classes(): number {
    return this.options.network.result.shape.at(-1)!;
  }

  /** The step's engine, which starts when it is first needed. */
  #started(): Engine {
    const { device, threads } = this.options;
    this.#engine ??= Engine.start({
      device,
      ...(threads === undefined ? {} : { threads }),
      onDeath: (waiting) => this.#lose(waiting),
    });
    return this.#engine;
  }

  /** The engine has ended by itself; the next use starts another. Returns what was lost, if anything was. */
  #lose(waiting: boolean): string {
    const lost = this.#state.lose();
    this.#engine = null;
    this.#programs.clear();
    if (lost.weights === 'none' && !lost.slots) return '';
    const text = describeLoss(lost, this.#pulled, this.step);
    const error = new GraftError('device', `${ended} ${text}`);
    this.#loss = { error, weights: lost.weights !== 'none', told: waiting };
    // As after `compile`.
    this.step = 0;
    this.#pulled = 0;
    return text;
  }

  /** Throws what was lost if nobody has been told, and if what is to be done needs it. */
  #checkLoss(needsOptimizer: boolean): void {
    if (this.#loss === null || this.#loss.told) return;
    if (needsOptimizer || this.#loss.weights) throw this.#tell();
  }

  #tell(): GraftError {
    this.#loss!.told = true;
    return this.#loss!.error;
  }

  /** Whoever begins something new after having been told goes on with what is left. */
  #goOn(): void {
    if (this.#loss?.told) this.#loss = null;
  }
}

function describeLoss({ weights }: Lost, pulled: number, step: number): string {
  const last = pulled === 0 ? 'those from before the first step' : `those of step ${pulled}`;
  const which = {
    all: `${last}, of ${step} taken`,
    some: `partly ${last} and partly those of step ${step}`,
    none: last,
  };
  return (
    `The model's weights are ${which[weights]}, and its optimizer starts anew; ` +
    'a checkpoint continues where it was written.'
  );
}
