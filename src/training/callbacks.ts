/** The built-in callbacks. They follow keras.callbacks in names, defaults and behaviour. */
import { fail } from '../core/errors.ts';
import type { Variable } from '../layers/layer.ts';
import { toCamel } from '../layers/serialization.ts';
import type { Callback, Logs, Training } from './callback.ts';

export { type CSVLoggerOptions, csvLogger, jsonLogger } from './loggers.node.ts';
export { type TensorBoardOptions, tensorBoard } from './tensorboard.node.ts';

type Mode = 'auto' | 'min' | 'max';

/** Follows a number and says when it is the best so far. */
class Monitor {
  readonly key: string;
  readonly #sign: 1 | -1;
  readonly #minDelta: number;
  best: number | null = null;

  constructor(key: string, mode: Mode = 'auto', minDelta = 0) {
    this.key = toCamel(key);
    const grows = mode === 'max' || (mode === 'auto' && /acc|auc/i.test(key));
    this.#sign = grows ? 1 : -1;
    this.#minDelta = Math.abs(minDelta);
  }

  value(logs: Logs): number {
    const value = logs[this.key];
    if (value !== undefined) return value;
    return fail(
      'argument',
      `There is no "${this.key}" to monitor; this training has ${Object.keys(logs).join(', ')}.` +
        (this.key.startsWith('val') ? ' Give fit validationData or validationSplit.' : ''),
    );
  }

  /** True if the value beats the best by more than minDelta; `keep` makes it the new best. */
  improves(value: number): boolean {
    return this.best === null || this.#sign * (value - this.best) > this.#minDelta;
  }
}

/** Options of `modelCheckpoint`. */
export interface ModelCheckpointOptions {
  /** Defaults to `valLoss`. */
  readonly monitor?: string;
  /** Writes only when the monitored number is the best so far. */
  readonly saveBestOnly?: boolean;
  /** Whether larger is better. Defaults to `auto`: so for accuracies, not for losses. */
  readonly mode?: Mode;
}

/**
 * Writes the model after each epoch (keras.callbacks.ModelCheckpoint). `{epoch}` in the path is the epoch's
 * number from 1; other names in braces are numbers of the logs. `{epoch:02d}` and `{valLoss:.2f}` round as in Keras.
 */
export function modelCheckpoint(path: string, options: ModelCheckpointOptions = {}): Callback {
  const monitor = new Monitor(options.monitor ?? 'valLoss', options.mode);
  return {
    name: 'modelCheckpoint',
    async onEpochEnd(epoch, logs, { model }) {
      if (options.saveBestOnly) {
        const value = monitor.value(logs);
        if (!monitor.improves(value)) return;
        monitor.best = value;
      }
      await model.save(fillPath(path, { ...logs, epoch: epoch + 1 }));
    },
    saveState: () => ({ values: { best: monitor.best }, weights: null }),
    restoreState: ({ values }) => {
      monitor.best = values['best'] ?? null;
    },
  };
}

/** Puts numbers into `{name}`, `{name:03d}` and `{name:.4f}`. */
function fillPath(path: string, numbers: Logs): string {
  return path.replace(/\{(\w+)(?::([^}]*))?\}/g, (_, name: string, format = '') => {
    const value =
      numbers[toCamel(name)] ?? fail('argument', `The path ${path} names "${name}", which logs do not have.`);
    const [known, width, digits] = /^0?(\d*)(?:d|\.(\d+)f)?$/.exec(format) ?? [];
    if (known === undefined) {
      fail('argument', `The path ${path} has the format "${format}"; formats are like 02d and .4f.`);
    }
    const text = digits === undefined ? String(value) : value.toFixed(Number(digits));
    return text.padStart(Number(width), '0');
  });
}

/** Options of `earlyStopping`. */
export interface EarlyStoppingOptions {
  /** Defaults to `valLoss`. */
  readonly monitor?: string;
  /** The least change that counts as an improvement. Defaults to 0. */
  readonly minDelta?: number;
  /** Epochs without improvement after which training stops; defaults to 0. */
  readonly patience?: number;
  /** Whether larger is better. Defaults to `auto`: so for accuracies, not for losses. */
  readonly mode?: Mode;
  /** Sets the weights of the best epoch at the end. */
  readonly restoreBestWeights?: boolean;
  /** The first epoch that counts. */
  readonly startFromEpoch?: number;
}

/** Stops when a number has ceased to improve (keras.callbacks.EarlyStopping). */
export function earlyStopping(options: EarlyStoppingOptions = {}): Callback {
  const { patience = 0, restoreBestWeights = false, startFromEpoch = 0 } = options;
  const monitor = new Monitor(options.monitor ?? 'valLoss', options.mode, options.minDelta);
  let wait = 0;
  let bestWeights: Float32Array[] | null = null;
  return {
    name: 'earlyStopping',
    onTrainBegin() {
      monitor.best = null;
      wait = 0;
      bestWeights = null;
    },
    async onEpochEnd(epoch, logs, training) {
      if (epoch < startFromEpoch) return;
      const value = monitor.value(logs);
      wait++;
      if (monitor.improves(value)) {
        monitor.best = value;
        wait = 0;
        if (restoreBestWeights) bestWeights = await training.model.currentWeights();
      }
      // As in Keras, the first epoch cannot stop.
      if (wait >= patience && epoch > 0 && wait > 0) training.stop();
    },
    async onTrainEnd({ model, stopping }) {
      if (bestWeights && stopping !== 'step') model.setWeights(bestWeights);
    },
    saveState: () => ({ values: { best: monitor.best, wait }, weights: bestWeights }),
    restoreState: ({ values, weights }) => {
      monitor.best = values['best'] ?? null;
      wait = values['wait'] ?? 0;
      bestWeights = weights === null ? null : [...weights];
    },
  };
}

