/** What a callback is, what it sees of a training, and what of both outlives the process. */
import * as v from 'valibot';
import {
  type Entries,
  fields,
  flag,
  functionOf,
  isPlain,
  notNegative,
  optional,
  unknownKey,
  wholeNumber,
} from '../core/checked.ts';
import type { Model } from './model.ts';

/** Numbers of a batch or an epoch: `loss`, `accuracy`, `valLoss`, ... */
export type Logs = Readonly<Record<string, number>>;

/** The training in progress, as callbacks see and steer it. */
export interface Training {
  readonly model: Model;
  readonly epochs: number;
  /** Steps of an epoch. */
  readonly stepsPerEpoch: number;
  readonly batchSize: number;
  /** Pictures of an epoch. */
  readonly samples: number;
  /** The epoch that is under way or comes next, from 0, and the steps done in it. */
  readonly epoch: number;
  readonly batch: number;
  /** Batches trained since the model was compiled. */
  readonly step: number;
  /** The rate of the next step. Setting it is an error if the optimizer has a schedule. */
  learningRate: number;
  /** Ends training after this epoch; `'step'` after this step, leaving the epoch to be continued. */
  stop(when?: 'epoch' | 'step'): void;
  readonly stopping: 'epoch' | 'step' | null;
  /** Everything that a continuation needs. */
  state(): Promise<TrainingState>;
}

/** A training between two steps: with it another process continues bit for bit. */
export interface TrainingState {
  readonly epoch: number;
  /** Steps done in this epoch. */
  readonly batch: number;
  /** True if a callback has ended the training: a continuation trains no further epoch. */
  readonly finished: boolean;
  readonly step: number;
  readonly learningRate: number;
  /** Sums of this epoch so far. */
  readonly totals: Logs;
  readonly history: readonly Logs[];
  /** By the callback's position and name. */
  readonly callbacks: Readonly<Record<string, CallbackState>>;
  readonly weights: readonly Float32Array[];
  /** Optimizer state by name. */
  readonly slots: Readonly<Record<string, Float32Array>>;
}

export interface CallbackState {
  readonly values: Readonly<Record<string, number | null>>;
  /** Weights that the callback keeps, or none. */
  readonly weights: readonly Float32Array[] | null;
}

/** What happens around steps and epochs: optional hooks, awaited in order. */
export interface Callback {
  readonly name: string;
  /**
   * False lets the engine run several steps at once: `onTrainBatchEnd` is called for each of them afterwards, and
   * `onSettled` only where training stops, after epochs, and where `wantsToSettle` asks for it. Default true: both come
   * before the next step begins.
   */
  readonly stepwise?: boolean;
  /** Before what is frozen is computed: at the start of a training, before `onTrainBegin`, and of each phase. */
  onFeaturesBegin?(training: Training): void | Promise<void>;
  /** When what is frozen has been computed, before the first epoch. */
  onTrainBegin?(training: Training): void | Promise<void>;
  /** Before an epoch; `epoch` counts from 0. */
  onEpochBegin?(epoch: number, training: Training): void | Promise<void>;
  /** `batch` counts from 0; logs are the averages of the epoch so far. */
  onTrainBatchEnd?(batch: number, logs: Logs, training: Training): void | Promise<void>;
  /** Before the model is validated. */
  onTestBegin?(training: Training): void | Promise<void>;
  /** The returned numbers join the logs of the epoch. */
  onEpochEnd?(epoch: number, logs: Logs, training: Training): Logs | undefined | Promise<Logs | undefined>;
  /** After a step or an epoch, when every other hook has run: the moment to keep `training.state()`. */
  onSettled?(training: Training): void | Promise<void>;
  /**
   * Asked now and then inside an epoch: true lets training pause between two steps for `onSettled`, also where several
   * steps run at once.
   */
  wantsToSettle?(): boolean;
  /** After the last epoch, or where the training stops. */
  onTrainEnd?(training: Training): void | Promise<void>;
  /** What a continuation must know. */
  saveState?(): CallbackState;
  /** What `saveState` gave, after `onTrainBegin` of a training that goes on. */
  restoreState?(state: CallbackState): void;
}

type Hooks = Omit<Callback, 'name' | 'stepwise'>;

/** The hooks of a callback; each is a function. */
export const hooks = {
  onFeaturesBegin: optional(functionOf<NonNullable<Hooks['onFeaturesBegin']>>()),
  onTrainBegin: optional(functionOf<NonNullable<Hooks['onTrainBegin']>>()),
  onEpochBegin: optional(functionOf<NonNullable<Hooks['onEpochBegin']>>()),
  onTrainBatchEnd: optional(functionOf<NonNullable<Hooks['onTrainBatchEnd']>>()),
  onTestBegin: optional(functionOf<NonNullable<Hooks['onTestBegin']>>()),
  onEpochEnd: optional(functionOf<NonNullable<Hooks['onEpochEnd']>>()),
  onSettled: optional(functionOf<NonNullable<Hooks['onSettled']>>()),
  wantsToSettle: optional(functionOf<NonNullable<Hooks['wantsToSettle']>>()),
  onTrainEnd: optional(functionOf<NonNullable<Hooks['onTrainEnd']>>()),
  saveState: optional(functionOf<NonNullable<Hooks['saveState']>>()),
  restoreState: optional(functionOf<NonNullable<Hooks['restoreState']>>()),
} satisfies Entries<Hooks>;

/**
 * A callback: an object with a name, of any class. It may have fields of its own, but what is spelled like a hook
 * (`onEpochEnds`, `on_epoch_end`) and is none would never be called.
 */
export const callbackSchema = v.pipe(
  v.custom<Callback>(
    (value) => typeof value === 'object' && value !== null && typeof (value as Callback).name === 'string',
    'a callback (an object with a name and hooks, such as callbacks.earlyStopping() returns)',
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const callback = dataset.value as Callback & Readonly<Record<string, unknown>>;
    const known = Object.keys(hooks);
    for (const key in callback) {
      if (/^on(_|[A-Z])/.test(key) && !known.includes(key)) addIssue({ message: unknownKey(key, known) });
    }
    for (const key of known) {
      const hook = callback[key];
      if (hook === undefined || typeof hook === 'function') continue;
      addIssue({ message: `has no function as ${key}` });
    }
  }),
);

const numbers = v.custom<Logs>(
  (value) => isPlain(value) && Object.values(value).every((each) => typeof each === 'number'),
  'an object of numbers',
);
const arrays = v.array(v.instance(Float32Array, 'a Float32Array'), 'an array of weights');

/** What `training.state()` and `loadCheckpoint` return. */
export const trainingStateSchema = fields({
  epoch: wholeNumber(0),
  batch: wholeNumber(0),
  finished: flag,
  step: wholeNumber(0),
  learningRate: notNegative,
  totals: numbers,
  history: v.array(numbers, 'an array of logs'),
  callbacks: v.custom<TrainingState['callbacks']>(isPlain, 'an object of the states of callbacks'),
  weights: arrays,
  slots: v.custom<TrainingState['slots']>(isPlain, 'an object of optimizer state'),
} satisfies Entries<TrainingState>);
