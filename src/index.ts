/**
 * Transfer learning for image classification. Names are Keras's in camelCase; pictures are (batch, height, width,
 * channels), as bytes or as values from 0 to 255.
 *
 * ```ts
 * import { applications, datasets, layers, sequential } from 'graft-ml';
 *
 * const { train, test } = await datasets.cifar10.load();
 * const backbone = await applications.resnet50({ includeTop: false, pooling: 'avg' });
 * backbone.trainable = false;
 * const model = sequential([
 *   layers.input({ shape: [32, 32, 3] }),
 *   applications.preprocessing('caffe'),
 *   layers.resizing({ height: 224, width: 224 }),
 *   backbone,
 *   layers.dense({ units: 10, activation: 'softmax' }),
 * ]);
 * model.compile({ optimizer: 'adam', loss: 'sparse_categorical_crossentropy', metrics: ['accuracy'] });
 * await model.fit(train, { epochs: 3, validationData: test });
 * await model.save('cifar10.keras');
 * await model.close();
 * ```
 *
 * @packageDocumentation
 */
import type { LrFindResult } from './training/lr_find.ts';

export * as applications from './applications/index.ts';
export { defineConfig, type GraftConfig } from './cli/define_config.ts';
export type { ExportOptions } from './compile/export.ts';
export { type ErrorCode, GraftError } from './core/errors.ts';
export { type DType, float32, formatShape, type Tensor, tensor } from './core/tensor.ts';
export {
  batches,
  type Dataset,
  data,
  datasets,
  decodeImage,
  fromTensors,
  type ImageData,
  type ImageDataset,
  type ImageOptions,
  lengthOf,
  limit,
  slice,
  splitValidation,
} from './data/index.ts';
export {
  type CacheOptions,
  listCaches,
  pruneCaches,
  verifyCache,
} from './features/index.ts';
export * as layers from './layers/index.ts';
export * as initializers from './layers/initializers.ts';
export * as regularizers from './layers/regularizers.ts';
export * as losses from './losses/index.ts';
export * as metrics from './metrics/index.ts';
export * as optimizers from './optimizers/index.ts';
export { schedules } from './optimizers/index.ts';
export * as models from './training/build.ts';
export { model, sequential } from './training/build.ts';
export type { Callback, Logs, Training, TrainingState } from './training/callback.ts';
export * as callbacks from './training/callbacks.ts';
export { type BackupOptions, backup, loadCheckpoint, saveCheckpoint } from './training/checkpoint.node.ts';
export type { FineTuneOptions } from './training/fine_tune.ts';
export type { FitOptions, History } from './training/fit.ts';
export type { LrFindOptions, LrFindResult } from './training/lr_find.ts';
export type { CompileOptions, Model, PredictOptions, RunOptions } from './training/model.ts';
export { type PreviewOptions, preview } from './training/preview.ts';
export { type GradCam, type GradCamOptions, gradCam } from './training/saliency.ts';
export * as utils from './utils.ts';

/** Draws a learning-rate range test as SVG; in a page of its own colours are light and dark with it. */
export async function plotLearningRates(test: LrFindResult): Promise<string> {
  // Plot and the document it draws into are loaded by who draws.
  const report = await import('./report/learning_rates.ts');
  return report.plotLearningRates({ ...test, suggestions: test.suggestions && { ...test.suggestions } });
}
