/** Loss functions: Keras's crossentropies, written per sample; the step weighs and averages them. */
import * as v from 'valibot';
import { checked, type Entries, fields, flag, oneOf, optional, share } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { kerasObject, lookUp } from '../core/records.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';

/** Keras's fuzz factor: probabilities are kept this far from 0 and 1. */
const epsilon = 1e-7;

/** A loss function, as Keras names it. */
export interface Loss {
  /** Keras's name: `categorical_crossentropy`. */
  readonly name: string;
  /** The kind of labels that it takes in Keras. */
  readonly labels: 'sparse' | 'categorical';
  /** Keras's class and arguments, for files. */
  readonly keras: { readonly class_name: string; readonly config: Readonly<Record<string, unknown>> };
  /**
   * The loss of each sample, (batch,). `prediction` is (batch, classes); `labels` are class ids, int32 (batch,),
   * or one-hot rows, float32 (batch, classes).
   */
  perSample(prediction: Node, labels: Node): Node;
  /** What people should know who put this loss behind that prediction; null if there is nothing odd about it. */
  warning?(prediction: Node): string | null;
}

/** Options of the crossentropies (keras.losses). */
export interface CrossentropyOptions {
  /**
   * True if the model ends without softmax. Defaults to false. Behind a softmax it makes no difference: the loss is
   * taken from what the softmax was given, as Keras on TensorFlow does, and `compile` warns.
   */
  readonly fromLogits?: boolean;
  /** Share of the target that is spread evenly over all classes. Defaults to 0. */
  readonly labelSmoothing?: number;
}

const crossentropyOptions = fields({
  fromLogits: optional(flag, false),
  labelSmoothing: optional(share, 0),
} satisfies Entries<CrossentropyOptions>);

/** Options of the crossentropy of class ids (keras.losses.SparseCategoricalCrossentropy). */
export type SparseCrossentropyOptions = Pick<CrossentropyOptions, 'fromLogits'>;

const sparseOptions = fields({
  fromLogits: optional(flag, false),
} satisfies Entries<SparseCrossentropyOptions>);

/**
 * `−Σ target · log(prediction)` (keras.losses.CategoricalCrossentropy). Targets are one-hot or soft rows; class
 * ids are accepted and made one-hot. As in Keras, a prediction that comes out of softmax is taken from its
 * logits, so nothing is lost to rounding or clipping; so is one that comes out of sigmoid.
 */
export function categoricalCrossentropy(options: CrossentropyOptions = {}): Loss {
  const where = 'losses.categoricalCrossentropy';
  const { fromLogits, labelSmoothing } = checked(crossentropyOptions, options, where);
  return {
    name: 'categorical_crossentropy',
    labels: 'categorical',
    keras: {
      class_name: 'CategoricalCrossentropy',
      config: {
        name: 'categorical_crossentropy',
        reduction: 'sum_over_batch_size',
        from_logits: fromLogits,
        label_smoothing: labelSmoothing,
        axis: -1,
      },
    },
    perSample(prediction, labels) {
      const classes = classesOf(prediction);
      const hard = targets(labels, classes);
      const soft =
        labelSmoothing === 0 ? hard : o.add(o.mul(hard, 1 - labelSmoothing), labelSmoothing / classes);
      const logits = givenLogits(prediction) ?? (fromLogits ? prediction : null);
      if (logits !== null) return o.neg(o.sum(o.mul(soft, o.logSoftmax(logits)), [-1]));
      const normalized = o.div(prediction, o.sum(prediction, [-1], true));
      return o.neg(o.sum(o.mul(soft, o.log(clip(normalized))), [-1]));
    },
    ...(fromLogits ? { warning: behindSoftmax } : {}),
  };
}

/** The same with class ids as targets (keras.losses.SparseCategoricalCrossentropy). */
export function sparseCategoricalCrossentropy(options: SparseCrossentropyOptions = {}): Loss {
  const { fromLogits } = checked(sparseOptions, options, 'losses.sparseCategoricalCrossentropy');
  return {
    name: 'sparse_categorical_crossentropy',
    labels: 'sparse',
    keras: {
      class_name: 'SparseCategoricalCrossentropy',
      config: {
        name: 'sparse_categorical_crossentropy',
        reduction: 'sum_over_batch_size',
        from_logits: fromLogits,
        ignore_class: null,
      },
    },
    perSample(prediction, labels) {
      if (labels.dtype !== 'int32') {
        fail(
          'argument',
          'sparse_categorical_crossentropy takes class ids; for one-hot rows use categorical_crossentropy.',
        );
      }
      const target = targets(labels, classesOf(prediction));
      const logits = givenLogits(prediction) ?? (fromLogits ? prediction : o.log(clip(prediction)));
      return o.neg(o.sum(o.mul(target, o.logSoftmax(logits)), [-1]));
    },
    ...(fromLogits ? { warning: behindSoftmax } : {}),
  };
}

