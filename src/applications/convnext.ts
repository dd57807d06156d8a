/**
 * ConvNeXtTiny (Liu et al. 2022, "A ConvNet for the 2020s"), as keras.applications.ConvNeXtTiny: the same layer names,
 * shapes and parameter counts. Preprocessing is part of the model: pictures come as RGB of 0 … 255.
 */
import * as layers from '../layers/index.ts';
import type { Layer, SymbolicTensor } from '../layers/layer.ts';
import { sequential } from '../training/build.ts';
import { application, automaticNames, automaticNaming, imagenet, pooled } from './application.ts';

/** Section 3 of the paper: blocks and channels of each stage. */
const stages = [
  { blocks: 3, channels: 96 },
  { blocks: 3, channels: 192 },
  { blocks: 9, channels: 384 },
  { blocks: 3, channels: 768 },
] as const;

/** What each block's factors begin with. */
const layerScaleStart = 1e-6;
const mean = [0.485, 0.456, 0.406];
const deviation = [0.229, 0.224, 0.225];

const model = 'convnext_tiny';
const folder = 'https://storage.googleapis.com/tensorflow/keras-applications/convnext';

/** keras.applications.ConvNeXtTiny (Liu et al. 2022). */
export const convnextTiny = application({
  record: {
    name: model,
    title: 'ConvNeXtTiny',
    paper: 'Liu et al. 2022, https://arxiv.org/abs/2201.03545',
    inputSize: 224,
    minimumSize: 32,
    preprocessing: null,
    parameters: 28_589_128,
    trainedOn: imagenet,
    accuracy: { top1: 0.813, top5: null },
    licence: 'MIT',
    lastStage: `${model}_downsampling_block_2`,
    top: {
      id: `${model}/imagenet/top`,
      url: `${folder}/${model}.h5`,
      file: `${model}.h5`,
      sha256: '8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff',
    },
    noTop: {
      id: `${model}/imagenet/no-top`,
      url: `${folder}/${model}_notop.h5`,
      file: `${model}_notop.h5`,
      sha256: 'd547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1',
    },
  },
  extra: {},
  extraEntries: {},
  layers: (image, structure) => {
    const automatic = automaticNaming();
    let x = layers
      .normalization({
        mean: mean.map((value) => value * 255),
        variance: deviation.map((value) => (value * 255) ** 2),
        name: `${model}_prestem_normalization`,
      })
      .apply(image);
    stages.forEach(({ blocks, channels }, i) => {
      x = i === 0 ? stem(x, channels) : downsampling(x, channels, i);
      for (let block = 0; block < blocks; block++) {
        x = convnextBlock(x, `${model}_stage_${i}_block_${block}`, automatic('add'));
      }
    });
    if (!structure.includeTop) {
      return normalization('layer_normalization').apply(pooled(x, structure, automaticNames));
    }
    x = layers.globalAveragePooling2d({ name: `${model}_head_gap` }).apply(x);
    x = normalization(`${model}_head_layernorm`).apply(x);
    const head = { units: structure.classes, activation: 'softmax', name: `${model}_head_dense` };
    return layers.dense(head).apply(x);
  },
});

/** Patches of 4x4 pixels. */
function stem(x: SymbolicTensor, channels: number): SymbolicTensor {
  const patches = { filters: channels, kernelSize: 4, strides: 4, name: `${model}_stem_conv` };
  return chain(x, 0, `${model}_stem`, [layers.conv2d(patches), normalization(`${model}_stem_layernorm`)]);
}

/** Half the size. `stage` counts from 1. */
function downsampling(x: SymbolicTensor, channels: number, stage: number): SymbolicTensor {
  const suffix = stage - 1;
  const halve = {
    filters: channels,
    kernelSize: 2,
    strides: 2,
    name: `${model}_downsampling_conv_${suffix}`,
  };
  return chain(x, stage, `${model}_downsampling_block_${suffix}`, [
    normalization(`${model}_downsampling_layernorm_${suffix}`),
    layers.conv2d(halve),
  ]);
}

/** A nested Sequential model, as Keras builds these parts. */
function chain(x: SymbolicTensor, stage: number, name: string, parts: readonly Layer[]): SymbolicTensor {
  const input = layers.input({ shape: x.shape, name: `input_layer_${stage + 1}` });
  return sequential([input, ...parts], { name }).apply(x);
}

/** A depthwise 7x7, then four times wider and back for each position (Liu et al., figure 4). */
function convnextBlock(x: SymbolicTensor, name: string, sum: string): SymbolicTensor {
  const channels = x.shape[2]!;
  const depthwise = { filters: channels, kernelSize: 7, padding: 'same', groups: channels } as const;
  let y = layers.conv2d({ ...depthwise, name: `${name}_depthwise_conv` }).apply(x);
  y = normalization(`${name}_layernorm`).apply(y);
  y = layers.dense({ units: 4 * channels, name: `${name}_pointwise_conv_1` }).apply(y);
  y = layers.activation({ activation: 'gelu', name: `${name}_gelu` }).apply(y);
  y = layers.dense({ units: channels, name: `${name}_pointwise_conv_2` }).apply(y);
  const scale = { initValues: layerScaleStart, projectionDim: channels, name: `${name}_layer_scale` };
  y = layers.layerScale(scale).apply(y);
  // Where larger models would drop whole pictures (StochasticDepth), Keras's tiny one keeps the place.
  y = layers.activation({ activation: 'linear', name: `${name}_identity` }).apply(y);
  return layers.add({ name: sum }).apply([x, y]);
}

function normalization(name: string): Layer {
  return layers.layerNormalization({ epsilon: 1e-6, name });
}
