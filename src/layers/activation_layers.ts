/** Activation, ReLU and Dropout, as keras.layers: layers without weights that keep the shape. */
import * as v from 'valibot';
import { checked, type Entries, fields, notNegative, optional, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { describeShape } from '../graph/dimensions.ts';
import type { Node, Shape } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { activation, activationSchema } from './activations.ts';
import {
  type CallContext,
  ConfiguredLayer,
  type LayerOptions,
  layerEntries,
  type OwnOptions,
} from './layer.ts';

export interface ActivationOptions extends LayerOptions {
  readonly activation: string;
}

const activationOptions = fields({
  ...layerEntries,
  activation: activationSchema,
} satisfies Entries<ActivationOptions>);

/** Applies an activation function by name (keras.layers.Activation). */
export class Activation extends ConfiguredLayer<{ readonly activation: string }> {
  constructor(options: ActivationOptions) {
    super('Activation', checked(activationOptions, options, 'layers.activation'));
  }

  override call([x]: readonly Node[]): Node {
    return activation(this.options.activation)(x!);
  }
}

export interface ReLUOptions extends LayerOptions {
  readonly maxValue?: number | null;
  readonly negativeSlope?: number;
  readonly threshold?: number;
}

const reluOptions = fields({
  ...layerEntries,
  maxValue: optional(v.nullable(notNegative), null),
  negativeSlope: optional(notNegative, 0),
  threshold: optional(notNegative, 0),
} satisfies Entries<ReLUOptions>);

/**
 * keras.layers.ReLU: `x` for x ≥ threshold, at most `maxValue`; `negativeSlope · (x − threshold)` below.
 */
export class ReLU extends ConfiguredLayer<OwnOptions<typeof reluOptions>> {
  constructor(options: ReLUOptions = {}) {
    super('ReLU', checked(reluOptions, options, 'layers.relu'));
  }

  override call([x]: readonly Node[]): Node {
    const { maxValue, negativeSlope, threshold } = this.options;
    let y: Node;
    if (threshold === 0 && negativeSlope === 0) {
      y = o.relu(x!);
    } else {
      const above = o.cast(o.greater(x!, threshold), 'float32');
      const positive = threshold === 0 ? o.relu(x!) : o.mul(x!, above);
      y = o.add(positive, o.mul(o.min(o.sub(x!, threshold), 0), negativeSlope));
    }
    return maxValue === null ? y : o.min(y, maxValue);
  }
}

export interface DropoutOptions extends LayerOptions {
  /** Fraction of the values to drop, in [0, 1). */
  readonly rate: number;
  /**
   * Shape of the noise, the batch included (`null` for as many as come): where it has a 1, the values along that
   * axis are dropped together. [null, 1, 1, 1] drops whole pictures. Defaults to one draw for each value.
   */
  readonly noiseShape?: readonly (number | null)[] | null;
}

/** A share to drop: with 1 nothing would be left to scale up. */
export const dropRate = v.custom<number>(
  (value) => Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1,
  'a number from 0 to below 1',
);

const dropoutOptions = fields({
  ...layerEntries,
  rate: dropRate,
  noiseShape: optional(
    v.nullable(v.array(v.nullable(wholeNumber(1)), 'an array of sizes, null for the batch')),
    null,
  ),
} satisfies Entries<DropoutOptions>);

/**
 * Zeroes a fraction of the values in a training step and scales the others by 1 / (1 − rate) (keras.layers.Dropout).
 * Frozen it drops nothing, so that a frozen part that holds one is still the same in each step; Keras users reach
 * that by calling a frozen model with `training=False`.
 */
export class Dropout extends ConfiguredLayer<OwnOptions<typeof dropoutOptions>> {
  constructor(options: DropoutOptions) {
    super('Dropout', checked(dropoutOptions, options, 'layers.dropout'));
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const { rate } = this.options;
    if (!context.training || !this.trainable || rate === 0) return x!;
    return o.mul(x!, keepMask(context.uniform(this, this.#noiseShape(x!.shape)), rate));
  }

  #noiseShape(shape: Shape): Shape {
    const { noiseShape } = this.options;
    if (noiseShape === null) return shape;
    const fits = noiseShape.length === shape.length && noiseShape[0] === null;
    if (fits && noiseShape.every((dim, axis) => dim === null || dim === 1 || dim === shape[axis])) {
      return noiseShape.map((dim, axis) => dim ?? shape[axis]!);
    }
    return fail(
      'argument',
      `${this.name}: noiseShape [${noiseShape.map((dim) => dim ?? 'null').join(', ')}] does not fit inputs of ` +
        `${describeShape(shape)}; expected null for the batch, then 1 or the size of the axis.`,
    );
  }
}

/** 1 / (1 − rate) where uniform noise says that a value stays, else 0. */
export function keepMask(noise: Node, rate: number): Node {
  // Noise is a multiple of 2⁻²⁴ in [0, 1); half a step keeps "noise ≥ rate" exact with `greater`.
  const kept = o.cast(o.greater(noise, rate - 2 ** -25), 'float32');
  return o.mul(kept, 1 / (1 - rate));
}
