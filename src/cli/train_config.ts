/** The configuration that options of `graft train` mean: the recipe, and what was given in its place. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import * as applications from '../applications/index.ts';
import { fail, messageOf } from '../core/errors.ts';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { parseAugment } from './augment.ts';
import { findBackbone, lastStageOf, type ModelConfig } from './backbone.ts';
import { earlierChoices, type Recipe, type TrainConfig } from './config.ts';
import { countTraining, dataNames, isPublished, type PictureOptions } from './data.ts';
import { isOnnx, unknownSize } from './foreign.ts';
import { parseHead } from './heads.ts';
import { invocation, type Output, plural } from './output.ts';
import { chooseRecipe, type RecipeSettings, recipes } from './recipes.ts';
import type { ModelOptions, TrainOptions } from './train_options.ts';

export interface Configured {
  readonly config: TrainConfig;
  /** Which recipe was chosen and why, to be said; null if it was given. */
  readonly choice: string | null;
}

/** Throws `argument` for options that cannot be used; looks at a person's own pictures, fetches nothing. */
export async function configOf(options: TrainOptions, out: Output): Promise<Configured> {
  const { data } = options;
  if (data === undefined) {
    const quick = `For a quick first run: ${invocation()} start`;
    return fail(
      'argument',
      `No pictures named: give --data ${dataNames.join(', --data ')} or --data FOLDER. ${quick}`,
    );
  }
  const pictures = picturesOf(options);
  const given = modelConfigOf(options);
  const weights = checkWeights(options.weights, given.backbone);
  if (options.weights !== undefined && !publishedNames.has(weights) && weights !== 'none')
    await checkWeightsFile(weights);
  const selection = {
    data,
    limit: options.limit ?? null,
    validationLimit: options.validationLimit ?? null,
    validationSplit: options.validationSplit ?? null,
    ...pictures,
  };
  const chosen = options.recipe ? null : await usualRecipe(options, { ...given, weights }, selection, out);
  const recipe = options.recipe ?? chosen!.name;
  const settings = recipes[recipe];
  const model = { ...modelOf(options, { ...given, weights }, settings), weights };
  const config = {
    ...selection,
    ...model,
    recipe,
    ...recipeOf(options, model, settings),
    balance: options.balance,
    ...cacheConfigOf(options),
    tta: options.tta ?? 1,
    precision: options.precision,
    device: options.device,
    threads: options.threads ?? null,
    tensorboard: options.tensorboard ?? false,
    checkpointEvery: options.checkpointEvery ?? earlierChoices.checkpointEvery,
  };
  return { config, choice: chosen && `Recipe ${recipe}, since ${chosen.why}; --recipe takes another.` };
}

async function usualRecipe(
  { freezeEpochs = 0 }: TrainOptions,
  { backbone, unfreezeFrom, weights }: ModelConfig,
  selection: Parameters<typeof countTraining>[0],
  out: Output,
) {
  const pictures = await countTraining(selection, out);
  return chooseRecipe({ backbone, unfreezeFrom, freezes: freezeEpochs > 0, weights, pictures });
}

