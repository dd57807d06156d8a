/** The configuration of a training as `run.json` keeps it, and the recipe that it describes. */
import { fail } from '../core/errors.ts';
import type { CacheMode, CacheOptions, CachePrecision } from '../features/index.ts';
import type { Loss } from '../losses/index.ts';
import { categoricalCrossentropy, sparseCategoricalCrossentropy } from '../losses/index.ts';
import * as optimizers from '../optimizers/index.ts';
import { schedules } from '../optimizers/index.ts';
import type { FitOptions } from '../training/fit.ts';
import { parseAugment } from './augment.ts';
import type { ModelConfig } from './backbone.ts';
import { type Selection, usualPictures } from './data.ts';
import { plural } from './output.ts';
import type { RecipeName } from './recipes.ts';

export const scheduleNames = ['constant', 'step', 'cosine'] as const;

export const balanceNames = ['none', 'weights', 'sampler'] as const;

export interface Recipe {
  readonly optimizer: optimizers.OptimizerName;
  readonly learningRate: number;
  readonly momentum: number;
  /** `null` for the optimizer's default. */
  readonly weightDecay: number | null;
  readonly schedule: (typeof scheduleNames)[number];
  /** Epochs in which the rate climbs; `cosine` only. */
  readonly warmupEpochs: number;
  readonly labelSmoothing: number;
  readonly batchSize: number;
  /** Batches of an update. */
  readonly accumulate: number;
  /** The most that the norm of all gradients together may be; `null` for no limit. */
  readonly clipNorm: number | null;
  /** In all. */
  readonly epochs: number;
  /** The first ones, in which only the head trains; 0 for none. */
  readonly freezeEpochs: number;
  /** Momentum of the moving averages that are kept in place of the weights; `null` for the weights themselves. */
  readonly ema: number | null;
  /** Epochs without a better one after which training ends; `null` for never. */
  readonly earlyStopping: number | null;
  /** Decides initial weights, order of pictures and dropout. */
  readonly seed: number;
}

export interface TrainConfig extends Selection, ModelConfig, Recipe {
  /** Where the settings come from that were not given; `null` before there were recipes. */
  readonly recipe: RecipeName | null;
  /** Classes of unequal size count the same: by weights in the loss, or by drawing them equally often. */
  readonly balance: (typeof balanceNames)[number];
  readonly cache: CacheMode;
  /** `null` for the default of the device. */
  readonly cachePrecision: CachePrecision | null;
  /** Bytes; `null` for nine tenths of the disk. */
  readonly cacheLimit: number | null;
  /** Versions that are kept where random layers come before the frozen part; `null` for none. */
  readonly cachedViews: number | null;
  /** Views of each picture in a second look at the end; 1 for none. */
  readonly tta: number;
  /** In which the frozen part computes. */
  readonly precision: 'float32' | 'int8';
  readonly device: 'cpu' | 'webgpu' | 'cuda';
  /** `null` for all cores. */
  readonly threads: number | null;
  /** Writes TensorBoard's logs into the run's folder. */
  readonly tensorboard: boolean;
  /** Minutes between checkpoints inside an epoch. */
  readonly checkpointEvery: number;
}

/** How features are kept. Records of earlier versions have the mode alone. */
export function cacheOf({ cache: mode, cachePrecision, cacheLimit, cachedViews }: TrainConfig): CacheOptions {
  return {
    mode,
    ...(cachePrecision ? { precision: cachePrecision } : {}),
    ...(typeof cacheLimit === 'number' ? { limit: cacheLimit } : {}),
    ...(cachedViews ? { views: cachedViews } : {}),
  };
}

/** What runs did that were recorded before there was a choice. */
export const earlierChoices = {
  ...usualPictures,
  ...{
    balance: 'none',
    recipe: null,
    freezeEpochs: 0,
    ema: null,
    earlyStopping: null,
    tta: 1,
    tensorboard: false,
    checkpointEvery: 10,
  },
} as const satisfies Partial<TrainConfig>;

/** The part of fit's options that `--balance` decides. */
export function balancing(balance: TrainConfig['balance']): Pick<FitOptions, 'classWeight' | 'sampler'> {
  switch (balance) {
    case 'none':
      return {};
    case 'weights':
      return { classWeight: 'balanced' };
    case 'sampler':
      return { sampler: 'balanced' };
  }
}

/** Where `step` divides the rate by ten, as shares of the training. */
const stepsDownAt = [0.5, 0.75];

