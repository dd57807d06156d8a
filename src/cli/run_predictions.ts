/** What the kept model of a run makes of the pictures that it did not learn from: computed, kept, read again. */

import { fail } from '../core/errors.ts';
import { type DType, type Tensor, tensor } from '../core/tensor.ts';
import { type Dataset, labelsOf, lengthOf, sourcesOf } from '../data/index.ts';
import { negativeLogLikelihood } from '../report/calibration.ts';
import type { HeatMap, Saliency } from '../report/heatmap.node.ts';
import { explainedMistakes, judge, type Predictions, worstMistakes } from '../report/predictions.ts';
import { accuracyOf } from '../report/scores.ts';
import { openSafetensors, readSafetensors, writeSafetensors } from '../saving/safetensors.node.ts';
import type { Logs } from '../training/callback.ts';
import type { Model, PredictOptions } from '../training/model.ts';
import { progressFor } from '../training/progress.ts';
import { type GradCamOptions, gradCam, lastFeatureMap } from '../training/saliency.ts';
import { whileWaiting } from '../training/status_line.ts';
import type { TrainConfig } from './config.ts';
import type { LoadedData } from './data.ts';
import { plural } from './output.ts';
import { probabilitiesOf } from './predict.ts';
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
  const logs = await model.evaluatePrepared(prepared!, batchSize, { progress });
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

/**
 * What a run keeps of the explanation of its worst mistakes; null if there is none. Throws `file` if it does not fit
 * the run's predictions.
 */
export async function readSaliency(
  folder: RunFolder,
  { predictions: record }: RunRecord,
  { labels }: Predictions,
): Promise<Saliency | null> {
  const { saliencyLayer: layer = null, file: name } = record!;
  if (layer === null) return null;
  const path = folder.file(name);
  await using file = await openSafetensors(path);
  const maps = new Map<number, HeatMap>();
  // Without a mistake there is nothing to explain.
  if (!file.entries.has('saliencyIndices') || !file.entries.has('saliencyMaps')) return { layer, maps };
  const [indices, values] = [await file.read('saliencyIndices'), await file.read('saliencyMaps')];
  const [, height = 0, width = 0] = values.shape;
  const fits =
    isA(indices, 'int32', 1) &&
    isA(values, 'float32', 3) &&
    values.shape[0] === indices.shape[0] &&
    height > 0 &&
    width > 0 &&
    indices.data.every((index) => index >= 0 && index < labels.length) &&
    values.data.every(Number.isFinite);
  if (!fits) fail('file', `${path}: its heat maps do not belong to the run's ${labels.length} predictions.`);
  const size = height * width;
  for (const [i, index] of indices.data.entries()) {
    maps.set(index, { height, width, data: values.data.subarray(i * size, (i + 1) * size) });
  }
  return { layer, maps };
}

function isA<D extends DType>(values: Tensor, dtype: D, rank: number): values is Tensor<D> {
  return values.dtype === dtype && values.shape.length === rank;
}

/** Accuracy and mean crossentropy of what a model says of several views of labelled pictures. */
export async function scoreViews(
  model: Model,
  pictures: Dataset,
  options: PredictOptions,
): Promise<{ readonly accuracy: number; readonly loss: number }> {
  const { data: probabilities, shape } = probabilitiesOf(await model.predict(pictures, options));
  const judged = judge({ labels: await labelsOf(pictures), probabilities, classes: shape[1]! });
  return { accuracy: accuracyOf(judged).value, loss: negativeLogLikelihood(judged) };
}

/** Throws `argument` if the run has none, `file` if they do not fit its record. */
export async function readPredictions(folder: RunFolder, record: RunRecord): Promise<Predictions> {
  const { predictions, data, status } = record;
  if (predictions === undefined || status !== 'finished') {
    const why = status === 'finished' ? 'it is from an earlier version' : `it is ${status}`;
    fail('argument', `${folder.path} holds no predictions to report on: ${why}. Expected a finished run.`);
  }
  const path = folder.file(predictions.file);
  const tensors = await readSafetensors(path, ['labels', 'probabilities']);
  const labels = tensors.get('labels')!;
  const probabilities = tensors.get('probabilities')!;
  const classes = data.classNames.length;
  const fits =
    isA(labels, 'int32', 1) &&
    isA(probabilities, 'float32', 2) &&
    labels.data.length > 0 &&
    probabilities.shape[0] === labels.data.length &&
    probabilities.shape[1] === classes &&
    labels.data.every((label) => label >= 0 && label < classes) &&
    probabilities.data.every(isProbability);
  if (!fits) {
    fail(
      'file',
      `${path} does not fit the run: expected a label and probabilities of ${classes} classes for each image. ` +
        'It is damaged, or belongs to another run.',
    );
  }
  return { labels: labels.data, probabilities: probabilities.data, classes };
}

/** Softmax rounds. */
const slack = 1e-3;

function isProbability(value: number): boolean {
  return value >= -slack && value <= 1 + slack;
}
