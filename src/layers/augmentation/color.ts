/**
 * RandomContrast, RandomBrightness, RandomColorDegeneration and RandomGrayscale, as keras.layers: values change, places
 * stay.
 */
import { checked, type Entries, fields, optional, share } from '../../core/checked.ts';
import { fail } from '../../core/errors.ts';
import { float32 } from '../../core/tensor.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import { type LayerOptions, layerEntries } from '../layer.ts';
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

export interface ColorOptions extends LayerOptions {
  /** How much at most; see the layer. */
  readonly factor: Factor;
  /** Lowest and highest value of the pictures, within which the result is kept. Defaults to [0, 255]. */
  readonly valueRange?: Range;
}

export interface ColorConfig {
  readonly factor: Range;
  readonly valueRange: Range;
}

/** The options of a layer whose factor is between these. */
export function colorOptions(least: number, most: number) {
  return fields({
    ...layerEntries,
    factor: rangeSchema(least, most),
    valueRange: optional(valueRangeSchema, byteRange),
  } satisfies Entries<ColorOptions>);
}

const fromZero = colorOptions(0, 1);
const signed = colorOptions(-1, 1);

/** `(x − mean) · contrast + mean` with each channel's mean (keras.layers.RandomContrast). */
export class RandomContrast extends AugmentationLayer<ColorConfig> {
  /** A factor (a, b) draws contrasts from 1 − a … 1 + b; one number b means (0, b), as Keras reads it. */
  constructor(options: ColorOptions) {
    super('RandomContrast', checked(fromZero, options, 'layers.randomContrast'));
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const { factor, valueRange } = this.options;
    const contrast = noise.uniform([-1, 1, 1, 1], [1 - factor[0], 1 + factor[1]]);
    return (pictures) => {
      const mean = o.mean(pictures, [1, 2], true);
      return clip(o.add(o.mul(o.sub(pictures, mean), contrast), mean), valueRange);
    };
  }
}

/** Adds a share of the value range to each picture: −1 … 1, from black to white (keras.layers.RandomBrightness). */
export class RandomBrightness extends AugmentationLayer<ColorConfig> {
  constructor(options: ColorOptions) {
    super('RandomBrightness', checked(signed, options, 'layers.randomBrightness'));
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const { factor, valueRange } = this.options;
    const delta = o.mul(noise.uniform([-1, 1, 1, 1], factor), valueRange[1] - valueRange[0]);
    return (pictures) => clip(o.add(pictures, delta), valueRange);
  }
}

/** 0.2989 R + 0.587 G + 0.114 B, (batch, height, width, 1), as Keras weighs them. */
function luminance(layer: string, pictures: Node): Node {
  if (pictures.shape[3] !== 3) {
    fail('shape', `${layer} takes pictures of three channels, got ${pictures.shape[3]}.`);
  }
  const weights = o.constant(float32([3], [0.2989, 0.587, 0.114]));
  return o.sum(o.mul(pictures, weights), [3], true);
}

/** Moves each picture by a share of the way to its greys (keras.layers.RandomColorDegeneration). */
export class RandomColorDegeneration extends AugmentationLayer<ColorConfig> {
  constructor(options: ColorOptions) {
    super('RandomColorDegeneration', checked(signed, options, 'layers.randomColorDegeneration'));
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const { factor, valueRange } = this.options;
    const amount = noise.uniform([-1, 1, 1, 1], factor);
    return (pictures) => {
      const grey = luminance(this.name, pictures);
      return clip(o.add(pictures, o.mul(amount, o.sub(grey, pictures))), valueRange);
    };
  }
}

export interface RandomGrayscaleOptions extends LayerOptions {
  /** The chance of a picture. Defaults to 0.5. */
  readonly factor?: number;
}

const randomGrayscaleOptions = fields({
  ...layerEntries,
  factor: optional(share, 0.5),
} satisfies Entries<RandomGrayscaleOptions>);

/** Takes the colour out of some pictures (keras.layers.RandomGrayscale). */
export class RandomGrayscale extends AugmentationLayer<{ readonly factor: number }> {
  constructor(options: RandomGrayscaleOptions = {}) {
    super('RandomGrayscale', checked(randomGrayscaleOptions, options, 'layers.randomGrayscale'));
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const applies = o.greater(this.options.factor, noise.uniform([-1, 1, 1, 1]));
    return (pictures) => o.select(applies, luminance(this.name, pictures), pictures);
  }
}
