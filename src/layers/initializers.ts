/** Initial values of weights: Keras's initializers, drawn from Graft's replayable generator. */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  notNegative,
  number,
  oneOf,
  optional,
  positive,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { isRecord, type KerasObject, kerasObject } from '../core/records.ts';
import { sizeOf } from '../core/tensor.ts';

/** Makes the values of a weight. `keras` is what Keras writes for it. */
export interface Initializer {
  readonly keras: KerasObject;
  /** Values for a weight of this shape. */
  values(shape: readonly number[], random: Random): Float32Array;
}

/** Names that Keras accepts in place of an initializer with default arguments. */
export type InitializerName = keyof typeof named;

/** An initializer, or its name in Keras. */
export type InitializerOption = Initializer | InitializerName;

type Mode = 'fan_in' | 'fan_out' | 'fan_avg';
type Distribution = 'uniform' | 'truncated_normal' | 'untruncated_normal';

/** fan_in and fan_out as Keras counts them: a convolution's receptive field multiplies both. */
function fans(shape: readonly number[]): [number, number] {
  if (shape.length < 1) return [1, 1];
  if (shape.length === 1) return [shape[0]!, shape[0]!];
  const field = sizeOf(shape.slice(0, -2));
  return [shape.at(-2)! * field, shape.at(-1)! * field];
}

function scaled(
  shape: readonly number[],
  random: Random,
  scale: number,
  mode: Mode,
  distribution: Distribution,
) {
  const [fanIn, fanOut] = fans(shape);
  const fan = mode === 'fan_in' ? fanIn : mode === 'fan_out' ? fanOut : (fanIn + fanOut) / 2;
  const variance = scale / Math.max(1, fan);
  const out = new Float32Array(sizeOf(shape));
  if (distribution === 'uniform') {
    const limit = Math.sqrt(3 * variance);
    for (let i = 0; i < out.length; i++) out[i] = (2 * random.uniform() - 1) * limit;
  } else if (distribution === 'truncated_normal') {
    // Truncation at two deviations shrinks the variance; the constant restores it.
    const deviation = Math.sqrt(variance) / 0.8796256610342398;
    for (let i = 0; i < out.length; i++) out[i] = random.truncatedNormal() * deviation;
  } else {
    const deviation = Math.sqrt(variance);
    for (let i = 0; i < out.length; i++) out[i] = random.normal() * deviation;
  }
  return out;
}

/** Options of `varianceScaling`. */
export interface VarianceScalingOptions {
  /** Defaults to 1. */
  readonly scale?: number;
  /** What the variance is divided by. Defaults to `fan_in`. */
  readonly mode?: Mode;
  /** Defaults to `truncated_normal`. */
  readonly distribution?: Distribution;
}

const varianceScalingOptions = fields({
  scale: optional(positive, 1),
  mode: optional(oneOf('fan_in', 'fan_out', 'fan_avg'), 'fan_in'),
  distribution: optional(
    v.pipe(
      oneOf('uniform', 'truncated_normal', 'untruncated_normal', 'normal'),
      // Keras's older word.
      v.transform((name): Distribution => (name === 'normal' ? 'truncated_normal' : name)),
    ),
    'truncated_normal',
  ),
} satisfies Entries<VarianceScalingOptions>);

/** Keras's VarianceScaling: values of variance `scale / fan`. */
export function varianceScaling(options: VarianceScalingOptions = {}): Initializer {
  const { scale, mode, distribution } = checked(
    varianceScalingOptions,
    options,
    'initializers.varianceScaling',
  );
  return {
    keras: { class_name: 'VarianceScaling', config: { scale, mode, distribution, seed: null } },
    values: (shape, random) => scaled(shape, random, scale, mode, distribution),
  };
}

function preset(className: string, scale: number, mode: Mode, distribution: Distribution): Initializer {
  return {
    keras: { class_name: className, config: { seed: null } },
    values: (shape, random) => scaled(shape, random, scale, mode, distribution),
  };
}

/** Every value the same. */
export function constant(value: number): Initializer {
  checked(number, value, 'initializers.constant(value)');
  return {
    keras: { class_name: 'Constant', config: { value } },
    values: (shape) => new Float32Array(sizeOf(shape)).fill(value),
  };
}

function drawn(
  className: string,
  config: Record<string, number>,
  draw: (random: Random) => number,
): Initializer {
  return {
    keras: { class_name: className, config: { ...config, seed: null } },
    values: (shape, random) => Float32Array.from({ length: sizeOf(shape) }, () => draw(random)),
  };
}

/** Options of `randomNormal` and `truncatedNormal`. */
export interface NormalOptions {
  /** Defaults to 0. */
  readonly mean?: number;
  /** Defaults to 0.05. */
  readonly stddev?: number;
}

