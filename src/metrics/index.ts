/** Metrics: how right a prediction is, written per sample; the loop averages over an epoch as Keras does. */
import * as v from 'valibot';
import { checked, type Entries, fields, oneOf, optional, wholeNumber } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { kerasObject, lookUp } from '../core/records.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { targets } from '../losses/index.ts';

/** A metric, as Keras names it. */
export interface Metric {
  /** The key in logs and histories: `accuracy`, `topKCategoricalAccuracy`. */
  readonly name: string;
  /** Whether it is better the larger it is (`up`) or the smaller: what callbacks with `mode: 'auto'` go by. */
  readonly direction: 'up' | 'down';
  /** What Keras writes for it; its classes differ by the kind of labels that the loss takes. */
  keras(labels: 'sparse' | 'categorical'): unknown;
  /** 1 or 0 for each sample, (batch,); arguments as `Loss.perSample`. */
  perSample(prediction: Node, labels: Node): Node;
}

/** Share of samples whose most probable class is the right one (Keras's "accuracy", for either kind of labels). */
export function accuracy(): Metric {
  return {
    name: 'accuracy',
    direction: 'up',
    keras: () => 'accuracy',
    perSample(prediction, labels) {
      const right = labels.dtype === 'int32' ? labels : o.argMax(labels, -1);
      return o.cast(o.equal(o.argMax(prediction, -1), right), 'float32');
    },
  };
}

/** Options of `topKCategoricalAccuracy`. */
export interface TopKOptions {
  /** How many of the most probable classes count. Defaults to 5. */
  readonly k?: number;
}

const topKOptions = fields({ k: optional(wholeNumber(1), 5) } satisfies Entries<TopKOptions>);

/** Share of samples whose right class is among the k most probable; ties count (keras TopKCategoricalAccuracy). */
export function topKCategoricalAccuracy(options: TopKOptions = {}): Metric {
  const { k } = checked(topKOptions, options, 'metrics.topKCategoricalAccuracy');
  return {
    name: 'topKCategoricalAccuracy',
    direction: 'up',
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

/** Metrics by their names, in camelCase and as Keras writes them. */
const byName = {
  accuracy,
  acc: accuracy,
  categorical_accuracy: accuracy,
  sparse_categorical_accuracy: accuracy,
  topKCategoricalAccuracy,
  top_k_categorical_accuracy: topKCategoricalAccuracy,
  sparse_top_k_categorical_accuracy: topKCategoricalAccuracy,
} satisfies Readonly<Record<string, () => Metric>>;

/** A metric by its name, in camelCase or as Keras writes it. */
export type MetricName = keyof typeof byName;

/** A metric as `compile` takes it: itself, or its name. */
export const metricSchema = v.union([
  v.pipe(
    oneOf(...(Object.keys(byName) as MetricName[])),
    v.transform((name): Metric => byName[name]()),
  ),
  v.custom<Metric>(isMetric, 'a metric (such as metrics.accuracy() returns)'),
]);

/** A metric by its name, or the metric itself. Throws `argument`. */
export function metric(option: Metric | MetricName): Metric {
  return checked(metricSchema, option, 'metrics.metric');
}

function isMetric(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { name, direction, perSample } = value as Partial<Metric>;
  return (
    typeof name === 'string' &&
    (direction === 'up' || direction === 'down') &&
    typeof perSample === 'function'
  );
}

/** The metric of a name in a file. Throws `unsupported`. */
function metricNamed(name: string): Metric {
  const make = lookUp<() => Metric>(byName, name);
  return (
    make?.() ?? fail('unsupported', `Unknown metric "${name}"; expected accuracy or topKCategoricalAccuracy.`)
  );
}

/** Reads what Keras writes for a metric: a name, or a class with its config. */
export function metricFromKeras(value: unknown): Metric {
  if (typeof value === 'string') return metricNamed(value);
  const { class_name, config } = kerasObject(value, 'a metric');
  switch (class_name) {
    case 'MeanMetricWrapper':
      // Keras 2 wraps functions; `accuracy` has become the one that fits the labels.
      return metricNamed(String(config['fn']));
    case 'CategoricalAccuracy':
    case 'SparseCategoricalAccuracy':
      return accuracy();
    case 'TopKCategoricalAccuracy':
    case 'SparseTopKCategoricalAccuracy':
      return topKCategoricalAccuracy({ k: Number(config['k'] ?? 5) });
    default:
      // A function goes by its name, and whatever else there is gets the error of a name.
      return metricNamed(class_name);
  }
}
