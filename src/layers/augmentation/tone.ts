/**
 * RandomSharpness, RandomPosterization, Solarization, AutoContrast and Equalization, as keras.layers: what RandAugment
 * does to shades. They compute on 0 … 255 whatever the pictures' range is, as Keras does.
 */
import * as v from 'valibot';
import { checked, type Entries, fields, optional, wholeNumber } from '../../core/checked.ts';
import { float32 } from '../../core/tensor.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import { type LayerOptions, layerEntries, type OwnOptions } from '../layer.ts';
import {
  AugmentationLayer,
  byteRange,
  clip,
  type Factor,
  type NoiseSource,
  type Range,
  rangeSchema,
  type Transformation,
  valueRangeSchema,
} from './base.ts';
import { type ColorConfig, type ColorOptions, colorOptions } from './color.ts';

const bytes: Range = [0, 255];

/** Maps one value range onto another. */
function rescaled(x: Node, from: Range, to: Range): Node {
  if (from[0] === to[0] && from[1] === to[1]) return x;
  const share = o.div(o.sub(x, from[0]), from[1] - from[0]);
  return o.add(o.mul(share, to[1] - to[0]), to[0]);
}

/** ⌊x⌋ for x ≥ 0. */
function floor(x: Node): Node {
  return o.cast(o.cast(x, 'int32'), 'float32');
}

const sharpnessOptions = colorOptions(0, 1);

/** x + (1 − 2 · factor) · (smoothed x − x): 0 smooths, ½ keeps, 1 sharpens (keras.layers.RandomSharpness). */
export class RandomSharpness extends AugmentationLayer<ColorConfig> {
  constructor(options: ColorOptions) {
    super('RandomSharpness', checked(sharpnessOptions, options, 'layers.randomSharpness'));
  }

  override transformation(x: Node, noise: NoiseSource): Transformation {
    const { factor, valueRange } = this.options;
    const channels = x.shape[3]!;
    const smoothness = o.sub(1, o.mul(noise.uniform([-1, 1, 1, 1], factor), 2));
    const weights = [1, 1, 1, 1, 5, 1, 1, 1, 1].flatMap((weight) =>
      new Array<number>(channels).fill(weight / 13),
    );
    const kernel = o.constant(float32([3, 3, 1, channels], weights));
    const window = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: channels } as const;
    return (pictures) => {
      const smooth = o.conv2d(pictures, kernel, window);
      return clip(o.add(pictures, o.mul(smoothness, o.sub(smooth, pictures))), valueRange);
    };
  }
}

export interface RandomPosterizationOptions extends LayerOptions {
  /** Bits that stay, 1 … 8; b means from 1 to below b, (a, b) from a to below b. */
  readonly factor: Factor;
  /** Lowest and highest value of the pictures. Defaults to [0, 255]. */
  readonly valueRange?: Range;
}

const posterizationOptions = fields({
  ...layerEntries,
  factor: v.pipe(
    rangeSchema(1, 8),
    v.check((range) => range.every(Number.isInteger), 'counts bits: it must be whole'),
  ),
  valueRange: optional(valueRangeSchema, byteRange),
} satisfies Entries<RandomPosterizationOptions>);

/** Keeps the upper bits of each value (keras.layers.RandomPosterization). */
export class RandomPosterization extends AugmentationLayer<ColorConfig> {
  constructor(options: RandomPosterizationOptions) {
    super('RandomPosterization', checked(posterizationOptions, options, 'layers.randomPosterization'));
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const { factor, valueRange } = this.options;
    const [low, high] = factor;
    const powers = o.constant(
      float32(
        [9],
        Array.from({ length: 9 }, (_, bits) => 2 ** (8 - bits)),
      ),
    );
    // The size of a step: what the lower bits count to.
    const step =
      low === high
        ? 2 ** (8 - low)
        : o.reshape(o.gather(powers, o.cast(noise.uniform([-1], factor), 'int32'), 0), [-1, 1, 1, 1]);
    return (pictures) => {
      const whole = floor(rescaled(pictures, valueRange, bytes));
      return rescaled(o.mul(floor(o.div(whole, step)), step), bytes, valueRange);
    };
  }
}

export interface SolarizationOptions extends LayerOptions {
  /** A share of 255 that is added first. Defaults to 0. */
  readonly additionFactor?: Factor;
  /** A share of 255 from which values are inverted. Defaults to 0: all of them. */
  readonly thresholdFactor?: Factor;
  /** Lowest and highest value of the pictures. Defaults to [0, 255]. */
  readonly valueRange?: Range;
}

const solarizationOptions = fields({
  ...layerEntries,
  additionFactor: optional(rangeSchema(0, 1), 0),
  thresholdFactor: optional(rangeSchema(0, 1), 0),
  valueRange: optional(valueRangeSchema, byteRange),
} satisfies Entries<SolarizationOptions>);

/** Inverts values from a threshold on (keras.layers.Solarization). */
export class Solarization extends AugmentationLayer<OwnOptions<typeof solarizationOptions>> {
  constructor(options: SolarizationOptions = {}) {
    super('Solarization', checked(solarizationOptions, options, 'layers.solarization'));
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const { additionFactor, thresholdFactor, valueRange } = this.options;
    // As in Keras, only the upper ends are shares of 255.
    const amount = ([low, high]: Range) => noise.uniform([-1, 1, 1, 1], [low, high * 255]);
    const addition = amount(additionFactor);
    const threshold = amount(thresholdFactor);
    return (pictures) => {
      const added = clip(o.add(rescaled(pictures, valueRange, bytes), addition), bytes);
      const solarized = o.select(o.greater(threshold, added), added, o.sub(255, added));
      return rescaled(solarized, bytes, valueRange);
    };
  }
}

