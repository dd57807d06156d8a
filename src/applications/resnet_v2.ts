/**
 * ResNet50V2 (He et al. 2016, "Identity Mappings in Deep Residual Networks"), as keras.applications.ResNet50V2: the same
 * layer names, shapes and parameter counts. Normalization and ReLU stand before the convolutions, so that the shortcut
 * is untouched from block to block.
 */
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { application, automaticNaming, ending, imagenet, kerasFiles, pooledNames } from './application.ts';
import { normalized, relu } from './resnet.ts';

/** Stages: width of the bottleneck, blocks, stride of the last block. */
const stages = [
  { name: 'conv2', filters: 64, blocks: 3, stride: 2 },
  { name: 'conv3', filters: 128, blocks: 4, stride: 2 },
  { name: 'conv4', filters: 256, blocks: 6, stride: 2 },
  { name: 'conv5', filters: 512, blocks: 3, stride: 1 },
] as const;

/** keras.applications.ResNet50V2 (He et al. 2016). */
export const resnet50V2 = application({
  record: {
    name: 'resnet50v2',
    title: 'ResNet50V2',
    paper: 'He et al. 2016, https://arxiv.org/abs/1603.05027',
    inputSize: 224,
    minimumSize: 32,
    preprocessing: 'tf',
    parameters: 25_613_800,
    trainedOn: imagenet,
    accuracy: { top1: 0.76, top5: 0.93 },
    licence: 'BSD',
    lastStage: 'conv5_block1_preact_bn',
    ...kerasFiles('resnet50v2', 'resnet', [
      '3ef43a0b657b3be2300d5770ece849e0',
      'fac2f116257151a9d068a22e544a4917',
    ]),
  },
  extra: {},
  extraEntries: {},
  layers: (image, structure) => {
    const automatic = automaticNaming();
    let x = layers.zeroPadding2d({ padding: 3, name: 'conv1_pad' }).apply(image);
    x = layers.conv2d({ filters: 64, kernelSize: 7, strides: 2, name: 'conv1_conv' }).apply(x);
    x = layers.zeroPadding2d({ padding: 1, name: 'pool1_pad' }).apply(x);
    x = layers.maxPooling2d({ poolSize: 3, strides: 2, name: 'pool1_pool' }).apply(x);
    for (const { name, filters, blocks, stride } of stages) {
      for (let block = 1; block <= blocks; block++) {
        const kind = block === 1 ? 'project' : 'keep';
        x = preactivatedBlock(
          x,
          `${name}_block${block}`,
          filters,
          block === blocks ? stride : 1,
          kind,
          automatic,
        );
      }
    }
    x = relu(normalized(x, 'post_bn'), 'post_relu');
    return ending(x, structure, { names: pooledNames });
  },
});

/** Normalization and ReLU, then 1x1, 3x3, 1x1 as in the first ResNet (He et al. 2016, figure 4e). */
function preactivatedBlock(
  x: SymbolicTensor,
  name: string,
  filters: number,
  strides: number,
  shortcutKind: 'project' | 'keep',
  automatic: (base: string) => string,
): SymbolicTensor {
  const active = relu(normalized(x, `${name}_preact_bn`), `${name}_preact_relu`);
  let shortcut = x;
  if (shortcutKind === 'project') {
    shortcut = layers
      .conv2d({ filters: 4 * filters, kernelSize: 1, strides, name: `${name}_0_conv` })
      .apply(active);
  } else if (strides > 1) {
    shortcut = layers.maxPooling2d({ poolSize: 1, strides, name: automatic('max_pooling2d') }).apply(x);
  }
  const narrow = { filters, kernelSize: 1, useBias: false, name: `${name}_1_conv` };
  let y = layers.conv2d(narrow).apply(active);
  y = relu(normalized(y, `${name}_1_bn`), `${name}_1_relu`);
  y = layers.zeroPadding2d({ padding: 1, name: `${name}_2_pad` }).apply(y);
  const work = { filters, kernelSize: 3, strides, useBias: false, name: `${name}_2_conv` };
  y = layers.conv2d(work).apply(y);
  y = relu(normalized(y, `${name}_2_bn`), `${name}_2_relu`);
  y = layers.conv2d({ filters: 4 * filters, kernelSize: 1, name: `${name}_3_conv` }).apply(y);
  return layers.add({ name: `${name}_out` }).apply([shortcut, y]);
}