const normalOptions = fields({
  mean: optional(number, 0),
  stddev: optional(notNegative, 0.05),
} satisfies Entries<NormalOptions>);

/** Normally distributed values (keras.initializers.RandomNormal). */
export function randomNormal(options: NormalOptions = {}): Initializer {
  const { mean, stddev } = checked(normalOptions, options, 'initializers.randomNormal');
  return drawn('RandomNormal', { mean, stddev }, (random) => mean + stddev * random.normal());
}

/** The same, drawn again beyond two deviations (keras.initializers.TruncatedNormal). */
export function truncatedNormal(options: NormalOptions = {}): Initializer {
  const { mean, stddev } = checked(normalOptions, options, 'initializers.truncatedNormal');
  return drawn('TruncatedNormal', { mean, stddev }, (random) => mean + stddev * random.truncatedNormal());
}

/** Options of `randomUniform`. */
export interface UniformOptions {
  /** Defaults to −0.05. */
  readonly minval?: number;
  /** Defaults to 0.05. */
  readonly maxval?: number;
}

const uniformOptions = fields({
  minval: optional(number, -0.05),
  maxval: optional(number, 0.05),
} satisfies Entries<UniformOptions>);

/** Evenly distributed values (keras.initializers.RandomUniform). */
export function randomUniform(options: UniformOptions = {}): Initializer {
  const { minval, maxval } = checked(uniformOptions, options, 'initializers.randomUniform');
  return drawn(
    'RandomUniform',
    { minval, maxval },
    (random) => minval + (maxval - minval) * random.uniform(),
  );
}

const named = {
  zeros: { keras: { class_name: 'Zeros', config: {} }, values: (shape) => new Float32Array(sizeOf(shape)) },
  ones: {
    keras: { class_name: 'Ones', config: {} },
    values: (shape) => new Float32Array(sizeOf(shape)).fill(1),
  },
  glorot_uniform: preset('GlorotUniform', 1, 'fan_avg', 'uniform'),
  glorot_normal: preset('GlorotNormal', 1, 'fan_avg', 'truncated_normal'),
  he_uniform: preset('HeUniform', 2, 'fan_in', 'uniform'),
  he_normal: preset('HeNormal', 2, 'fan_in', 'truncated_normal'),
  lecun_uniform: preset('LecunUniform', 1, 'fan_in', 'uniform'),
  lecun_normal: preset('LecunNormal', 1, 'fan_in', 'truncated_normal'),
} satisfies Record<string, Initializer>;

/** An initializer as layers take it: itself, or its name with Keras's defaults. */
export const initializerSchema = v.union([
  v.pipe(
    oneOf(...(Object.keys(named) as InitializerName[])),
    v.transform((name): Initializer => named[name]),
  ),
  v.custom<Initializer>(
    (value) => isRecord(value) && typeof value['values'] === 'function' && isRecord(value['keras']),
    'an initializer (such as initializers.constant(0) returns)',
  ),
]);

/** An initializer by name with Keras's defaults, or the initializer itself. Throws `argument`. */
export function initializer(option: InitializerOption): Initializer {
  return checked(initializerSchema, option, 'initializers.initializer');
}

const initializerClasses = [
  ...Object.values(named).map(({ keras }) => keras.class_name),
  ...['VarianceScaling', 'Constant', 'RandomNormal', 'TruncatedNormal', 'RandomUniform'],
];

/** Reads what Keras writes for an initializer: a name or `{ class_name, config }`. */
export function initializerFromKeras(value: unknown): Initializer {
  const { class_name, config } = kerasObject(value, 'an initializer');
  const known = Object.entries(named).find(
    ([name, { keras }]) => keras.class_name === class_name || name === class_name,
  );
  if (known !== undefined) return known[1];
  // The rest says nothing about the values: Graft draws from the model's seed.
  const given = (...keys: readonly string[]) =>
    Object.fromEntries(keys.filter((key) => key in config).map((key) => [key, config[key]]));
  switch (class_name) {
    case 'VarianceScaling':
      return varianceScaling(given('scale', 'mode', 'distribution'));
    case 'Constant':
      return constant((config['value'] ?? 0) as number);
    case 'RandomNormal':
      return randomNormal(given('mean', 'stddev'));
    case 'TruncatedNormal':
      return truncatedNormal(given('mean', 'stddev'));
    case 'RandomUniform':
      return randomUniform(given('minval', 'maxval'));
    default:
      return fail(
        'unsupported',
        `Graft does not have the initializer ${class_name}; it has ${initializerClasses.join(', ')}.`,
      );
  }
}
