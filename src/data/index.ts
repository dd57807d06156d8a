/** Where pictures and labels come from. */
export { type Asset, type AssetOptions, fetchAsset, type Progress } from './assets.node.ts';
export { cacheFolder } from './cache.node.ts';
export { toCategorical } from './categorical.ts';
export type { Splits } from './cifar.node.ts';
export {
  type Batch,
  type BatchOptions,
  batches,
  type Dataset,
  type Examples,
  fromTensors,
  lengthOf,
  limit,
  type Rows,
  slice,
  splitValidation,
} from './dataset.ts';
export { decodeImage } from './image.node.ts';

import { cifar10, cifar100 } from './cifar.node.ts';

/** Published data sets, each with a `load`. */
export const datasets = { cifar10, cifar100 };
