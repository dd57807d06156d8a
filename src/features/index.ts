/** Kept features: what the frozen part of a model made of each picture, computed once. */
export type { ColumnSpec, Columns, Features } from './columns.ts';
export { type KeepOptions, keepFeatures, type Place, placeOf, type Watcher } from './keep.node.ts';
export {
  type CacheRecord,
  listCaches,
  type PruneOptions,
  pruneCaches,
  type Verification,
  verifyCache,
} from './manage.node.ts';
export { type CacheMeta, featuresFolder } from './meta.node.ts';
export {
  type CacheMode,
  type CacheOptions,
  type CachePrecision,
  cacheChoices,
  cacheOptions,
  cacheSchema,
  type ResolvedCache,
} from './options.ts';
export { type FeatureRequest, Plan } from './plan.ts';
export { machine } from './room.node.ts';
