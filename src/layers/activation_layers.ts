/** Activation, ReLU and Dropout, as keras.layers: layers without weights that keep the shape. */
import { fail } from '../core/errors.ts';
import { describeShape } from '../graph/dimensions.ts';
import type { Node, Shape } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { activation } from './activations.ts';
import { type CallContext, ConfiguredLayer, type LayerOptions } from './layer.ts';

export interface ActivationOptions extends LayerOptions {
  readonly activation: string;
}

/** Applies an activation function by name (keras.layers.Activation). */
export class Activation extends ConfiguredLayer<{ readonly activation: string }> {
  constructor(options: ActivationOptions) {
    super('Activation', { activation: options.activation }, options);
    activation(options.activation);
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

interface ReLUConfig {
  readonly maxValue: number | null;
  readonly negativeSlope: number;
  readonly threshold: number;
}

/**
 * keras.layers.ReLU: `x` for x ≥ threshold, at most `maxValue`; `negativeSlope · (x − threshold)` below.
 */
export class ReLU extends ConfiguredLayer<ReLUConfig> {
  constructor(options: ReLUOptions = {}) {
    super(
      'ReLU',
      {
        maxValue: options.maxValue ?? null,
        negativeSlope: options.negativeSlope ?? 0,
        threshold: options.threshold ?? 0,
      },
      options,
    );
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

interface DropoutConfig {
  readonly rate: number;
  readonly noiseShape: readonly (number | null)[] | null;
}

/**
 * Zeroes a fraction of the values in a training step and scales the others by 1 / (1 − rate) (keras.layers.Dropout).
 * Frozen it drops nothing, so that a frozen part that holds one is still the same in each step; Keras users reach
 * that by calling a frozen model with `training=False`.
 */
export class Dropout extends ConfiguredLayer<DropoutConfig> {
  constructor(options: DropoutOptions) {
    super('Dropout', { rate: options.rate, noiseShape: options.noiseShape ?? null }, options);
    if (!(options.rate >= 0 && options.rate < 1)) {
      fail('argument', `Dropout: rate must be at least 0 and below 1, got ${options.rate}.`);
    }
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
