/** Where pictures and labels come from. */
export { areaSampler, type Colour } from './area.ts';
export { type Asset, type AssetOptions, fetchAsset, type Progress } from './assets.node.ts';
export { type Batch, type BatchOptions, batches, labelsOf } from './batches.ts';
export { cacheFolder, makeFolder, privatePath, tryRename } from './cache.node.ts';
export { toCategorical } from './categorical.ts';
export { cifar10Asset, cifar100Asset, type Splits } from './cifar.node.ts';
export {
  type Dataset,
  type Examples,
  fromTensors,
  lengthOf,
  limit,
  type Rows,
  slice,
  sourcesOf,
  splitValidation,
} from './dataset.ts';
export { type EmojiSet, emojiSets } from './emoji10.node.ts';
export { decodeImage, type ImageSize, openImage, readImage } from './image.node.ts';
export { readable } from './image_format.ts';
export {
  classNamesIn,
  type ImageData,
  type ImageOptions,
  isTable,
  type Picture,
  reviewImages,
} from './image-data.node.ts';
export { type ImageDataset, type ImageFile, imageDataset } from './image-dataset.node.ts';
export {
  type ImageProblem,
  imagesIn,
  type SplitName,
  splitNames,
  titleOf,
} from './image-listing.node.ts';
export {
  countsOf,
  type Duplicates,
  duplicatesOf,
  lonelyClasses,
  type NearDuplicate,
  nearDuplicatesOf,
} from './image-review.ts';
export { type Reach, reachAll } from './reach.node.ts';
export { balancedOrder, balancedWeights } from './sampling.ts';

import { cifar10, cifar100 } from './cifar.node.ts';
import { emoji10 } from './emoji10.node.ts';
import { imageCsv, imageFolder } from './image-data.node.ts';

/** Published data sets, each with a `load`. */
export const datasets = { cifar10, cifar100, emoji10 };

/** A person's own pictures. */
export const data = {
  /** Pictures in folders, one folder a class. */
  imageFolder,
  /** Pictures and classes by the rows of a CSV file. */
  imageCsv,
};
