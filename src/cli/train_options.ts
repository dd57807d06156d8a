/** The options of `graft train`, and the configuration that they mean. */
import { existsSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import type { Command } from 'commander';
import * as applications from '../applications/index.ts';
import { fail } from '../core/errors.ts';
import { type CachePrecision, cacheChoices } from '../features/index.ts';
import { optimizerNames } from '../optimizers/index.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addMirrorOption,
  byteSize,
  type CommonOptions,
  choice,
  type DeviceOptions,
  fraction,
  notNegative,
  positive,
  share,
  wholeNumber,
} from './arguments.ts';
import { augmentPresets, parseAugment } from './augment.ts';
import { backboneOption, findBackbone, type ModelConfig } from './backbone.ts';
import { balanceNames, type Recipe, scheduleNames, type TrainConfig } from './config.ts';
import {
  addPictureOptions,
  dataNames,
  dataWords,
  isPublished,
  type PictureOptions,
  parseData,
} from './data.ts';
import { foreignInteger, isOnnx, unknownSize } from './foreign.ts';
import { headWords, parseHead } from './heads.ts';
import { invocation, plural } from './output.ts';

/** The options that say what a model looks like; `summary` has them too. */
export interface ModelOptions {
  readonly backbone: string;
  readonly imageSize?: number;
  readonly preprocessing?: string;
  readonly backboneOutput?: string;
  readonly unfreezeFrom?: string;
  readonly head: string;
  readonly augment: string;
}

export interface TrainOptions extends CommonOptions, DeviceOptions, ModelOptions, Partial<PictureOptions> {
  readonly data?: string;
  readonly weights: string;
  readonly optimizer: Recipe['optimizer'];
  readonly learningRate?: number;
  readonly momentum: number;
  readonly weightDecay?: number;
  readonly schedule: Recipe['schedule'];
  readonly warmupEpochs: number;
  readonly labelSmoothing: number;
  readonly batchSize: number;
  readonly accumulate: number;
  readonly clipNorm?: number;
  readonly epochs: number;
  readonly balance: TrainConfig['balance'];
  readonly limit?: number;
  readonly validationLimit?: number;
  readonly validationSplit?: number;
  readonly seed: number;
  readonly cache: TrainConfig['cache'];
  readonly cachePrecision?: CachePrecision;
  readonly cacheLimit?: number;
  readonly cachedViews?: number;
  readonly precision: TrainConfig['precision'];
  readonly out?: string;
  readonly mirror?: string;
  readonly resume?: string;
}

export function addTrainOptions(command: Command): void {
  addDataOptions(command);
  command
    .optionsGroup('Model:')
    .addOption(backboneOption('the pretrained part').default('resnet50'))
    .option('--weights <what>', 'imagenet, none (random), or a file (.h5, .keras, .safetensors)', 'imagenet');
  addModelOptions(command);
  addRecipeOptions(command);
  addCacheOptions(command);
  command
    .optionsGroup('Run:')
    .option('--out <dir>', 'folder of the run (default: runs/<time>-<backbone>-<data>)')
    .option('--resume <run>', 'go on with a run that was stopped, with its own options');
  addCommonOptions(addDeviceOptions(command));
}

function addDataOptions(command: Command): void {
  command
    .optionsGroup('Pictures:')
    .option('--data <what>', dataWords, parseData)
    .option('--limit <n>', 'use only the first n training pictures', wholeNumber(1))
    .option('--validation-limit <n>', 'use only the first n pictures to validate and test', wholeNumber(1))
    .option(
      '--validation-split <share>',
      'validate on a share of the training pictures: the last ones of a published data set, of your own some of ' +
        'each class (default: 0.2 where a folder has neither val/ nor test/)',
      fraction,
    );
  addMirrorOption(addPictureOptions(command));
}

export function addModelOptions(command: Command): Command {
  return command
    .option(
      '--image-size <pixels>',
      "pictures are resized to this in the model (default: the backbone's own, 224 or 299)",
      wholeNumber(32, 2048),
    )
    .option('--backbone-output <layer>', 'end the backbone at this layer (conv4_block6_out) or ONNX tensor')
    .option(
      '--preprocessing <how>',
      `for an .onnx file that does not say it: ${applications.normalizationWords}`,
    )
    .option('--unfreeze-from <layer>', 'train this backbone layer and all after it; "all" for all of them')
    .option('--head <head>', `${headWords}; a softmax layer follows`, 'reference')
    .option(
      '--augment <list>',
      `${Object.keys(augmentPresets).join(', ')}, or a list such as flip,rotation:0.05; see train --help`,
      'none',
    );
}