export interface ValueRangeOption extends LayerOptions {
  /** Lowest and highest value of the pictures. Defaults to [0, 255]. */
  readonly valueRange?: Range;
}

const autoContrastOptions = fields({
  ...layerEntries,
  valueRange: optional(valueRangeSchema, byteRange),
} satisfies Entries<ValueRangeOption>);

/** Spreads each channel over the whole range; as in Keras also at inference (keras.layers.AutoContrast). */
export class AutoContrast extends AugmentationLayer<{ readonly valueRange: Range }> {
  constructor(options: ValueRangeOption = {}) {
    super('AutoContrast', checked(autoContrastOptions, options, 'layers.autoContrast'));
  }

  override transformation(): Transformation {
    return (pictures) => this.atInference(pictures);
  }

  protected override atInference(x: Node): Node {
    const { valueRange } = this.options;
    const shades = rescaled(x, valueRange, bytes);
    const low = o.neg(o.reduceMax(o.neg(shades), [1, 2], true));
    const high = o.reduceMax(shades, [1, 2], true);
    const flat = o.equal(low, high);
    const scale = o.div(255, o.select(flat, 1, o.sub(high, low)));
    const spread = clip(o.mul(o.sub(shades, low), scale), bytes);
    return o.select(flat, x, rescaled(spread, bytes, valueRange));
  }
}

export interface EqualizationOptions extends ValueRangeOption {
  /** Defaults to 256. */
  readonly bins?: number;
}

const equalizationOptions = fields({
  ...layerEntries,
  bins: optional(wholeNumber(2), 256),
  valueRange: optional(valueRangeSchema, byteRange),
} satisfies Entries<EqualizationOptions>);

/**
 * Makes all shades of a channel equally frequent (keras.layers.Equalization). As in Keras 3.15 the frequencies are
 * those of the whole batch.
 */
export class Equalization extends AugmentationLayer<{ readonly bins: number; readonly valueRange: Range }> {
  constructor(options: EqualizationOptions = {}) {
    super('Equalization', checked(equalizationOptions, options, 'layers.equalization'));
  }

  override transformation(): Transformation {
    const { bins, valueRange } = this.options;
    return (pictures) => rescaled(equalized(rescaled(pictures, valueRange, bytes), bins), bytes, valueRange);
  }
}

/**
 * Counting and looking up without scattering: bin b is (⌊b / r⌋, b mod r) with r = ⌈√bins⌉, one-hot in H and L, so the
 * counts are HᵀL and the looked-up values the sums of the rows of HT ∘ L.
 */
function equalized(x: Node, bins: number): Node {
  const [, height, width, channels] = x.shape as [number, number, number, number];
  const pixels = -height * width;
  const radix = Math.ceil(Math.sqrt(bins));
  // (channels, all pixels of the batch)
  const flat = o.transpose(o.reshape(x, [pixels, channels]), [1, 0]);
  const bin = clip(floor(o.div(o.mul(flat, bins - 1), 255)), [0, bins - 1]);
  const upper = floor(o.div(o.add(bin, 0.5), radix));
  const lower = o.sub(bin, o.mul(upper, radix));
  const [high, low] = [upper, lower].map((part) => o.oneHot(o.cast(part, 'int32'), radix)) as [Node, Node];
  const counts = o.reshape(o.matmul(high, low, { transposeA: true }), [channels, radix * radix]);
  const table = o.reshape(lookupTable(counts), [channels, radix, radix]);
  const found = o.sum(o.mul(o.matmul(high, table), low), [2]);
  // A channel of one shade stays as it is.
  const used = o.sum(o.cast(o.greater(counts, 0), 'float32'), [1], true);
  const result = o.select(o.greater(used, 1), found, flat);
  return o.reshape(o.transpose(result, [1, 0]), [-1, height, width, channels]);
}

/** What each bin becomes: (cdf − its first value) · 255 / (its last − its first), rounded. */
function lookupTable(counts: Node): Node {
  const size = counts.shape[1]!;
  const triangle = Array.from({ length: size * size }, (_, i) => Number(Math.floor(i / size) <= i % size));
  const cdf = o.matmul(counts, o.constant(float32([size, size], triangle)));
  const last = o.reduceMax(cdf, [1], true);
  const first = o.neg(o.reduceMax(o.neg(o.select(o.greater(cdf, 0), cdf, last)), [1], true));
  const span = o.sub(last, first);
  const scaled = o.div(o.mul(o.sub(cdf, first), 255), o.select(o.greater(span, 0), span, 1));
  return clip(roundHalfEven(o.max(scaled, 0)), bytes);
}

/** The nearest whole number, the even one of two (NumPy's round), for x ≥ 0. */
function roundHalfEven(x: Node): Node {
  const up = floor(o.add(x, 0.5));
  const tie = o.cast(o.equal(o.sub(up, x), 0.5), 'float32');
  const odd = o.sub(up, o.mul(floor(o.mul(up, 0.5)), 2));
  return o.sub(up, o.mul(tie, odd));
}
