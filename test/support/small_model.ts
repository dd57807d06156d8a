/** The small model of `golden/training.json`, built from Keras's config with Keras's initial weights. */
import { float32, type Tensor } from '../../src/core/tensor.ts';
import { toCategorical } from '../../src/data/index.ts';
import type { Variable } from '../../src/layers/layer.ts';
import { type KerasLayerConfig, networkFromConfig } from '../../src/models/config.ts';
import { Model } from '../../src/training/model.ts';
import { readGolden } from './golden.ts';

export interface StepsCase {
  readonly name: string;
  readonly optimizer: string;
  readonly config: Record<string, unknown>;
  readonly frozen: readonly string[];
  readonly trainable_weights: readonly string[];
  readonly loss: readonly number[];
  readonly accuracy: readonly number[];
  readonly evaluate_batch_0: { readonly loss: number; readonly accuracy: number };
}

export interface FitCase {
  readonly name: string;
  readonly optimizer: string;
  readonly config: Record<string, unknown>;
  readonly epochs: number;
  readonly batch_size: number;
  readonly sample_weight: string | null;
  readonly class_weight: Record<number, number> | null;
  readonly history?: Record<string, number>;
  readonly error?: string;
}

/** Trained by an optimizer of its own for each group of layers. */
export interface GroupsCase {
  readonly name: string;
  readonly optimizer: string;
  readonly config: Record<string, unknown>;
  readonly multipliers: Readonly<Record<string, number>>;
  readonly loss: readonly number[];
}

interface TrainingGolden {
  readonly model: KerasLayerConfig;
  readonly classes: number;
  readonly weights: readonly { readonly path: string; readonly shape: readonly number[] }[];
  readonly steps: readonly StepsCase[];
  readonly fits: readonly FitCase[];
  readonly groups: readonly GroupsCase[];
}

export const training = await readGolden<TrainingGolden>('training');

const [steps, batch] = training.tensor('data/labels').shape as [number, number];
const pictures = training.tensor('data/x').data as Float32Array;
const width = 8 * 8 * 3;

/** All 60 pictures, one-hot. */
export const x = float32([steps * batch, 8, 8, 3], pictures);
export const labels: Tensor<'int32'> = {
  dtype: 'int32',
  shape: [steps * batch],
  data: training.tensor('data/labels').data as Int32Array,
};
export const y = toCategorical(labels, training.json.classes);

/** Pictures and one-hot labels of one step. */
export function batchOf(step: number): { x: Tensor<'float32'>; y: Tensor<'float32'> } {
  const [from, to] = [step * batch, (step + 1) * batch];
  return {
    x: float32([batch, 8, 8, 3], pictures.slice(from * width, to * width)),
    y: float32([batch, 5], y.data.slice(from * 5, to * 5)),
  };
}

/** The model with Keras's initial weights; `frozen` names layers. Not compiled. */
export function smallModel(frozen: readonly string[] = []): Model {
  const made = networkFromConfig(training.json.model, (className, parts) => new Model(className, parts));
  for (const variable of made.variables) {
    variable.assign((training.tensor(`initial/${variable.path}`).data as Float32Array).slice());
  }
  for (const name of frozen) made.getLayer(name).trainable = false;
  return made as Model;
}

export function weightOf({ shape, values }: Variable): { shape: readonly number[]; data: Float32Array } {
  return { shape, data: values };
}
