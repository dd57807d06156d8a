/**
 * InceptionV3 (Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision"), as
 * keras.applications.InceptionV3: the same layer names, shapes and parameter counts. Most of its layers have Keras's
 * automatic names; here they count from the start of each model.
 */
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { application, automaticNames, automaticNaming, ending, imagenet, kerasFiles } from './application.ts';

/** A convolution: filters, height and width of the window; `half` strides by 2 without padding. */
type Convolution = readonly [filters: number, height: number, width: number, stride?: 'half'];
/** Two convolutions side by side, their outputs joined under a name, or the next automatic one. */
interface Fork {
  readonly fork: readonly [Convolution, Convolution];
  readonly name: string | null;
}
type Step = Convolution | 'averagePool' | 'maxPoolHalf' | Fork;
type Branch = readonly Step[];

/** Figure 5 of the paper: 35x35. */
const figure5 = (poolFilters: number): readonly Branch[] => [
  [[64, 1, 1]],
  [
    [48, 1, 1],
    [64, 5, 5],
  ],
  [
    [64, 1, 1],
    [96, 3, 3],
    [96, 3, 3],
  ],
  ['averagePool', [poolFilters, 1, 1]],
];

/** Figure 6: 17x17, windows factorized into 1x7 and 7x1. */
const figure6 = (width: number): readonly Branch[] => [
  [[192, 1, 1]],
  [
    [width, 1, 1],
    [width, 1, 7],
    [192, 7, 1],
  ],
  [
    [width, 1, 1],
    [width, 7, 1],
    [width, 1, 7],
    [width, 7, 1],
    [192, 1, 7],
  ],
  ['averagePool', [192, 1, 1]],
];

/** Figure 7: 8x8, windows spread out. */
const figure7 = (name: string): readonly Branch[] => [
  [[320, 1, 1]],
  [
    [384, 1, 1],
    {
      fork: [
        [384, 1, 3],
        [384, 3, 1],
      ],
      name,
    },
  ],
  [
    [448, 1, 1],
    [384, 3, 3],
    {
      fork: [
        [384, 1, 3],
        [384, 3, 1],
      ],
      name: null,
    },
  ],
  ['averagePool', [192, 1, 1]],
];

/** Table 1 of the paper, from the first inception module on. */
const modules: readonly { readonly name: string; readonly branches: readonly Branch[] }[] = [
  { name: 'mixed0', branches: figure5(32) },
  { name: 'mixed1', branches: figure5(64) },
  { name: 'mixed2', branches: figure5(64) },
  {
    name: 'mixed3',
    branches: [
      [[384, 3, 3, 'half']],
      [
        [64, 1, 1],
        [96, 3, 3],
        [96, 3, 3, 'half'],
      ],
      ['maxPoolHalf'],
    ],
  },
  { name: 'mixed4', branches: figure6(128) },
  { name: 'mixed5', branches: figure6(160) },
  { name: 'mixed6', branches: figure6(160) },
  { name: 'mixed7', branches: figure6(192) },
  {
    name: 'mixed8',
    branches: [
      [
        [192, 1, 1],
        [320, 3, 3, 'half'],
      ],
      [
        [192, 1, 1],
        [192, 1, 7],
        [192, 7, 1],
        [192, 3, 3, 'half'],
      ],
      ['maxPoolHalf'],
    ],
  },
  { name: 'mixed9', branches: figure7('mixed9_0') },
  { name: 'mixed10', branches: figure7('mixed9_1') },
];

/** keras.applications.InceptionV3 (Szegedy et al. 2015). */
export const inceptionV3 = application({
  record: {
    name: 'inception_v3',
    title: 'InceptionV3',
    paper: 'Szegedy et al. 2015, https://arxiv.org/abs/1512.00567',
    inputSize: 299,
    minimumSize: 75,
    preprocessing: 'tf',
    parameters: 23_851_784,
    trainedOn: imagenet,
    accuracy: { top1: 0.779, top5: 0.937 },
    licence: 'Apache 2.0',
    lastStage: 'mixed8',
    ...kerasFiles('inception_v3', 'inception_v3', [
      '9a0d58056eeedaa3f26cb7ebd46da564',
      'bcbd6486424b2319ff4ef7d526e38f63',
    ]),
  },
  extra: {},
  extraEntries: {},
  layers: (image, structure) => {
    const parts = inceptionParts();
    let x = parts.convolution(image, [32, 3, 3, 'half']);
    x = parts.convolution(x, [32, 3, 3], 'valid');
    x = parts.convolution(x, [64, 3, 3]);
    x = parts.step(x, 'maxPoolHalf');
    x = parts.convolution(x, [80, 1, 1], 'valid');
    x = parts.convolution(x, [192, 3, 3], 'valid');
    x = parts.step(x, 'maxPoolHalf');
    for (const { name, branches } of modules) {
      const outputs = branches.map((branch) => branch.reduce(parts.step, x));
      x = layers.concatenate({ name }).apply(outputs);
    }
    return ending(x, structure, { names: automaticNames, top: 'avg_pool' });
  },
});

/** The steps of branches, with one count of automatic names. */
function inceptionParts() {
  const automatic = automaticNaming();
  const convolution = (
    x: SymbolicTensor,
    [filters, height, width, stride]: Convolution,
    padding: 'same' | 'valid' = stride === 'half' ? 'valid' : 'same',
  ): SymbolicTensor => {
    const strides = stride === 'half' ? 2 : 1;
    const kernelSize = [height, width];
    const name = automatic('conv2d');
    let y = layers.conv2d({ filters, kernelSize, strides, padding, useBias: false, name }).apply(x);
    y = layers.batchNormalization({ scale: false, name: automatic('batch_normalization') }).apply(y);
    return layers.activation({ activation: 'relu', name: automatic('activation') }).apply(y);
  };
  const step = (x: SymbolicTensor, next: Step): SymbolicTensor => {
    if (next === 'maxPoolHalf') {
      return layers.maxPooling2d({ poolSize: 3, strides: 2, name: automatic('max_pooling2d') }).apply(x);
    }
    if (next === 'averagePool') {
      const name = automatic('average_pooling2d');
      return layers.averagePooling2d({ poolSize: 3, strides: 1, padding: 'same', name }).apply(x);
    }
    if ('fork' in next) {
      const outputs = next.fork.map((side) => convolution(x, side));
      return layers.concatenate({ name: next.name ?? automatic('concatenate') }).apply(outputs);
    }
    return convolution(x, next);
  };
  return { convolution, step };
}
