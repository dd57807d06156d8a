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
import { kerasObject, lookUp } from '../core/records.ts';

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

/** Options of `inverseTimeDecay`. */
export interface InverseTimeDecayOptions {
  /** The rate of the first step. */
  readonly initialLearningRate: number;
  /** Steps in which the divisor grows by `decayRate`. */
  readonly decaySteps: number;
  readonly decayRate: number;
  /** True decays in steps: ⌊step / decaySteps⌋. Defaults to false. */
  readonly staircase?: boolean;
}

const inverseTimeDecayOptions = fields({
  initialLearningRate: notNegative,
  decaySteps: positive,
  decayRate: notNegative,
  staircase: optional(flag, false),
} satisfies Entries<InverseTimeDecayOptions>);

/**
 * `initial / (1 + decayRate · step / decaySteps)` (keras.optimizers.schedules.InverseTimeDecay). With `decaySteps: 1` it
 * is the `decay` of optimizers of Keras 1 and 2.
 */
export function inverseTimeDecay(options: InverseTimeDecayOptions): Schedule {
  const {
    initialLearningRate: initial,
    decaySteps,
    decayRate,
    staircase,
  } = checked(inverseTimeDecayOptions, options, 'schedules.inverseTimeDecay');
  const config = {
    initial_learning_rate: initial,
    decay_steps: decaySteps,
    decay_rate: decayRate,
    staircase,
    name: 'InverseTimeDecay',
  };
  return {
    keras: { class_name: 'InverseTimeDecay', config },
    at(step) {
      const power = step / decaySteps;
      return initial / (1 + decayRate * (staircase ? Math.floor(power) : power));
    },
  };
}

/** Options of `polynomialDecay`. */
export interface PolynomialDecayOptions {
  /** The rate of the first step. */
  readonly initialLearningRate: number;
  /** Steps until `endLearningRate`. */
  readonly decaySteps: number;
  /** Defaults to 0.0001. */
  readonly endLearningRate?: number;
  /** 1, the default, is a straight line. */
  readonly power?: number;
  /** True begins again with twice, three times, ... the steps when they are over. Defaults to false. */
  readonly cycle?: boolean;
}

const polynomialDecayOptions = fields({
  initialLearningRate: notNegative,
  decaySteps: positive,
  endLearningRate: optional(notNegative, 1e-4),
  power: optional(notNegative, 1),
  cycle: optional(flag, false),
} satisfies Entries<PolynomialDecayOptions>);

/** `(initial − end) · (1 − step / decaySteps) ^ power + end` (keras.optimizers.schedules.PolynomialDecay). */
export function polynomialDecay(options: PolynomialDecayOptions): Schedule {
  const {
    initialLearningRate: initial,
    decaySteps,
    endLearningRate: end,
    power,
    cycle,
  } = checked(polynomialDecayOptions, options, 'schedules.polynomialDecay');
  const config = {
    initial_learning_rate: initial,
    decay_steps: decaySteps,
    end_learning_rate: end,
    power,
    cycle,
    name: 'PolynomialDecay',
  };
  return {
    keras: { class_name: 'PolynomialDecay', config },
    at(step) {
      const steps = cycle ? decaySteps * Math.max(1, Math.ceil(step / decaySteps)) : decaySteps;
      return (initial - end) * (1 - Math.min(step, steps) / steps) ** power + end;
    },
  };
}

/** Options of `cosineDecayRestarts`. */
export interface CosineDecayRestartsOptions {
  /** The rate of the first step. */
  readonly initialLearningRate: number;
  /** Steps until the first restart. */
  readonly firstDecaySteps: number;
  /** How many times longer each period is than the one before. Defaults to 2. */
  readonly tMul?: number;
  /** The rate with which a period begins, as a share of that of the one before. Defaults to 1. */
  readonly mMul?: number;
  /** Where a period ends, as a share of the initial rate. Defaults to 0. */
  readonly alpha?: number;
}

const cosineDecayRestartsOptions = fields({
  initialLearningRate: notNegative,
  firstDecaySteps: positive,
  tMul: optional(notNegative, 2),
  mMul: optional(notNegative, 1),
  alpha: optional(notNegative, 0),
} satisfies Entries<CosineDecayRestartsOptions>);

/** Cosine decay that begins again (keras.optimizers.schedules.CosineDecayRestarts; Loshchilov & Hutter 2016, SGDR). */
export function cosineDecayRestarts(options: CosineDecayRestartsOptions): Schedule {
  const where = 'schedules.cosineDecayRestarts';
  const {
    initialLearningRate: initial,
    firstDecaySteps,
    tMul,
    mMul,
    alpha,
  } = checked(cosineDecayRestartsOptions, options, where);
  if (tMul < 1) fail('argument', `${where}: tMul must be a number of at least 1, got ${tMul}.`);
  const config = {
    initial_learning_rate: initial,
    first_decay_steps: firstDecaySteps,
    t_mul: tMul,
    m_mul: mMul,
    alpha,
    name: 'SGDRDecay',
  };
  return {
    keras: { class_name: 'CosineDecayRestarts', config },
    at(step) {
      let restarts = 0;
      let start = 0;
      let length = firstDecaySteps;
      while (step >= start + length) {
        start += length;
        length *= tMul;
        restarts++;
      }
      const cosine = 0.5 * mMul ** restarts * (1 + Math.cos((Math.PI * (step - start)) / length));
      return initial * ((1 - alpha) * cosine + alpha);
    },
  };
}

/** How schedules are made, by Keras's names; their arguments are spelled as Graft's options, but in snake case. */
const readers: Readonly<Record<string, (options: never) => Schedule>> = {
  CosineDecay: cosineDecay,
  CosineDecayRestarts: cosineDecayRestarts,
  ExponentialDecay: exponentialDecay,
  InverseTimeDecay: inverseTimeDecay,
  PiecewiseConstantDecay: piecewiseConstantDecay,
  PolynomialDecay: polynomialDecay,
};

/** Reads what Keras writes for a schedule. */
export function scheduleFromKeras(value: unknown): Schedule {
  const { class_name, config } = kerasObject(value, 'a learning rate or its schedule');
  const make = lookUp(readers, class_name);
  if (make === undefined) {
    const names = Object.keys(readers).join(', ');
    fail('unsupported', `Graft does not have the learning-rate schedule ${class_name}; it has ${names}.`);
  }
  const entries = Object.entries(config).filter(([key, given]) => key !== 'name' && given !== null);
  const toCamel = (key: string) => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return make(Object.fromEntries(entries.map(([key, given]) => [toCamel(key), given])) as never);
}