/** The model with what the recipe says of it. */
function modelOf(options: ModelOptions, given: ModelConfig, { trains, head, imageSize }: RecipeSettings) {
  const frozen = trains === null || isOnnx(given.backbone);
  const model = {
    ...given,
    head: options.head ?? head,
    imageSize: options.imageSize ?? imageSize ?? given.imageSize,
  };
  if (given.unfreezeFrom !== null || frozen) return model;
  return { ...model, unfreezeFrom: trains === 'all' ? 'all' : lastStageOf(model) };
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
  const { backbone, head = 'reference', augment } = options;
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

function checkWeights(weights: string | undefined, backbone: string): string {
  if (isOnnx(backbone)) {
    if (weights === undefined) return backbone;
    fail('argument', `--weights ${weights}: ${backbone} has its own weights; leave the option out.`);
  }
  const { name: own, title } = findBackbone(backbone).record.trainedOn;
  if (weights === undefined || weights === own || weights === 'none') return weights ?? own;
  if (publishedNames.has(weights)) {
    fail(
      'argument',
      `--weights ${weights}: the published weights of ${backbone} were trained on ${title}. Expected ${own}, none, or a file.`,
    );
  }
  // What kind of file it is shows when it is read. The run may be continued from another folder.
  if (existsSync(weights)) return resolve(weights);
  return fail(
    'argument',
    `--weights ${weights}: there is no such file. Expected ${own}, none, or a .h5, .keras or .safetensors file.`,
  );
}

/** What kind of file it is, before anything is fetched for it. */
async function checkWeightsFile(path: string): Promise<void> {
  const kind = await kindOf(path);
  if (typeof kind !== 'object' && kind !== 'onnx') return;
  try {
    refuseKind(path, kind, 'weights in a .h5, .keras or .safetensors file');
  } catch (error) {
    fail('argument', `--weights: ${messageOf(error)}`, error);
  }
}

const publishedNames: ReadonlySet<string> = new Set(
  applications.all.map(({ record }) => record.trainedOn.name),
);

/** What follows from the recipe and from what was given in its place. */
function recipeOf(
  options: TrainOptions,
  { weights, unfreezeFrom }: ModelConfig,
  settings: RecipeSettings,
): Recipe {
  const optimizer = options.optimizer ?? settings.optimizer;
  const epochs = options.epochs ?? settings.epochs;
  const freezeEpochs = options.freezeEpochs ?? Math.min(settings.freezeEpochs, epochs - 1);
  const schedule = options.schedule ?? (freezeEpochs > 0 ? 'constant' : settings.schedule);
  const warmupEpochs =
    options.warmupEpochs ?? (schedule === 'cosine' ? Math.round(10 * settings.warmup * epochs) / 10 : 0);
  // Rates belong to their rule.
  const rates =
    optimizer === settings.optimizer
      ? settings
      : usualRates(optimizer, unfreezeFrom !== null && weights !== 'none');
  const recipe = {
    ...{ optimizer, schedule, warmupEpochs, epochs, freezeEpochs },
    learningRate: options.learningRate ?? rates.learningRate,
    momentum: options.momentum ?? rates.momentum,
    weightDecay: options.weightDecay ?? rates.weightDecay,
    labelSmoothing: options.labelSmoothing ?? settings.labelSmoothing,
    batchSize: options.batchSize ?? settings.batchSize,
    ema: options.ema === true ? 0.99 : (options.ema ?? null),
    earlyStopping: options.earlyStopping ?? null,
    ...{ accumulate: options.accumulate, clipNorm: options.clipNorm ?? null, seed: options.seed },
  };
  checkRecipe(recipe, unfreezeFrom);
  return recipe;
}

function usualRates(
  optimizer: Recipe['optimizer'],
  fineTuning: boolean,
): Pick<Recipe, 'learningRate' | 'momentum' | 'weightDecay'> {
  return {
    learningRate: fineTuning ? 2e-5 : optimizer === 'sgd' ? 0.01 : 0.001,
    momentum: 0,
    weightDecay: null,
  };
}

function checkRecipe(recipe: Recipe, unfreezeFrom: string | null): void {
  const { optimizer, momentum, schedule, warmupEpochs, epochs, freezeEpochs } = recipe;
  if (momentum > 0 && (optimizer === 'adam' || optimizer === 'adamw')) {
    fail('argument', `--momentum is for sgd and rmsprop; ${optimizer} has its own. Leave it out.`);
  }
  if (warmupEpochs > 0 && schedule !== 'cosine') {
    fail('argument', `--warmup-epochs is for --schedule cosine, got --schedule ${schedule}.`);
  }
  if (recipe.ema !== null && recipe.accumulate > 1) {
    fail('argument', '--ema does not go together with --accumulate; leave one out.');
  }
  const most = plural(epochs, 'epoch');
  if (warmupEpochs >= epochs) {
    fail('argument', `--warmup-epochs ${warmupEpochs}: expected fewer than the ${most} of the training.`);
  }
  if (freezeEpochs === 0) return;
  if (freezeEpochs >= epochs) {
    fail('argument', `--freeze-epochs ${freezeEpochs}: expected fewer than the ${most} of the training.`);
  }
  if (schedule !== 'constant') {
    fail('argument', `--freeze-epochs comes with schedules of its own; leave out --schedule ${schedule}.`);
  }
  if (unfreezeFrom === null) {
    fail('argument', '--freeze-epochs: nothing thaws after them. Give --unfreeze-from LAYER, or all.');
  }
}
