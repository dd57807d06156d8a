/** Whether a model scales its images itself, or expects values that somebody has scaled before. */
import { isRecord } from '../core/records.ts';
import type { Layer, SymbolicTensor } from '../layers/layer.ts';
import { Operation } from '../layers/operations.ts';
import { Network } from './network.ts';

export type InputScaling =
  /** It takes 0 … 255: the first layer that changes values was made for them. */
  | { readonly kind: 'own'; readonly layer: Layer }
  /** It begins with arithmetic or statistics for values that are not 0 … 255, such as 0 … 1. */
  | { readonly kind: 'other range'; readonly layer: Layer }
  /** Its first layer with weights takes the values as they come. */
  | { readonly kind: 'none'; readonly layer: Layer | null };

/** Layers, and operations of Keras, that move or choose values and leave their range alone. */
const keeping =
  /^(InputLayer|Identity|Resizing|CenterCrop|Random\w+|AutoContrast|Equalization|CutMix|MixUp|RandAugment|AugMix|ZeroPadding2D|Cropping2D|Reshape|Permute|Flatten|Dropout|SpatialDropout2D|GaussianNoise|GaussianDropout|ActivityRegularization|Concatenate|UpSampling2D|MaxPooling2D|AveragePooling2D|RepeatVector|GetItem|Squeeze|ExpandDims|Transpose|Flip|Pad|Stack|Cast|StopGradient|Copy|Resize|RGBToGrayscale)$/;

/** Looks at what the images meet first, in nested models too. Where ways part, the first layer that decides counts. */
export function inputScaling(network: Network): InputScaling {
  return scan(network, network.input) ?? { kind: 'none', layer: null };
}

/** Null if nothing on the way changes values. */
function scan(network: Network, input: SymbolicTensor): InputScaling | null {
  const raw = new Set([input]);
  for (const { inputs, output } of network.steps) {
    if (!inputs.some((each) => raw.has(each))) continue;
    const { layer } = output;
    if (layer instanceof Network) {
      const inside = scan(layer, layer.input);
      if (inside !== null) return inside;
    } else if (!keeping.test(layer.className)) return judge(layer);
    raw.add(output);
  }
  return null;
}

function judge(layer: Layer): InputScaling {
  const made = madeFor255(layer);
  return { kind: made === null ? 'none' : made ? 'own' : 'other range', layer };
}

/** Whether arithmetic or statistics make values of 0 … 255 small or centred; null for a layer that is neither. */
function madeFor255(layer: Layer): boolean | null {
  const { className } = layer;
  const large = (values: readonly number[], limit: number) => values.some((value) => Math.abs(value) > limit);
  if (className === 'Rescaling') {
    const { scale, offset } = layer.config() as Record<'scale' | 'offset', number | number[]>;
    return !large(numbersIn(scale), 0.1) || large(numbersIn(offset), 2);
  }
  if (className === 'Normalization') {
    // Even dark images of 0 … 255 have larger statistics; those of 0 … 1 or −1 … 1 cannot.
    const [mean, variance] = statisticsOf(layer);
    return large(mean, 2) || large(variance, 4);
  }
  if (layer instanceof Operation) {
    const constants = numbersIn([...layer.args, ...Object.values(layer.kwargs)]);
    if (constants.length === 0) return null;
    if (className === 'Subtract' || className === 'Add') return large(constants, 2);
    if (className === 'Divide' || className === 'TrueDivide') return large(constants, 10);
    return className === 'Multiply' ? !large(constants, 0.1) : null;
  }
  // A foreign ONNX model inside of a file is there because Graft put it there, for 0 … 255.
  return className === 'OnnxBackbone' || swapsChannels(layer) ? true : null;
}

/** The numbers in nested lists and arguments. */
function numbersIn(value: unknown): number[] {
  if (typeof value === 'number') return [value];
  if (Array.isArray(value)) return value.flatMap(numbersIn);
  if (!isRecord(value)) return [];
  return numbersIn(value['array'] ?? value['list'] ?? []);
}

function statisticsOf(layer: Layer): readonly [mean: readonly number[], variance: readonly number[]] {
  const { mean, variance } = layer.config();
  const weights = (name: string) => [...(layer.variables.find((each) => each.name === name)?.values ?? [])];
  return [
    mean == null ? weights('mean') : numbersIn(mean),
    variance == null ? weights('variance') : numbersIn(variance),
  ];
}

/** Graft's own `caffe` preprocessing: a 1x1 convolution that turns RGB to BGR and takes ImageNet's mean off. */
function swapsChannels({ className, variables }: Layer): boolean {
  const [kernel, bias] = variables;
  if (className !== 'Conv2D' || kernel?.shape.join() !== '1,1,3,3' || bias === undefined) return false;
  return [...kernel.values].join() === '0,0,1,0,1,0,1,0,0' && bias.values.every((value) => value < -100);
}
