/**
 * VGG16 and VGG19 (Simonyan & Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition"),
 * as keras.applications.VGG16: the same layer names, shapes and parameter counts.
 */
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import {
  application,
  automaticNames,
  classifier,
  imagenet,
  kerasFiles,
  pooled,
  type Structure,
} from './application.ts';

interface Block {
  readonly convolutions: number;
  readonly filters: number;
}

/** Table 1 of the paper, columns D and E: 3x3 convolutions, then 2x2 max pooling. */
const columnD: readonly Block[] = [
  { convolutions: 2, filters: 64 },
  { convolutions: 2, filters: 128 },
  { convolutions: 3, filters: 256 },
  { convolutions: 3, filters: 512 },
  { convolutions: 3, filters: 512 },
];
const columnE: readonly Block[] = [
  { convolutions: 2, filters: 64 },
  { convolutions: 2, filters: 128 },
  { convolutions: 4, filters: 256 },
  { convolutions: 4, filters: 512 },
  { convolutions: 4, filters: 512 },
];

const common = {
  paper: 'Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556',
  inputSize: 224,
  minimumSize: 32,
  preprocessing: 'caffe',
  licence: 'CC BY 4.0',
  lastStage: 'block5_conv1',
} as const;

/** keras.applications.VGG16 (Simonyan & Zisserman 2014). */
export const vgg16 = application({
  record: {
    ...common,
    name: 'vgg16',
    title: 'VGG16',
    parameters: 138_357_544,
    trainedOn: imagenet,
    accuracy: { top1: 0.713, top5: 0.901 },
    ...kerasFiles('vgg16', 'vgg16', ['64373286793e3c8b2b4e3219cbf3544b', '6d6bbae143d832006294945121d1f1fc']),
  },
  extra: {},
  extraEntries: {},
  layers: (image, structure) => vgg(image, columnD, structure),
});

/** keras.applications.VGG19 (Simonyan & Zisserman 2014). */
export const vgg19 = application({
  record: {
    ...common,
    name: 'vgg19',
    title: 'VGG19',
    parameters: 143_667_240,
    trainedOn: imagenet,
    accuracy: { top1: 0.713, top5: 0.9 },
    ...kerasFiles('vgg19', 'vgg19', ['cbe5617147190e668d6c5d5026f83318', '253f8cb515780f3b799900260a226db6']),
  },
  extra: {},
  extraEntries: {},
  layers: (image, structure) => vgg(image, columnE, structure),
});

function vgg(image: SymbolicTensor, blocks: readonly Block[], structure: Structure): SymbolicTensor {
  let x = image;
  blocks.forEach(({ convolutions, filters }, i) => {
    const block = `block${i + 1}`;
    for (let j = 1; j <= convolutions; j++) {
      const name = `${block}_conv${j}`;
      x = layers.conv2d({ filters, kernelSize: 3, padding: 'same', activation: 'relu', name }).apply(x);
    }
    x = layers.maxPooling2d({ poolSize: 2, strides: 2, name: `${block}_pool` }).apply(x);
  });
  if (!structure.includeTop) return pooled(x, structure, automaticNames);
  x = layers.flatten({ name: 'flatten' }).apply(x);
  for (const name of ['fc1', 'fc2']) x = layers.dense({ units: 4096, activation: 'relu', name }).apply(x);
  return classifier(x, structure);
}