function addRecipeOptions(command: Command): void {
  command
    .optionsGroup('Training:')
    .addOption(choice('--optimizer <name>', 'update rule', optimizerNames).default('rmsprop'))
    .option(
      '--learning-rate <rate>',
      "default: 2e-5 where pretrained layers train, else the optimizer's own (0.01 for sgd, else 0.001)",
      positive,
    )
    .option('--momentum <share>', 'for sgd and rmsprop', share, 0)
    .option('--weight-decay <rate>', "default: the optimizer's own (adamw 0.004, else none)", notNegative)
    .addOption(
      choice('--schedule <name>', 'how the learning rate changes', scheduleNames).default('constant'),
    )
    .option('--warmup-epochs <n>', 'let the rate climb first; for --schedule cosine', notNegative, 0)
    .option('--label-smoothing <share>', 'spread this share of each label over all classes', share, 0)
    .option('--batch-size <n>', 'pictures of a step', wholeNumber(1, 65_536), 32)
    .option(
      '--accumulate <n>',
      'batches whose gradients are averaged into one update',
      wholeNumber(1, 65_536),
      1,
    )
    .option(
      '--clip-norm <norm>',
      "scale the gradients of an update down to this norm, all of them together (Keras's global_clipnorm)",
      positive,
    )
    .addOption(
      choice('--balance <how>', 'make classes of unequal size count the same', balanceNames).default('none'),
    )
    .option('--epochs <n>', 'passes over the training pictures', wholeNumber(1, 1_000_000), 10)
    .option('--seed <n>', 'decides initial weights, order and dropout', wholeNumber(0, 0xffff_ffff), 0)
    .addOption(
      choice('--precision <type>', 'in which the frozen part computes; int8 is quicker, on cpu only', [
        ...['float32', 'int8'],
      ]).default('float32'),
    );
}

function addCacheOptions(command: Command): void {
  const { modes, precisions } = cacheChoices;
  command
    .optionsGroup("Cache of the frozen part's features:")
    .addOption(
      choice('--cache <mode>', 'where they are kept; auto: on disk, for later runs too', modes).default(
        'auto',
      ),
    )
    .addOption(
      choice(
        '--cache-precision <type>',
        'how they are kept; uint8 takes half the room of float16 (default: float16; float32 off the cpu)',
        precisions,
      ),
    )
    .option(
      '--cache-limit <size>',
      'the most that all kept features may take on disk, such as 20GB (default: nine tenths of what is free)',
      byteSize,
    )
    .option(
      '--cached-views <n>',
      'with random layers before the frozen part: keep n versions of each picture (default: none, compute anew)',
      wholeNumber(1, 10_000),
    );
}

export function configOf(options: TrainOptions): TrainConfig {
  if (options.data === undefined) {
    const quick = `For a quick first run: ${invocation()} start`;
    fail(
      'argument',
      `No pictures named: give --data ${dataNames.join(', --data ')} or --data FOLDER. ${quick}`,
    );
  }
  const config = modelConfigOf(options);
  const model = { ...config, weights: checkWeights(options.weights, config.backbone) };
  if (isOnnx(model.backbone) && options.precision === 'int8') fail('unsupported', foreignInteger);
  return {
    data: options.data,
    limit: options.limit ?? null,
    validationLimit: options.validationLimit ?? null,
    validationSplit: options.validationSplit ?? null,
    ...picturesOf(options),
    ...model,
    ...recipeOf(options, model),
    balance: options.balance,
    ...cacheConfigOf(options),
    precision: options.precision,
    device: options.device,
    threads: options.threads ?? null,
  };
}

type CacheConfig = Pick<TrainConfig, 'cache' | 'cachePrecision' | 'cacheLimit' | 'cachedViews'>;

/** Throws `argument` for an option that would do nothing. */
function cacheConfigOf(options: TrainOptions): CacheConfig {
  const { cache, cachePrecision = null, cacheLimit = null, cachedViews = null } = options;
  const given = {
    '--cache-precision': cachePrecision,
    '--cache-limit': cacheLimit,
    '--cached-views': cachedViews,
  };
  const useless = Object.entries(given).find(
    ([flag, value]) =>
      value !== null && (cache === 'off' || (cache === 'memory' && flag === '--cache-limit')),
  );
  if (useless) fail('argument', `${useless[0]} does nothing with --cache ${cache}; leave one of them out.`);
  return { cache, cachePrecision, cacheLimit, cachedViews };
}

