/**
 * CifarResNet: Graft's own small backbone for small pictures, trained by Graft on CIFAR-10; its weights come with the
 * package. Three halvings of a 32x32 picture and two residual blocks (He et al. 2016), after the nine-layer networks of
 * DAWNBench (Coleman et al. 2017): few channels where maps are large, so that it trains in minutes on two cores.
 */
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { application, cifar10, ending, pooledNames } from './application.ts';

/** Channels of each stage, and whether a residual block follows its convolution. */
const stages = [
  { filters: 32, halves: false, residual: false },
  { filters: 64, halves: true, residual: true },
  { filters: 128, halves: true, residual: true },
  { filters: 192, halves: true, residual: false },
] as const;

const published = { packaged: 'cifar_resnet.cifar10.safetensors' };

/**
 * A ResNet for pictures of 32x32, trained by Graft on CIFAR-10 (He et al. 2015, section 4.2; docs/cifar_resnet.md).
 * Not in Keras.
 */
export const cifarResnet = application({
  record: {
    name: 'cifar_resnet',
    title: 'CifarResNet',
    paper: 'He et al. 2015, https://arxiv.org/abs/1512.03385',
    inputSize: 32,
    minimumSize: 32,
    preprocessing: 'tf',
    trainedOn: cifar10,
    parameters: 687_978,
    accuracy: { top1: 0.913, top5: null },
    licence: 'MIT',
    lastStage: 'stage4_conv',
    top: published,
    // The same file: the classifier's weights are left out.
    noTop: published,
  },
  extra: {},
  extraEntries: {},
  layers: (image, structure) => {
    let x = image;
    for (const [index, { filters, halves, residual }] of stages.entries()) {
      const name = `stage${index + 1}`;
      x = unit(x, { filters, halves, name });
      if (residual) {
        const y = unit(unit(x, { filters, name: `${name}_block1` }), { filters, name: `${name}_block2` });
        x = layers.add({ name: `${name}_add` }).apply([x, y]);
      }
    }
    return ending(x, structure, { names: pooledNames });
  },
});

interface Unit {
  readonly filters: number;
  readonly halves?: boolean;
  readonly name: string;
}

/** Convolution, halving, batch normalization, ReLU. */
function unit(x: SymbolicTensor, { filters, halves = false, name }: Unit): SymbolicTensor {
  const convolution = { filters, kernelSize: 3, padding: 'same', useBias: false } as const;
  let y = layers.conv2d({ ...convolution, name: `${name}_conv` }).apply(x);
  if (halves) y = layers.maxPooling2d({ poolSize: 2, name: `${name}_pool` }).apply(y);
  y = layers.batchNormalization({ momentum: 0.9, name: `${name}_bn` }).apply(y);
  return layers.relu({ name: `${name}_relu` }).apply(y);
}
