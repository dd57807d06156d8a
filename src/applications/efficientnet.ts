/**
 * EfficientNetB0 (Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"), as
 * keras.applications.EfficientNetB0: the same layer names, shapes and parameter counts. Preprocessing is part of the
 * model: pictures come as RGB of 0 … 255.
 */
import * as layers from '../layers/index.ts';
import { varianceScaling } from '../layers/initializers.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { application, imagenet, pooled, pooledNames } from './application.ts';
import { correctPad } from './padding.ts';

interface Stage {
  readonly kernelSize: 3 | 5;
  readonly repeats: number;
  readonly filters: number;
  readonly expansion: 1 | 6;
  readonly stride: 1 | 2;
}

/** Table 1 of the paper, stages 2 to 8. */
const stages: readonly Stage[] = [
  { kernelSize: 3, repeats: 1, filters: 16, expansion: 1, stride: 1 },
  { kernelSize: 3, repeats: 2, filters: 24, expansion: 6, stride: 2 },
  { kernelSize: 5, repeats: 2, filters: 40, expansion: 6, stride: 2 },
  { kernelSize: 3, repeats: 3, filters: 80, expansion: 6, stride: 2 },
  { kernelSize: 5, repeats: 3, filters: 112, expansion: 6, stride: 1 },
  { kernelSize: 5, repeats: 4, filters: 192, expansion: 6, stride: 2 },
  { kernelSize: 3, repeats: 1, filters: 320, expansion: 6, stride: 1 },
];
const allBlocks = stages.reduce((total, { repeats }) => total + repeats, 0);

/** Fraction of the pictures that the last block would drop; it grows from 0 with the blocks. */
const dropConnectRate = 0.2;
/** Squeeze-and-excitation narrows to this share of a block's input. */
const squeezeRatio = 0.25;
const deviation = [0.229, 0.224, 0.225];

const kernelInitializer = varianceScaling({ scale: 2, mode: 'fan_out' });
const classifierInitializer = varianceScaling({ scale: 1 / 3, mode: 'fan_out', distribution: 'uniform' });

const folder = 'https://storage.googleapis.com/keras-applications';

/** keras.applications.EfficientNetB0 (Tan & Le 2019). */
export const efficientnetB0 = application({
  record: {
    name: 'efficientnetb0',
    title: 'EfficientNetB0',
    paper: 'Tan & Le 2019, https://arxiv.org/abs/1905.11946',
    inputSize: 224,
    minimumSize: 32,
    preprocessing: null,
    parameters: 5_330_571,
    trainedOn: imagenet,
    accuracy: { top1: 0.771, top5: 0.933 },
    licence: 'Apache 2.0',
    lastStage: 'block7a_expand_conv',
    top: {
      id: 'efficientnetb0/imagenet/top',
      url: `${folder}/efficientnetb0.h5`,
      file: 'efficientnetb0.h5',
      md5: '902e53a9f72be733fc0bcb005b3ebbac',
    },
    noTop: {
      id: 'efficientnetb0/imagenet/no-top',
      url: `${folder}/efficientnetb0_notop.h5`,
      file: 'efficientnetb0_notop.h5',
      md5: '50bc09e76180e00e4465e1a485ddc09d',
    },
  },
  extra: {},
  extraEntries: {},
  layers: (image, structure) => {
    let x = layers.rescaling({ scale: 1 / 255, name: 'rescaling' }).apply(image);
    x = layers.normalization({ axis: 3, name: 'normalization' }).apply(x);
    // As in Keras, only with the published weights: their statistics hold variances where deviations belong.
    if (structure.weights === 'imagenet') {
      const scale = deviation.map((value) => 1 / Math.sqrt(value));
      x = layers.rescaling({ scale, name: 'rescaling_1' }).apply(x);
    }
    x = layers.zeroPadding2d({ padding: correctPad(x, 3), name: 'stem_conv_pad' }).apply(x);
    x = convolution(x, { filters: 32, kernelSize: 3, strides: 2, name: 'stem_conv' });
    x = swish(normalized(x, 'stem_bn'), 'stem_activation');
    let block = 0;
    stages.forEach(({ repeats, stride, ...stage }, i) => {
      for (let j = 0; j < repeats; j++) {
        const name = `block${i + 1}${'abcd'[j]}_`;
        const dropRate = (dropConnectRate * block) / allBlocks;
        x = invertedBlock(x, { ...stage, strides: j === 0 ? stride : 1, dropRate, name });
        block++;
      }
    });
    x = convolution(x, { filters: 1280, kernelSize: 1, name: 'top_conv' });
    x = swish(normalized(x, 'top_bn'), 'top_activation');
    if (!structure.includeTop) return pooled(x, structure, pooledNames);
    x = layers.globalAveragePooling2d({ name: 'avg_pool' }).apply(x);
    x = layers.dropout({ rate: 0.2, name: 'top_dropout' }).apply(x);
    const end = { units: structure.classes, activation: 'softmax', name: 'predictions' };
    return layers.dense({ ...end, kernelInitializer: classifierInitializer }).apply(x);
  },
});