function picturesOf(options: TrainOptions): PictureOptions {
  const { cropToAspectRatio = false, padToAspectRatio = false, skipBroken = false, splitSeed } = options;
  if (
    isPublished(options.data!) &&
    (cropToAspectRatio || padToAspectRatio || skipBroken || splitSeed !== undefined)
  ) {
    const flags = '--crop-to-aspect-ratio, --pad-to-aspect-ratio, --skip-broken and --split-seed';
    fail('argument', `${flags} are for your own pictures, got --data ${options.data}.`);
  }
  if (cropToAspectRatio && padToAspectRatio) {
    fail('argument', 'Give --crop-to-aspect-ratio or --pad-to-aspect-ratio, not both.');
  }
  return { cropToAspectRatio, padToAspectRatio, skipBroken, splitSeed: splitSeed ?? 0 };
}

export function modelConfigOf(options: ModelOptions): Omit<ModelConfig, 'weights'> {
  const { backbone, head, augment } = options;
  parseHead(head);
  parseAugment(augment);
  const backboneOutput = options.backboneOutput ?? null;
  const unfreezeFrom = options.unfreezeFrom ?? null;
  const preprocessing = options.preprocessing ?? null;
  const foreign = isOnnx(backbone);
  if (preprocessing !== null) {
    if (!foreign) fail('argument', `--preprocessing is for .onnx files; ${backbone} knows its own.`);
    applications.parseNormalization(preprocessing);
  }
  if (foreign && unfreezeFrom !== null) {
    fail('argument', `--unfreeze-from: an .onnx file stays frozen as a whole; Graft trains a head on it.`);
  }
  return {
    ...{ backbone, backboneOutput, unfreezeFrom, head, augment, preprocessing },
    // What a file wants is found by `resolveModel`.
    imageSize: options.imageSize ?? (foreign ? unknownSize : findBackbone(backbone).record.inputSize),
  };
}

function checkWeights(weights: string, backbone: string): string {
  if (isOnnx(backbone)) {
    if (weights === 'imagenet') return backbone;
    fail('argument', `--weights ${weights}: ${backbone} has its own weights; leave the option out.`);
  }
  if (weights === 'imagenet' || weights === 'none') return weights;
  const known = ['.h5', '.hdf5', '.keras', '.safetensors'].includes(extname(weights).toLowerCase());
  // The run may be continued from another folder.
  if (known && existsSync(weights)) return resolve(weights);
  const problem = known ? 'there is no such file' : 'neither a known name nor a file of weights';
  return fail(
    'argument',
    `--weights ${weights}: ${problem}. Expected imagenet, none, or a .h5, .keras or .safetensors file.`,
  );
}

function recipeOf(options: TrainOptions, { weights, unfreezeFrom }: ModelConfig): Recipe {
  const { optimizer, momentum, schedule, warmupEpochs, labelSmoothing, batchSize, epochs, seed } = options;
  const { accumulate } = options;
  if (momentum > 0 && (optimizer === 'adam' || optimizer === 'adamw')) {
    fail('argument', `--momentum is for sgd and rmsprop; ${optimizer} has its own. Leave it out.`);
  }
  if (warmupEpochs > 0 && schedule !== 'cosine') {
    fail('argument', `--warmup-epochs is for --schedule cosine, got --schedule ${schedule}.`);
  }
  if (warmupEpochs >= epochs) {
    const most = plural(epochs, 'epoch');
    fail('argument', `--warmup-epochs ${warmupEpochs}: expected fewer than the ${most} of the training.`);
  }
  const fineTuning = unfreezeFrom !== null && weights !== 'none';
  const usualRate = fineTuning ? 2e-5 : optimizer === 'sgd' ? 0.01 : 0.001;
  const learningRate = options.learningRate ?? usualRate;
  const weightDecay = options.weightDecay ?? null;
  return {
    ...{ optimizer, learningRate, momentum, weightDecay, schedule, warmupEpochs },
    ...{ labelSmoothing, batchSize, accumulate, clipNorm: options.clipNorm ?? null, epochs, seed },
  };
}
