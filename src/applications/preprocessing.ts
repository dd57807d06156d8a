/**
 * What networks expect of pictures: Keras's three conventions (keras.applications.imagenet_utils), as a layer and as a
 * function.
 */
import { checked, oneOf } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { float32, formatShape, type Tensor } from '../core/tensor.ts';
import * as layers from '../layers/index.ts';
import type { Layer } from '../layers/layer.ts';

/** `caffe`: blue, green, red without their means; `tf`: −1 … 1; `torch`: ImageNet’s mean and deviation. */
export type PreprocessingMode = 'caffe' | 'tf' | 'torch';

/** Blue, green, red of ImageNet's mean picture. */
const caffeMean = [103.939, 116.779, 123.68] as const;
/** Red, green, blue, in shares of 255. */
const torchMean = [0.485, 0.456, 0.406] as const;
const torchDeviation = [0.229, 0.224, 0.225] as const;

/**
 * RGB pictures of 0 … 255 to what a network expects, as one layer that every Keras loads without custom code:
 *
 * - `caffe`: RGB to BGR, minus 103.939, 116.779, 123.68 — a frozen 1x1 convolution, exact in float32
 * - `tf`: x / 127.5 − 1
 * - `torch`: (x / 255 − mean) / deviation of ImageNet
 */
export function preprocessing(mode: PreprocessingMode): Layer {
  checked(oneOf('caffe', 'tf', 'torch'), mode, 'applications.preprocessing(mode)');
  const name = `${mode}_preprocessing`;
  if (mode === 'tf') return layers.rescaling({ scale: 1 / 127.5, offset: -1, name });
  if (mode === 'torch') {
    return layers.rescaling({
      scale: torchDeviation.map((value) => 1 / (255 * value)),
      offset: torchMean.map((value, i) => -value / torchDeviation[i]!),
      name,
    });
  }
  return perPixel(
    name,
    [0, 0, 1, 0, 1, 0, 1, 0, 0],
    Array.from(caffeMean, (value) => -value),
  );
}

/** Luma of red, green and blue (ITU-R BT.601), as Pillow converts to `L`. */
const luma = [0.299, 0.587, 0.114] as const;

/** RGB images to grey ones of one channel, as a frozen 1x1 convolution that every Keras loads. */
export function grey(): Layer {
  return perPixel('grey_preprocessing', luma, [0]);
}

/** A frozen 1x1 convolution of three channels to as many as `bias` has; `kernel` is (3, filters). */
function perPixel(name: string, kernel: readonly number[], bias: readonly number[]): Layer {
  const layer = layers.conv2d({ filters: bias.length, kernelSize: 1, trainable: false, name });
  layer.apply(layers.input({ shape: [1, 1, 3], name: `${name}_shape` }));
  layer.calls.length = 0;
  layer.variables[0]!.assign(Float32Array.from(kernel));
  layer.variables[1]!.assign(Float32Array.from(bias));
  return layer;
}

/**
 * The same as a function, for models that do not carry it: pictures (…, height, width, 3), RGB of 0 … 255, to what
 * networks of this mode take. Throws `shape` for pictures without three channels.
 */
export function preprocessInput(
  pictures: Tensor<'uint8' | 'float32'>,
  mode: PreprocessingMode,
): Tensor<'float32'> {
  const { shape, data } = pictures;
  if (shape.at(-1) !== 3) {
    fail('shape', `preprocessInput takes RGB pictures (…, height, width, 3), got ${formatShape(shape)}.`);
  }
  const values = Float32Array.from(data, (value, i) => {
    const channel = (i % 3) as 0 | 1 | 2;
    if (mode === 'tf') return value / 127.5 - 1;
    if (mode === 'torch') return (value / 255 - torchMean[channel]) / torchDeviation[channel];
    return data[i + 2 - 2 * channel]! - caffeMean[channel];
  });
  return float32(shape, values);
}
