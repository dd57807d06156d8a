/** SGD, RMSprop, Adam and AdamW, with Keras 3's update rules and defaults. */
import * as v from 'valibot';
import { checked, type Entries, fields, flag, notNegative, oneOf, optional, share } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { isRecord, kerasObject, lookUp } from '../core/records.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { Optimizer, type OptimizerOptions, optimizerEntries } from './optimizer.ts';
import type { UpdateRule } from './rule.ts';
import { inverseTimeDecay, type Schedule, scheduleFromKeras } from './schedules.ts';

export { averageSlot, Optimizer, type OptimizerOptions } from './optimizer.ts';
export type { Updated } from './rule.ts';
export type { Schedule } from './schedules.ts';
export * as schedules from './schedules.ts';

/** A share below 1: with 1 nothing new would come in, and the correction of Adam's bias would divide by 0. */
const decay = v.custom<number>(
  (value) => Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1,
  'a number from 0 to below 1',
);

/** Options of SGD (keras.optimizers.SGD). */
export interface SGDOptions extends OptimizerOptions {
  /** Share of the last move that goes on. Defaults to 0. */
  readonly momentum?: number;
  /** Looks ahead along the move. Defaults to false. */
  readonly nesterov?: boolean;
}

const sgdOptions = fields({
  momentum: optional(share, 0),
  nesterov: optional(flag, false),
  ...optimizerEntries,
} satisfies Entries<SGDOptions>);

/**
 * keras.optimizers.SGD. Learning rate 0.01.
 *
 *     velocity = momentum · velocity − rate · g
 *     weight  += nesterov ? momentum · velocity − rate · g : velocity
 */
export function sgd(options: SGDOptions = {}): Optimizer {
  const { momentum, nesterov, ...common } = checked(sgdOptions, options, 'optimizers.sgd');
  const rule: UpdateRule = {
    className: 'SGD',
    name: 'sgd',
    defaultRate: 0.01,
    defaultDecay: null,
    config: { momentum, nesterov },
    slots: momentum === 0 ? [] : ['momentum'],
    interleaved: [],
    gradientScale: 1,
    scalars: () => ({}),
    update({ value, gradient, slots }, { learningRate }) {
      const move = o.mul(gradient, learningRate!);
      if (momentum === 0) return { value: o.sub(value, move), slots: {} };
      const velocity = o.sub(o.mul(slots['momentum']!, momentum), move);
      const step = nesterov ? o.sub(o.mul(velocity, momentum), move) : velocity;
      return { value: o.add(value, step), slots: { momentum: velocity } };
    },
  };
  return new Optimizer(rule, common);
}

/** Options of RMSprop (keras.optimizers.RMSprop). */
export interface RMSpropOptions extends OptimizerOptions {
  /** How much of the mean square stays at each step. Defaults to 0.9. */
  readonly rho?: number;
  /** Share of the last move that goes on. Defaults to 0. */
  readonly momentum?: number;
  /** Added to the mean square, under the root. Defaults to 1e-7. */
  readonly epsilon?: number;
  /**
   * Adds epsilon to the root instead, as RMSprop without momentum did in Keras up to 2.10 and does in tf_keras's
   * `legacy`. Defaults to false.
   */
  readonly epsilonOutside?: boolean;
  /** Divides by the deviation instead of the mean square. Defaults to false. */
  readonly centered?: boolean;
}

const rmspropOptions = fields({
  rho: optional(share, 0.9),
  momentum: optional(share, 0),
  epsilon: optional(notNegative, 1e-7),
  epsilonOutside: optional(flag, false),
  centered: optional(flag, false),
  ...optimizerEntries,
} satisfies Entries<RMSpropOptions>);

/**
 * keras.optimizers.RMSprop. Learning rate 0.001.
 *
 *     velocity = rho · velocity + (1 − rho) · g²
 *     step     = rate · g / √(velocity + epsilon)          (centered: velocity − average²)
 *     momentum > 0: step = momentum · previous + step
 *     weight  −= step
 */
