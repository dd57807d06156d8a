/** RandAugment, as keras.layers (Cubuk et al. 2019): a few operations in a row, drawn from eleven. */
import { fail } from '../../core/errors.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import type { LayerOptions } from '../layer.ts';
import { checkInterpolation } from '../reshaping.ts';
import { RandomRotation, RandomShear, RandomTranslation } from './affine_layers.ts';
import {
  AugmentationLayer,
  type Factor,
  type NoiseSource,
  type Range,
  rangeOf,
  type Transformation,
  valueRangeOf,
} from './base.ts';
import { RandomBrightness, RandomColorDegeneration, RandomContrast } from './color.ts';
import { AutoContrast, Equalization, RandomPosterization, RandomSharpness, Solarization } from './tone.ts';

export interface RandAugmentOptions extends LayerOptions {
  /** Lowest and highest value of the pictures. Defaults to [0, 255]. */
  readonly valueRange?: Range;
  /** Operations in a row. Defaults to 2. */
  readonly numOps?: number;
  /** Strength, 0 … 1; b means from 0 to b. Defaults to 0.5. */
  readonly factor?: Factor;
  /** Defaults to `bilinear`. */
  readonly interpolation?: 'bilinear' | 'nearest';
}

interface RandAugmentConfig {
  readonly valueRange: Range;
  readonly numOps: number;
  readonly factor: Range;
  readonly interpolation: 'bilinear' | 'nearest';
}

/**
 * Draws `numOps` of its operations for the whole batch, and their amounts for each picture. All eleven are computed for
 * each of `numOps`, and one is taken: fit for small pictures, in front of any resizing.
 */
export class RandAugment extends AugmentationLayer<RandAugmentConfig> {
  readonly #operations: readonly AugmentationLayer<object>[];

  constructor(options: RandAugmentOptions = {}) {
    const { numOps = 2, interpolation = 'bilinear' } = options;
    const factor = rangeOf('factor', options.factor ?? 0.5, [0, 1]);
    const valueRange = valueRangeOf(options.valueRange);
    super('RandAugment', { valueRange, numOps, factor, interpolation }, options);
    checkInterpolation(this.name, interpolation);
    if (!Number.isInteger(numOps) || numOps < 1) {
      fail('argument', `${this.name}: numOps must be a whole number of at least 1, got ${numOps}.`);
    }
    const named = (operation: string) => ({ name: `${this.name}_${operation}` });
    const color = { factor, valueRange };
    // In Keras's order, by which they are drawn.
    this.#operations = [
      new RandomShear({ ...named('shear'), xFactor: factor, yFactor: factor, interpolation }),
      new RandomTranslation({
        ...named('translation'),
        heightFactor: factor,
        widthFactor: factor,
        interpolation,
      }),
      new RandomRotation({ ...named('rotation'), factor, interpolation }),
      new RandomBrightness({ ...named('brightness'), ...color }),
      new RandomColorDegeneration({ ...named('color_degeneration'), ...color }),
      new RandomContrast({ ...named('contrast'), ...color }),
      new RandomSharpness({ ...named('sharpness'), ...color }),
      new RandomPosterization({
        ...named('posterization'),
        factor: Math.max(1, Math.floor(8 * factor[1])),
        valueRange,
      }),
      new Solarization({
        ...named('solarization'),
        additionFactor: factor,
        thresholdFactor: factor,
        valueRange,
      }),
      new AutoContrast({ ...named('auto_contrast'), valueRange }),
      new Equalization({ ...named('equalization'), valueRange }),
    ];
  }

  override transformation(x: Node, noise: NoiseSource): Transformation {
    const { numOps } = this.options;
    const chosen = o.cast(noise.uniform([numOps], [0, this.#operations.length]), 'int32');
    const which = o.cast(chosen, 'float32');
    const operations = this.#operations.map((operation) => operation.transformation(x, noise));
    return (pictures) => {
      let current = pictures;
      for (let i = 0; i < numOps; i++) {
        const index = o.slice(which, [{ axis: 0, start: i, end: i + 1 }]);
        // As Keras does: each operation sees what the one before it left.
        operations.forEach((operation, j) => {
          current = o.select(o.equal(index, j), operation(current), current);
        });
      }
      return current;
    };
  }
}
