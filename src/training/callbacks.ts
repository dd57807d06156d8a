/** The built-in callbacks. They follow keras.callbacks in names, defaults and behaviour. */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  flag,
  functionOf,
  notNegative,
  number,
  oneOf,
  optional,
  text,
  wholeNumber,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import type { Variable } from '../layers/layer.ts';
import { toCamel } from '../layers/serialization.ts';
import { prepareSaving } from '../saving/index.ts';
import { type Callback, hooks, type Logs, type Training } from './callback.ts';

export { type CSVLoggerOptions, csvLogger, jsonLogger } from './loggers.node.ts';
export { type TensorBoardOptions, tensorBoard } from './tensorboard.node.ts';

/**
 * Whether larger is better. `auto` goes by what the number is: the loss falls, and a metric that the model was compiled
 * with has its own direction. A number that only a callback knows needs `min` or `max`.
 */
export type Mode = 'auto' | 'min' | 'max';

const modeSchema = optional(oneOf('auto', 'min', 'max'), 'auto');

/** Follows a number and says when it is the best so far. */
class Monitor {
  readonly key: string;
  readonly #owner: string;
  readonly #mode: Mode;
  readonly #minDelta: number;
  #sign: 1 | -1 | null = null;
  best: number | null = null;

  constructor(owner: string, monitor: string, mode: Mode, minDelta = 0) {
    this.#owner = owner;
    this.key = toCamel(monitor);
    this.#mode = mode;
    this.#minDelta = Math.abs(minDelta);
  }

  /** Decides which way is better, before anything is computed. Throws `argument` if nobody knows. */
  begin({ model }: Training): void {
    this.#sign = this.#directionIn(model) === 'up' ? 1 : -1;
  }

  #directionIn(model: Training['model']): 'up' | 'down' {
    if (this.#mode !== 'auto') return this.#mode === 'max' ? 'up' : 'down';
    const name = this.key.replace(/^val(?=[A-Z])/, '').replace(/^[A-Z]/, (letter) => letter.toLowerCase());
    if (name === 'loss') return 'down';
    const { metrics } = model.compiled;
    const found = metrics.find((metric) => metric.name === name);
    if (found !== undefined) return found.direction;
    const names = ['loss', ...metrics.map((metric) => metric.name)];
    const near = nearest(name, names);
    return fail(
      'argument',
      `${this.#owner}: nobody knows whether "${this.key}" should grow or fall; the model was compiled with ` +
        `${names.join(', ')}${near === null ? '' : ` (${near}?)`}. Give mode: 'max' or mode: 'min'.`,
    );
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
    return this.best === null || this.#sign! * (value - this.best) > this.#minDelta;
  }
}

/** Options of `modelCheckpoint`. */
export interface ModelCheckpointOptions {
  /** Defaults to `valLoss`. */
  readonly monitor?: string;
  /** Writes only when the monitored number is the best so far. */
  readonly saveBestOnly?: boolean;
  /** Whether larger is better. Defaults to `auto`: what the loss and the compiled metrics say of themselves. */
  readonly mode?: Mode;
}

const modelCheckpointOptions = fields({
  monitor: optional(text, 'valLoss'),
  saveBestOnly: optional(flag, false),
  mode: modeSchema,
} satisfies Entries<ModelCheckpointOptions>);

/**
 * Writes the model after each epoch (keras.callbacks.ModelCheckpoint). `{epoch}` in the path is the epoch's
 * number from 1; other names in braces are numbers of the logs. `{epoch:02d}` and `{valLoss:.2f}` round as in Keras.
 */
