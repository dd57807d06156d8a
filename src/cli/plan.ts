/** Says in plain words what a training is going to do, before it takes its time. */
import { usableCores } from '../core/cores.node.ts';
import { formatShape } from '../core/tensor.ts';
import { type Dataset, lengthOf } from '../data/index.ts';
import { featuresFolder } from '../features/index.ts';
import type { Layer } from '../layers/layer.ts';
import type { Model } from '../training/model.ts';
import { planFeatures } from '../training/prepare.ts';
import { parseAugment } from './augment.ts';
import { backboneTitle, findBackbone } from './backbone.ts';
import { cacheOf, describeRecipe, type TrainConfig } from './config.ts';
import { isPublished, type LoadedData } from './data.ts';
import { describeOnnx, isOnnx } from './foreign.ts';
import { headPresets } from './heads.ts';
import { count, megabytes, plural, type Row } from './output.ts';

export interface Planned {
  readonly config: TrainConfig;
  readonly data: LoadedData;
  readonly model: Model;
  readonly backbone: Model;
  readonly runPath: string;
}

export async function planRows(planned: Planned): Promise<Row[]> {
  const { config, data, runPath } = planned;
  const threads = config.threads ?? usableCores();
  return [
    ...dataRows(config, data),
    ['Model', describeModel(config)],
    ...(await layerRows(planned)),
    ...augmentRows(config),
    ['Recipe', (config.recipe === null ? '' : `${config.recipe}: `) + describeRecipe(config)],
    ['Device', config.device === 'cpu' ? `cpu, ${plural(threads, 'thread')}` : config.device],
    ['Run', runPath],
  ];
}

function dataRows(config: TrainConfig, data: LoadedData): Row[] {
  const { train, validation, test } = data.whole;
  const shapes = [
    `train ${formatShape(train.shape)}`,
    ...(validation === null ? [] : [`validation ${formatShape(validation.shape)}`]),
    ...(test === null ? [] : [`test ${formatShape(test.shape)}`]),
  ];
  const classes = `${data.classNames.length} classes${isPublished(config.data) ? '' : ` (${someNames(data)})`}`;
  return [
    ['Data', `${data.title}: ${shapes.join(', ')}, ${classes}`],
    ['', usedPictures(config, data)],
    ...(isPublished(config.data) ? [] : [['', describeResize(config)] as const]),
  ];
}

function usedPictures({ data: source, validationSplit, splitSeed }: TrainConfig, data: LoadedData): string {
  const used = (part: Dataset, whole: Dataset | null) =>
    lengthOf(part) < lengthOf(whole ?? part)
      ? `the first ${count(lengthOf(part))}`
      : `all ${count(lengthOf(part))}`;
  const { train, validation, test } = data.whole;
  const tested = data.test === null ? '' : `, ${used(data.test, test)} test pictures at the end`;
  if (isPublished(source) && validationSplit !== null) {
    const [training, held] = [lengthOf(data.train), lengthOf(data.validation)];
    return `the first ${count(training)} to train, the ${count(held)} after them to validate (${validationSplit})${tested}`;
  }
  const held = used(data.validation, data.validatesOn === 'test' ? test : validation);
  const { share } = data;
  const drawn = share === null ? '' : ` (${share} of each class, drawn by --split-seed ${splitSeed})`;
  return `${used(data.train, train)} to train, ${held} ${data.validatesOn} pictures to validate${drawn}${tested}`;
}

/** The first classes by name. */
function someNames({ classNames }: LoadedData): string {
  const shown = classNames.slice(0, 5).join(', ');
  return classNames.length > 5 ? `${shown}, …` : shown;
}

function describeResize({ imageSize, cropToAspectRatio, padToAspectRatio }: TrainConfig): string {
  const how = cropToAspectRatio ? 'cut' : padToAspectRatio ? 'padded with black' : 'stretched';
  return `each picture ${how} to ${imageSize}x${imageSize}`;
}

export function describeModel(config: TrainConfig): string {
  const { backbone, weights, imageSize, backboneOutput, head } = config;
  const list = headPresets[head];
  const rest = `at ${imageSize}x${imageSize}; head: ${list === undefined ? head : `${head} (${list})`}`;
  if (isOnnx(backbone)) return `${describeOnnx(config)}, ${rest}`;
  const { trainedOn } = findBackbone(backbone).record;
  const from =
    weights === trainedOn.name
      ? `${trainedOn.title} weights`
      : weights === 'none'
        ? 'random weights'
        : `weights of ${weights}`;
  const end = backboneOutput === null ? '' : ` up to ${backboneOutput}`;
  return `${backboneTitle(backbone)}${end} with ${from}, ${rest}`;
}

async function layerRows({ config, data, model, backbone }: Planned): Promise<Row[]> {
  const withWeights = backbone.layers.filter((layer) => layer.variables.length > 0);
  const training = withWeights.filter((layer) => layer.trainable);
  const head = model.layers.filter(
    (layer) => layer.variables.length > 0 && layer.trainable && layer !== backbone,
  );
  const trainable = model.trainableVariables.reduce((total, { size }) => total + size, 0);
  const what =
    training.length === 0
      ? `the head (${plural(head.length, 'layer')})`
      : `${span(training)} and the head (${training.length} + ${head.length} layers)`;
  const rows: Row[] = [
    ['Trains', `${what}, ${count(trainable)} of ${count(model.countParams())} parameters`],
  ];
  if (isOnnx(config.backbone)) {
    return [
      ...rows,
      ['Frozen', `all of ${backboneTitle(config.backbone)}; ${await featureNote(config, data, model)}`],
    ];
  }
  if (training.length === withWeights.length) return rows;
  const frozen = withWeights.filter((layer) => !layer.trainable);
  const features = await featureNote(config, data, model);
  return [...rows, ['Frozen', `${span(frozen)} (${plural(frozen.length, 'layer')}); ${features}`]];
}

function augmentRows({ augment }: TrainConfig): Row[] {
  const { description } = parseAugment(augment);
  return description === '' ? [] : [['Augment', `${description}; in training steps only`]];
}

function span(layers: readonly Layer[]): string {
  const [first, last] = [layers[0]!.name, layers.at(-1)!.name];
  return first === last ? first : `${first} … ${last}`;
}

async function featureNote(config: TrainConfig, data: LoadedData, model: Model): Promise<string> {
  const uses = [
    { dataset: data.train, training: true },
    { dataset: data.validation, training: false },
  ];
  const { random, keep, bytes, place } = await planFeatures(model.compiled.executor, uses, cacheOf(config));
  const images = count(uses.reduce((total, { dataset }) => total + lengthOf(dataset), 0));
  const how = config.precision === 'int8' ? ' in int8' : '';
  if (!keep) {
    if (config.cache === 'off') return `computed again${how} in every epoch (--cache off)`;
    if (parseAugment(config.augment).mixes) return 'computed again in every step, as pictures are mixed';
    return random
      ? `computed again${how} in every epoch, beside the step: random layers come before it`
      : 'too little work to be worth keeping its results';
  }
  const views = config.cachedViews ? ` for each of ${plural(config.cachedViews, 'view')}` : '';
  const where = place === 'disk' ? `on disk in ${featuresFolder()}` : 'in memory';
  return `computed once${how}${views}, features kept ${where} (${megabytes(bytes)}, ${images} pictures)`;
}
