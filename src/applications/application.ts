/**
 * What all applications have in common: their options, the record of each, the end of the network, and the way from
 * a description of layers to a model with weights. The descriptions are the other files, one a family.
 */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  flag,
  functionOf,
  oneOf,
  optional,
  text,
  wholeNumber,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import * as layers from '../layers/index.ts';
import type { SymbolicTensor } from '../layers/layer.ts';
import { model } from '../training/build.ts';
import type { Model } from '../training/model.ts';
import type { PreprocessingMode } from './preprocessing.ts';
import { loadPretrained, type PretrainedOptions, type PublishedFile } from './pretrained.node.ts';

/** What published weights were trained on. */
export interface TrainingSet {
  /** Names the weights in options: `weights: 'imagenet'`. */
  readonly name: 'imagenet' | 'cifar10';
  readonly title: string;
  /** Of the classifier that comes with the weights. */
  readonly classes: number;
}

export const imagenet: TrainingSet = { name: 'imagenet', title: 'ImageNet', classes: 1000 };
export const cifar10: TrainingSet = { name: 'cifar10', title: 'CIFAR-10', classes: 10 };

/** One pretrained model: where its weights are, and what is known about them. */
export interface ApplicationRecord {
  /** Keras's name of the model, where Keras has it: `resnet50`. */
  readonly name: string;
  /** Keras's name of the function that makes it: `ResNet50`. */
  readonly title: string;
  /** Authors, year and address. */
  readonly paper: string;
  /** Height and width at which it was trained, and the least that it takes. */
  readonly inputSize: number;
  readonly minimumSize: number;
  /** What it expects of pictures; `null` if the model does it itself and takes RGB of 0 … 255. */
  readonly preprocessing: PreprocessingMode | null;
  readonly trainedOn: TrainingSet;
  /** With the classifier of those classes. */
  readonly parameters: number;
  /**
   * As shares: on ImageNet's validation pictures (source: the table of keras.io/api/applications), or on CIFAR-10's
   * test pictures (docs/cifar_resnet.md).
   */
  readonly accuracy: { readonly top1: number; readonly top5: number | null };
  /**
   * Licence of the weights: the sections "License" of Keras 2.3's documentation of applications; for those that came
   * later, of the repositories that their weights are from (tensorflow/tpu, facebookresearch/ConvNeXt).
   */
  readonly licence: string;
  /** The layer with which the last stage begins: a place to unfreeze from. */
  readonly lastStage: string;
  /** The published weights without the classifier, and with it. */
  readonly noTop: PublishedFile;
  readonly top: PublishedFile;
}

/** Options of an application, as in Keras. */
export interface ApplicationOptions extends PretrainedOptions {
  /**
   * The published weights by what they were trained on, a file of weights (Keras `.h5`, or `.safetensors` with
   * Keras's names), or `null` for random ones. Defaults to the published ones.
   */
  readonly weights?: TrainingSet['name'] | (string & {}) | null;
  /** With the classifier. Defaults to true, as in Keras. */
  readonly includeTop?: boolean;
  /** Height, width and 3 channels. Defaults to the size at which it was trained, which the classifier needs. */
  readonly inputShape?: readonly [number, number, number];
  /** What follows the last feature map if there is no classifier. Defaults to nothing. */
  readonly pooling?: 'avg' | 'max' | null;
  /** Defaults to those of the published weights: 1000 for ImageNet. */
  readonly classes?: number;
}

/** The options that say what a network looks like, with their defaults filled in. */
export interface Structure {
  readonly weights: string | null;
  readonly includeTop: boolean;
  readonly inputShape: readonly [number, number, number];
  readonly pooling: 'avg' | 'max' | null;
  readonly classes: number;
}

/** What options of one family change of the record. */
export type Variant = Pick<ApplicationRecord, 'name' | 'noTop' | 'top'>;

/** Makes a model with weights, and knows about it. */
export interface Application<Extra extends object = object> {
  /**
   * Builds the model and gives it its weights. Throws `argument` for options that do not fit, and what reading or
   * fetching weights throws.
   */
  (options?: ApplicationOptions & Partial<Extra>): Promise<Model>;
  readonly record: ApplicationRecord;
  /** The model without values of its weights: nothing is read or fetched. */
  structure(options?: ApplicationOptions & Partial<Extra>): Model;
}

const applicationEntries = {
  weights: optional(v.nullable(text)),
  includeTop: optional(flag),
  inputShape: optional(
    v.strictTuple([wholeNumber(1), wholeNumber(1), wholeNumber(1)], 'three numbers: height, width and 3'),
  ),
  pooling: optional(v.nullable(oneOf('avg', 'max'))),
  classes: optional(wholeNumber(1)),
  mirror: optional(text),
  cacheDir: optional(text),
  onProgress: optional(functionOf<NonNullable<PretrainedOptions['onProgress']>>()),
} satisfies Entries<ApplicationOptions>;

interface Description<Extra extends object> {
  readonly record: ApplicationRecord;
  /** Defaults of the options that only this family has. */
  readonly extra: Extra;
  /** Their schemas. */
  readonly extraEntries: Entries<Extra>;
  /** Writes the layers from the picture to the end. */
  readonly layers: (image: SymbolicTensor, structure: Structure & Extra) => SymbolicTensor;
  readonly variant?: (structure: Structure & Extra) => Variant;
}