interface Block extends Pick<Stage, 'kernelSize' | 'filters' | 'expansion'> {
  readonly strides: number;
  readonly dropRate: number;
  readonly name: string;
}

/** MBConv: widen, depthwise, squeeze and excite, narrow, with a shortcut where shapes allow it. */
function invertedBlock(x: SymbolicTensor, block: Block): SymbolicTensor {
  const { name, expansion, kernelSize, strides, filters, dropRate } = block;
  const channels = x.shape[2]!;
  let y = x;
  if (expansion > 1) {
    y = convolution(y, { filters: channels * expansion, kernelSize: 1, name: `${name}expand_conv` });
    y = swish(normalized(y, `${name}expand_bn`), `${name}expand_activation`);
  }
  if (strides === 2) {
    y = layers.zeroPadding2d({ padding: correctPad(y, kernelSize), name: `${name}dwconv_pad` }).apply(y);
  }
  const padding = strides === 2 ? 'valid' : 'same';
  const depthwise = { kernelSize, strides, padding, useBias: false, name: `${name}dwconv` } as const;
  y = layers.depthwiseConv2d({ ...depthwise, depthwiseInitializer: kernelInitializer }).apply(y);
  y = swish(normalized(y, `${name}bn`), `${name}activation`);
  y = squeezeAndExcite(y, Math.max(1, Math.trunc(channels * squeezeRatio)), name);
  y = normalized(
    convolution(y, { filters, kernelSize: 1, name: `${name}project_conv` }),
    `${name}project_bn`,
  );
  if (strides !== 1 || channels !== filters) return y;
  if (dropRate > 0) {
    const noiseShape = [null, 1, 1, 1];
    y = layers.dropout({ rate: dropRate, noiseShape, name: `${name}drop` }).apply(y);
  }
  return layers.add({ name: `${name}add` }).apply([y, x]);
}

/** Scales each channel by what a small network makes of all channels' means (Hu et al. 2017). */
function squeezeAndExcite(x: SymbolicTensor, narrow: number, name: string): SymbolicTensor {
  const channels = x.shape[2]!;
  const options = { kernelSize: 1, padding: 'same', kernelInitializer } as const;
  let y = layers.globalAveragePooling2d({ name: `${name}se_squeeze` }).apply(x);
  y = layers.reshape({ targetShape: [1, 1, channels], name: `${name}se_reshape` }).apply(y);
  y = layers.conv2d({ ...options, filters: narrow, activation: 'silu', name: `${name}se_reduce` }).apply(y);
  y = layers
    .conv2d({ ...options, filters: channels, activation: 'sigmoid', name: `${name}se_expand` })
    .apply(y);
  return layers.multiply({ name: `${name}se_excite` }).apply([x, y]);
}

function convolution(
  x: SymbolicTensor,
  options: {
    readonly filters: number;
    readonly kernelSize: number;
    readonly strides?: number;
    readonly name: string;
  },
): SymbolicTensor {
  const padding = options.strides === 2 ? 'valid' : 'same';
  return layers.conv2d({ ...options, padding, useBias: false, kernelInitializer }).apply(x);
}

function normalized(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.batchNormalization({ name }).apply(x);
}

function swish(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.activation({ activation: 'silu', name }).apply(x);
}
