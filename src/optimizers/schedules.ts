/** Learning rates that change with the step: Keras's schedules, computed by the loop and fed to the step. */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  flag,
  notNegative,
  optional,
  positive,
  wholeNumber,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { kerasObject } from '../core/records.ts';

/** The learning rate as a function of the steps done so far; the first step sees 0. */
export interface Schedule {
  /** Keras’s class and arguments, for files. */
  readonly keras: { readonly class_name: string; readonly config: Readonly<Record<string, unknown>> };
  /** The rate of the step after `step` steps. */
  at(step: number): number;
}

/** Options of `cosineDecay`. */
export interface CosineDecayOptions {
  /** The rate of the first step. */
  readonly initialLearningRate: number;
  /** Steps of the decay, counted after the warm-up. */
  readonly decaySteps: number;
  /** Where it ends, as a fraction of the rate it decays from. Defaults to 0. */
  readonly alpha?: number;
  /** With it the rate first climbs linearly from the initial rate to this one. */
  readonly warmupTarget?: number | null;
  /** Steps of the climb. Defaults to 0. */
  readonly warmupSteps?: number;
}

const cosineDecayOptions = fields({
  initialLearningRate: notNegative,
  decaySteps: positive,
  alpha: optional(notNegative, 0),
  warmupTarget: optional(v.nullable(notNegative), null),
  warmupSteps: optional(notNegative, 0),
} satisfies Entries<CosineDecayOptions>);

/** keras.optimizers.schedules.CosineDecay (Loshchilov & Hutter 2016), with linear warm-up. */
export function cosineDecay(options: CosineDecayOptions): Schedule {
  const where = 'schedules.cosineDecay';
  const {
    initialLearningRate: initial,
    decaySteps,
    alpha,
    warmupTarget,
    warmupSteps,
  } = checked(cosineDecayOptions, options, where);
  if (warmupSteps > 0 && warmupTarget === null) {
    fail('argument', `${where}: warmupSteps needs warmupTarget, the rate to which they climb.`);
  }
  const config = {
    initial_learning_rate: initial,
    decay_steps: decaySteps,
    alpha,
    name: 'CosineDecay',
    warmup_target: warmupTarget,
    warmup_steps: warmupSteps,
  };
  return {
    keras: { class_name: 'CosineDecay', config },
    at(step) {
      if (warmupTarget !== null && step < warmupSteps) {
        return initial + (warmupTarget - initial) * (step / warmupSteps);
      }
      const from = warmupTarget ?? initial;
      const done = Math.min(warmupTarget === null ? step : step - warmupSteps, decaySteps) / decaySteps;
      return from * ((1 - alpha) * 0.5 * (1 + Math.cos(Math.PI * done)) + alpha);
    },
  };
}

/** Options of `exponentialDecay`. */
export interface ExponentialDecayOptions {
  /** The rate of the first step. */
  readonly initialLearningRate: number;
  /** Steps in which it falls to `decayRate` of what it was. */
  readonly decaySteps: number;
  /** The share that is left after `decaySteps`. */
  readonly decayRate: number;
  /** True decays in steps: ⌊step / decaySteps⌋. */
  readonly staircase?: boolean;
}

const exponentialDecayOptions = fields({
  initialLearningRate: notNegative,
  decaySteps: positive,
  decayRate: notNegative,
  staircase: optional(flag, false),
} satisfies Entries<ExponentialDecayOptions>);

/** `initial · decayRate ^ (step / decaySteps)` (keras.optimizers.schedules.ExponentialDecay). */
export function exponentialDecay(options: ExponentialDecayOptions): Schedule {
  const {
    initialLearningRate: initial,
    decaySteps,
    decayRate,
    staircase,
  } = checked(exponentialDecayOptions, options, 'schedules.exponentialDecay');
  const config = {
    initial_learning_rate: initial,
    decay_steps: decaySteps,
    decay_rate: decayRate,
    staircase,
    name: 'ExponentialDecay',
  };
  return {
    keras: { class_name: 'ExponentialDecay', config },
    at(step) {
      const power = step / decaySteps;
      return initial * decayRate ** (staircase ? Math.floor(power) : power);
    },
  };
}

/** Options of `piecewiseConstantDecay`. */
export interface PiecewiseConstantDecayOptions {
  /** Rising steps at which the value changes; a boundary still has the value before it. */
  readonly boundaries: readonly number[];
  /** One value more than boundaries. */
  readonly values: readonly number[];
}

const piecewiseConstantDecayOptions = fields({
  boundaries: v.array(wholeNumber(0), 'an array of steps'),
  values: v.array(notNegative, 'an array of rates'),
} satisfies Entries<PiecewiseConstantDecayOptions>);

/** A staircase of given values (keras.optimizers.schedules.PiecewiseConstantDecay). */
export function piecewiseConstantDecay(options: PiecewiseConstantDecayOptions): Schedule {
  const where = 'schedules.piecewiseConstantDecay';
  const { boundaries, values } = checked(piecewiseConstantDecayOptions, options, where);
  if (boundaries.some((boundary, i) => i > 0 && boundary <= boundaries[i - 1]!)) {
    fail('argument', `${where}: boundaries must rise, got [${boundaries.join(', ')}].`);
  }
  if (values.length !== boundaries.length + 1) {
    fail(
      'argument',
      `${where}: ${boundaries.length} boundaries need ${boundaries.length + 1} values, got ${values.length}.`,
    );
  }
  return {
    keras: {
      class_name: 'PiecewiseConstantDecay',
      config: { boundaries, values, name: 'PiecewiseConstant' },
    },
    at(step) {
      const index = boundaries.findIndex((boundary) => step <= boundary);
      return values[index === -1 ? boundaries.length : index]!;
    },
  };
}

/** Reads what Keras writes for a schedule. */
export function scheduleFromKeras(value: unknown): Schedule {
  const { class_name, config } = kerasObject(value, 'a learning rate or its schedule');
  const numbers = config as Record<string, never>;
  switch (class_name) {
    case 'CosineDecay':
      return cosineDecay({
        initialLearningRate: numbers['initial_learning_rate']!,
        decaySteps: numbers['decay_steps']!,
        alpha: numbers['alpha'] ?? 0,
        warmupTarget: numbers['warmup_target'] ?? null,
        warmupSteps: numbers['warmup_steps'] ?? 0,
      });
    case 'ExponentialDecay':
      return exponentialDecay({
        initialLearningRate: numbers['initial_learning_rate']!,
        decaySteps: numbers['decay_steps']!,
        decayRate: numbers['decay_rate']!,
        staircase: numbers['staircase'] ?? false,
      });
    case 'PiecewiseConstantDecay':
      return piecewiseConstantDecay({ boundaries: numbers['boundaries']!, values: numbers['values']! });
    default:
      return fail(
        'unsupported',
        `Graft does not have the learning-rate schedule ${class_name}; ` +
          'it has CosineDecay, ExponentialDecay and PiecewiseConstantDecay.',
      );
  }
}