export function application<Extra extends object = object>({
  record,
  extra,
  extraEntries,
  layers: describe,
  variant = () => record,
}: Description<Extra>): Application<Extra> {
  const known = fields({ ...applicationEntries, ...extraEntries });
  const where = `applications.${record.name}`;
  const resolve = (given: ApplicationOptions & Partial<Extra>): Structure & Extra => {
    const options = checked(known, given, where) as ApplicationOptions & Partial<Extra>;
    const { inputSize, trainedOn } = record;
    const resolved = {
      ...extra,
      ...options,
      weights: options.weights === undefined ? trainedOn.name : options.weights,
      includeTop: options.includeTop ?? true,
      inputShape: options.inputShape ?? ([inputSize, inputSize, 3] as const),
      pooling: options.pooling ?? null,
      classes: options.classes ?? trainedOn.classes,
    };
    checkStructure(record, resolved);
    return resolved;
  };
  const build = (structure: Structure & Extra): Model => {
    const image = layers.input({ shape: structure.inputShape, name: 'input_layer' });
    return model({ inputs: image, outputs: describe(image, structure), name: variant(structure).name });
  };
  const make = async (options: ApplicationOptions & Partial<Extra> = {}): Promise<Model> => {
    const structure = resolve(options);
    const network = build(structure);
    if (structure.weights === null) return network;
    const { top, noTop } = variant(structure);
    const published = structure.weights === record.trainedOn.name;
    await loadPretrained(
      network,
      published ? (structure.includeTop ? top : noTop) : structure.weights,
      options,
    );
    return network;
  };
  return Object.assign(make, {
    record,
    structure: (options: ApplicationOptions & Partial<Extra> = {}) => build(resolve(options)),
  });
}

function checkStructure(record: ApplicationRecord, structure: Structure): void {
  const { name, minimumSize: least, inputSize: size, trainedOn } = record;
  const [height, width, channels] = structure.inputShape;
  if (height < least || width < least || channels !== 3) {
    fail(
      'argument',
      `${name} takes pictures of at least (${least}, ${least}, 3), got (${structure.inputShape.join(', ')}).`,
    );
  }
  const { includeTop, weights, classes } = structure;
  const other = [imagenet, cifar10].find((set) => set !== trainedOn && set.name === weights);
  if (other !== undefined) {
    fail(
      'argument',
      `${name} has no ${other.title} weights; its own were trained on ${trainedOn.title}: ${trainedOn.name}.`,
    );
  }
  const fits = classes === trainedOn.classes && height === size && width === size;
  if (includeTop && weights === trainedOn.name && !fits) {
    fail(
      'argument',
      `The ${trainedOn.title} classifier has ${trainedOn.classes} classes and takes (${size}, ${size}, 3); ` +
        'use includeTop: false for others.',
    );
  }
}

/** How Keras names what follows the last feature map; it differs from family to family. */
export const pooledNames = { avg: 'avg_pool', max: 'max_pool' } as const;
export const automaticNames = { avg: 'global_average_pooling2d', max: 'global_max_pooling2d' } as const;

/** Global average pooling and a softmax layer, or what `pooling` says. */
export function ending(
  x: SymbolicTensor,
  structure: Structure,
  { names, top = names.avg }: { readonly names: Record<'avg' | 'max', string>; readonly top?: string },
): SymbolicTensor {
  if (structure.includeTop) {
    return classifier(layers.globalAveragePooling2d({ name: top }).apply(x), structure);
  }
  return pooled(x, structure, names);
}

export function classifier(x: SymbolicTensor, { classes }: Structure): SymbolicTensor {
  return layers.dense({ units: classes, activation: 'softmax', name: 'predictions' }).apply(x);
}

/** The end of a network without its classifier. */
export function pooled(
  x: SymbolicTensor,
  { pooling }: Structure,
  names: Record<'avg' | 'max', string>,
): SymbolicTensor {
  if (pooling === 'avg') return layers.globalAveragePooling2d({ name: names.avg }).apply(x);
  if (pooling === 'max') return layers.globalMaxPooling2d({ name: names.max }).apply(x);
  return x;
}

/** Keras's automatic names as a fresh session gives them: conv2d, conv2d_1, ... for each model anew. */
export function automaticNaming(): (base: string) => string {
  const counts = new Map<string, number>();
  return (base) => {
    const count = counts.get(base) ?? 0;
    counts.set(base, count + 1);
    return count === 0 ? base : `${base}_${count}`;
  };
}

const keras = 'https://storage.googleapis.com/tensorflow/keras-applications';

/** The two files of a model as Keras names them, with the checksums of its source: with the classifier and without. */
export function kerasFiles(
  name: string,
  folder: string,
  [top, noTop]: readonly [top: string, noTop: string],
): Pick<ApplicationRecord, 'top' | 'noTop'> {
  const file = `${name}_weights_tf_dim_ordering_tf_kernels`;
  return {
    top: { id: `${name}/imagenet/top`, url: `${keras}/${folder}/${file}.h5`, file: `${file}.h5`, md5: top },
    noTop: {
      id: `${name}/imagenet/no-top`,
      url: `${keras}/${folder}/${file}_notop.h5`,
      file: `${file}_notop.h5`,
      md5: noTop,
    },
  };
}