export function modelCheckpoint(path: string, options: ModelCheckpointOptions = {}): Callback {
  const where = 'callbacks.modelCheckpoint';
  checked(text, path, `${where}(path)`);
  for (const [, , format = ''] of path.matchAll(placeholder)) readFormat(path, format);
  const { saveBestOnly, ...given } = checked(modelCheckpointOptions, options, where);
  const monitor = new Monitor(where, given.monitor, given.mode);
  const begin = async (training: Training) => {
    if (saveBestOnly) monitor.begin(training);
    await prepareSaving(path);
  };
  return {
    name: 'modelCheckpoint',
    onFeaturesBegin: begin,
    onTrainBegin: begin,
    async onEpochEnd(epoch, logs, { model }) {
      if (saveBestOnly) {
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

/** What stands for a number in a path: `{name}`, `{name:03d}`, `{name:.4f}`. */
const placeholder = /\{(\w+)(?::([^}]*))?\}/g;

/** Width and digits of a format; the last are undefined where a number is written as it is. Throws `argument`. */
function readFormat(path: string, format: string): { width: number; digits: number | undefined } {
  const match = /^0?(\d*)(?:d|\.(\d+)f)?$/.exec(format);
  if (match === null) {
    fail('argument', `The path ${path} has the format "${format}"; formats are like 02d and .4f.`);
  }
  const [, width, digits] = match as unknown as [string, string, string | undefined];
  return { width: Number(width), digits: digits === undefined ? undefined : Number(digits) };
}

function fillPath(path: string, numbers: Logs): string {
  return path.replace(placeholder, (_, name: string, format = '') => {
    const key = toCamel(name);
    const value = numbers[key];
    if (value === undefined) {
      fail(
        'argument',
        `The path ${path} names "${name}"; this training has ${Object.keys(numbers).join(', ')}.` +
          (key.startsWith('val') ? ' Give fit validationData or validationSplit.' : ''),
      );
    }
    const { width, digits } = readFormat(path, format);
    return (digits === undefined ? String(value) : value.toFixed(digits)).padStart(width, '0');
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
  /** Whether larger is better. Defaults to `auto`: what the loss and the compiled metrics say of themselves. */
  readonly mode?: Mode;
  /** Sets the weights of the best epoch at the end. */
  readonly restoreBestWeights?: boolean;
  /** The first epoch that counts. */
  readonly startFromEpoch?: number;
}

const earlyStoppingOptions = fields({
  monitor: optional(text, 'valLoss'),
  minDelta: optional(number, 0),
  patience: optional(wholeNumber(0), 0),
  mode: modeSchema,
  restoreBestWeights: optional(flag, false),
  startFromEpoch: optional(wholeNumber(0), 0),
} satisfies Entries<EarlyStoppingOptions>);

/** Stops when a number has ceased to improve (keras.callbacks.EarlyStopping). */
export function earlyStopping(options: EarlyStoppingOptions = {}): Callback {
  const where = 'callbacks.earlyStopping';
  const given = checked(earlyStoppingOptions, options, where);
  const { patience, restoreBestWeights, startFromEpoch } = given;
  const monitor = new Monitor(where, given.monitor, given.mode, given.minDelta);
  let wait = 0;
  let bestWeights: Float32Array[] | null = null;
  return {
    name: 'earlyStopping',
    onFeaturesBegin: (training) => monitor.begin(training),
    onTrainBegin(training) {
      monitor.begin(training);
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
  /** Whether larger is better. Defaults to `auto`: what the loss and the compiled metrics say of themselves. */
  readonly mode?: Mode;
  /** Defaults to 0.0001. */
  readonly minDelta?: number;
  /** Epochs to wait after a reduction; defaults to 0. */
  readonly cooldown?: number;
  /** The rate never falls below it. Defaults to 0. */
  readonly minLr?: number;
}

const reduceLROnPlateauOptions = fields({
  monitor: optional(text, 'valLoss'),
  factor: optional(
    v.custom<number>(
      (value) => Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1,
      'a number from 0 to below 1',
    ),
    0.1,
  ),
  patience: optional(wholeNumber(0), 10),
  mode: modeSchema,
  minDelta: optional(number, 1e-4),
  cooldown: optional(wholeNumber(0), 0),
  minLr: optional(notNegative, 0),
} satisfies Entries<ReduceLROnPlateauOptions>);

/** Lowers the learning rate when a number has ceased to improve (keras.callbacks.ReduceLROnPlateau). */
export function reduceLROnPlateau(options: ReduceLROnPlateauOptions = {}): Callback {
  const where = 'callbacks.reduceLROnPlateau';
  const given = checked(reduceLROnPlateauOptions, options, where);
  const { factor, patience, minDelta, cooldown, minLr } = given;
  const monitor = new Monitor(where, given.monitor, given.mode, minDelta);
  let wait = 0;
  let cooling = 0;
  return {
    name: 'reduceLROnPlateau',
    onFeaturesBegin: (training) => monitor.begin(training),
    onTrainBegin(training) {
      monitor.begin(training);
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
  const where = 'callbacks.learningRateScheduler(schedule)';
  checked(functionOf<typeof schedule>(), schedule, where);
  return {
    name: 'learningRateScheduler',
    onEpochBegin(epoch, training) {
      const rate = schedule(epoch, training.learningRate);
      training.learningRate = checked(notNegative, rate, `${where}, epoch ${epoch}`);
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
export function lambdaCallback(given: Omit<Callback, 'name'>): Callback {
  return { name: 'lambdaCallback', ...checked(lambdaHooks, given, 'callbacks.lambdaCallback') };
}

const lambdaHooks = fields({
  stepwise: optional(flag),
  ...hooks,
} satisfies Entries<Omit<Callback, 'name'>>);