export function makeOptimizer(recipe: Recipe, stepsPerEpoch: number): optimizers.Optimizer {
  if (recipe.accumulate > recipe.epochs * stepsPerEpoch) {
    const batches = recipe.epochs * stepsPerEpoch;
    fail('argument', `--accumulate ${recipe.accumulate}: the whole training has ${batches} batches only.`);
  }
  const options = {
    learningRate: makeSchedule(recipe, stepsPerEpoch),
    ...(recipe.weightDecay === null ? {} : { weightDecay: recipe.weightDecay }),
    ...(recipe.accumulate > 1 ? { gradientAccumulationSteps: recipe.accumulate } : {}),
    globalClipnorm: recipe.clipNorm,
    ...(recipe.ema === null ? {} : { useEma: true, emaMomentum: recipe.ema }),
  };
  const { momentum } = recipe;
  switch (recipe.optimizer) {
    case 'sgd':
      return optimizers.sgd({ ...options, momentum });
    case 'rmsprop':
      return optimizers.rmsprop({ ...options, momentum });
    case 'adam':
      return optimizers.adam(options);
    case 'adamw':
      return optimizers.adamw(options);
  }
}

function makeSchedule(recipe: Recipe, stepsPerEpoch: number): number | schedules.Schedule {
  const { schedule, learningRate } = recipe;
  const total = recipe.epochs * stepsPerEpoch;
  if (schedule === 'step') {
    return schedules.piecewiseConstantDecay({
      boundaries: stepsDownAt.map((part) => Math.round(part * total)),
      values: [learningRate, learningRate / 10, learningRate / 100],
    });
  }
  if (schedule === 'cosine') {
    const warmupSteps = Math.round(recipe.warmupEpochs * stepsPerEpoch);
    return schedules.cosineDecay({
      initialLearningRate: warmupSteps > 0 ? 0 : learningRate,
      decaySteps: Math.max(total - warmupSteps, 1),
      warmupTarget: warmupSteps > 0 ? learningRate : null,
      warmupSteps,
    });
  }
  return learningRate;
}

export function makeLoss({ labelSmoothing, augment }: TrainConfig): Loss {
  const rows = labelSmoothing > 0 || parseAugment(augment).mixes;
  return rows ? categoricalCrossentropy({ labelSmoothing }) : sparseCategoricalCrossentropy();
}

/** `RMSprop, learning rate 2e-5, batch 32, 10 epochs` */
export function describeRecipe(recipe: Recipe & Pick<TrainConfig, 'balance'>): string {
  const titles = { sgd: 'SGD', rmsprop: 'RMSprop', adam: 'Adam', adamw: 'AdamW' };
  const { learningRate, schedule, warmupEpochs, momentum, weightDecay, labelSmoothing } = recipe;
  const { accumulate, clipNorm, freezeEpochs } = recipe;
  return [
    titles[recipe.optimizer] + (momentum > 0 ? ` with momentum ${momentum}` : ''),
    (freezeEpochs > 0 ? 'highest ' : '') +
      `learning rate ${shortNumber(learningRate)}` +
      (schedule === 'step' ? ' (a tenth after half, a hundredth after three quarters)' : '') +
      (schedule === 'cosine' ? ' falling as a cosine' : '') +
      (warmupEpochs > 0 ? ` after ${warmupEpochs} epochs of warm-up` : ''),
    ...(weightDecay === null ? [] : [`weight decay ${shortNumber(weightDecay)}`]),
    ...(recipe.balance === 'weights' ? ['classes weighted equally'] : []),
    ...(recipe.balance === 'sampler' ? ['classes drawn equally often'] : []),
    ...(labelSmoothing > 0 ? [`label smoothing ${labelSmoothing}`] : []),
    ...(clipNorm === null ? [] : [`gradients clipped to norm ${shortNumber(clipNorm)}`]),
    `batch ${recipe.batchSize}`,
    ...(accumulate > 1 ? [`an update every ${accumulate} batches`] : []),
    `${recipe.epochs} epoch${recipe.epochs === 1 ? '' : 's'}` +
      (freezeEpochs > 0 ? `, the first ${freezeEpochs} for the head alone, the others at half the rate` : ''),
    ...(recipe.ema === null ? [] : [`moving averages of the weights (${recipe.ema})`]),
    ...(recipe.earlyStopping === null
      ? []
      : [`ending after ${plural(recipe.earlyStopping, 'epoch')} without a better one`]),
    `seed ${recipe.seed}`,
  ].join(', ');
}

function shortNumber(value: number): string {
  return value !== 0 && value < 1e-3 ? value.toExponential().replace('e-0', 'e-') : String(value);
}
