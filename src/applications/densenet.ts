/**
 * DenseNet121, 169 and 201 (Huang et al. 2016, "Densely Connected Convolutional Networks"), as
 * keras.applications.DenseNet121: the same layer names, shapes and parameter counts.
 */
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { type Application, application, ending, imagenet, kerasFiles, pooledNames } from './application.ts';
import { normalized, relu } from './resnet.ts';

/** Channels that each layer of a dense block adds (k in the paper). */
const growthRate = 32;

interface Size {
  readonly layers: 121 | 169 | 201;
  /** Layers of each dense block: the columns of table 1. */
  readonly blocks: readonly [number, number, number, number];
  readonly parameters: number;
  readonly top1: number;
  readonly top5: number;
  readonly md5: readonly [top: string, noTop: string];
}

/** keras.applications.DenseNet121 (Huang et al. 2016). */
export const densenet121 = densenet({
  layers: 121,
  blocks: [6, 12, 24, 16],
  parameters: 8_062_504,
  top1: 0.75,
  top5: 0.923,
  md5: ['9d60b8095a5708f2dcce2bca79d332c7', '30ee3e1110167f948a6b9946edeeb738'],
});

/** keras.applications.DenseNet169 (Huang et al. 2016). */
export const densenet169 = densenet({
  layers: 169,
  blocks: [6, 12, 32, 32],
  parameters: 14_307_880,
  top1: 0.762,
  top5: 0.932,
  md5: ['d699b8f76981ab1b30698df4c175e90b', 'b8c4d4c20dd625c148057b9ff1c1176b'],
});

/** keras.applications.DenseNet201 (Huang et al. 2016). */
export const densenet201 = densenet({
  layers: 201,
  blocks: [6, 12, 48, 32],
  parameters: 20_242_984,
  top1: 0.773,
  top5: 0.936,
  md5: ['1ceb130c1ea1b78c3bf6114dbdfd8807', 'c13680b51ded0fb44dff2d8f86ac8bb1'],
});

function densenet({ layers: count, blocks, parameters, top1, top5, md5 }: Size): Application {
  const name = `densenet${count}`;
  return application({
    record: {
      name,
      title: `DenseNet${count}`,
      paper: 'Huang et al. 2016, https://arxiv.org/abs/1608.06993',
      inputSize: 224,
      minimumSize: 32,
      preprocessing: 'torch',
      parameters,
      trainedOn: imagenet,
      accuracy: { top1, top5 },
      licence: 'BSD 3-clause',
      lastStage: 'conv5_block1_0_bn',
      ...kerasFiles(name, 'densenet', md5),
    },
    extra: {},
    extraEntries: {},
    layers: (image, structure) => {
      let x = layers.zeroPadding2d({ padding: 3, name: 'zero_padding2d' }).apply(image);
      const stem = { filters: 64, kernelSize: 7, strides: 2, useBias: false, name: 'conv1_conv' };
      x = relu(normalized(layers.conv2d(stem).apply(x), 'conv1_bn'), 'conv1_relu');
      x = layers.zeroPadding2d({ padding: 1, name: 'zero_padding2d_1' }).apply(x);
      x = layers.maxPooling2d({ poolSize: 3, strides: 2, name: 'pool1' }).apply(x);
      blocks.forEach((length, i) => {
        if (i > 0) x = transition(x, `pool${i + 1}`);
        for (let j = 1; j <= length; j++) x = denseLayer(x, `conv${i + 2}_block${j}`);
      });
      x = relu(normalized(x, 'bn'), 'relu');
      return ending(x, structure, { names: pooledNames });
    },
  });
}

/** 1x1 narrows to 4k channels, 3x3 makes k new ones beside those that came. */
function denseLayer(x: SymbolicTensor, name: string): SymbolicTensor {
  let y = relu(normalized(x, `${name}_0_bn`), `${name}_0_relu`);
  const narrow = { filters: 4 * growthRate, kernelSize: 1, useBias: false, name: `${name}_1_conv` };
  y = relu(normalized(layers.conv2d(narrow).apply(y), `${name}_1_bn`), `${name}_1_relu`);
  const work = {
    filters: growthRate,
    kernelSize: 3,
    padding: 'same',
    useBias: false,
    name: `${name}_2_conv`,
  } as const;
  y = layers.conv2d(work).apply(y);
  return layers.concatenate({ name: `${name}_concat` }).apply([x, y]);
}

/** Half the channels and half the size. */
function transition(x: SymbolicTensor, name: string): SymbolicTensor {
  const active = relu(normalized(x, `${name}_bn`), `${name}_relu`);
  const filters = Math.trunc(x.shape[2]! / 2);
  const y = layers.conv2d({ filters, kernelSize: 1, useBias: false, name: `${name}_conv` }).apply(active);
  return layers.averagePooling2d({ poolSize: 2, strides: 2, name: `${name}_pool` }).apply(y);
}
