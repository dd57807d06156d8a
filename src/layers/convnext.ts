/**
 * LayerScale and StochasticDepth, the two layers that keras.applications.convnext brings along. Keras finds them in
 * its `.keras` files; for a legacy `.h5` it wants them as `custom_objects`.
 */
import { fail } from '../core/errors.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { keepMask } from './activation_layers.ts';
import { constant } from './initializers.ts';
import { type CallContext, ConfiguredLayer, type LayerOptions, type VariableSpec } from './layer.ts';

/** Keras keeps these two with the application, outside of `keras.layers`. */
const convnextModule = 'keras.src.applications.convnext';

export interface LayerScaleOptions extends LayerOptions {
  /** What every factor begins with. */
  readonly initValues: number;
  /** Number of channels. */
  readonly projectionDim: number;
}

interface LayerScaleConfig {
  readonly initValues: number;
  readonly projectionDim: number;
}

/** `x · γ`, a learned factor for each channel (Touvron et al. 2021). Weights: `variable` (channels,), as Keras names it. */
export class LayerScale extends ConfiguredLayer<LayerScaleConfig> {
  override readonly kerasModule = convnextModule;

  constructor(options: LayerScaleOptions) {
    const { initValues, projectionDim } = options;
    super('LayerScale', { initValues, projectionDim }, options);
  }

  protected override specs(): readonly VariableSpec[] {
    const { initValues, projectionDim } = this.options;
    return [{ name: 'variable', shape: [projectionDim], initializer: constant(initValues) }];
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    return o.mul(x!, context.weight(this.variables[0]!));
  }
}

export interface StochasticDepthOptions extends LayerOptions {
  /** Fraction of the pictures to drop, in [0, 1). */
  readonly dropPathRate: number;
}

/** Zeroes whole pictures in a training step and scales the others by 1 / (1 − rate) (Huang et al. 2016); not if frozen. */
export class StochasticDepth extends ConfiguredLayer<{ readonly dropPathRate: number }> {
  override readonly kerasModule = convnextModule;

  constructor(options: StochasticDepthOptions) {
    const { dropPathRate } = options;
    super('StochasticDepth', { dropPathRate }, options);
    if (!(dropPathRate >= 0 && dropPathRate < 1)) {
      fail('argument', `StochasticDepth: dropPathRate must be at least 0 and below 1, got ${dropPathRate}.`);
    }
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const { dropPathRate } = this.options;
    if (!context.training || !this.trainable || dropPathRate === 0) return x!;
    const [batch, ...rest] = x!.shape;
    return o.mul(x!, keepMask(context.uniform(this, [batch!, ...rest.map(() => 1)]), dropPathRate));
  }
}
