/** Resizing, Rescaling and Normalization, as keras.layers: preprocessing that travels with the model. */
import * as v from 'valibot';
import { checked, type Entries, fields, number, optional, whole, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { float32 } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { initializer } from './initializers.ts';
import {
  type CallContext,
  ConfiguredLayer,
  type LayerOptions,
  layerEntries,
  type OwnOptions,
  type VariableSpec,
} from './layer.ts';
import { interpolationSchema } from './reshaping.ts';

export interface ResizingOptions extends LayerOptions {
  readonly height: number;
  readonly width: number;
  readonly interpolation?: 'bilinear' | 'nearest';
}

const resizingOptions = fields({
  ...layerEntries,
  height: wholeNumber(1),
  width: wholeNumber(1),
  interpolation: optional(interpolationSchema, 'bilinear'),
} satisfies Entries<ResizingOptions>);

/** Resizes pictures with half-pixel centres, without antialiasing (keras.layers.Resizing, tf.image.resize). */
export class Resizing extends ConfiguredLayer<OwnOptions<typeof resizingOptions>> {
  constructor(options: ResizingOptions) {
    super('Resizing', checked(resizingOptions, options, 'layers.resizing'));
  }

  override config() {
    return { ...super.config(), crop_to_aspect_ratio: false, data_format: 'channels_last' };
  }

  override call([x]: readonly Node[]): Node {
    return o.resize(x!, [this.options.height, this.options.width], this.options.interpolation);
  }
}

export interface RescalingOptions extends LayerOptions {
  readonly scale: number | readonly number[];
  readonly offset?: number | readonly number[];
}

const perChannelSchema = v.union([number, v.array(number, 'an array of numbers, one for each channel')]);

const rescalingOptions = fields({
  ...layerEntries,
  scale: perChannelSchema,
  offset: optional(perChannelSchema, 0),
} satisfies Entries<RescalingOptions>);

/** `x · scale + offset`; lists hold one number for each channel (keras.layers.Rescaling). */
export class Rescaling extends ConfiguredLayer<OwnOptions<typeof rescalingOptions>> {
  constructor(options: RescalingOptions) {
    super('Rescaling', checked(rescalingOptions, options, 'layers.rescaling'));
  }

  override call([x]: readonly Node[]): Node {
    return o.add(o.mul(x!, perChannel(this.options.scale)), perChannel(this.options.offset));
  }
}

export interface NormalizationOptions extends LayerOptions {
  /** Only the last axis is supported. */
  readonly axis?: number | readonly number[];
  /** One number, or one for each channel. Without it and the variance, both are weights that a file brings. */
  readonly mean?: number | readonly number[] | null;
  readonly variance?: number | readonly number[] | null;
}

/** Keras writes statistics as nested lists: [[[0.485, 0.456, 0.406]]]. */
const statisticsSchema = v.nullable(
  v.pipe(
    v.custom<number | readonly number[]>(
      (value) => flatten(value).length > 0 && flatten(value).every(Number.isFinite),
      'a number, or one for each channel',
    ),
    v.transform((values): number[] => flatten(values)),
  ),
);

const normalizationOptions = v.pipe(
  fields({
    ...layerEntries,
    axis: optional(
      v.pipe(
        v.union([whole, v.array(whole, 'an array of axes')]),
        v.transform((axis) => [axis].flat()),
      ),
      -1,
    ),
    mean: optional(statisticsSchema, null),
    variance: optional(statisticsSchema, null),
  } satisfies Entries<NormalizationOptions>),
  v.check(
    ({ mean, variance }) => (mean === null) === (variance === null),
    'takes mean and variance together, got only one of them',
  ),
  v.check(
    ({ variance }) => variance === null || variance.every((value) => value >= 0),
    'needs variances of at least 0',
  ),
);

interface NormalizationConfig {
  readonly axis: readonly number[];
  readonly mean: readonly number[] | null;
  readonly variance: readonly number[] | null;
}

/**
 * `(x − mean) / max(√variance, 1e-7)` with fixed statistics (keras.layers.Normalization).
 *
 * Statistics that are given lie in the config. Otherwise the layer has the weights `mean` (0), `variance` (1), each
 * (channels,), and `count` (), which Keras's `adapt` fills; Graft reads and writes them and no step moves them.
 */
export class Normalization extends ConfiguredLayer<NormalizationConfig> {
  /** Made once, so that what training and inference compute of it is the same and lies before the cut. */
  #constants: { readonly mean: Node | number; readonly inverse: Node | number } | null = null;

  constructor(options: NormalizationOptions = {}) {
    super('Normalization', checked(normalizationOptions, options, 'layers.normalization'));
  }

  override config() {
    return { ...super.config(), invert: false };
  }

  protected override specs([shape]: readonly (readonly number[])[]): readonly VariableSpec[] {
    if (this.options.mean !== null) return [];
    const channels = [shape!.at(-1)!];
    return [
      { name: 'mean', shape: channels, initializer: initializer('zeros'), learned: false },
      { name: 'variance', shape: channels, initializer: initializer('ones'), learned: false },
      { name: 'count', shape: [], initializer: initializer('zeros'), learned: false },
    ];
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const { axis, mean, variance } = this.options;
    const last = x!.shape.length - 1;
    if (axis.length !== 1 || (axis[0] !== -1 && axis[0] !== last)) {
      fail(
        'unsupported',
        `${this.name}: Graft normalizes the last axis (-1), got axis [${axis.join(', ')}].`,
      );
    }
    if (mean === null || variance === null) {
      const [adaptedMean, adaptedVariance] = this.variables;
      const deviation = o.max(o.sqrt(context.weight(adaptedVariance!)), smallestDeviation);
      return o.div(o.sub(x!, context.weight(adaptedMean!)), deviation);
    }
    this.#constants ??= {
      mean: perChannel(mean),
      inverse: perChannel(variance.map((value) => 1 / Math.max(Math.sqrt(value), smallestDeviation))),
    };
    return o.mul(o.sub(x!, this.#constants.mean), this.#constants.inverse);
  }
}

/** Keras's epsilon. */
const smallestDeviation = 1e-7;

function flatten(values: unknown): number[] {
  return [values].flat(8) as number[];
}

function perChannel(values: number | readonly number[]): Node | number {
  if (typeof values === 'number') return values;
  return values.length === 1 ? values[0]! : o.constant(float32([values.length], values));
}
