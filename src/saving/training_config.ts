/** Between how a model is trained and what Keras writes about it: `training_config` and optimizer state. */
import { fail } from '../core/errors.ts';
import { isRecord } from '../core/records.ts';
import { float32, formatShape, sameShape, tensor } from '../core/tensor.ts';
import { lossFromKeras } from '../losses/index.ts';
import { metricFromKeras } from '../metrics/index.ts';
import type { Network } from '../models/network.ts';
import type { LearningRateMultipliers } from '../models/rates.ts';
import {
  isLegacyOptimizer,
  isOfKeras2,
  type Optimizer,
  optimizerFromKeras,
  shortest,
} from '../optimizers/index.ts';
import type { SavedTraining } from './index.ts';
import { asFloat32, type NamedTensor } from './tensors.ts';

/** What Keras writes as `training_config` into `.h5` files. */
export function trainingConfig(training: SavedTraining): unknown {
  return { ...compileArguments(training), optimizer_config: training.optimizer.keras };
}

/** What Keras writes as `compile_config` into `.keras` files. */
export function compileConfig(training: SavedTraining): unknown {
  const optimizer = { module: 'keras.optimizers', ...training.optimizer.keras, registered_name: null };
  return { optimizer, ...compileArguments(training) };
}

function compileArguments({ loss, metrics }: SavedTraining) {
  return {
    loss: { module: 'keras.losses', ...loss.keras, registered_name: null },
    loss_weights: null,
    metrics: metrics.map((metric) => metric.keras(loss.labels)),
    weighted_metrics: null,
    run_eagerly: false,
    steps_per_execution: 1,
    jit_compile: false,
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

/** Keras's `optimizer.variables`; zeros before the first step. */
export function optimizerTensors(network: Network, { optimizer, step, slots }: SavedTraining): NamedTensor[] {
  const { name } = optimizer.rule;
  const { learningRate } = optimizer.options;
  const scheduled = typeof learningRate !== 'number';
  return [
    { name: `${name}/iteration`, tensor: tensor('int64', [], BigInt64Array.of(BigInt(step))) },
    ...(scheduled ? [] : [{ name: `${name}/learning_rate`, tensor: float32([], [learningRate]) }]),
    ...slotList(network, optimizer).map(({ variable, slot, key }) => ({
      name: `${name}/${variable.path.replaceAll('/', '_')}_${slot}`,
      tensor: tensor('float32', variable.shape, slots?.[key]),
    })),
  ];
}

/** A training as a file describes it. */
export interface DescribedTraining {
  readonly loss: unknown;
  readonly lossWeights: unknown;
  readonly metrics: unknown;
  readonly optimizer: unknown;
  /** What Graft keeps beside Keras's records; null in files that Keras wrote. */
  readonly extra: unknown;
}

/**
 * The description in `training_config` or `compile_config`; null if the model was not compiled, or if there is no
 * optimizer in it (Keras 3.15 loses it in a `.keras` file that it writes after an `.h5`).
 */
export function describedTraining(config: unknown, extra: unknown): DescribedTraining | null {
  if (!isRecord(config)) return null;
  const optimizer = config['optimizer_config'] ?? config['optimizer'];
  if (optimizer === undefined) return null;
  const lossWeights = config['loss_weights'] ?? null;
  return { loss: config['loss'], lossWeights, metrics: config['metrics'], optimizer, extra };
}

/** Rebuilds a training from Keras's description and `optimizer.variables`, which may be missing. */
export function readTraining(
  path: string,
  network: Network,
  { loss, lossWeights, metrics, optimizer: described, extra }: DescribedTraining,
  variables: readonly NamedTensor[] | null,
): SavedTraining {
  const optimizer = optimizerFromKeras(described);
  const weights = isRecord(lossWeights) ? Object.values(lossWeights) : [lossWeights].flat();
  if (!weights.every((weight) => weight === null || weight === 1)) {
    fail('unsupported', `Graft does not have loss_weights = ${JSON.stringify(lossWeights)}.`);
  }
  // Keras 2 nests the metrics of each output in a list.
  const read = ([metrics].flat(2) as unknown[])
    .filter((entry) => entry !== null && entry !== undefined)
    .map(metricFromKeras);
  const legacy = isLegacyOptimizer(described);
  const { step, slots } = readOptimizer(path, network, optimizer, variables ?? [], { legacy });
  // Keras 3 begins with the weights after the first step, so afterwards nothing differs.
  if (optimizer.options.useEma && step === 0 && isOfKeras2(described)) {
    fail(
      'unsupported',
      `${path} was saved before its first step, and Keras 2 begins the averages of use_ema with the initial weights, ` +
        'which Graft does not have.',
    );
  }
  return { optimizer, loss: lossFromKeras(loss), metrics: read, ...readExtra(path, extra), step, slots };
}

/** An optimizer's state in the middle of a training. */
export interface OptimizerState extends Pick<SavedTraining, 'step' | 'slots'> {
  /** Null with a schedule, and in files of Keras 2. */
  readonly learningRate: number | null;
}

/**
 * The state in Keras's `optimizer.variables`. Keras 3 begins with the iteration and, without a schedule, the learning
 * rate; Keras 2 leaves the rate out, and RMSprop of Keras up to 2.2 the iteration too. `legacy` says that the optimizer
 * is one of Keras up to 2.10. Throws `weights` if counts or shapes differ.
 */
export function readOptimizer(
  path: string,
  network: Network,
  optimizer: Optimizer,
  variables: readonly NamedTensor[],
  { legacy = legacyOrder(variables) }: { readonly legacy?: boolean } = {},
): OptimizerState {
  if (variables.length === 0) return { step: 0, slots: null, learningRate: null };
  const counts = variables[0]!.tensor.shape.length === 0;
  const [iteration, others] = counts ? [variables[0]!, variables.slice(1)] : [null, variables];
  const step = iteration === null ? 0 : Number(iteration.tensor.data[0]);
  if (!(Number.isSafeInteger(step) && step >= 0)) fail('file', `${path}: ${step} is no count of steps.`);
  // Keras makes the slots at the first step: a model saved before it has none.
  const untrained =
    step === 0 && others.length <= 1 && others.every(({ tensor }) => tensor.shape.length === 0);
  const ordered = untrained ? [] : slotsInOrder(network, optimizer, legacy);
  const hasRate = others.length > ordered.length && others[0]!.tensor.shape.length === 0;
  const values = withoutIdle(hasRate ? others.slice(1) : others, ordered.length, network, optimizer);
  const { className } = optimizer.rule;
  if (values.length !== ordered.length) {
    fail(
      'weights',
      `${path} holds ${values.length} values of optimizer state; ${className} over ${network.trainableVariables.length} ` +
        `trainable weights needs ${ordered.length}.`,
    );
  }
  const slots = ordered.map(({ key, variable, slot }, i) => {
    const { shape, data } = asFloat32(values[i]!.tensor);
    if (!sameShape(shape, variable.shape)) {
      fail(
        'weights',
        `${path}: the ${slot} of ${variable.path} has shape ${formatShape(shape)}; ${className} needs ` +
          `${formatShape(variable.shape)}.`,
      );
    }
    return [key, data] as const;
  });
  const learningRate = hasRate ? shortest(Number(others[0]!.tensor.data[0])) : null;
  return { step, slots: untrained ? null : Object.fromEntries(slots), learningRate };
}

/**
 * Keras 2 keeps state that some options never use, behind the rest: a momentum of SGD without momentum, and in Keras up
 * to 2.2 the largest squares of Adam without `amsgrad`.
 */
function withoutIdle(
  values: readonly NamedTensor[],
  needed: number,
  { trainableVariables }: Network,
  { rule: { className } }: Optimizer,
): readonly NamedTensor[] {
  const idle = values.length - needed === trainableVariables.length && ['SGD', 'Adam'].includes(className);
  return idle ? values.slice(0, needed) : values;
}

function slotsInOrder(network: Network, optimizer: Optimizer, legacy: boolean) {
  return legacy ? slotBySlot(network, optimizer) : slotList(network, optimizer);
}

/** True for the optimizers that Keras called `legacy` from 2.11 on; their state is `dense/kernel/m:0`. */
function legacyOrder(variables: readonly NamedTensor[]): boolean {
  return variables.some(({ name }) => /\/(m|v|vhat|rms|momentum|mg)(_\d+)?:0$/.test(name));
}

/** Those optimizers keep the first slot of every weight, then the second. */
function slotBySlot(network: Network, optimizer: Optimizer) {
  const { slots } = optimizer.rule;
  const list = slotList(network, optimizer);
  return slots.flatMap((wanted) => list.filter(({ slot }) => slot === wanted));
}

/** What Keras has no place for. */
export function extraState({
  seed,
  learningRateMultipliers,
}: SavedTraining): Readonly<Record<string, unknown>> {
  return { seed, ...(Object.keys(learningRateMultipliers).length > 0 ? { learningRateMultipliers } : {}) };
}

/** What `extraState` wrote; files of Keras have none of it. Throws `file` for multipliers that are no numbers. */
function readExtra(path: string, extra: unknown): Pick<SavedTraining, 'seed' | 'learningRateMultipliers'> {
  const { seed, learningRateMultipliers = {} } = isRecord(extra) ? extra : {};
  const numbers = (value: unknown): value is LearningRateMultipliers =>
    isRecord(value) && Object.values(value).every((each) => typeof each === 'number');
  if (!numbers(learningRateMultipliers)) {
    fail('file', `${path}: learningRateMultipliers are no numbers by the names of layers.`);
  }
  return { seed: Number.isInteger(seed) ? (seed as number) : 0, learningRateMultipliers };
}
