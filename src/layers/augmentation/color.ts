/** RandomContrast and RandomBrightness, as keras.layers: values change, places stay. */
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import type { LayerOptions } from '../layer.ts';
import {
  AugmentationLayer,
  clip,
  type Factor,
  type NoiseSource,
  type Range,
  rangeOf,
  type Transformation,
  valueRangeOf,
} from './base.ts';

export interface ColorOptions extends LayerOptions {
  /** How much at most; see the layer. */
  readonly factor: Factor;
  /** Lowest and highest value of the pictures, within which the result is kept. Defaults to [0, 255]. */
  readonly valueRange?: Range;
}

interface ColorConfig {
  readonly factor: Range;
  readonly valueRange: Range;
}

/** `(x − mean) · contrast + mean` with each channel's mean (keras.layers.RandomContrast). */
export class RandomContrast extends AugmentationLayer<ColorConfig> {
  /** A factor (a, b) draws contrasts from 1 − a … 1 + b; one number b means (0, b), as Keras reads it. */
  constructor(options: ColorOptions) {
    const factor = rangeOf('factor', options.factor, [0, 1]);
    super('RandomContrast', { factor, valueRange: valueRangeOf(options.valueRange) }, options);
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
    const factor = rangeOf('factor', options.factor, [-1, 1]);
    super('RandomBrightness', { factor, valueRange: valueRangeOf(options.valueRange) }, options);
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const { factor, valueRange } = this.options;
    const delta = o.mul(noise.uniform([-1, 1, 1, 1], factor), valueRange[1] - valueRange[0]);
    return (pictures) => clip(o.add(pictures, delta), valueRange);
  }
}
