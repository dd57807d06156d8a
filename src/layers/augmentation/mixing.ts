/**
 * MixUp and CutMix, as keras.layers: each picture of a batch meets another one of it, and so do their labels. Keras
 * applies them to pictures and labels in the data pipeline; here they are layers of the model, and the training step
 * mixes the labels as they say.
 */
import { checked, type Entries, fields, optional, positive } from '../../core/checked.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import { type CallContext, type LayerOptions, layerEntries } from '../layer.ts';
import {
  AugmentationLayer,
  type Factor,
  type NoiseSource,
  type Range,
  rangeSchema,
  type Transformation,
} from './base.ts';
import { boxMask, randomSpan } from './boxes.ts';

/** Labels of a batch, weighed with those of the pictures that were mixed in; `weight` has one number a picture. */
function mixedRows(rows: Node, order: Node, weight: Node): Node {
  const own = o.reshape(weight, [-1, 1]);
  return o.add(o.mul(own, rows), o.mul(o.sub(1, own), o.gather(rows, order, 0)));
}

export interface MixUpOptions extends LayerOptions {
  /** Weights are drawn from Beta(alpha, alpha): the larger, the more both pictures show. Defaults to 0.2. */
  readonly alpha?: number;
}

const mixUpOptions = fields({
  ...layerEntries,
  alpha: optional(positive, 0.2),
} satisfies Entries<MixUpOptions>);

/** `w · picture + (1 − w) · another` (keras.layers.MixUp, Zhang et al. 2017). */
export class MixUp extends AugmentationLayer<{ readonly alpha: number }> {
  constructor(options: MixUpOptions = {}) {
    super('MixUp', checked(mixUpOptions, options, 'layers.mixUp'));
  }

  override transformation(_x: Node, noise: NoiseSource, context?: CallContext): Transformation {
    const { alpha } = this.options;
    const order = noise.draw([-1], 'permutation');
    const weight = noise.draw([-1, 1, 1, 1], { beta: [alpha, alpha] });
    context?.mixLabels(this, (rows) => mixedRows(rows, order, weight));
    return (pictures) =>
      o.add(o.mul(weight, pictures), o.mul(o.sub(1, weight), o.gather(pictures, order, 0)));
  }
}

export interface CutMixOptions extends LayerOptions {
  /**
   * The range from which α is drawn once a step; b means (0, b). The share of a picture that stays is of
   * Beta(α, α). Defaults to 1.
   */
  readonly factor?: Factor;
}

const cutMixOptions = fields({
  ...layerEntries,
  factor: optional(rangeSchema(0, 1), 1),
} satisfies Entries<CutMixOptions>);

/** Puts a rectangle of another picture over each; labels by their areas (keras.layers.CutMix, Yun et al. 2019). */
export class CutMix extends AugmentationLayer<{ readonly factor: Range }> {
  constructor(options: CutMixOptions = {}) {
    super('CutMix', checked(cutMixOptions, options, 'layers.cutMix'));
  }

  override transformation(x: Node, noise: NoiseSource, context?: CallContext): Transformation {
    const [low, high] = this.options.factor;
    const [, height, width] = x.shape as [number, number, number, number];
    // As in Keras, α keeps off 0.
    const stays = noise.draw([-1, 1, 1, 1], { beta: [low + 1e-6, high + 1e-6] });
    const share = o.sqrt(o.sub(1, stays));
    const horizontal = randomSpan(width, share, noise);
    const vertical = randomSpan(height, share, noise);
    const order = noise.draw([-1], 'permutation');
    const area = o.mul(o.sub(horizontal.end, horizontal.start), o.sub(vertical.end, vertical.start));
    const weight = o.sub(1, o.mul(area, 1 / (width * height)));
    context?.mixLabels(this, (rows) => mixedRows(rows, order, weight));
    return (pictures) => o.select(boxMask(x, horizontal, vertical), o.gather(pictures, order, 0), pictures);
  }
}
