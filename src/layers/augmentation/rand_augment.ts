/** RandAugment, as keras.layers (Cubuk et al. 2019): a few operations in a row, drawn from eleven. */
import { checked, type Entries, fields, optional, wholeNumber } from '../../core/checked.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import { type LayerOptions, layerEntries, type OwnOptions } from '../layer.ts';
import { interpolationSchema } from '../reshaping.ts';
import { RandomRotation, RandomShear, RandomTranslation } from './affine_layers.ts';
import {
  AugmentationLayer,
  byteRange,
  type Factor,
  type NoiseSource,
  type Range,
  rangeSchema,
  type Transformation,
  valueRangeSchema,
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

const randAugmentOptions = fields({
  ...layerEntries,
  valueRange: optional(valueRangeSchema, byteRange),
  numOps: optional(wholeNumber(1), 2),
  factor: optional(rangeSchema(0, 1), 0.5),
  interpolation: optional(interpolationSchema, 'bilinear'),
} satisfies Entries<RandAugmentOptions>);

/**
 * Draws `numOps` of its operations for the whole batch, and their amounts for each picture. All eleven are computed for
 * each of `numOps`, and one is taken: fit for small pictures, in front of any resizing.
 */
export class RandAugment extends AugmentationLayer<OwnOptions<typeof randAugmentOptions>> {
  readonly #operations: readonly AugmentationLayer<object>[];

  constructor(options: RandAugmentOptions = {}) {
    super('RandAugment', checked(randAugmentOptions, options, 'layers.randAugment'));
    const { factor, interpolation, valueRange } = this.options;
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
