/**
 * ResNet50, 101 and 152 (He et al. 2015, "Deep Residual Learning for Image Recognition"), as
 * keras.applications.ResNet50: the same layer names, shapes and parameter counts.
 */
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { type Application, application, ending, imagenet, kerasFiles, pooledNames } from './application.ts';

/** Stages: width of the bottleneck, stride of the first block. He et al., table 1. */
const stages = [
  { name: 'conv2', filters: 64, stride: 1 },
  { name: 'conv3', filters: 128, stride: 2 },
  { name: 'conv4', filters: 256, stride: 2 },
  { name: 'conv5', filters: 512, stride: 2 },
] as const;

interface Size {
  readonly layers: 50 | 101 | 152;
  /** Blocks of each stage: the columns of table 1. */
  readonly blocks: readonly [number, number, number, number];
  readonly parameters: number;
  readonly top1: number;
  readonly top5: number;
  readonly md5: readonly [top: string, noTop: string];
}

/** keras.applications.ResNet50 (He et al. 2015). */
export const resnet50 = resnet({
  layers: 50,
  blocks: [3, 4, 6, 3],
  parameters: 25_636_712,
  top1: 0.749,
  top5: 0.921,
  md5: ['2cb95161c43110f7111970584f804107', '4d473c1dd8becc155b73f8504c6f6626'],
});

/** keras.applications.ResNet101 (He et al. 2015). */
export const resnet101 = resnet({
  layers: 101,
  blocks: [3, 4, 23, 3],
  parameters: 44_707_176,
  top1: 0.764,
  top5: 0.928,
  md5: ['f1aeb4b969a6efcfb50fad2f0c20cfc5', '88cf7a10940856eca736dc7b7e228a21'],
});

/** keras.applications.ResNet152 (He et al. 2015). */
export const resnet152 = resnet({
  layers: 152,
  blocks: [3, 8, 36, 3],
  parameters: 60_419_944,
  top1: 0.766,
  top5: 0.931,
  md5: ['100835be76be38e30d865e96f2aaae62', 'ee4c566cf9a93f14d82f913c2dc6dd0c'],
});

function resnet({ layers: count, blocks, parameters, top1, top5, md5 }: Size): Application {
  const name = `resnet${count}`;
  return application({
    record: {
      name,
      title: `ResNet${count}`,
      paper: 'He et al. 2015, https://arxiv.org/abs/1512.03385',
      inputSize: 224,
      minimumSize: 32,
      preprocessing: 'caffe',
      parameters,
      trainedOn: imagenet,
      accuracy: { top1, top5 },
      licence: 'MIT',
      lastStage: 'conv5_block1_1_conv',
      ...kerasFiles(name, 'resnet', md5),
    },
    extra: {},
    extraEntries: {},
    layers: (image, structure) => {
      let x = layers.zeroPadding2d({ padding: 3, name: 'conv1_pad' }).apply(image);
      x = layers.conv2d({ filters: 64, kernelSize: 7, strides: 2, name: 'conv1_conv' }).apply(x);
      x = relu(normalized(x, 'conv1_bn'), 'conv1_relu');
      x = layers.zeroPadding2d({ padding: 1, name: 'pool1_pad' }).apply(x);
      x = layers.maxPooling2d({ poolSize: 3, strides: 2, name: 'pool1_pool' }).apply(x);
      stages.forEach(({ name: stage, filters, stride }, i) => {
        for (let block = 1; block <= blocks[i]!; block++) {
          x = residualBlock(x, `${stage}_block${block}`, filters, block === 1 ? stride : 1, block === 1);
        }
      });
      return ending(x, structure, { names: pooledNames });
    },
  });
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
    const options = { filters: units, kernelSize, strides, padding, name: `${name}_${suffix}_conv` };
    return normalized(layers.conv2d(options).apply(from), `${name}_${suffix}_bn`);
  };
  const shortcut = project ? conv(x, '0', 4 * filters, 1, stride) : x;
  let y = relu(conv(x, '1', filters, 1, stride), `${name}_1_relu`);
  y = relu(conv(y, '2', filters, 3), `${name}_2_relu`);
  y = conv(y, '3', 4 * filters, 1);
  return relu(layers.add({ name: `${name}_add` }).apply([shortcut, y]), `${name}_out`);
}

/** Batch normalization with the epsilon of Keras's ResNets and DenseNets. */
export function normalized(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.batchNormalization({ epsilon: 1.001e-5, name }).apply(x);
}

export function relu(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.activation({ activation: 'relu', name }).apply(x);
}
