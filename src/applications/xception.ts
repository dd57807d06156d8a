/**
 * Xception (Chollet 2016, "Xception: Deep Learning with Depthwise Separable Convolutions"), as
 * keras.applications.Xception: the same layer names, shapes and parameter counts.
 */
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { application, automaticNames, automaticNaming, ending, imagenet, kerasFiles } from './application.ts';

/** Figure 5 of the paper: blocks that halve the map, with the filters of their separable convolutions. */
const entryFlow = [
  { name: 'block2', filters: [128, 128] },
  { name: 'block3', filters: [256, 256] },
  { name: 'block4', filters: [728, 728] },
] as const;
const middleFlow = ['block5', 'block6', 'block7', 'block8', 'block9', 'block10', 'block11', 'block12'];
const exitFlow = [{ name: 'block13', filters: [728, 1024] }] as const;
const end = { name: 'block14', filters: [1536, 2048] } as const;

/** keras.applications.Xception (Chollet 2016). */
export const xception = application({
  record: {
    name: 'xception',
    title: 'Xception',
    paper: 'Chollet 2016, https://arxiv.org/abs/1610.02357',
    inputSize: 299,
    minimumSize: 71,
    preprocessing: 'tf',
    parameters: 22_910_480,
    trainedOn: imagenet,
    accuracy: { top1: 0.79, top5: 0.945 },
    licence: 'MIT',
    lastStage: 'block13_sepconv1_act',
    ...kerasFiles('xception', 'xception', [
      '0a58e3b7378bc2990ea3b43d5981f1f6',
      'b0042744bf5b25fce3cb969f33bebb97',
    ]),
  },
  extra: {},
  extraEntries: {},
  layers: (image, structure) => {
    const automatic = automaticNaming();
    let x = image;
    for (const [i, filters] of [32, 64].entries()) {
      const name = `block1_conv${i + 1}`;
      x = layers.conv2d({ filters, kernelSize: 3, strides: 2 - i, useBias: false, name }).apply(x);
      x = relu(normalized(x, `${name}_bn`), `${name}_act`);
    }
    for (const block of entryFlow) x = halvingBlock(x, block, automatic);
    for (const name of middleFlow) {
      let y = x;
      for (const i of [1, 2, 3]) {
        y = separable(relu(y, `${name}_sepconv${i}_act`), 728, `${name}_sepconv${i}`);
      }
      x = layers.add({ name: automatic('add') }).apply([y, x]);
    }
    for (const block of exitFlow) x = halvingBlock(x, block, automatic);
    end.filters.forEach((filters, i) => {
      const name = `${end.name}_sepconv${i + 1}`;
      x = relu(separable(x, filters, name), `${name}_act`);
    });
    return ending(x, structure, { names: automaticNames, top: 'avg_pool' });
  },
});

/** Two separable convolutions and max pooling, beside a 1x1 convolution with stride 2. */
function halvingBlock(
  x: SymbolicTensor,
  { name, filters }: { readonly name: string; readonly filters: readonly [number, number] },
  automatic: (base: string) => string,
): SymbolicTensor {
  const shortcut = normalized(
    layers
      .conv2d({
        filters: filters[1],
        kernelSize: 1,
        strides: 2,
        padding: 'same',
        useBias: false,
        name: automatic('conv2d'),
      })
      .apply(x),
    automatic('batch_normalization'),
  );
  // The first block follows a ReLU already.
  let y = name === 'block2' ? x : relu(x, `${name}_sepconv1_act`);
  y = separable(y, filters[0], `${name}_sepconv1`);
  y = separable(relu(y, `${name}_sepconv2_act`), filters[1], `${name}_sepconv2`);
  y = layers.maxPooling2d({ poolSize: 3, strides: 2, padding: 'same', name: `${name}_pool` }).apply(y);
  return layers.add({ name: automatic('add') }).apply([y, shortcut]);
}

function separable(x: SymbolicTensor, filters: number, name: string): SymbolicTensor {
  const options = { filters, kernelSize: 3, padding: 'same', useBias: false, name } as const;
  return normalized(layers.separableConv2d(options).apply(x), `${name}_bn`);
}

function normalized(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.batchNormalization({ name }).apply(x);
}

function relu(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.activation({ activation: 'relu', name }).apply(x);
}
