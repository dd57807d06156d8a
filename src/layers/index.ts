/**
 * The layers, as functions with Keras's names in camelCase, and the table from Keras class names to them.
 */
import { fail, GraftError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { lookUp } from '../core/records.ts';
import * as activationLayers from './activation_layers.ts';
import { activationFromKeras } from './activations.ts';
import { augmentationTypes } from './augmentation/index.ts';
import * as convnext from './convnext.ts';
import * as convolution from './convolution.ts';
import { Dense, type DenseOptions } from './dense.ts';
import { type InitializerOption, initializerFromKeras } from './initializers.ts';
import { InputLayer, input } from './input.ts';
import type { Layer, LayerOptions } from './layer.ts';
import * as merging from './merging.ts';
import * as normalizations from './normalization.ts';
import { OnnxBackbone } from './onnx_backbone.ts';
import * as pooling from './pooling.ts';
import * as preprocessing from './preprocessing.ts';
import { regularizerFromKeras } from './regularizers.ts';
import * as reshaping from './reshaping.ts';
import { SeparableConv2D, type SeparableConv2DOptions } from './separable_convolution.ts';
import { checkDType, optionsFromConfig } from './serialization.ts';

export * from './augmentation/index.ts';
export { input };

/**
 * A convolution of (batch, height, width, channels) with kernels (height, width, channels / groups, filters)
 * (keras.layers.Conv2D).
 */
export const conv2d = (options: convolution.Conv2DOptions): Layer => new convolution.Conv2D(options);
/** A convolution of each channel by itself (keras.layers.DepthwiseConv2D). */
export const depthwiseConv2d = (options: convolution.DepthwiseConv2DOptions): Layer =>
  new convolution.DepthwiseConv2D(options);
/** A depthwise convolution, then a 1x1 convolution (keras.layers.SeparableConv2D). */
export const separableConv2d = (options: SeparableConv2DOptions): Layer => new SeparableConv2D(options);
/** `x · kernel + bias` over the last axis, then an activation (keras.layers.Dense). */
export const dense = (options: DenseOptions): Layer => new Dense(options);
/**
 * Normalizes each channel by the batch in training, by moving averages otherwise and while it is frozen
 * (keras.layers.BatchNormalization, Ioffe & Szegedy 2015).
 */
export const batchNormalization = (options: normalizations.BatchNormalizationOptions = {}): Layer =>
  new normalizations.BatchNormalization(options);
/** Normalizes each example over some axes, by default the last (keras.layers.LayerNormalization, Ba et al. 2016). */
export const layerNormalization = (options: normalizations.LayerNormalizationOptions = {}): Layer =>
  new normalizations.LayerNormalization(options);
/** Any activation by its name, such as `softmax` (keras.layers.Activation). */
export const activation = (options: activationLayers.ActivationOptions): Layer =>
  new activationLayers.Activation(options);
/** `max(x, 0)`, or with a slope below, a threshold or a cap (keras.layers.ReLU). */
export const relu = (options: activationLayers.ReLUOptions = {}): Layer => new activationLayers.ReLU(options);
/**
 * In training sets a share of values to zero and scales the others up; passes everything otherwise
 * (keras.layers.Dropout).
 */
export const dropout = (options: activationLayers.DropoutOptions): Layer =>
  new activationLayers.Dropout(options);
/** (batch, ...) to (batch, values), in row-major order (keras.layers.Flatten). */
export const flatten = (options: LayerOptions = {}): Layer => new reshaping.Flatten(options);
/** The values of each example in another shape (keras.layers.Reshape). */
export const reshape = (options: reshaping.ReshapeOptions): Layer => new reshaping.Reshape(options);
/** Rows and columns of zeros around maps, 1 at each side by default (keras.layers.ZeroPadding2D). */
export const zeroPadding2d = (options: reshaping.ZeroPadding2DOptions = {}): Layer =>
  new reshaping.ZeroPadding2D(options);
/** Repeats rows and columns, or interpolates between them (keras.layers.UpSampling2D). */
export const upSampling2d = (options: reshaping.UpSampling2DOptions = {}): Layer =>
  new reshaping.UpSampling2D(options);
/** The sum of its inputs, which broadcast (keras.layers.Add). */
export const add = (options: LayerOptions = {}): Layer => new merging.Add(options);
/** The product of its inputs, which broadcast (keras.layers.Multiply). */
export const multiply = (options: LayerOptions = {}): Layer => new merging.Multiply(options);
/** Its inputs one after the other along an axis, by default the last (keras.layers.Concatenate). */
export const concatenate = (options: merging.ConcatenateOptions = {}): Layer =>
  new merging.Concatenate(options);
/** The largest value of each window, 2x2 by default (keras.layers.MaxPooling2D). */
export const maxPooling2d = (options: pooling.PoolingOptions = {}): Layer =>
  new pooling.MaxPooling2D(options);
/** The mean of each window, 2x2 by default; padding does not count (keras.layers.AveragePooling2D). */
export const averagePooling2d = (options: pooling.PoolingOptions = {}): Layer =>
  new pooling.AveragePooling2D(options);
/**
 * (batch, height, width, channels) to (batch, channels): the mean of each map (keras.layers.GlobalAveragePooling2D).
 */
export const globalAveragePooling2d = (options: pooling.GlobalPoolingOptions = {}): Layer =>
  new pooling.GlobalAveragePooling2D(options);
/**
 * (batch, height, width, channels) to (batch, channels): the largest value of each map
 * (keras.layers.GlobalMaxPooling2D).
 */
export const globalMaxPooling2d = (options: pooling.GlobalPoolingOptions = {}): Layer =>
  new pooling.GlobalMaxPooling2D(options);
/** Pictures of another size, by bilinear interpolation unless told otherwise (keras.layers.Resizing). */
export const resizing = (options: preprocessing.ResizingOptions): Layer =>
  new preprocessing.Resizing(options);
/** `x · scale + offset` (keras.layers.Rescaling). */
export const rescaling = (options: preprocessing.RescalingOptions): Layer =>
  new preprocessing.Rescaling(options);
/** `(x − mean) / √variance` with numbers that are given or come from a file (keras.layers.Normalization). */
export const normalization = (options: preprocessing.NormalizationOptions = {}): Layer =>
  new preprocessing.Normalization(options);
/** Each channel times a weight that begins small (ConvNeXt; Touvron et al. 2021). */
export const layerScale = (options: convnext.LayerScaleOptions): Layer => new convnext.LayerScale(options);
/** In training drops whole examples of a branch; passes everything otherwise (ConvNeXt; Huang et al. 2016). */
export const stochasticDepth = (options: convnext.StochasticDepthOptions): Layer =>
  new convnext.StochasticDepth(options);

/** How to make a layer from Keras's config: its options' names and its constructor. */
interface LayerType {
  readonly options: readonly string[];
  /** What Keras 2 writes because the class inherits it, and never uses. */
  readonly unused?: readonly string[];
  make(options: never): Layer;
}

const window = ['kernelSize', 'strides', 'padding', 'dilationRate', 'activation', 'useBias'];
const bias = ['biasInitializer', 'biasRegularizer'];
const kernel = ['kernelInitializer', 'kernelRegularizer'];
const poolingOptions = ['poolSize', 'strides', 'padding'];

/**
 * Every layer class that Graft reads and writes, by Keras's class name.
 *
 * @internal
 */
export const layerTypes: Readonly<Record<string, LayerType>> = {
  InputLayer: { options: ['batchShape', 'batchInputShape', 'shape'], make: InputLayer.fromConfig },
  Conv2D: { options: ['filters', 'groups', ...window, ...kernel, ...bias], make: conv2d },
  DepthwiseConv2D: {
    options: ['depthMultiplier', ...window, 'depthwiseInitializer', 'depthwiseRegularizer', ...bias],
    make: depthwiseConv2d,
  },
  SeparableConv2D: {
    options: [
      ...['filters', 'depthMultiplier', ...window, 'depthwiseInitializer', 'depthwiseRegularizer'],
      ...['pointwiseInitializer', 'pointwiseRegularizer', ...bias],
    ],
    unused: ['kernel_initializer', 'kernel_regularizer', 'kernel_constraint'],
    make: separableConv2d,
  },
  Dense: { options: ['units', 'activation', 'useBias', ...kernel, ...bias], make: dense },
  BatchNormalization: {
    options: [
      ...['axis', 'momentum', 'epsilon', 'center', 'scale'],
      ...['betaInitializer', 'gammaInitializer', 'movingMeanInitializer', 'movingVarianceInitializer'],
      ...['betaRegularizer', 'gammaRegularizer'],
    ],
    make: batchNormalization,
  },
  LayerNormalization: {
    options: [
      ...['axis', 'epsilon', 'center', 'scale', 'betaInitializer', 'gammaInitializer'],
      ...['betaRegularizer', 'gammaRegularizer'],
    ],
    make: layerNormalization,
  },
  Activation: { options: ['activation'], make: activation },
  ReLU: { options: ['maxValue', 'negativeSlope', 'threshold'], make: relu },
  Dropout: { options: ['rate', 'noiseShape'], make: dropout },
  Flatten: { options: [], make: flatten },
  Reshape: { options: ['targetShape'], make: reshape },
  ZeroPadding2D: { options: ['padding'], make: zeroPadding2d },
  UpSampling2D: { options: ['size', 'interpolation'], make: upSampling2d },
  Add: { options: [], make: add },
  Multiply: { options: [], make: multiply },
  Concatenate: { options: ['axis'], make: concatenate },
  MaxPooling2D: { options: poolingOptions, make: maxPooling2d },
  AveragePooling2D: { options: poolingOptions, make: averagePooling2d },
  GlobalAveragePooling2D: { options: ['keepdims'], make: globalAveragePooling2d },
  GlobalMaxPooling2D: { options: ['keepdims'], make: globalMaxPooling2d },
  Resizing: { options: ['height', 'width', 'interpolation'], make: resizing },
  Rescaling: { options: ['scale', 'offset'], make: rescaling },
  Normalization: { options: ['axis', 'mean', 'variance'], make: normalization },
  LayerScale: { options: ['initValues', 'projectionDim'], make: layerScale },
  StochasticDepth: { options: ['dropPathRate'], make: stochasticDepth },
  OnnxBackbone: {
    options: ['file', 'sha256', 'inputShape', 'outputShape'],
    make: OnnxBackbone.fromConfig,
  },
  ...augmentationTypes,
};

/** Options whose values are objects in Keras's files. */
const readers: Readonly<Record<string, (value: unknown, keras: 2 | 3) => unknown>> = {
  activation: activationFromKeras,
  kernelInitializer: initializerFromKeras,
  biasInitializer: initializerFromKeras,
  depthwiseInitializer: initializerFromKeras,
  pointwiseInitializer: initializerFromKeras,
  betaInitializer: initializerFromKeras,
  gammaInitializer: initializerFromKeras,
  movingMeanInitializer: initializerFromKeras,
  movingVarianceInitializer: initializerFromKeras,
  kernelRegularizer: regularizerFromKeras,
  biasRegularizer: regularizerFromKeras,
  depthwiseRegularizer: regularizerFromKeras,
  pointwiseRegularizer: regularizerFromKeras,
  betaRegularizer: regularizerFromKeras,
  gammaRegularizer: regularizerFromKeras,
};

/**
 * Makes a layer from what Keras writes: class name and config, with the meanings of that version of Keras. Code in a
 * file is never run: an unknown class (a Lambda, a custom layer) throws `unsupported` with its name.
 */
export function layerFromKeras(
  className: string,
  config: Readonly<Record<string, unknown>>,
  keras: 2 | 3 = 3,
): Layer {
  const name = String(config['name'] ?? className);
  const type = lookUp(layerTypes, className);
  if (type === undefined) {
    const meant = nearest(className, Object.keys(layerTypes));
    const hint =
      className === 'Lambda'
        ? ' A Lambda layer carries code; Resizing, Rescaling and arithmetic on tensors do not.'
        : meant === null
          ? ''
          : ` The nearest that it has is ${meant}.`;
    fail(
      'unsupported',
      `Layer ${name} is of class ${className}, which Graft does not have.${hint} docs/formats.md lists its layers.`,
    );
  }
  // The dtype of an input is that of the pictures, which Graft takes as they come.
  if (className !== 'InputLayer') checkDType(`Layer ${name} (${className})`, config['dtype']);
  const used = Object.fromEntries(Object.entries(config).filter(([key]) => !type.unused?.includes(key)));
  const options = optionsFromConfig(`Layer ${name} (${className})`, used, type.options);
  try {
    for (const [key, read] of Object.entries(readers)) {
      if (key in options) options[key] = read(options[key], keras);
    }
    return type.make({ ...options, name, trainable: config['trainable'] !== false } as never);
  } catch (error) {
    // An initializer does not know whose it is.
    if (!(error instanceof GraftError)) throw error;
    // Here no caller is to blame.
    const code = error.code === 'argument' ? 'file' : error.code;
    return fail(code, `Layer ${name} (${className}): ${error.message}`, error);
  }
}

export type { InitializerOption, Layer };
