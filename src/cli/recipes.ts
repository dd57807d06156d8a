/** What `--recipe` stands for: settings that work without thought, and which of them suits how many pictures. */
import type { TrainConfig } from './config.ts';
import { isOnnx } from './foreign.ts';
import { plural } from './output.ts';

export const recipeNames = ['probe', 'last-block', 'fine-tune', 'reference'] as const;

export type RecipeName = (typeof recipeNames)[number];

/** What a recipe decides; flags on the command line win. */
export type RecipeSettings = Pick<
  TrainConfig,
  | 'head'
  | 'optimizer'
  | 'learningRate'
  | 'momentum'
  | 'weightDecay'
  | 'schedule'
  | 'labelSmoothing'
  | 'batchSize'
  | 'epochs'
  | 'freezeEpochs'
> & {
  /** What of the backbone trains: its last stage, all of it, or nothing. */
  readonly trains: 'last stage' | 'all' | null;
  /** The share of the epochs in which the rate climbs. */
  readonly warmup: number;
  /** Null for the backbone's own. */
  readonly imageSize: number | null;
};

const usual = {
  momentum: 0,
  weightDecay: null,
  warmup: 0,
  labelSmoothing: 0,
  freezeEpochs: 0,
  imageSize: null,
};

export const recipes: Readonly<Record<RecipeName, RecipeSettings>> = {
  probe: {
    ...usual,
    ...{ trains: null, head: 'linear', optimizer: 'adamw', learningRate: 1e-3, weightDecay: 0.1 },
    ...{ schedule: 'cosine', batchSize: 64, epochs: 20 },
  },
  'last-block': {
    ...usual,
    ...{ trains: 'last stage', head: 'pooled', optimizer: 'sgd', learningRate: 0.01, momentum: 0.9 },
    ...{ weightDecay: 5e-4, schedule: 'cosine', warmup: 0.1, labelSmoothing: 0.1, batchSize: 32, epochs: 10 },
  },
  // fastai's rates; its epochs are for you to choose.
  'fine-tune': {
    ...usual,
    ...{ trains: 'all', head: 'pooled', optimizer: 'adam', learningRate: 2e-3 },
    ...{ schedule: 'constant', batchSize: 32, epochs: 6, freezeEpochs: 1 },
  },
  // keras.io-era articles on CIFAR-10 with ResNet50; the best epoch becomes cifar10.h5.
  reference: {
    ...usual,
    ...{ trains: 'last stage', head: 'reference', optimizer: 'rmsprop', learningRate: 2e-5 },
    ...{ schedule: 'constant', batchSize: 32, epochs: 10, imageSize: 224 },
  },
};

/** What stands below the options in the help. */
export const recipeHelp = `
Recipes (--recipe): settings that work together; a flag that you give wins. Without one, the number of
pictures decides between probe and last-block.
  probe       the backbone frozen, a linear head on its standardized features: minutes, hard to spoil
  last-block  the last stage and a pooled head on kept features of the rest; warm-up and cosine
  fine-tune   the head first, then everything, earlier layers slower (fastai's fine_tune): the longest
  reference   the classic article: last stage, dense head with batch norm and dropout, RMSprop 2e-5, 224 px
`;

/** From so many training pictures on the last stage is worth training: see "Recipes" in docs/results.md. */
const manyPictures = 500;

/** The recipe for somebody who named none, and why, to be said in one line. */
export function chooseRecipe(asked: {
  readonly backbone: string;
  readonly unfreezeFrom: string | null;
  readonly freezes: boolean;
  readonly weights: string;
  readonly pictures: number;
}): { readonly name: RecipeName; readonly why: string } {
  const { backbone, unfreezeFrom, freezes, weights, pictures } = asked;
  const some = plural(pictures, 'training picture');
  if (freezes) return { name: 'fine-tune', why: '--freeze-epochs was given' };
  if (unfreezeFrom !== null) return { name: 'last-block', why: '--unfreeze-from was given' };
  if (isOnnx(backbone)) return { name: 'probe', why: 'an .onnx file stays frozen' };
  if (weights === 'none') return { name: 'probe', why: 'the backbone has random weights' };
  return pictures < manyPictures
    ? { name: 'probe', why: `${some} are few: with fewer than ${manyPictures} the backbone stays frozen` }
    : { name: 'last-block', why: `${some} are enough to train the last stage too` };
}
