/** What the kept model of a run makes of the pictures that it did not learn from: computed, kept, read again. */

import { fail } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import { type Dataset, labelsOf, lengthOf, sourcesOf } from '../data/index.ts';
import { negativeLogLikelihood } from '../report/calibration.ts';
import type { HeatMap, Saliency } from '../report/heatmap.node.ts';
import { explainedMistakes, judge, type Predictions, worstMistakes } from '../report/predictions.ts';
import { accuracyOf } from '../report/scores.ts';
import { readSafetensors, writeSafetensors } from '../saving/safetensors.node.ts';
import type { Logs } from '../training/callback.ts';
import type { Model, PredictOptions } from '../training/model.ts';
import { progressFor } from '../training/progress.ts';
import { type GradCamOptions, gradCam, lastFeatureMap } from '../training/saliency.ts';
import { whileWaiting } from '../training/status_line.ts';
import type { TrainConfig } from './config.ts';
import type { LoadedData } from './data.ts';
import { plural } from './output.ts';
import type { PredictionsRecord, RunFolder, RunRecord } from './run_folder.ts';

const file = 'predictions.safetensors';

/** The pictures that tell how good a model is: test pictures where the epoch was chosen by others. */
export function judges({ test, validation, validatesOn }: LoadedData): Pick<PredictionsRecord, 'on'> & {
  readonly pictures: Dataset;
} {
  return test === null ? { pictures: validation, on: validatesOn } : { pictures: test, on: 'test' };
}

/** Loss and accuracy, through features that are there already; `what` says of which pictures. */
export async function measure(
  model: Model,
  pictures: Dataset,
  what: string,
  { batchSize, verbose }: { readonly batchSize: number; readonly verbose: boolean },
): Promise<Logs> {
  const [prepared] = await model.prepare([{ dataset: pictures, training: false }], verbose);
  const total = Math.ceil(lengthOf(pictures) / batchSize);
  const title = `Evaluating on ${plural(lengthOf(pictures), what)}`;
  const progress = progressFor(verbose, { title, total, unit: 'step' });
  const logs = await model.evaluatePrepared(prepared!, batchSize, progress);
  progress.end(logs);
  return logs;
}

/** Predicts, through features that are there already, and keeps the answers in the run's folder. */
export async function keepPredictions(
  folder: RunFolder,
  model: Model,
  data: LoadedData,
  { batchSize, device, threads }: Pick<TrainConfig, 'batchSize' | 'device' | 'threads'>,
  verbose: boolean,
): Promise<PredictionsRecord> {
  const { pictures, on } = judges(data);
  const [prepared] = await model.prepare([{ dataset: pictures, training: false }], verbose);
  const total = Math.ceil(lengthOf(pictures) / batchSize);
  const title = `Predicting the ${on} pictures for the report`;
  const progress = progressFor(verbose, { title, total, unit: 'step' });
  const probabilities = await model.predictPrepared(prepared!, batchSize, progress);
  progress.end({});
  const labels = await labelsOf(pictures);
  const predictions = { labels, probabilities: probabilities.data, classes: data.classNames.length };
  const worst = worstMistakes(judge(predictions)).slice(0, explainedMistakes);
  const indices = Int32Array.from(worst, ({ index }) => index);
  const machine = { device, ...(threads === null ? {} : { threads }) };
  const explaining = () => explain(model, pictures, indices, machine);
  const saliency = await whileWaiting('Explaining the worst mistakes (Grad-CAM)', verbose, explaining);
  await writeSafetensors(folder.file(file), [
    { name: 'labels', tensor: tensor('int32', [labels.length], labels) },
    { name: 'probabilities', tensor: probabilities },
    ...(saliency?.tensors ?? []),
  ]);
  const { fingerprint } = pictures;
  return { file, on, fingerprint, sources: sourcesOf(pictures), saliencyLayer: saliency?.layer ?? null };
}

/** Why the model takes these pictures for what it does; null if it has no feature map to look at. */
async function explain(
  model: Model,
  pictures: Dataset,
  indices: Int32Array,
  machine: Pick<GradCamOptions, 'device' | 'threads'>,
) {
  const layer = lastFeatureMap(model);
  if (layer === null) return null;
  if (indices.length === 0) return { layer, tensors: [] };
  const { x } = await pictures.read(indices);
  // Explaining has an engine of its own, with all weights: the one that trained would hold its memory beside it.
  await model.close();
  const { maps } = await gradCam(model, x as Tensor<'uint8' | 'float32'>, { layer, ...machine });
  const tensors = [
    { name: 'saliencyIndices', tensor: tensor('int32', [indices.length], indices) },
    { name: 'saliencyMaps', tensor: maps },
  ];
  return { layer, tensors };
}

/** What a run keeps of the explanation of its worst mistakes; null if there is none. */
export async function readSaliency(folder: RunFolder, { predictions }: RunRecord): Promise<Saliency | null> {
  const { saliencyLayer: layer = null, file: name } = predictions!;
  if (layer === null) return null;
  const tensors = await readSafetensors(folder.file(name));
  const maps = new Map<number, HeatMap>();
  const [indices, values] = [tensors.get('saliencyIndices'), tensors.get('saliencyMaps')];
  // Without a mistake there is nothing to explain.
  if (indices === undefined || values === undefined) return { layer, maps };
  const [, height, width] = values.shape as [number, number, number];
  const size = height * width;
  for (const [i, index] of (indices as Tensor<'int32'>).data.entries()) {
    const data = (values as Tensor<'float32'>).data.subarray(i * size, (i + 1) * size);
    maps.set(index, { height, width, data });
  }
  return { layer, maps };
}

/** Accuracy and mean crossentropy of what a model says of several views of labelled pictures. */
export async function scoreViews(
  model: Model,
  pictures: Dataset,
  options: PredictOptions,
): Promise<{ readonly accuracy: number; readonly loss: number }> {
  const { data: probabilities, shape } = await model.predict(pictures, options);
  const judged = judge({ labels: await labelsOf(pictures), probabilities, classes: shape[1]! });
  return { accuracy: accuracyOf(judged).value, loss: negativeLogLikelihood(judged) };
}

/** Throws `argument` if the run has none, `file` if they do not fit its record. */
export async function readPredictions(folder: RunFolder, record: RunRecord): Promise<Predictions> {
  const { predictions, data, status } = record;
  if (predictions === undefined) {
    const why = status === 'finished' ? 'it is from an earlier version' : `it is ${status}`;
    fail('argument', `${folder.path} holds no predictions to report on: ${why}. Expected a finished run.`);
  }
  const path = folder.file(predictions.file);
  const tensors = await readSafetensors(path, ['labels', 'probabilities']);
  const labels = tensors.get('labels')!;
  const probabilities = tensors.get('probabilities')!;
  const classes = data.classNames.length;
  const fits =
    labels.dtype === 'int32' &&
    probabilities.dtype === 'float32' &&
    probabilities.shape[0] === labels.shape[0] &&
    probabilities.shape[1] === classes;
  if (!fits) fail('file', `${path} does not fit the run's ${classes} classes.`);
  return {
    labels: (labels as Tensor<'int32'>).data,
    probabilities: (probabilities as Tensor<'float32'>).data,
    classes,
  };
}
