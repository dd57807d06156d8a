/** The options of `graft train`. What they mean together is `train_config.ts`. */
import type { Command } from 'commander';
import * as applications from '../applications/index.ts';
import { type CachePrecision, cacheChoices } from '../features/index.ts';
import { optimizerNames } from '../optimizers/index.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addMirrorOption,
  addTtaOption,
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
import { augmentWords } from './augment.ts';
import { backboneOption } from './backbone.ts';
import { balanceNames, type Recipe, scheduleNames, type TrainConfig } from './config.ts';
import { addPictureOptions, dataWords, type PictureOptions, parseData } from './data.ts';
import { headWords } from './heads.ts';
import { type RecipeName, recipeNames } from './recipes.ts';

/** The options that say what a model looks like; `summary` has them too. */
export interface ModelOptions {
  readonly backbone: string;
  readonly imageSize?: number;
  readonly preprocessing?: string;
  readonly backboneOutput?: string;
  readonly unfreezeFrom?: string;
  readonly head?: string;
  readonly augment: string;
}

/** What a recipe decides is undefined unless it was given. */
export interface TrainOptions extends CommonOptions, DeviceOptions, ModelOptions, Partial<PictureOptions> {
  readonly data?: string;
  readonly weights?: string;
  readonly recipe?: RecipeName;
  readonly optimizer?: Recipe['optimizer'];
  readonly learningRate?: number;
  readonly momentum?: number;
  readonly weightDecay?: number;
  readonly schedule?: Recipe['schedule'];
  readonly warmupEpochs?: number;
  readonly labelSmoothing?: number;
  readonly batchSize?: number;
  readonly accumulate: number;
  readonly clipNorm?: number;
  readonly epochs?: number;
  readonly freezeEpochs?: number;
  readonly ema?: number | true;
  readonly earlyStopping?: number;
  readonly tta?: number;
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
  readonly tensorboard?: true;
  readonly checkpointEvery?: number;
  readonly resume?: string;
}

export function addTrainOptions(command: Command): void {
  addTtaOption(addJobOptions(command).optionsGroup('Run:'))
    .option('--out <dir>', 'folder of the run (default: runs/<time>-<backbone>-<data>)')
    .option('--resume <run>', 'go on with a run that was stopped, with its own options')
    .option(
      '--checkpoint-every <minutes>',
      'checkpoints inside long epochs, beside those after each epoch (default: 10)',
      positive,
    )
    .option('--tensorboard', "write TensorBoard's logs into the run's folder");
  addCommonOptions(addDeviceOptions(command));
}

/** Pictures, model, training and cache: what is to be done, wherever it goes. */
export function addJobOptions(command: Command): Command {
  addDataOptions(command);
  command
    .optionsGroup('Model:')
    .addOption(backboneOption('the pretrained part').default('resnet50'))
    .option(
      '--weights <what>',
      "imagenet, cifar10, none (random), or a file (.h5, .keras, .safetensors), such as the .h5 of a run; default: the backbone's own",
    );
  addModelOptions(command);
  addRecipeOptions(command);
  addCacheOptions(command);
  return command;
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
    .option('--head <head>', `${headWords}; a softmax layer follows`)
    .option('--augment <list>', `${augmentWords}; see train --help`, 'none');
}

/** Defaults are those of the recipe. */
function addRecipeOptions(command: Command): void {
  command
    .optionsGroup('Training:')
    .addOption(
      choice(
        '--recipe <name>',
        'settings that work together (default: by the number of pictures)',
        recipeNames,
      ),
    )
    .addOption(choice('--optimizer <name>', 'update rule', optimizerNames))
    .option(
      '--learning-rate <rate>',
      "default: the recipe's; with another optimizer than its own 2e-5 where pretrained layers train, else 0.01 " +
        'for sgd and 0.001 for others',
      positive,
    )
    .option('--momentum <share>', 'for sgd and rmsprop', share)
    .option('--weight-decay <rate>', "default: the recipe's, or the optimizer's own", notNegative)
    .addOption(choice('--schedule <name>', 'how the learning rate changes', scheduleNames))
    .option('--warmup-epochs <n>', 'let the rate climb first; for --schedule cosine', notNegative)
    .option('--label-smoothing <share>', 'spread this share of each label over all classes', share)
    .option('--batch-size <n>', 'pictures of a step', wholeNumber(1, 65_536))
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
    .option('--epochs <n>', 'passes over the training pictures, in all', wholeNumber(1, 1_000_000))
    .option(
      '--freeze-epochs <n>',
      'first epochs in which only the head trains; then the rates of --recipe fine-tune',
      wholeNumber(0, 1_000_000),
    )
    .option(
      '--ema [momentum]',
      "validate and keep moving averages of the weights (Keras's SwapEMAWeights; momentum: 0.99)",
      share,
    )
    .option(
      '--early-stopping <n>',
      'end when n epochs have not been better on the validation pictures than the best',
      wholeNumber(1),
    )
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