export function rmsprop(options: RMSpropOptions = {}): Optimizer {
  const where = 'optimizers.rmsprop';
  const { rho, momentum, epsilon, epsilonOutside, centered, ...common } = checked(
    rmspropOptions,
    options,
    where,
  );
  const gradientScale = scaleFor(rho);
  const rule: UpdateRule = {
    className: 'RMSprop',
    name: 'rm_sprop',
    defaultRate: 0.001,
    defaultDecay: null,
    config: { rho, momentum, epsilon, centered },
    ...(epsilonOutside ? { beyondKeras: { epsilonOutside } } : {}),
    slots: ['velocity', ...(momentum > 0 ? ['momentum'] : []), ...(centered ? ['average_gradient'] : [])],
    interleaved: [],
    gradientScale,
    scalars: () => ({}),
    update({ value, gradient, slots }, { learningRate }) {
      const velocity = meanSquare(slots['velocity']!, gradient, rho);
      const next: Record<string, Node> = { velocity };
      let spread = velocity;
      if (centered) {
        next['average_gradient'] = average(slots['average_gradient']!, gradient, rho, gradientScale);
        spread = o.sub(velocity, o.square(next['average_gradient']));
      }
      const rate = o.div(learningRate!, gradientScale);
      const root = epsilonOutside
        ? o.add(o.sqrt(centered ? o.max(spread, 0) : spread), epsilon)
        : o.sqrt(o.add(spread, epsilon));
      let step = o.div(o.mul(gradient, rate), root);
      if (momentum > 0) {
        step = o.add(o.mul(slots['momentum']!, momentum), step);
        next['momentum'] = step;
      }
      return { value: o.sub(value, step), slots: next };
    },
  };
  return new Optimizer(rule, common);
}

/** Options of Adam and AdamW (keras.optimizers.Adam). */
export interface AdamOptions extends OptimizerOptions {
  /** How much of the mean gradient stays at each step. Defaults to 0.9. */
  readonly beta1?: number;
  /** How much of the mean square stays. Defaults to 0.999. */
  readonly beta2?: number;
  /** Added to the root. Defaults to 1e-7. */
  readonly epsilon?: number;
  /** Divides by the largest mean square so far. Defaults to false. */
  readonly amsgrad?: boolean;
}

const adamOptions = fields({
  beta1: optional(decay, 0.9),
  beta2: optional(decay, 0.999),
  epsilon: optional(notNegative, 1e-7),
  amsgrad: optional(flag, false),
  ...optimizerEntries,
} satisfies Entries<AdamOptions>);

/**
 * keras.optimizers.Adam (Kingma & Ba 2014). Learning rate 0.001.
 *
 *     m = β₁ m + (1 − β₁) g,   v = β₂ v + (1 − β₂) g²
 *     weight −= rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + epsilon)
 */
export function adam(options: AdamOptions = {}): Optimizer {
  return adamFamily('Adam', 'adam', null, options);
}

/** keras.optimizers.AdamW (Loshchilov & Hutter 2017): Adam with decoupled weight decay, 0.004 by default. */
export function adamw(options: AdamOptions = {}): Optimizer {
  return adamFamily('AdamW', 'adam_w', 0.004, options);
}

