/** The model that options describe: preprocessing, resizing, a backbone cut and frozen as asked, a head. */
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import * as applications from '../applications/index.ts';
import { fail, GraftError } from '../core/errors.ts';
import { sha256File } from '../core/files.node.ts';
import { nearest } from '../core/nearest.ts';
import * as layers from '../layers/index.ts';
import type { Layer } from '../layers/layer.ts';
import { model, sequential } from '../training/build.ts';
import type { Model } from '../training/model.ts';
import { parseAugment } from './augment.ts';
import { buildOnnx, isOnnx } from './foreign.ts';
import { type Head, parseHead } from './heads.ts';
import { invocation, type Output, shellWord } from './output.ts';
import { showTransfers } from './transfers.ts';

const backbones = new Map(applications.all.map((application) => [application.record.name, application]));

/** Throws `argument`, with a name that comes near, if there is no such backbone. */
export function findBackbone(name: string): applications.Application {
  const found = backbones.get(name);
  if (found !== undefined) return found;
  const where = `Expected a name that ${invocation()} models lists, or an .onnx file.`;
  if (existsSync(name)) {
    const keras = /\.(keras|h5|hdf5)$/i.test(name)
      ? ` Of a Keras model, ${invocation()} export --model ${shellWord(name)} makes one; weights alone are for --weights.`
      : ` What it is: ${invocation()} inspect ${shellWord(name)}`;
    return fail('argument', `--backbone ${name} is a file that does not end in .onnx. ${where}${keras}`);
  }
  const near = nearest(name, [...backbones.keys()]);
  const guess = near === null ? '' : ` Did you mean ${near}?`;
  return fail('argument', `There is no backbone "${name}".${guess} ${where}`);
}

export function backboneTitle(name: string): string {
  return isOnnx(name) ? basename(name) : findBackbone(name).record.title;
}

/** `--backbone NAME` or `--backbone FILE.onnx`. */
export function backboneOption(description: string): Option {
  const text = `${description}: one of graft models, or an .onnx file`;
  return new Option('--backbone <name>', text).argParser((name): string => {
    if (!isOnnx(name)) return findBackbone(name).record.name;
    const path = resolve(name);
    if (existsSync(path)) return path;
    throw new InvalidArgumentError('There is no such file.');
  });
}

export interface ModelConfig {
  /** One of `graft models`, or an ONNX file. */
  readonly backbone: string;
  /** The name of published weights (`imagenet`), `none`, or a file; for a foreign model that file itself. */
  readonly weights: string;
  readonly imageSize: number;
  /** How pictures are normalised for a foreign model; `null` for Graft's own, which know it. */
  readonly preprocessing: string | null;
  /** The layer or tensor that ends the backbone; `null` for its own end. */
  readonly backboneOutput: string | null;
  /** The first backbone layer that trains; `all` for the whole of it, `null` for none. */
  readonly unfreezeFrom: string | null;
  readonly head: string;
  /** What changes pictures in training: a preset or a list. */
  readonly augment: string;
}

/** A weights file on disk. */
export interface WeightsFile {
  readonly path: string;
  readonly sha256: string;
}

/** Brings the weights here; `null` for `none`. */
export async function fetchWeights(
  { backbone, weights }: ModelConfig,
  mirror: string | undefined,
  out: Output,
): Promise<WeightsFile | null> {
  if (weights === 'none') return null;
  const record = isOnnx(backbone) ? null : findBackbone(backbone).record;
  if (weights !== record?.trainedOn.name) {
    return { path: weights, sha256: await sha256File(weights) };
  }
  const transfers = showTransfers(out.verbose);
  try {
    const path = await applications.fetchPublished(record.noTop, {
      mirror,
      onProgress: transfers.onProgress,
    });
    return { path, sha256: await sha256File(path) };
  } catch (error) {
    return explainNoWeights(error, backbone);
  } finally {
    transfers.end();
  }
}

/** Says what works where published weights cannot be fetched. */
function explainNoWeights(error: unknown, backbone: string): never {
  if (!(error instanceof GraftError) || error.code !== 'network') throw error;
  return fail(
    'network',
    `${error.message}\nWithout a network: --backbone cifar_resnet comes with Graft (it sees pictures at 32x32: enough ` +
      `for a first look); --weights FILE takes weights of ${backbone} that are on this machine; --backbone FILE.onnx ` +
      'takes any ONNX model.',
    error,
  );
}

/** Measures mean and variance of each feature that a model puts out. */
export type Measure = (features: Model) => Promise<{ readonly mean: number[]; readonly variance: number[] }>;

export interface Parts {
  /** Of a picture as the data set gives it: [height, width, 3]. */
  readonly inputShape: readonly number[];
  readonly classes: number;
  readonly weights: WeightsFile | null;
  readonly measure: Measure;
}

/** What stands between pictures and backbone; a foreign model brings it with it. */
function preprocessingOf(backbone: string): Layer[] {
  const mode = isOnnx(backbone) ? null : findBackbone(backbone).record.preprocessing;
  return mode === null ? [] : [applications.preprocessing(mode)];
}

