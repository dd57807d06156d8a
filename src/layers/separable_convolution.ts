/** SeparableConv2D, as keras.layers: a depthwise convolution, then a 1x1 convolution that mixes the channels. */
import { checked, type Entries, fields, flag, optional, wholeNumber } from '../core/checked.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { activation, activationSchema } from './activations.ts';
import { biasSpec, channelsOf, depthwise, type WindowOptions } from './convolution.ts';
import { type InitializerOption, initializerSchema } from './initializers.ts';
import {
  type CallContext,
  ConfiguredLayer,
  layerEntries,
  type OwnOptions,
  type VariableSpec,
} from './layer.ts';
import { type Regularizer, regularizerSchema } from './regularizers.ts';
import { paddingSchema, pairSchema } from './windows.ts';

export interface SeparableConv2DOptions extends WindowOptions {
  readonly filters: number;
  readonly depthMultiplier?: number;
  readonly depthwiseInitializer?: InitializerOption;
  readonly pointwiseInitializer?: InitializerOption;
  readonly depthwiseRegularizer?: Regularizer | null;
  readonly pointwiseRegularizer?: Regularizer | null;
}

const separableConv2dOptions = fields({
  ...layerEntries,
  filters: wholeNumber(1),
  kernelSize: pairSchema,
  strides: optional(pairSchema, 1),
  padding: optional(paddingSchema, 'valid'),
  depthMultiplier: optional(wholeNumber(1), 1),
  dilationRate: optional(pairSchema, 1),
  activation: optional(activationSchema, 'linear'),
  useBias: optional(flag, true),
  depthwiseInitializer: optional(initializerSchema, 'glorot_uniform'),
  pointwiseInitializer: optional(initializerSchema, 'glorot_uniform'),
  biasInitializer: optional(initializerSchema, 'zeros'),
  depthwiseRegularizer: optional(regularizerSchema, null),
  pointwiseRegularizer: optional(regularizerSchema, null),
  biasRegularizer: optional(regularizerSchema, null),
} satisfies Entries<SeparableConv2DOptions>);

/**
 * keras.layers.SeparableConv2D (Chollet 2017).
 *
 * Input (batch, height, width, channels); output (batch, height', width', filters). Weights: `depthwise_kernel`
 * (height, width, channels, depthMultiplier), `pointwise_kernel` (1, 1, channels · depthMultiplier, filters) and
 * `bias` (filters,). Nothing stands between the two convolutions.
 */
export class SeparableConv2D extends ConfiguredLayer<OwnOptions<typeof separableConv2dOptions>> {
  constructor(options: SeparableConv2DOptions) {
    super('SeparableConv2D', checked(separableConv2dOptions, options, 'layers.separableConv2d'));
  }

  protected override specs([shape]: readonly (readonly number[])[]): readonly VariableSpec[] {
    const channels = channelsOf(this.name, shape!);
    const { filters, kernelSize, depthMultiplier, useBias } = this.options;
    const kernels = [
      {
        name: 'depthwise_kernel',
        shape: [...kernelSize, channels, depthMultiplier],
        initializer: this.options.depthwiseInitializer,
        regularizer: this.options.depthwiseRegularizer,
      },
      {
        name: 'pointwise_kernel',
        shape: [1, 1, channels * depthMultiplier, filters],
        initializer: this.options.pointwiseInitializer,
        regularizer: this.options.pointwiseRegularizer,
      },
    ];
    return useBias ? [...kernels, biasSpec(filters, this.options)] : kernels;
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const [depthwiseKernel, pointwiseKernel, bias] = this.variables;
    const separate = depthwise(x!, context.weight(depthwiseKernel!), this.options);
    const y = o.conv2d(separate, context.weight(pointwiseKernel!), {
      strides: [1, 1],
      dilations: [1, 1],
      groups: 1,
      pads: [0, 0, 0, 0],
    });
    return activation(this.options.activation)(bias ? o.add(y, context.weight(bias)) : y);
  }
}
