/** RandomErasing, as keras.layers (Zhong et al. 2017). */
import * as v from 'valibot';
import { checked, type Entries, fields, number, optional } from '../../core/checked.ts';
import { fail } from '../../core/errors.ts';
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
import { boxMask, randomSpan } from './boxes.ts';

export interface RandomErasingOptions extends LayerOptions {
  /** The range from which a picture's chance of being erased is drawn; b means (0, b). Defaults to 1. */
  readonly factor?: Factor;
  /** Height and width of the rectangle are the square roots of two numbers from here. Defaults to (0.02, 0.33). */
  readonly scale?: Factor;
  /**
   * A number, or one for each channel. `null`, the default, means normal noise times the upper end of the value range:
   * drawn for every pixel of every picture, which takes time for large ones.
   */
  readonly fillValue?: number | readonly number[] | null;
  /** Lowest and highest value of the pictures. Defaults to [0, 255]. */
  readonly valueRange?: Range;
}

const randomErasingOptions = fields({
  ...layerEntries,
  factor: optional(rangeSchema(0, 1), 1),
  scale: optional(rangeSchema(0, 1), [0.02, 0.33]),
  fillValue: optional(
    v.nullable(v.union([number, v.array(number, 'an array of numbers, one for each channel')])),
    null,
  ),
  valueRange: optional(valueRangeSchema, byteRange),
} satisfies Entries<RandomErasingOptions>);

/** Covers a random rectangle of some pictures (keras.layers.RandomErasing). */
export class RandomErasing extends AugmentationLayer<OwnOptions<typeof randomErasingOptions>> {
  constructor(options: RandomErasingOptions = {}) {
    super('RandomErasing', checked(randomErasingOptions, options, 'layers.randomErasing'));
  }

  override transformation(x: Node, noise: NoiseSource): Transformation {
    const { factor, scale } = this.options;
    const shares = o.sqrt(noise.uniform([-1, 2], scale));
    const share = (i: 0 | 1) =>
      o.reshape(o.slice(shares, [{ axis: 1, start: i, end: i + 1 }]), [-1, 1, 1, 1]);
    const horizontal = randomSpan(x.shape[2]!, share(0), noise);
    const vertical = randomSpan(x.shape[1]!, share(1), noise);
    const chance = noise.uniform([-1, 1, 1, 1], factor);
    const erases = o.greater(chance, noise.uniform([-1, 1, 1, 1]));
    const fill = this.#fill(x, noise);
    return (pictures) =>
      o.select(erases, o.select(boxMask(x, horizontal, vertical), fill, pictures), pictures);
  }

  #fill(x: Node, noise: NoiseSource): Node {
    const { fillValue, valueRange } = this.options;
    if (fillValue === null) return clip(o.mul(noise.draw(x.shape, 'normal'), valueRange[1]), valueRange);
    const values = [fillValue].flat() as number[];
    if (values.length !== 1 && values.length !== x.shape[3]) {
      fail(
        'argument',
        `${this.name}: fillValue must be one number or ${x.shape[3]}, got [${values.join(', ')}].`,
      );
    }
    return clip(o.constant(float32([values.length], values)), valueRange);
  }
}