export async function buildModel(
  config: ModelConfig,
  { inputShape, classes, weights, measure }: Parts,
): Promise<{ readonly model: Model; readonly backbone: Model }> {
  const { imageSize } = config;
  const head = parseHead(config.head);
  const resizing = layers.resizing({ height: imageSize, width: imageSize });
  const augmentation = parseAugment(config.augment);
  const asTheyAre = !augmentation.crops && inputShape[0] === imageSize && inputShape[1] === imageSize;
  const backbone = isOnnx(config.backbone)
    ? await buildOnnx(config, weights?.path ?? config.backbone)
    : await buildBackbone(config, weights?.path ?? null);
  const trunk = [
    layers.input({ shape: inputShape }),
    ...augmentation.layers(inputShape),
    // Before it resizes, where there are fewer pixels; both are linear, so that the order is no matter.
    ...preprocessingOf(config.backbone),
    ...(asTheyAre ? [] : [resizing]),
    backbone,
    ...reduced(backbone.result.shape, head),
  ];
  const standardization = head.standardized
    ? [layers.normalization(await measure(sequential(trunk, { name: 'features' })))]
    : [];
  const rest = head.rest.map((makeLayer) => makeLayer());
  const classifier = layers.dense({ units: classes, activation: 'softmax' });
  return { model: sequential([...trunk, ...standardization, ...rest, classifier]), backbone };
}

/** To a vector. A foreign model may have made one already, or tokens, which are a map of one column. */
function reduced(shape: readonly number[], { reduce }: Head): Layer[] {
  if (shape.length === 1) return [];
  if (shape.length === 3) return [reduce()];
  return [layers.reshape({ targetShape: [shape[0]!, 1, shape[1]!] }), reduce()];
}

/** Throws `argument` if options name layers that the backbone does not have; reads no weights. */
export async function checkLayers(config: ModelConfig): Promise<void> {
  if (!isOnnx(config.backbone)) await buildBackbone(config, null);
}

/**
 * The first layer of a backbone's last stage: from there on maps have the size of the last layer's, or it is earlier
 * and the record names it. It is the last block of the classic articles, `conv5_block1_1_conv` of ResNet50.
 */
export function lastStageOf(config: ModelConfig): string {
  const whole = structureOf(config);
  const backbone = config.backboneOutput === null ? whole : endAt(whole, config.backboneOutput, config);
  const sizeOf = (layer: Layer) =>
    backbone.steps.find(({ output }) => output.layer === layer)?.output.shape[0];
  const layers = backbone.layers.filter(({ variables }) => variables.length > 0);
  const last = sizeOf(layers.at(-1)!);
  const { lastStage } = findBackbone(config.backbone).record;
  return layers.find((layer) => sizeOf(layer) === last || layer.name === lastStage)!.name;
}

function structureOf({ backbone, weights, imageSize }: ModelConfig): Model {
  return findBackbone(backbone).structure({
    weights: weights === 'none' ? null : weights,
    includeTop: false,
    inputShape: [imageSize, imageSize, 3],
  });
}

async function buildBackbone(config: ModelConfig, weights: string | null): Promise<Model> {
  const { backboneOutput } = config;
  const whole = structureOf(config);
  if (weights !== null) await applications.loadWeights(whole, weights);
  const backbone = backboneOutput === null ? whole : endAt(whole, backboneOutput, config);
  freeze(backbone, config);
  return backbone;
}

function endAt(whole: Model, name: string, config: ModelConfig): Model {
  const end =
    whole.layers.find((layer) => layer.name === name) ?? noLayer(whole, '--backbone-output', name, config);
  if (end.output.shape.length !== 3) {
    fail('argument', `--backbone-output ${name}: expected a layer that puts out a feature map.`);
  }
  return model({ inputs: whole.input, outputs: end.output, name: whole.name });
}

function freeze(backbone: Model, config: ModelConfig): void {
  const { unfreezeFrom } = config;
  if (unfreezeFrom === 'all') return;
  if (unfreezeFrom === null) backbone.freeze();
  else if (backbone.layers.some((layer) => layer.name === unfreezeFrom)) backbone.freezeUntil(unfreezeFrom);
  else noLayer(backbone, '--unfreeze-from', unfreezeFrom, config);
}

/** Layers that an option may well mean: those that begin a step of the network, and those that end one. */
const likely = {
  '--unfreeze-from': ({ className }: Layer) => className.endsWith('Conv2D'),
  '--backbone-output': ({ name }: Layer) => /(_out|_add|_concat|_pool)$|^(mixed|add)/.test(name),
};

/** Names the layers whose names begin most alike, or the last ones. */
function noLayer(backbone: Model, flag: keyof typeof likely, name: string, config: ModelConfig): never {
  const names = backbone.layers.filter(likely[flag]).map((layer) => layer.name);
  const alike = (length: number) => names.filter((other) => other.startsWith(name.slice(0, length)));
  const lengths = Array.from({ length: Math.max(name.length - 4, 0) }, (_, i) => name.length - i);
  const close = lengths.map(alike).find((found) => found.length > 0) ?? names.slice(-6);
  const end = config.backboneOutput;
  const where =
    end === null || flag === '--backbone-output'
      ? config.backbone
      : `${config.backbone} up to ${end} (--backbone-output)`;
  return fail(
    'argument',
    `${flag} ${name}: there is no such layer in ${where}. Expected one such as ${close.slice(0, 6).join(', ')}. ` +
      `All of them: ${invocation()} summary --backbone ${config.backbone} --expand-nested`,
  );
}

/** Says which options help where a weights file does not cover the frozen layers. */
export function explainWeights(error: unknown): never {
  if (!(error instanceof GraftError) || error.code !== 'weights') throw error;
  return fail(
    'argument',
    `${error.message}\nWith these options: --backbone-output LAYER ends the backbone early ` +
      '(conv4_block6_out), --unfreeze-from LAYER trains the layers from there on (conv5_block1_1_conv), ' +
      '--weights FILE takes another file.',
    error,
  );
}
