/** The state of one call of `fit`: where it is, its numbers, and its callbacks. */
import type { Callback, Logs, Training, TrainingState } from './callback.ts';
import type { Model } from './model.ts';
import { Pace } from './pace.ts';
import { Totals } from './totals.ts';

export interface RunOptions {
  readonly epochs: number;
  readonly batchSize: number;
  /** Pictures of an epoch. */
  readonly samples: number;
  readonly callbacks: readonly Callback[];
}

export class Run implements Training {
  readonly model: Model;
  readonly epochs: number;
  readonly batchSize: number;
  readonly samples: number;
  readonly history: Logs[] = [];
  readonly #callbacks: readonly Callback[];
  readonly pace = new Pace();
  totals: Totals;
  epoch = 0;
  batch = 0;
  stopping: 'epoch' | 'step' | null = null;

  constructor(model: Model, options: RunOptions) {
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

  /** True if a callback wants to see, stop or save the training between any two steps. */
  get stepwise(): boolean {
    return this.#callbacks.some(
      ({ stepwise = true, onTrainBatchEnd, onSettled }) =>
        stepwise && (onTrainBatchEnd ?? onSettled) !== undefined,
    );
  }

  /** True if a callback wants to save the training between the steps of an epoch. */
  get wantsToSettle(): boolean {
    return this.#callbacks.some((callback) => callback.wantsToSettle?.() ?? false);
  }

  async each(call: (callback: Callback) => unknown): Promise<void> {
    for (const callback of this.#callbacks) await call(callback);
  }

  /** Starts the sums anew unless the epoch goes on from a state. */
  beginEpoch(): void {
    if (this.batch === 0) this.totals = this.#newTotals();
  }

  /** Runs the callbacks' ends, whose numbers join the logs, and keeps them. */
  async endEpoch(logs: Logs): Promise<void> {
    let all = logs;
    const epoch = this.epoch++;
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
    const { executor } = this.model.compiled;
    await executor.pull();
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
      // Not copies: training replaces these arrays, it does not write into them.
      weights: this.model.variables.map(({ values }) => values),
      slots: (await executor.slots()) ?? {},
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
