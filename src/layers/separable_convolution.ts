/** SeparableConv2D, as keras.layers: a depthwise convolution, then a 1x1 convolution that mixes the channels. */
import type { Node, Pair } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { activation } from './activations.ts';
import { biasSpec, channelsOf, depthwise, type WindowOptions } from './convolution.ts';
import { type Initializer, type InitializerOption, initializer } from './initializers.ts';
import { type CallContext, ConfiguredLayer, type VariableSpec } from './layer.ts';
import type { Regularizer } from './regularizers.ts';
import { checkPadding, type Padding, pair } from './windows.ts';

export interface SeparableConv2DOptions extends WindowOptions {
  readonly filters: number;
  readonly depthMultiplier?: number;
  readonly depthwiseInitializer?: InitializerOption;
  readonly pointwiseInitializer?: InitializerOption;
  readonly depthwiseRegularizer?: Regularizer | null;
  readonly pointwiseRegularizer?: Regularizer | null;
}

interface SeparableConv2DConfig {
  readonly filters: number;
  readonly kernelSize: Pair;
  readonly strides: Pair;
  readonly padding: Padding;
  readonly depthMultiplier: number;
  readonly dilationRate: Pair;
  readonly activation: string;
  readonly useBias: boolean;
  readonly depthwiseInitializer: Initializer;
  readonly pointwiseInitializer: Initializer;
  readonly biasInitializer: Initializer;
  readonly depthwiseRegularizer: Regularizer | null;
  readonly pointwiseRegularizer: Regularizer | null;
  readonly biasRegularizer: Regularizer | null;
}

/**
 * keras.layers.SeparableConv2D (Chollet 2017).
 *
 * Input (batch, height, width, channels); output (batch, height', width', filters). Weights: `depthwise_kernel`
 * (height, width, channels, depthMultiplier), `pointwise_kernel` (1, 1, channels · depthMultiplier, filters) and
 * `bias` (filters,). Nothing stands between the two convolutions.
 */
export class SeparableConv2D extends ConfiguredLayer<SeparableConv2DConfig> {
  constructor(options: SeparableConv2DOptions) {
    super(
      'SeparableConv2D',
      {
        filters: options.filters,
        kernelSize: pair('kernelSize', options.kernelSize),
        strides: pair('strides', options.strides ?? 1),
        padding: checkPadding('SeparableConv2D', options.padding ?? 'valid'),
        depthMultiplier: options.depthMultiplier ?? 1,
        dilationRate: pair('dilationRate', options.dilationRate ?? 1),
        activation: options.activation ?? 'linear',
        useBias: options.useBias ?? true,
        depthwiseInitializer: initializer(options.depthwiseInitializer ?? 'glorot_uniform'),
        pointwiseInitializer: initializer(options.pointwiseInitializer ?? 'glorot_uniform'),
        biasInitializer: initializer(options.biasInitializer ?? 'zeros'),
        depthwiseRegularizer: options.depthwiseRegularizer ?? null,
        pointwiseRegularizer: options.pointwiseRegularizer ?? null,
        biasRegularizer: options.biasRegularizer ?? null,
      },
      options,
    );
    activation(this.options.activation);
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
