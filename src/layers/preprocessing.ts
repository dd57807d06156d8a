/** Resizing, Rescaling and Normalization, as keras.layers: preprocessing that travels with the model. */
import { fail } from '../core/errors.ts';
import { float32 } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { ConfiguredLayer, type LayerOptions } from './layer.ts';
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
  /** One number, or one for each channel. */
  readonly mean: number | readonly number[];
  readonly variance: number | readonly number[];
}

interface NormalizationConfig {
  readonly axis: readonly number[];
  readonly mean: readonly number[];
  readonly variance: readonly number[];
}

/**
 * `(x − mean) / max(√variance, 1e-7)` with fixed statistics (keras.layers.Normalization). Graft fits them on the
 * training features and stores them in the config, so the layer has no weights.
 */
export class Normalization extends ConfiguredLayer<NormalizationConfig> {
  /** Made once, so that what training and inference compute of it is the same and lies before the cut. */
  #constants: { readonly mean: Node | number; readonly inverse: Node | number } | null = null;

  constructor(options: NormalizationOptions) {
    const { axis = -1, mean, variance } = options;
    if (mean === null || variance === null || mean === undefined || variance === undefined) {
      fail(
        'unsupported',
        'Normalization needs mean and variance; statistics that were adapted as weights are not read.',
      );
    }
    super(
      'Normalization',
      { axis: [axis].flat() as number[], mean: flatten(mean), variance: flatten(variance) },
      options,
    );
  }

  override config() {
    return { ...super.config(), invert: false };
  }

  override call([x]: readonly Node[]): Node {
    const { axis, mean, variance } = this.options;
    const last = x!.shape.length - 1;
    if (axis.length !== 1 || (axis[0] !== -1 && axis[0] !== last)) {
      fail(
        'unsupported',
        `${this.name}: Graft normalizes the last axis (-1), got axis [${axis.join(', ')}].`,
      );
    }
    this.#constants ??= {
      mean: perChannel(mean),
      inverse: perChannel(variance.map((value) => 1 / Math.max(Math.sqrt(value), 1e-7))),
    };
    return o.mul(o.sub(x!, this.#constants.mean), this.#constants.inverse);
  }
}

/** Keras writes statistics as nested lists: [[[0.485, 0.456, 0.406]]]. */
function flatten(values: number | readonly number[]): number[] {
  return ([values] as unknown[]).flat(8) as number[];
}

function perChannel(values: number | readonly number[]): Node | number {
  if (typeof values === 'number') return values;
  return values.length === 1 ? values[0]! : o.constant(float32([values.length], values));
}
