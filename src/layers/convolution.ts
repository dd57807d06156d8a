/** Conv2D and DepthwiseConv2D, as keras.layers. Feature maps are channels-last. */
import { checked, type Entries, fields, flag, optional, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { activation, activationSchema } from './activations.ts';
import { type Initializer, type InitializerOption, initializerSchema } from './initializers.ts';
import {
  type CallContext,
  ConfiguredLayer,
  type LayerOptions,
  layerEntries,
  type OwnOptions,
  type VariableSpec,
} from './layer.ts';
import { type Regularizer, regularizerSchema } from './regularizers.ts';
import { type Padding, type PairOption, paddingOf, paddingSchema, pairSchema } from './windows.ts';

/** Options that all convolutions share. */
export interface WindowOptions extends LayerOptions {
  readonly kernelSize: PairOption;
  readonly strides?: PairOption;
  readonly padding?: Padding;
  readonly dilationRate?: PairOption;
  readonly activation?: string;
  readonly useBias?: boolean;
  readonly biasInitializer?: InitializerOption;
  readonly biasRegularizer?: Regularizer | null;
}

export interface Conv2DOptions extends WindowOptions {
  readonly filters: number;
  readonly groups?: number;
  readonly kernelInitializer?: InitializerOption;
  readonly kernelRegularizer?: Regularizer | null;
}

const conv2dOptions = fields({
  ...layerEntries,
  filters: wholeNumber(1),
  kernelSize: pairSchema,
  strides: optional(pairSchema, 1),
  padding: optional(paddingSchema, 'valid'),
  dilationRate: optional(pairSchema, 1),
  groups: optional(wholeNumber(1), 1),
  activation: optional(activationSchema, 'linear'),
  useBias: optional(flag, true),
  kernelInitializer: optional(initializerSchema, 'glorot_uniform'),
  biasInitializer: optional(initializerSchema, 'zeros'),
  kernelRegularizer: optional(regularizerSchema, null),
  biasRegularizer: optional(regularizerSchema, null),
} satisfies Entries<Conv2DOptions>);

/**
 * Two-dimensional convolution (keras.layers.Conv2D).
 *
 * Input (batch, height, width, channels); output (batch, height', width', filters). Weights: `kernel`
 * (height, width, channels / groups, filters) and `bias` (filters,).
 */
export class Conv2D extends ConfiguredLayer<OwnOptions<typeof conv2dOptions>> {
  constructor(options: Conv2DOptions) {
    super('Conv2D', checked(conv2dOptions, options, 'layers.conv2d'));
  }

  protected override specs([shape]: readonly (readonly number[])[]): readonly VariableSpec[] {
    const channels = channelsOf(this.name, shape!);
    const { filters, groups, kernelSize, useBias, kernelInitializer, kernelRegularizer } = this.options;
    const divides = Number.isInteger(groups) && channels % groups === 0 && filters % groups === 0;
    if (!divides) {
      fail(
        'argument',
        `${this.name}: ${channels} channels and ${filters} filters must divide into ${groups} groups.`,
      );
    }
    const kernel = {
      name: 'kernel',
      shape: [...kernelSize, channels / groups, filters],
      initializer: kernelInitializer,
      regularizer: kernelRegularizer,
    };
    return useBias ? [kernel, biasSpec(filters, this.options)] : [kernel];
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const { kernelSize, strides, padding, dilationRate, groups, activation: name } = this.options;
    const [kernel, bias] = this.variables;
    const size = [x!.shape[1]!, x!.shape[2]!] as const;
    const y = o.conv2d(x!, context.weight(kernel!), {
      strides,
      dilations: dilationRate,
      groups,
      pads: paddingOf(padding, size, kernelSize, strides, dilationRate),
    });
    return activation(name)(bias ? o.add(y, context.weight(bias)) : y);
  }
}

export interface DepthwiseConv2DOptions extends WindowOptions {
  readonly depthMultiplier?: number;
  readonly depthwiseInitializer?: InitializerOption;
  readonly depthwiseRegularizer?: Regularizer | null;
}

const depthwiseConv2dOptions = fields({
  ...layerEntries,
  kernelSize: pairSchema,
  strides: optional(pairSchema, 1),
  padding: optional(paddingSchema, 'valid'),
  depthMultiplier: optional(wholeNumber(1), 1),
  dilationRate: optional(pairSchema, 1),
  activation: optional(activationSchema, 'linear'),
  useBias: optional(flag, true),
  depthwiseInitializer: optional(initializerSchema, 'glorot_uniform'),
  biasInitializer: optional(initializerSchema, 'zeros'),
  depthwiseRegularizer: optional(regularizerSchema, null),
  biasRegularizer: optional(regularizerSchema, null),
} satisfies Entries<DepthwiseConv2DOptions>);

type DepthwiseConv2DConfig = OwnOptions<typeof depthwiseConv2dOptions>;

/**
 * Convolution of each channel by itself (keras.layers.DepthwiseConv2D).
 *
 * Output (batch, height', width', channels · depthMultiplier). Weights: `kernel` (height, width, channels,
 * depthMultiplier) and `bias`.
 */
export class DepthwiseConv2D extends ConfiguredLayer<DepthwiseConv2DConfig> {
  constructor(options: DepthwiseConv2DOptions) {
    super('DepthwiseConv2D', checked(depthwiseConv2dOptions, options, 'layers.depthwiseConv2d'));
  }

  protected override specs([shape]: readonly (readonly number[])[]): readonly VariableSpec[] {
    const channels = channelsOf(this.name, shape!);
    const { kernelSize, depthMultiplier, useBias, depthwiseInitializer, depthwiseRegularizer } = this.options;
    const kernel = {
      name: 'kernel',
      shape: [...kernelSize, channels, depthMultiplier],
      initializer: depthwiseInitializer,
      regularizer: depthwiseRegularizer,
    };
    return useBias ? [kernel, biasSpec(channels * depthMultiplier, this.options)] : [kernel];
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    const [kernel, bias] = this.variables;
    const y = depthwise(x!, context.weight(kernel!), this.options);
    return activation(this.options.activation)(bias ? o.add(y, context.weight(bias)) : y);
  }
}

/** Each channel of x by itself; the kernel is (height, width, channels, depthMultiplier). */
export function depthwise(
  x: Node,
  kernel: Node,
  options: Pick<
    DepthwiseConv2DConfig,
    'kernelSize' | 'strides' | 'padding' | 'depthMultiplier' | 'dilationRate'
  >,
): Node {
  const { kernelSize, strides, padding, depthMultiplier, dilationRate } = options;
  const channels = x.shape[3]!;
  const size = [x.shape[1]!, x.shape[2]!] as const;
  // Keras orders output channels as channel · multiplier + m, which is the grouped kernel's order.
  const grouped = o.reshape(kernel, [...kernelSize, 1, channels * depthMultiplier]);
  return o.conv2d(x, grouped, {
    strides,
    dilations: dilationRate,
    groups: channels,
    pads: paddingOf(padding, size, kernelSize, strides, dilationRate),
  });
}

export function biasSpec(
  size: number,
  options: { biasInitializer: Initializer; biasRegularizer: Regularizer | null },
): VariableSpec {
  return {
    name: 'bias',
    shape: [size],
    initializer: options.biasInitializer,
    regularizer: options.biasRegularizer,
  };
}

/** Throws `shape` for inputs that are no feature maps. */
export function channelsOf(layer: string, shape: readonly number[]): number {
  if (shape.length !== 3) {
    fail(
      'shape',
      `${layer} needs feature maps (height, width, channels), got inputs of shape [${shape.join(', ')}].`,
    );
  }
  return shape[2]!;
}
