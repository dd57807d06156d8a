/** Between how a model is trained and what Keras writes about it: `training_config` and optimizer state. */
import { fail } from '../core/errors.ts';
import { float32, tensor } from '../core/tensor.ts';
import { lossFromKeras } from '../losses/index.ts';
import { metricFromKeras } from '../metrics/index.ts';
import type { Network } from '../models/network.ts';
import { type Optimizer, optimizerFromKeras } from '../optimizers/index.ts';
import type { SavedTraining } from './index.ts';
import type { ExtraState, KerasH5 } from './keras_h5.ts';
import { asFloat32, type NamedTensor } from './tensors.ts';

/** What Keras writes as `training_config`. */
export function trainingConfig({ optimizer, loss, metrics }: SavedTraining): unknown {
  return {
    loss: { module: 'keras.losses', ...loss.keras, registered_name: null },
    loss_weights: null,
    metrics: metrics.map((metric) => metric.keras(loss.labels)),
    weighted_metrics: null,
    run_eagerly: false,
    steps_per_execution: 1,
    jit_compile: false,
    optimizer_config: optimizer.keras,
  };
}

/** State by position, as `Optimizer.slotOrder` gives it, with Graft's name of each (`w3/velocity`). */
function slotList(network: Network, optimizer: Optimizer) {
  const { variables, trainableVariables } = network;
  return optimizer.slotOrder(trainableVariables.length).map(({ weight, slot }) => {
    const variable = trainableVariables[weight]!;
    return { variable, slot, key: `w${variables.indexOf(variable)}/${slot}` };
  });
}

/** Keras's `optimizer.variables`. */
export function optimizerTensors(network: Network, { optimizer, step, slots }: SavedTraining): NamedTensor[] {
  const { name } = optimizer.rule;
  const { learningRate } = optimizer.options;
  const scheduled = typeof learningRate !== 'number';
  return [
    { name: `${name}/iteration`, tensor: tensor('int64', [], BigInt64Array.of(BigInt(step))) },
    ...(scheduled ? [] : [{ name: `${name}/learning_rate`, tensor: float32([], [learningRate]) }]),
    ...slotList(network, optimizer).map(({ variable, slot, key }) => ({
      name: `${name}/${variable.path.replaceAll('/', '_')}_${slot}`,
      tensor: tensor('float32', variable.shape, slots![key]!),
    })),
  ];
}

interface KerasTraining {
  readonly loss: unknown;
  readonly metrics?: readonly unknown[] | null;
  readonly optimizer_config: { readonly class_name: string; readonly config: Record<string, unknown> };
}

/** Rebuilds a training from Keras's description and state. */
export function readTraining(
  path: string,
  network: Network,
  { trainingConfig, optimizer: state, extra }: KerasH5,
): SavedTraining {
  const { loss, metrics, optimizer_config } = trainingConfig as KerasTraining;
  const optimizer = optimizerFromKeras(optimizer_config);
  // Keras 2 nests the metrics of each output in a list.
  const read = (metrics ?? [])
    .flat()
    .filter((entry) => entry !== null)
    .map(metricFromKeras);
  const base = { optimizer, loss: lossFromKeras(loss), metrics: read, seed: seedIn(extra) };
  if (state === null || state.length === 0) return { ...base, step: 0, slots: null };
  const scheduled = typeof optimizer.options.learningRate !== 'number';
  const values = state.slice(scheduled ? 1 : 2);
  const expected = slotList(network, optimizer);
  if (values.length !== expected.length) {
    fail(
      'weights',
      `${path} holds ${values.length} optimizer slots; ${optimizer.rule.className} needs ${expected.length}.`,
    );
  }
  const slots = Object.fromEntries(expected.map(({ key }, i) => [key, asFloat32(values[i]!.tensor).data]));
  return { ...base, step: Number(state[0]!.tensor.data[0]), slots };
}

/** What Keras has no place for. */
export function extraState({ seed }: SavedTraining): ExtraState {
  return { json: { seed }, tensors: [] };
}

function seedIn(extra: ExtraState | null | undefined): number {
  return Number((extra?.json as { seed?: number } | undefined)?.seed ?? 0);
}
