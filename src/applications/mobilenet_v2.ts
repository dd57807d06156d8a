/**
 * MobileNetV2 (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks"), as
 * keras.applications.MobileNetV2: the same layer names, shapes and parameter counts, for every width `alpha`.
 */
import { optional, positive } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import {
  application,
  automaticNames,
  ending,
  imagenet,
  type Structure,
  type Variant,
} from './application.ts';
import { correctPad } from './padding.ts';

/** Table 2 of the paper: expansion t, channels c, repetitions n, stride s of the first. */
const table2 = [
  { t: 1, c: 16, n: 1, s: 1 },
  { t: 6, c: 24, n: 2, s: 2 },
  { t: 6, c: 32, n: 3, s: 2 },
  { t: 6, c: 64, n: 4, s: 2 },
  { t: 6, c: 96, n: 3, s: 1 },
  { t: 6, c: 160, n: 3, s: 2 },
  { t: 6, c: 320, n: 1, s: 1 },
] as const;

/** Widths and picture sizes for which weights are published. */
const publishedAlphas = [0.35, 0.5, 0.75, 1, 1.3, 1.4];
const publishedSizes = [96, 128, 160, 192, 224];

export interface MobileNetV2Extra {
  /** Multiplies the channels of every layer. Defaults to 1; weights exist for 0.35, 0.5, 0.75, 1, 1.3 and 1.4. */
  readonly alpha: number;
}

/** keras.applications.MobileNetV2 (Sandler et al. 2018). */
export const mobilenetV2 = application<MobileNetV2Extra>({
  record: {
    name: 'mobilenet_v2',
    title: 'MobileNetV2',
    paper: 'Sandler et al. 2018, https://arxiv.org/abs/1801.04381',
    inputSize: 224,
    minimumSize: 32,
    preprocessing: 'tf',
    parameters: 3_538_984,
    trainedOn: imagenet,
    accuracy: { top1: 0.713, top5: 0.901 },
    licence: 'Apache 2.0',
    lastStage: 'block_14_expand',
    ...published(1, 224),
  },
  extra: { alpha: 1 },
  extraEntries: { alpha: optional(positive) },
  variant: mobilenetVariant,
  layers: (image, structure) => {
    const { alpha } = structure;
    const stem = {
      filters: divisible(32 * alpha),
      kernelSize: 3,
      strides: 2,
      padding: 'same',
      useBias: false,
    } as const;
    let x = layers.conv2d({ ...stem, name: 'Conv1' }).apply(image);
    x = relu6(normalized(x, 'bn_Conv1'), 'Conv1_relu');
    let block = 0;
    for (const { t, c, n, s } of table2) {
      for (let i = 0; i < n; i++) {
        const filters = divisible(Math.trunc(c * alpha));
        x = invertedResidual(x, { block, expansion: t, filters, strides: i === 0 ? s : 1 });
        block++;
      }
    }
    // The last convolution is never narrower than in the paper.
    const filters = alpha > 1 ? divisible(1280 * alpha) : 1280;
    x = layers.conv2d({ filters, kernelSize: 1, useBias: false, name: 'Conv_1' }).apply(x);
    x = relu6(normalized(x, 'Conv_1_bn'), 'out_relu');
    return ending(x, structure, { names: automaticNames });
  },
});

interface Block {
  readonly block: number;
  readonly expansion: number;
  readonly filters: number;
  readonly strides: number;
}

/** 1x1 widens, a depthwise 3x3 works, 1x1 narrows without activation (Sandler et al., figure 4d). */
function invertedResidual(x: SymbolicTensor, { block, expansion, filters, strides }: Block): SymbolicTensor {
  const prefix = block === 0 ? 'expanded_conv' : `block_${block}`;
  const channels = x.shape[2]!;
  const pointwise = { kernelSize: 1, padding: 'same', useBias: false } as const;
  let y = x;
  if (block > 0) {
    y = layers.conv2d({ ...pointwise, filters: expansion * channels, name: `${prefix}_expand` }).apply(y);
    y = relu6(normalized(y, `${prefix}_expand_BN`), `${prefix}_expand_relu`);
  }
  if (strides === 2) y = layers.zeroPadding2d({ padding: correctPad(y, 3), name: `${prefix}_pad` }).apply(y);
  const padding = strides === 1 ? 'same' : 'valid';
  const depthwise = { kernelSize: 3, strides, padding, useBias: false, name: `${prefix}_depthwise` } as const;
  y = layers.depthwiseConv2d(depthwise).apply(y);
  y = relu6(normalized(y, `${prefix}_depthwise_BN`), `${prefix}_depthwise_relu`);
  y = layers.conv2d({ ...pointwise, filters, name: `${prefix}_project` }).apply(y);
  y = normalized(y, `${prefix}_project_BN`);
  const residual = channels === filters && strides === 1;
  return residual ? layers.add({ name: `${prefix}_add` }).apply([x, y]) : y;
}

function normalized(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.batchNormalization({ epsilon: 1e-3, momentum: 0.999, name }).apply(x);
}

function relu6(x: SymbolicTensor, name: string): SymbolicTensor {
  return layers.relu({ maxValue: 6, name }).apply(x);
}

/** The nearest multiple of 8, at least 8, that is not more than 10 % below (Keras's `_make_divisible`). */
function divisible(channels: number): number {
  const rounded = Math.max(8, Math.trunc((channels + 4) / 8) * 8);
  return rounded < 0.9 * channels ? rounded + 8 : rounded;
}

/** Weights exist for some sizes; other pictures take those of 224. */
function mobilenetVariant({ alpha, inputShape, weights }: Structure & MobileNetV2Extra): Variant {
  if (weights === 'imagenet' && !publishedAlphas.includes(alpha)) {
    fail(
      'argument',
      `MobileNetV2 has ImageNet weights for alpha ${publishedAlphas.join(', ')}, got ${alpha}; use weights: null.`,
    );
  }
  const [height, width] = inputShape;
  const size = height === width && publishedSizes.includes(height) ? height : 224;
  const shown = weights === 'imagenet' ? size : height;
  return { name: `mobilenetv2_${alpha.toFixed(2)}_${shown}`, ...published(alpha, size) };
}

/** Keras publishes no checksum of these files; the sizes are those of its downloads. */
function published(alpha: number, size: number): Pick<Variant, 'top' | 'noTop'> {
  const folder = 'https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2';
  const width = Number.isInteger(alpha) ? alpha.toFixed(1) : String(alpha);
  const stem = `mobilenet_v2_weights_tf_dim_ordering_tf_kernels_${width}_${size}`;
  const usual = alpha === 1 && size === 224;
  const id = usual ? 'mobilenet_v2/imagenet' : `mobilenet_v2_${width}_${size}/imagenet`;
  const asset = (kind: string, file: string, bytes: number) => ({
    ...{ id: `${id}/${kind}`, url: `${folder}/${file}`, file, checksum: null },
    ...(usual ? { bytes } : {}),
  });
  return {
    top: asset('top', `${stem}.h5`, 14_536_120),
    noTop: asset('no-top', `${stem}_no_top.h5`, 9_406_464),
  };
}
