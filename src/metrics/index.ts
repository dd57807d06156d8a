/** Metrics: how right a prediction is, written per sample; the loop averages over an epoch as Keras does. */
import { fail } from '../core/errors.ts';
import { kerasObject } from '../core/records.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { targets } from '../losses/index.ts';

/** A metric, as Keras names it. */
export interface Metric {
  /** The key in logs and histories: `accuracy`, `topKCategoricalAccuracy`. */
  readonly name: string;
  /** What Keras writes for it; its classes differ by the kind of labels that the loss takes. */
  keras(labels: 'sparse' | 'categorical'): unknown;
  /** 1 or 0 for each sample, (batch,); arguments as `Loss.perSample`. */
  perSample(prediction: Node, labels: Node): Node;
}

/** Share of samples whose most probable class is the right one (Keras's "accuracy", for either kind of labels). */
export function accuracy(): Metric {
  return {
    name: 'accuracy',
    keras: () => 'accuracy',
    perSample(prediction, labels) {
      const right = labels.dtype === 'int32' ? labels : o.argMax(labels, -1);
      return o.cast(o.equal(o.argMax(prediction, -1), right), 'float32');
    },
  };
}

/** Share of samples whose right class is among the k most probable; ties count (keras TopKCategoricalAccuracy). */
export function topKCategoricalAccuracy({ k = 5 }: { k?: number } = {}): Metric {
  if (!Number.isInteger(k) || k < 1) fail('argument', `k must be a positive integer, got ${k}.`);
  return {
    name: 'topKCategoricalAccuracy',
    keras(labels) {
      const sparse = labels === 'sparse';
      return {
        module: 'keras.metrics',
        class_name: sparse ? 'SparseTopKCategoricalAccuracy' : 'TopKCategoricalAccuracy',
        config: {
          name: sparse ? 'sparse_top_k_categorical_accuracy' : 'top_k_categorical_accuracy',
          dtype: 'float32',
          k,
        },
        registered_name: null,
      };
    },
    perSample(prediction, labels) {
      const classes = prediction.shape[1]!;
      const right = labels.dtype === 'int32' ? labels : o.argMax(labels, -1);
      const own = o.sum(o.mul(prediction, targets(right, classes)), [-1], true);
      const better = o.sum(o.cast(o.greater(prediction, own), 'float32'), [-1]);
      return o.cast(o.greater(k, better), 'float32');
    },
  };
}

/** A metric by name, or the metric itself. */
export function metric(option: Metric | string): Metric {
  if (typeof option !== 'string') return option;
  switch (option) {
    case 'accuracy':
    case 'acc':
    case 'categorical_accuracy':
    case 'sparse_categorical_accuracy':
      return accuracy();
    case 'topKCategoricalAccuracy':
    case 'top_k_categorical_accuracy':
    case 'sparse_top_k_categorical_accuracy':
      return topKCategoricalAccuracy();
    default:
      return fail('unsupported', `Unknown metric "${option}"; expected accuracy or topKCategoricalAccuracy.`);
  }
}

/** Reads what Keras writes for a metric: a name, or a class with its config. */
export function metricFromKeras(value: unknown): Metric {
  if (typeof value === 'string') return metric(value);
  const { class_name, config } = kerasObject(value, 'a metric');
  switch (class_name) {
    case 'MeanMetricWrapper':
      // Keras 2 wraps functions; `accuracy` has become the one that fits the labels.
      return metric(String(config['fn']));
    case 'CategoricalAccuracy':
    case 'SparseCategoricalAccuracy':
      return accuracy();
    case 'TopKCategoricalAccuracy':
    case 'SparseTopKCategoricalAccuracy':
      return topKCategoricalAccuracy({ k: Number(config['k'] ?? 5) });
    default:
      // A function goes by its name, and whatever else there is gets the error of a name.
      return metric(class_name);
  }
}
