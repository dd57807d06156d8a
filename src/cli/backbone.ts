/** The model that options describe: preprocessing, resizing, a backbone cut and frozen as asked, a head. */
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import * as applications from '../applications/index.ts';
import { fail, GraftError } from '../core/errors.ts';
import { sha256File } from '../core/files.node.ts';
import { fetchAsset } from '../data/index.ts';
import * as layers from '../layers/index.ts';
import type { Layer } from '../layers/layer.ts';
import { model, sequential } from '../training/build.ts';
import type { Model } from '../training/model.ts';
import { parseAugment } from './augment.ts';
import { buildOnnx, isOnnx, type OnnxPath } from './foreign.ts';
import { type Head, parseHead } from './heads.ts';
import { invocation, type Output } from './output.ts';
import { showTransfers } from './transfers.ts';

export const backboneNames = ['resnet50'] as const;
export type BackboneName = (typeof backboneNames)[number];
/** One of Graft's own, or a foreign model. */
export type Backbone = BackboneName | OnnxPath;

const backbones = {
  resnet50: { title: 'ResNet50', make: applications.resnet50, record: applications.resnet50Record },
} as const;

export function backboneTitle(name: Backbone): string {
  return isOnnx(name) ? basename(name) : backbones[name].title;
}

/** `--backbone NAME` or `--backbone FILE.onnx`. */
export function backboneOption(description: string): Option {
  return new Option('--backbone <name>', description).argParser((text): Backbone => {
    const name = backboneNames.find((each) => each === text);
    if (name !== undefined) return name;
    const path = resolve(text);
    if (isOnnx(path) && existsSync(path)) return path;
    throw new InvalidArgumentError(
      isOnnx(path) ? 'There is no such file.' : `Expected ${backboneNames.join(', ')} or an .onnx file.`,
    );
  });
}

export interface ModelConfig {
  readonly backbone: Backbone;
  /** `imagenet`, `none`, or a file; for a foreign model that file itself. */
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
  if (weights !== 'imagenet' || isOnnx(backbone)) return { path: weights, sha256: await sha256File(weights) };
  const transfers = showTransfers(out.verbose);
  try {
    const { record } = backbones[backbone];
    const path = await fetchAsset(record.noTop, { mirror, onProgress: transfers.onProgress });
    return { path, sha256: await sha256File(path) };
  } finally {
    transfers.end();
  }
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

export async function buildModel(
  config: ModelConfig,
  { inputShape, classes, weights, measure }: Parts,
): Promise<{ readonly model: Model; readonly backbone: Model }> {
  const { imageSize } = config;
  const head = parseHead(config.head);
  const resizing = layers.resizing({ height: imageSize, width: imageSize });
  const asTheyAre = inputShape[0] === imageSize && inputShape[1] === imageSize;
  const backbone = isOnnx(config.backbone)
    ? await buildOnnx(config, weights?.path ?? config.backbone)
    : await buildBackbone(config, weights?.path ?? null);
  const trunk = [
    layers.input({ shape: inputShape }),
    ...parseAugment(config.augment).layers(),
    // A foreign model brings its preprocessing with it.
    ...(isOnnx(config.backbone)
      ? []
      : [applications.preprocessing(backbones[config.backbone].record.preprocessing)]),
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

async function buildBackbone(config: ModelConfig, weights: string | null): Promise<Model> {
  const { imageSize, backboneOutput } = config;
  const whole = await backbones[config.backbone as BackboneName].make({
    weights,
    includeTop: false,
    inputShape: [imageSize, imageSize, 3],
  });
  const backbone = backboneOutput === null ? whole : endAt(whole, backboneOutput);
  freeze(backbone, config);
  return backbone;
}

function endAt(whole: Model, name: string): Model {
  const end = whole.layers.find((layer) => layer.name === name) ?? noLayer(whole, '--backbone-output', name);
  if (end.output.shape.length !== 3) {
    fail('argument', `--backbone-output ${name}: expected a layer that puts out a feature map.`);
  }
  return model({ inputs: whole.input, outputs: end.output, name: whole.name });
}

function freeze(backbone: Model, { unfreezeFrom, backboneOutput }: ModelConfig): void {
  if (unfreezeFrom === 'all') return;
  if (unfreezeFrom === null) backbone.freeze();
  else if (backbone.layers.some((layer) => layer.name === unfreezeFrom)) backbone.freezeUntil(unfreezeFrom);
  else noLayer(backbone, '--unfreeze-from', unfreezeFrom, backboneOutput);
}

/** Layers that an option may well mean: those that begin a step of the network, and those that end one. */
const likely = { '--unfreeze-from': /_conv$/, '--backbone-output': /_out$/ };

/** Names the layers whose names begin most alike, or the last ones. */
function noLayer(backbone: Model, flag: keyof typeof likely, name: string, end: string | null = null): never {
  const names = backbone.layers.map((layer) => layer.name).filter((other) => likely[flag].test(other));
  const alike = (length: number) => names.filter((other) => other.startsWith(name.slice(0, length)));
  const lengths = Array.from({ length: Math.max(name.length - 4, 0) }, (_, i) => name.length - i);
  const close = lengths.map(alike).find((found) => found.length > 0) ?? names.slice(-6);
  const where = end === null ? backbone.name : `${backbone.name} up to ${end} (--backbone-output)`;
  return fail(
    'argument',
    `${flag} ${name}: there is no such layer in ${where}. Expected one such as ${close.slice(0, 6).join(', ')}. ` +
      `All of them: ${invocation()} summary --backbone ${backbone.name} --expand-nested`,
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
