/**
 * RandomTranslation, RandomRotation, RandomZoom and RandomShear, as keras.layers: pictures are resampled under an affine
 * map.
 */
import * as v from 'valibot';
import { checked, type Entries, fields, optional } from '../../core/checked.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import { type LayerOptions, layerEntries, type OwnOptions } from '../layer.ts';
import { affineTransform, type Resampling, resamplingEntries } from './affine.ts';
import {
  AugmentationLayer,
  type Factor,
  factorSchema,
  type NoiseSource,
  type Range,
  rangeOf,
  rangeSchema,
  type Transformation,
} from './base.ts';

export interface RandomTranslationOptions extends LayerOptions, Partial<Resampling> {
  /** Shares of the height; positive moves down. 0.2 means −0.2 … 0.2. */
  readonly heightFactor: Factor;
  /** Shares of the width; positive moves to the right. */
  readonly widthFactor: Factor;
}

const randomTranslationOptions = fields({
  ...layerEntries,
  heightFactor: factorSchema(-1, 1),
  widthFactor: factorSchema(-1, 1),
  ...resamplingEntries,
} satisfies Entries<RandomTranslationOptions>);

/** Shifts each picture by its own random amount (keras.layers.RandomTranslation). */
export class RandomTranslation extends AugmentationLayer<OwnOptions<typeof randomTranslationOptions>> {
  constructor(options: RandomTranslationOptions) {
    super('RandomTranslation', checked(randomTranslationOptions, options, 'layers.randomTranslation'));
  }

  override transformation(x: Node, noise: NoiseSource): Transformation {
    const { heightFactor, widthFactor } = this.options;
    const [, height, width] = x.shape as [number, number, number, number];
    const down = o.mul(noise.uniform([-1, 1], rangeOf('heightFactor', heightFactor, [-1, 1])), height);
    const right = o.mul(noise.uniform([-1, 1], rangeOf('widthFactor', widthFactor, [-1, 1])), width);
    return (pictures) => affineTransform(pictures, [1, 0, o.neg(right)], [0, 1, o.neg(down)], this.options);
  }
}

export interface RandomRotationOptions extends LayerOptions, Partial<Resampling> {
  /** Shares of a full turn; positive turns counterclockwise. 0.1 means −36° … 36°. */
  readonly factor: Factor;
}

const randomRotationOptions = fields({
  ...layerEntries,
  factor: rangeSchema(-1, 1),
  ...resamplingEntries,
} satisfies Entries<RandomRotationOptions>);

/** Turns each picture about its centre by its own random angle (keras.layers.RandomRotation). */
export class RandomRotation extends AugmentationLayer<OwnOptions<typeof randomRotationOptions>> {
  constructor(options: RandomRotationOptions) {
    super('RandomRotation', checked(randomRotationOptions, options, 'layers.randomRotation'));
  }

  override transformation(x: Node, noise: NoiseSource): Transformation {
    const [low, high] = this.options.factor;
    const angle = o.mul(noise.uniform([-1, 1], [low * 360, high * 360]), Math.PI / 180);
    const [cos, sin] = [o.cos(angle), o.sin(angle)];
    const [cx, cy] = [(x.shape[2]! - 1) / 2, (x.shape[1]! - 1) / 2];
    // x' = cx + cos (x − cx) − sin (y − cy),  y' = cy + sin (x − cx) + cos (y − cy)
    const toX = [cos, o.neg(sin), o.add(o.sub(cx, o.mul(cx, cos)), o.mul(cy, sin))] as const;
    const toY = [sin, cos, o.sub(o.sub(cy, o.mul(cx, sin)), o.mul(cy, cos))] as const;
    return (pictures) => affineTransform(pictures, toX, toY, this.options);
  }
}

export interface RandomZoomOptions extends LayerOptions, Partial<Resampling> {
  /** Positive zooms out, negative in: 0.2 shows between 80 % and 120 % of the height. */
  readonly heightFactor: Factor;
  /** The same for the width; `null`, the default, keeps the proportions. */
  readonly widthFactor?: Factor | null;
}

