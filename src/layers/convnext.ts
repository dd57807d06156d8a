/**
 * LayerScale and StochasticDepth, the two layers that keras.applications.convnext brings along. Keras finds them in
 * its `.keras` files; for a legacy `.h5` it wants them as `custom_objects`.
 */
import { checked, type Entries, fields, number, wholeNumber } from '../core/checked.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { dropRate, keepMask } from './activation_layers.ts';
import { constant } from './initializers.ts';
import {
  type CallContext,
  ConfiguredLayer,
  type LayerOptions,
  layerEntries,
  type OwnOptions,
  type VariableSpec,
} from './layer.ts';

/** Keras keeps these two with the application, outside of `keras.layers`. */
const convnextModule = 'keras.src.applications.convnext';

export interface LayerScaleOptions extends LayerOptions {
  /** What every factor begins with. */
  readonly initValues: number;
  /** Number of channels. */
  readonly projectionDim: number;
}

const layerScaleOptions = fields({
  ...layerEntries,
  initValues: number,
  projectionDim: wholeNumber(1),
} satisfies Entries<LayerScaleOptions>);

/** `x · γ`, a learned factor for each channel (Touvron et al. 2021). Weights: `variable` (channels,), as Keras names it. */
export class LayerScale extends ConfiguredLayer<OwnOptions<typeof layerScaleOptions>> {
  override readonly kerasModule = convnextModule;

  constructor(options: LayerScaleOptions) {
    super('LayerScale', checked(layerScaleOptions, options, 'layers.layerScale'));
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

const stochasticDepthOptions = fields({
  ...layerEntries,
  dropPathRate: dropRate,
} satisfies Entries<StochasticDepthOptions>);

/** Zeroes whole pictures in a training step and scales the others by 1 / (1 − rate) (Huang et al. 2016); not if frozen. */
export class StochasticDepth extends ConfiguredLayer<{ readonly dropPathRate: number }> {
  override readonly kerasModule = convnextModule;

  constructor(options: StochasticDepthOptions) {
    super('StochasticDepth', checked(stochasticDepthOptions, options, 'layers.stochasticDepth'));
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const { dropPathRate } = this.options;
    if (!context.training || !this.trainable || dropPathRate === 0) return x!;
    const [batch, ...rest] = x!.shape;
    return o.mul(x!, keepMask(context.uniform(this, [batch!, ...rest.map(() => 1)]), dropPathRate));
  }
}
