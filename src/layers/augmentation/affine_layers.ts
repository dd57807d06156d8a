/**
 * RandomTranslation, RandomRotation, RandomZoom and RandomShear, as keras.layers: pictures are resampled under an affine
 * map.
 */
import { fail } from '../../core/errors.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import type { LayerOptions } from '../layer.ts';
import { affineTransform, type Resampling, resamplingOf } from './affine.ts';
import {
  AugmentationLayer,
  type Factor,
  type NoiseSource,
  type Range,
  rangeOf,
  type Transformation,
} from './base.ts';

export interface RandomTranslationOptions extends LayerOptions, Partial<Resampling> {
  /** Shares of the height; positive moves down. 0.2 means −0.2 … 0.2. */
  readonly heightFactor: Factor;
  /** Shares of the width; positive moves to the right. */
  readonly widthFactor: Factor;
}

interface RandomTranslationConfig extends Resampling {
  readonly heightFactor: Factor;
  readonly widthFactor: Factor;
}

/** Shifts each picture by its own random amount (keras.layers.RandomTranslation). */
export class RandomTranslation extends AugmentationLayer<RandomTranslationConfig> {
  constructor(options: RandomTranslationOptions) {
    const { heightFactor, widthFactor } = options;
    const resampling = resamplingOf('RandomTranslation', options);
    super('RandomTranslation', { heightFactor, widthFactor, ...resampling }, options);
    rangeOf('heightFactor', heightFactor, [-1, 1]);
    rangeOf('widthFactor', widthFactor, [-1, 1]);
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

interface RandomRotationConfig extends Resampling {
  readonly factor: Factor;
}

/** Turns each picture about its centre by its own random angle (keras.layers.RandomRotation). */
export class RandomRotation extends AugmentationLayer<RandomRotationConfig> {
  constructor(options: RandomRotationOptions) {
    const factor = rangeOf('factor', options.factor, [-1, 1]);
    super('RandomRotation', { factor, ...resamplingOf('RandomRotation', options) }, options);
  }

  override transformation(x: Node, noise: NoiseSource): Transformation {
    const [low, high] = this.options.factor as readonly [number, number];
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

interface RandomZoomConfig extends Resampling {
  readonly heightFactor: Factor;
  readonly widthFactor: Factor | null;
}

/** Zooms into or out of each picture by its own random amount (keras.layers.RandomZoom). */
export class RandomZoom extends AugmentationLayer<RandomZoomConfig> {
  constructor(options: RandomZoomOptions) {
    const { heightFactor, widthFactor = null } = options;
    super('RandomZoom', { heightFactor, widthFactor, ...resamplingOf('RandomZoom', options) }, options);
    for (const factor of [heightFactor, ...(widthFactor === null ? [] : [widthFactor])]) zoomRange(factor);
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
  if (low === -1) fail('argument', 'RandomZoom: a factor of -1 would show nothing; give one above it.');
  return [1 + low, 1 + high];
}

export interface RandomShearOptions extends LayerOptions, Partial<Resampling> {
  /** How far a row moves for each row above it, in pixels; b means −b … b. Defaults to 0. */
  readonly xFactor?: Factor;
  /** The same for columns. */
  readonly yFactor?: Factor;
}

interface RandomShearConfig extends Resampling {
  readonly xFactor: Factor;
  readonly yFactor: Factor;
}

/** Slants each picture by its own random amount (keras.layers.RandomShear). */
export class RandomShear extends AugmentationLayer<RandomShearConfig> {
  constructor(options: RandomShearOptions = {}) {
    const [xFactor, yFactor] = [shear(options.xFactor), shear(options.yFactor)];
    super('RandomShear', { xFactor, yFactor, ...resamplingOf('RandomShear', options) }, options);
    shearRange(xFactor);
    shearRange(yFactor);
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
function shear(factor: Factor = 0): Factor {
  return typeof factor !== 'number' && factor[0] + factor[1] === 0 ? Math.abs(factor[1]) : factor;
}

function shearRange(factor: Factor): Range {
  return rangeOf('RandomShear: a factor', factor, typeof factor === 'number' ? [-1, 1] : [0, 1]);
}