const zoomFactor = v.pipe(
  factorSchema(-1, 1),
  v.check((factor) => zoomRange(factor)[0] > 0, 'must be above -1, with which nothing would be shown'),
);

const randomZoomOptions = fields({
  ...layerEntries,
  heightFactor: zoomFactor,
  widthFactor: optional(v.nullable(zoomFactor), null),
  ...resamplingEntries,
} satisfies Entries<RandomZoomOptions>);

/** Zooms into or out of each picture by its own random amount (keras.layers.RandomZoom). */
export class RandomZoom extends AugmentationLayer<OwnOptions<typeof randomZoomOptions>> {
  constructor(options: RandomZoomOptions) {
    super('RandomZoom', checked(randomZoomOptions, options, 'layers.randomZoom'));
  }

  override transformation(x: Node, noise: NoiseSource): Transformation {
    const { heightFactor, widthFactor } = this.options;
    const high = noise.uniform([-1, 1], zoomRange(heightFactor));
    const wide = widthFactor === null ? high : noise.uniform([-1, 1], zoomRange(widthFactor));
    // The centre stays where it is.
    const offset = (axis: 1 | 2, zoom: Node) => o.mul((x.shape[axis]! - 1) / 2, o.sub(1, zoom));
    return (pictures) =>
      affineTransform(pictures, [wide, 0, offset(2, wide)], [0, high, offset(1, high)], this.options);
  }
}

/** What part of a length is shown: 1 + factor. */
function zoomRange(factor: Factor): readonly [number, number] {
  const [low, high] = rangeOf('RandomZoom: a factor', factor, [-1, 1]);
  return [1 + low, 1 + high];
}

export interface RandomShearOptions extends LayerOptions, Partial<Resampling> {
  /** How far a row moves for each row above it, in pixels; b means −b … b. Defaults to 0. */
  readonly xFactor?: Factor;
  /** The same for columns. */
  readonly yFactor?: Factor;
}

const shearFactor = v.pipe(
  v.custom<Factor>(isShear, 'a number up to 1, or two numbers from 0 to 1'),
  v.transform((factor) => shear(factor)),
);

const randomShearOptions = fields({
  ...layerEntries,
  xFactor: optional(shearFactor, 0),
  yFactor: optional(shearFactor, 0),
  ...resamplingEntries,
} satisfies Entries<RandomShearOptions>);

/** Slants each picture by its own random amount (keras.layers.RandomShear). */
export class RandomShear extends AugmentationLayer<OwnOptions<typeof randomShearOptions>> {
  constructor(options: RandomShearOptions = {}) {
    super('RandomShear', checked(randomShearOptions, options, 'layers.randomShear'));
  }

  override transformation(_x: Node, noise: NoiseSource): Transformation {
    const { xFactor, yFactor } = this.options;
    const side = o.select(o.greater(noise.uniform([-1, 1]), 0.5), -1, 1);
    const down = o.mul(noise.uniform([-1, 1], shearRange(yFactor)), side);
    const right = o.mul(noise.uniform([-1, 1], shearRange(xFactor)), side);
    return (pictures) => affineTransform(pictures, [1, right, 0], [down, 1, 0], this.options);
  }
}

/** Keras writes b as [−b, b] and then refuses to read that, so it is kept as b. */
function shear(factor: Factor): Factor {
  return typeof factor !== 'number' && factor[0] + factor[1] === 0 ? Math.abs(factor[1]) : factor;
}

/** Two numbers of opposite sign are what Keras writes for one. */
function isShear(value: unknown): boolean {
  if (typeof value === 'number') return Math.abs(value) <= 1;
  if (!Array.isArray(value) || value.length !== 2 || !value.every(Number.isFinite)) return false;
  const given = shear(value as unknown as Factor);
  return typeof given === 'number' ? given <= 1 : given.every((end) => end >= 0 && end <= 1);
}

function shearRange(factor: Factor): Range {
  return rangeOf('RandomShear: a factor', factor, typeof factor === 'number' ? [-1, 1] : [0, 1]);
}
