/**
 * ResNet50 (He et al. 2015, "Deep Residual Learning for Image Recognition"), as keras.applications.ResNet50: the
 * same layer names, shapes and parameter counts.
 */
import { fail } from '../core/errors.ts';
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { model } from '../training/build.ts';
import type { Model } from '../training/model.ts';
import { loadPretrained, type PretrainedOptions, type PretrainedRecord } from './pretrained.node.ts';

export interface ResNet50Options extends PretrainedOptions {
  /**
   * `imagenet` for the published weights, a file of weights (Keras `.h5`, or `.safetensors` with Keras's names),
   * or `null` for random ones. Defaults to `imagenet`.
   */
  readonly weights?: 'imagenet' | (string & {}) | null;
  /** With the classifier of 1000 classes. Defaults to true, as in Keras. */
  readonly includeTop?: boolean;
  /** Height, width and 3 channels; at least 32. Defaults to (224, 224, 3), which the classifier needs. */
  readonly inputShape?: readonly [number, number, number];
  /** What follows the last feature map if there is no classifier. */
  readonly pooling?: 'avg' | 'max' | null;
  readonly classes?: number;
}

/** Where Keras's ImageNet weights are, and what they expect. MD5 is the checksum that Keras publishes. */
export const resnet50Record: PretrainedRecord = {
  name: 'resnet50',
  preprocessing: 'caffe',
  licence: 'MIT',
  noTop: {
    id: 'resnet50/imagenet/no-top',
    url: 'https://storage.googleapis.com/tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5',
    file: 'resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5',
    md5: '4d473c1dd8becc155b73f8504c6f6626',
  },
  top: {
    id: 'resnet50/imagenet/top',
    url: 'https://storage.googleapis.com/tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5',
    file: 'resnet50_weights_tf_dim_ordering_tf_kernels.h5',
    md5: '2cb95161c43110f7111970584f804107',
  },
};

/** Stages: width of the bottleneck, blocks, stride of the first. He et al., table 1. */
const stages = [
  { name: 'conv2', filters: 64, blocks: 3, stride: 1 },
  { name: 'conv3', filters: 128, blocks: 4, stride: 2 },
  { name: 'conv4', filters: 256, blocks: 6, stride: 2 },
  { name: 'conv5', filters: 512, blocks: 3, stride: 2 },
] as const;

/** Builds the model and gives it its weights. Throws `argument` for shapes that do not fit. */
export async function resnet50(options: ResNet50Options = {}): Promise<Model> {
  const {
    weights = 'imagenet',
    includeTop = true,
    inputShape = [224, 224, 3],
    pooling = null,
    classes = 1000,
  } = options;
  const [height, width, channels] = inputShape;
  if (height < 32 || width < 32 || channels !== 3) {
    fail('argument', `resnet50 takes pictures of at least (32, 32, 3), got (${inputShape.join(', ')}).`);
  }
  if (includeTop && weights === 'imagenet' && (classes !== 1000 || height !== 224 || width !== 224)) {
    fail(
      'argument',
      'The ImageNet classifier has 1000 classes and takes (224, 224, 3); use includeTop: false for others.',
    );
  }
  const image = layers.input({ shape: inputShape, name: 'input_layer' });
  let x = layers.zeroPadding2d({ padding: 3, name: 'conv1_pad' }).apply(image);
  x = layers.conv2d({ filters: 64, kernelSize: 7, strides: 2, name: 'conv1_conv' }).apply(x);
  x = normalized(x, 'conv1_bn');
  x = layers.activation({ activation: 'relu', name: 'conv1_relu' }).apply(x);
  x = layers.zeroPadding2d({ padding: 1, name: 'pool1_pad' }).apply(x);
  x = layers.maxPooling2d({ poolSize: 3, strides: 2, name: 'pool1_pool' }).apply(x);
  for (const { name, filters, blocks, stride } of stages) {
    for (let block = 1; block <= blocks; block++) {
      x = residualBlock(x, `${name}_block${block}`, filters, block === 1 ? stride : 1, block === 1);
    }
  }
  if (includeTop) {
    x = layers.globalAveragePooling2d({ name: 'avg_pool' }).apply(x);
    x = layers.dense({ units: classes, activation: 'softmax', name: 'predictions' }).apply(x);
  } else if (pooling === 'avg') x = layers.globalAveragePooling2d({ name: 'avg_pool' }).apply(x);
  else if (pooling === 'max') x = layers.globalMaxPooling2d({ name: 'max_pool' }).apply(x);

  const network = model({ inputs: image, outputs: x, name: 'resnet50' });
  await loadPretrained(network, resnet50Record, { ...options, weights, includeTop });
  return network;
}

/** 1x1 narrows, 3x3 works, 1x1 widens by four; a shortcut goes around (He et al., figure 5). */
function residualBlock(
  x: SymbolicTensor,
  name: string,
  filters: number,
  stride: number,
  project: boolean,
): SymbolicTensor {
  const conv = (from: SymbolicTensor, suffix: string, units: number, kernelSize: number, strides = 1) => {
    const padding = kernelSize === 1 ? ('valid' as const) : ('same' as const);
    const layer = layers.conv2d({
      filters: units,
      kernelSize,
      strides,
      padding,
      name: `${name}_${suffix}_conv`,
    });
    return normalized(layer.apply(from), `${name}_${suffix}_bn`);
  };
  const relu = (from: SymbolicTensor, suffix: string) =>
    layers.activation({ activation: 'relu', name: `${name}_${suffix}` }).apply(from);
  const shortcut = project ? conv(x, '0', 4 * filters, 1, stride) : x;
  let y = relu(conv(x, '1', filters, 1, stride), '1_relu');
  y = relu(conv(y, '2', filters, 3), '2_relu');
  y = conv(y, '3', 4 * filters, 1);
  return relu(layers.add({ name: `${name}_add` }).apply([shortcut, y]), 'out');
}

function normalized(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.batchNormalization({ epsilon: 1.001e-5, name }).apply(x);
}
