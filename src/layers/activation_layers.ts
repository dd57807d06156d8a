/** Activation, ReLU and Dropout, as keras.layers: layers without weights that keep the shape. */
import { fail } from '../core/errors.ts';
import type { Node } from '../graph/node.ts';
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
}

/** Zeroes a fraction of the values in a training step and scales the others by 1 / (1 − rate) (keras.layers.Dropout). */
export class Dropout extends ConfiguredLayer<{ readonly rate: number }> {
  constructor(options: DropoutOptions) {
    super('Dropout', { rate: options.rate }, options);
    if (!(options.rate >= 0 && options.rate < 1)) {
      fail('argument', `Dropout: rate must be at least 0 and below 1, got ${options.rate}.`);
    }
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const { rate } = this.options;
    if (!context.training || rate === 0) return x!;
    // Noise is a multiple of 2⁻²⁴ in [0, 1); half a step keeps "noise ≥ rate" exact with `greater`.
    const kept = o.cast(o.greater(context.uniform(this, x!.shape), rate - 2 ** -25), 'float32');
    return o.mul(x!, o.mul(kept, 1 / (1 - rate)));
  }
}
