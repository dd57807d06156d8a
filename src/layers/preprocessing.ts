/** Resizing, Rescaling and Normalization, as keras.layers: preprocessing that travels with the model. */
import { fail } from '../core/errors.ts';
import { float32 } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { initializer } from './initializers.ts';
import { type CallContext, ConfiguredLayer, type LayerOptions, type VariableSpec } from './layer.ts';
import { checkInterpolation } from './reshaping.ts';

export interface ResizingOptions extends LayerOptions {
  readonly height: number;
  readonly width: number;
  readonly interpolation?: 'bilinear' | 'nearest';
}

interface ResizingConfig {
  readonly height: number;
  readonly width: number;
  readonly interpolation: 'bilinear' | 'nearest';
}

/** Resizes pictures with half-pixel centres, without antialiasing (keras.layers.Resizing, tf.image.resize). */
export class Resizing extends ConfiguredLayer<ResizingConfig> {
  constructor(options: ResizingOptions) {
    const { height, width, interpolation = 'bilinear' } = options;
    super('Resizing', { height, width, interpolation }, options);
    checkInterpolation(this.name, interpolation);
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

interface RescalingConfig {
  readonly scale: number | readonly number[];
  readonly offset: number | readonly number[];
}

/** `x · scale + offset`; lists hold one number for each channel (keras.layers.Rescaling). */
export class Rescaling extends ConfiguredLayer<RescalingConfig> {
  constructor(options: RescalingOptions) {
    super('Rescaling', { scale: options.scale, offset: options.offset ?? 0 }, options);
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
    const { axis = -1, mean = null, variance = null } = options;
    if ((mean === null) !== (variance === null)) {
      fail('argument', 'Normalization takes mean and variance together, got only one of them.');
    }
    super(
      'Normalization',
      {
        axis: [axis].flat() as number[],
        mean: mean === null ? null : flatten(mean),
        variance: variance === null ? null : flatten(variance),
      },
      options,
    );
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

/** Keras writes statistics as nested lists: [[[0.485, 0.456, 0.406]]]. */
function flatten(values: number | readonly number[]): number[] {
  return ([values] as unknown[]).flat(8) as number[];
}

function perChannel(values: number | readonly number[]): Node | number {
  if (typeof values === 'number') return values;
  return values.length === 1 ? values[0]! : o.constant(float32([values.length], values));
}
