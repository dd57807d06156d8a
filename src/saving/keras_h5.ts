/**
 * Keras's legacy `.h5` files: a whole model (configuration, weights, optimizer state) or weights alone. This
 * file owns the records and the order in them; `keras_h5.node.ts` reads and writes them.
 *
 * The order of things is the contract, names are not: Keras pairs layers and weights by position.
 *
 * - `layers` are those of `model.layers`: all of a Functional model with its InputLayer, all of a Sequential
 *   without it. Layers without weights are listed, with no weights.
 * - The weights of a layer are its trainable weights, then the others. A nested model is one such layer: the
 *   weights of all its layers in order, divided into trainable and not trainable *for the group as a whole*.
 *   A nested Functional whose own `trainable` is false counts none as trainable. A nested Sequential always
 *   counts as trainable when the file is read, because Keras does not restore its flag.
 * - `optimizer` is Keras's `optimizer.variables`: `iteration` (int64 scalar), `learning_rate` (float32 scalar;
 *   absent with a schedule), `average` of every trainable weight with `use_ema`, and then the slots, with T the
 *   model's trainable weights in model order:
 *     SGD          momentum of T (none when momentum is 0)
 *     RMSprop      velocity of T; momentum of T if momentum > 0; average_gradient of T if centered
 *     Adam, AdamW  momentum and velocity of T[0], momentum and velocity of T[1], ...; velocity_hat of T if amsgrad
 *   A slot is named `<optimizer>/<path of the weight, / as _>_<slot>`: `adam/dense_kernel_momentum`.
 *
 * Keras 3 (seen in 3.15) restores only `iteration` and `learning_rate` from its own files: its loader builds the
 * optimizer over no variables, so that `fit` then fails with "Unknown variable" until the model is compiled
 * again. A file without optimizer weights can be trained on at once, from a fresh optimizer.
 */
import type { NamedTensor } from './tensors.ts';

/** One group of the file: a layer of the model, or a nested model with all its weights. */
export interface LayerWeights {
  readonly layer: string;
  /** In the order of the file; names as `conv1_conv/kernel:0` (Keras 1, 2) or `dense/kernel` (Keras 3). */
  readonly weights: readonly NamedTensor[];
}

/** What Graft keeps beside Keras's records, in a group that Keras does not look at. */
export interface ExtraState {
  readonly json: unknown;
  readonly tensors: readonly NamedTensor[];
}

/** The content of a legacy Keras file. */
export interface KerasH5 {
  /** Root attribute `model_config`, parsed; null for a file of weights alone. */
  readonly modelConfig: unknown;
  /** Root attribute `training_config`, parsed; null when the model was not compiled. */
  readonly trainingConfig: unknown;
  /** Version that wrote the file; null (Keras 1) is written as `3.0.0`, since readers take null for Keras 1. */
  readonly kerasVersion: string | null;
  readonly backend: string | null;
  readonly layers: readonly LayerWeights[];
  /** Weights of the model itself, outside every layer; empty for Sequential and Functional models. */
  readonly topLevel?: readonly NamedTensor[];
  /** Optimizer variables in Keras's order; null when the file has none or they were not asked for. */
  readonly optimizer: readonly NamedTensor[] | null;
  readonly extra?: ExtraState | null;
}