/** Keras's warning in such a case (keras/src/backend/tensorflow/nn.py, `_get_logits`). */
function behindSoftmax(prediction: Node): string | null {
  if (givenLogits(prediction) === null) return null;
  const end = prediction.op === 'sigmoid' ? 'sigmoid' : 'softmax';
  return (
    `The loss expects logits (from_logits), but the model ends in ${end}. As Keras on TensorFlow does, the loss is ` +
    `taken from what the ${end} is given. Leave out either of the two.`
  );
}

/**
 * What the softmax or the sigmoid at the end of a model is given, or null. Keras notes logits on the results of both
 * (`_keras_logits`), and its crossentropies of classes take either for those of a softmax.
 */
function givenLogits(prediction: Node): Node | null {
  return prediction.op === 'sigmoid' ? prediction.inputs[0]! : o.logitsOf(prediction);
}

/** Stands in where a model only predicts and nothing says what would be right: zero, whatever comes. */
export const unscored: Loss = {
  name: 'unscored',
  labels: 'categorical',
  keras: { class_name: 'unscored', config: {} },
  perSample: (_prediction, labels) =>
    o.mul(labels.dtype === 'int32' ? o.cast(labels, 'float32') : o.sum(labels, [1]), 0),
};

/** One-hot rows of either kind of labels. */
export function targets(labels: Node, classes: number): Node {
  if (labels.dtype === 'int32') return o.oneHot(labels, classes);
  if (labels.shape[1] !== classes) {
    fail('shape', `The model predicts ${classes} classes, but the labels have ${labels.shape[1]} columns.`);
  }
  return labels;
}

function classesOf(prediction: Node): number {
  if (prediction.shape.length !== 2)
    fail('shape', 'Crossentropy needs predictions of shape (batch, classes).');
  return prediction.shape[1]!;
}

function clip(probabilities: Node): Node {
  return o.min(o.max(probabilities, epsilon), 1 - epsilon);
}

/** Losses by their names, in camelCase and as Keras writes them. */
const byName = {
  categoricalCrossentropy,
  sparseCategoricalCrossentropy,
  categorical_crossentropy: categoricalCrossentropy,
  sparse_categorical_crossentropy: sparseCategoricalCrossentropy,
} satisfies Readonly<Record<string, () => Loss>>;

/** A loss by its name, in camelCase or as Keras writes it. */
export type LossName = keyof typeof byName;

const lossNames = Object.keys(byName) as LossName[];

/** A loss as `compile` takes it: itself, or its name. */
export const lossSchema = v.union([
  v.pipe(
    oneOf(...lossNames),
    v.transform((name): Loss => byName[name]()),
  ),
  v.custom<Loss>(isLoss, 'a loss (such as losses.categoricalCrossentropy() returns)'),
]);

/** A loss by its name, or the loss itself. Throws `argument`. */
export function loss(option: Loss | LossName): Loss {
  return checked(lossSchema, option, 'losses.loss');
}

function isLoss(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { name, labels, perSample } = value as Partial<Loss>;
  return (
    typeof name === 'string' &&
    (labels === 'sparse' || labels === 'categorical') &&
    typeof perSample === 'function'
  );
}

/** The loss of a name in a file. Throws `unsupported`. */
function lossNamed(name: string): Loss {
  const make = lookUp<() => Loss>(byName, name);
  return (
    make?.() ?? fail('unsupported', `Unknown loss "${name}"; expected ${lossNames.slice(0, 2).join(' or ')}.`)
  );
}

/** Arguments of Keras's losses that Graft has one value of; Keras 2 wrote `auto`. */
const supported: Readonly<Record<string, readonly unknown[]>> = {
  reduction: ['sum_over_batch_size', 'auto', null],
  ignore_class: [null],
  axis: [-1, null],
};

/** Reads what Keras writes for a loss: a name or `{ class_name, config }`. */
export function lossFromKeras(value: unknown): Loss {
  // A list has the loss of each output, and there is one.
  if (Array.isArray(value) && value.length === 1) return lossFromKeras(value[0]);
  if (typeof value === 'string') return lossNamed(value);
  const { class_name, config } = kerasObject(value, 'a loss');
  for (const [key, values] of Object.entries(supported)) {
    if (values.includes(config[key] ?? null)) continue;
    fail('unsupported', `${class_name}: Graft does not have ${key} = ${JSON.stringify(config[key])}.`);
  }
  const fromLogits = config['from_logits'] === true;
  if (class_name === 'SparseCategoricalCrossentropy') return sparseCategoricalCrossentropy({ fromLogits });
  if (class_name === 'CategoricalCrossentropy') {
    return categoricalCrossentropy({ fromLogits, labelSmoothing: Number(config['label_smoothing'] ?? 0) });
  }
  // A function goes by its name, and whatever else there is gets the error of a name.
  return lossNamed(class_name);
}