function adamFamily(
  className: string,
  name: string,
  defaultDecay: number | null,
  options: AdamOptions,
): Optimizer {
  const where = `optimizers.${className.toLowerCase()}`;
  const { beta1, beta2, epsilon, amsgrad, ...common } = checked(adamOptions, options, where);
  const gradientScale = scaleFor(beta2);
  const rule: UpdateRule = {
    className,
    name,
    defaultRate: 0.001,
    defaultDecay,
    config: { beta_1: beta1, beta_2: beta2, epsilon, amsgrad },
    slots: ['momentum', 'velocity', ...(amsgrad ? ['velocity_hat'] : [])],
    interleaved: ['momentum', 'velocity'],
    gradientScale,
    scalars: (learningRate, step) => ({
      correctedRate: (learningRate * Math.sqrt(1 - beta2 ** step)) / (1 - beta1 ** step),
    }),
    update({ value, gradient, slots }, { correctedRate }) {
      const momentum = average(slots['momentum']!, gradient, beta1, gradientScale);
      const velocity = meanSquare(slots['velocity']!, gradient, beta2);
      const next: Record<string, Node> = { momentum, velocity };
      let spread = velocity;
      if (amsgrad) {
        spread = o.max(slots['velocity_hat']!, velocity);
        next['velocity_hat'] = spread;
      }
      const step = o.div(o.mul(momentum, correctedRate!), o.add(o.sqrt(spread), epsilon));
      return { value: o.sub(value, step), slots: next };
    },
  };
  return new Optimizer(rule, common);
}

/** The scale for which (1 − decay) g² is (scale · g)². */
function scaleFor(decay: number): number {
  return decay < 1 ? Math.sqrt(1 - decay) : 1;
}

/** decay · old + (1 − decay) g², of the gradient scaled for it. */
function meanSquare(old: Node, scaled: Node, decay: number): Node {
  return decay < 1 ? o.add(o.mul(old, decay), o.square(scaled)) : old;
}

/** decay · old + (1 − decay) g, of the gradient times `scale`. */
function average(old: Node, scaled: Node, decay: number, scale: number): Node {
  return o.add(o.mul(old, decay), o.mul(scaled, (1 - decay) / scale));
}

const byName = { sgd, rmsprop, adam, adamw };

/** An optimizer by name. */
export type OptimizerName = keyof typeof byName;

/** All names of optimizers. */
export const optimizerNames = Object.keys(byName) as OptimizerName[];

/** An optimizer as `compile` takes it: itself, or its name in any case, with Keras's defaults. */
export const optimizerSchema = v.union([
  v.instance(Optimizer, 'an optimizer (such as optimizers.adam() returns)'),
  v.pipe(
    v.custom<string>((value) => typeof value === 'string', 'the name of one'),
    v.transform((name) => name.toLowerCase()),
    oneOf(...optimizerNames),
    v.transform((name): Optimizer => byName[name]()),
  ),
]);

/** An optimizer by name with Keras's defaults, or the optimizer itself. Throws `argument`. */
export function optimizer(option: Optimizer | OptimizerName): Optimizer {
  return checked(optimizerSchema, option, 'optimizers.optimizer');
}

/** The optimizer of a name in a file. Throws `unsupported`. */
function optimizerNamed(name: string): Optimizer {
  const make = lookUp<() => Optimizer>(byName, name.toLowerCase());
  return (
    make?.() ?? fail('unsupported', `Unknown optimizer "${name}"; expected ${optimizerNames.join(', ')}.`)
  );
}

/**
 * Reads what Keras writes for an optimizer, with the meanings of the version that wrote it. Some versions of Keras 2 call
 * its own ones `Custom>Adam`, and those that write `.keras` keep the bare name that `compile` was given.
 */