/**
 * Validates with the moving averages of weights that the optimizer keeps (`useEma`), and has them in the model while
 * other callbacks end the epoch; training goes on from the weights (keras.callbacks.SwapEMAWeights, swap_on_epoch).
 * Put it first, so that what others save are the averages.
 */
export function swapEmaWeights(): Callback {
  let weights: readonly (readonly [Variable, Float32Array])[] | null = null;
  const takeAverages = async ({ model }: Training) => {
    weights ??= await model.compiled.executor.takeAverages();
  };
  return {
    name: 'swapEmaWeights',
    stepwise: false,
    onTrainBegin({ model }) {
      if (model.compiled.optimizer.options.useEma) return;
      fail('argument', 'swapEmaWeights needs an optimizer that keeps averages: useEma: true.');
    },
    onTestBegin: takeAverages,
    async onEpochEnd(_epoch, _logs, training) {
      await takeAverages(training);
      return undefined;
    },
    onSettled() {
      for (const [variable, values] of weights ?? []) variable.assign(values);
      weights = null;
    },
  };
}

/** Options of `reduceLROnPlateau`. */
export interface ReduceLROnPlateauOptions {
  /** Defaults to `valLoss`. */
  readonly monitor?: string;
  /** The new rate is rate · factor; defaults to 0.1. */
  readonly factor?: number;
  /** Epochs without improvement before that; defaults to 10. */
  readonly patience?: number;
  /** Whether larger is better. Defaults to `auto`: so for accuracies, not for losses. */
  readonly mode?: Mode;
  /** Defaults to 0.0001. */
  readonly minDelta?: number;
  /** Epochs to wait after a reduction; defaults to 0. */
  readonly cooldown?: number;
  /** The rate never falls below it. Defaults to 0. */
  readonly minLr?: number;
}

/** Lowers the learning rate when a number has ceased to improve (keras.callbacks.ReduceLROnPlateau). */
export function reduceLROnPlateau(options: ReduceLROnPlateauOptions = {}): Callback {
  const { factor = 0.1, patience = 10, minDelta = 1e-4, cooldown = 0, minLr = 0 } = options;
  if (factor >= 1) fail('argument', `reduceLROnPlateau needs a factor below 1, got ${factor}.`);
  const monitor = new Monitor(options.monitor ?? 'valLoss', options.mode, minDelta);
  let wait = 0;
  let cooling = 0;
  return {
    name: 'reduceLROnPlateau',
    onTrainBegin() {
      monitor.best = null;
      wait = 0;
      cooling = 0;
    },
    onEpochEnd(_epoch, logs, training) {
      const value = monitor.value(logs);
      const rate = training.learningRate;
      if (cooling > 0) {
        cooling--;
        wait = 0;
      }
      if (monitor.improves(value)) {
        monitor.best = value;
        wait = 0;
      } else if (cooling === 0) {
        wait++;
        if (wait >= patience && rate > minLr) {
          training.learningRate = Math.max(rate * factor, minLr);
          cooling = cooldown;
          wait = 0;
        }
      }
      return { learningRate: rate };
    },
    saveState: () => ({ values: { best: monitor.best, wait, cooling }, weights: null }),
    restoreState: ({ values }) => {
      monitor.best = values['best'] ?? null;
      wait = values['wait'] ?? 0;
      cooling = values['cooling'] ?? 0;
    },
  };
}

/** Sets the learning rate at the start of each epoch (keras.callbacks.LearningRateScheduler). */
export function learningRateScheduler(schedule: (epoch: number, rate: number) => number): Callback {
  return {
    name: 'learningRateScheduler',
    onEpochBegin(epoch, training) {
      training.learningRate = schedule(epoch, training.learningRate);
    },
    onEpochEnd: (_epoch, _logs, { learningRate }) => ({ learningRate }),
  };
}

/** Stops training when the loss is no longer a number (keras.callbacks.TerminateOnNaN). */
export function terminateOnNaN(): Callback {
  return {
    name: 'terminateOnNaN',
    stepwise: false,
    onTrainBatchEnd(_batch, { loss }, training) {
      if (!Number.isFinite(loss)) training.stop('step');
    },
  };
}

/** A callback of given functions (keras.callbacks.LambdaCallback). */
export function lambdaCallback(hooks: Omit<Callback, 'name'>): Callback {
  return { name: 'lambdaCallback', ...hooks };
}