export function optimizerFromKeras(value: unknown): Optimizer {
  if (typeof value === 'string') return optimizerNamed(value);
  const { class_name, config } = kerasObject(value, 'an optimizer');
  const name = class_name.replace(/^Custom>/, '').toLowerCase();
  const make = lookUp<(options: AdamOptions) => Optimizer>(byName, name);
  if (make === undefined) {
    fail(
      'unsupported',
      `Graft does not have the optimizer ${class_name}; it has ${optimizerNames.join(', ')}.`,
    );
  }
  const legacy = isLegacyOptimizer(value);
  return make({
    learningRate: rateFromKeras(class_name, config),
    weightDecay: positive(config['weight_decay']),
    ...clippingFromKeras(class_name, config, legacy),
    gradientAccumulationSteps: positive(config['gradient_accumulation_steps']),
    useEma: config['use_ema'] === true,
    emaMomentum: (config['ema_momentum'] as number | undefined) ?? 0.99,
    emaOverwriteFrequency: positive(config['ema_overwrite_frequency']),
    ...own(config, ['momentum', 'nesterov', 'rho', 'centered', 'amsgrad']),
    // The old optimizers took an epsilon of 0 or none for Keras's own.
    ...(positive(config['epsilon']) === null && (legacy || config['epsilon'] == null)
      ? {}
      : own(config, ['epsilon'])),
    ...(name === 'rmsprop' && epsilonOutside(value, config, legacy) ? { epsilonOutside: true } : {}),
    ...(config['beta_1'] === undefined ? {} : { beta1: config['beta_1'], beta2: config['beta_2'] }),
  } as AdamOptions);
}

/**
 * True for the optimizers of Keras up to 2.10, which later ones call `legacy`: they have `decay`, order their state slot
 * by slot, and RMSprop without momentum adds epsilon outside of the root (tf_keras/src/optimizers/legacy).
 */
export function isLegacyOptimizer(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const config = isRecord(value['config']) ? value['config'] : {};
  const module = typeof value['module'] === 'string' ? value['module'] : '';
  return (
    config['is_legacy_optimizer'] === true || 'decay' in config || 'lr' in config || /\blegacy\b/.test(module)
  );
}

/** True for the optimizers of Keras 2.11 to 2.15 and tf_keras: they say whether they are legacy. */
export function isOfKeras2(value: unknown): boolean {
  return isRecord(value) && isRecord(value['config']) && 'is_legacy_optimizer' in value['config'];
}

function epsilonOutside(value: unknown, config: KerasConfig, legacy: boolean): boolean {
  const graft = isRecord(value) && isRecord(value['graft']) ? value['graft'] : {};
  return graft['epsilonOutside'] === true || (legacy && positive(config['momentum']) === null);
}

/** A number, or a schedule; the `decay` of old optimizers is a schedule too: rate / (1 + decay · step). */
function rateFromKeras(className: string, config: KerasConfig): number | Schedule {
  const rate = config['learning_rate'] ?? config['lr'];
  const decayRate = positive(config['decay']);
  if (typeof rate !== 'number') {
    if (decayRate !== null) {
      fail('unsupported', `${className}: Graft does not have decay = ${decayRate} together with a schedule.`);
    }
    return scheduleFromKeras(rate);
  }
  const initialLearningRate = shortest(rate);
  return decayRate === null
    ? initialLearningRate
    : inverseTimeDecay({ initialLearningRate, decaySteps: 1, decayRate: shortest(decayRate) });
}

/** Newer optimizers clip in one way, the first of these that is above 0; the old ones in all that are given. */
function clippingFromKeras(className: string, config: KerasConfig, legacy: boolean): OptimizerOptions {
  const [clipnorm, globalClipnorm, clipvalue] = ['clipnorm', 'global_clipnorm', 'clipvalue'].map((key) =>
    positive(config[key]),
  ) as [number | null, number | null, number | null];
  if (legacy && clipvalue !== null && (clipnorm ?? globalClipnorm) !== null) {
    fail(
      'unsupported',
      `${className}: Graft does not have clipvalue together with clipnorm or global_clipnorm.`,
    );
  }
  if (clipnorm !== null) return { clipnorm };
  return globalClipnorm === null ? { clipvalue } : { globalClipnorm };
}

/** A number above 0, or null. */
function positive(value: unknown): number | null {
  return typeof value === 'number' && value > 0 ? value : null;
}

type KerasConfig = Readonly<Record<string, unknown>>;

function own(config: KerasConfig, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => key in config).map((key) => [key, config[key]]));
}

/** The shortest decimal with the same float32: Keras writes 0.001 as 0.0010000000474974513. */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === Math.fround(value)) return rounded;
  }
  return value;
}
