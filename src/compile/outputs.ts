/** What each graph of a program computes, by name, before it is cut and linked. */
import { fail } from '../core/errors.ts';
import { differentiate } from '../graph/autodiff.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { type Layer, shapeContext, type Variable } from '../layers/layer.ts';
import { type Loss, targets } from '../losses/index.ts';
import type { Metric } from '../metrics/index.ts';
import type { Network } from '../models/network.ts';
import type { Optimizer, Updated } from '../optimizers/index.ts';
import type { Slab } from './slabs.ts';
import type { Trace } from './trace.ts';

/** Named nodes. A name with `+` replaces the state of that name. */
export type Outputs = Readonly<Record<string, Node>>;

export interface Objective {
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  readonly labels: Node;
  readonly sampleWeight: Node;
}

/** The name of a graph input. */
export function inputName(node: Node): string {
  if (node.op !== 'input') throw new TypeError(`Node ${node.id} is no input.`);
  return node.attributes.name;
}

/** What people should know about a loss behind this network, if there is anything odd. */
export function warningOf(loss: Loss, network: Network): string | null {
  if (loss.warning === undefined) return null;
  const image = o.input('image', [-1, ...network.input.shape]);
  return loss.warning(network.call([image], shapeContext));
}

/** The labels of a training step: rows as its layers mix them, or the labels as they come. */
export function mixedLabels({ training: { output, labelMixes } }: Trace, { loss, labels }: Objective): Node {
  const [first] = labelMixes;
  if (first === undefined) return labels;
  if (loss.labels === 'sparse') {
    fail(
      'argument',
      `Layer ${first.layer} mixes labels, which sparse_categorical_crossentropy cannot take; compile with ` +
        'categorical_crossentropy, which takes class ids too.',
    );
  }
  return labelMixes.reduce((rows, { mix }) => mix(rows), targets(labels, output.shape.at(-1)!));
}

/**
 * `loss`: mean(loss · sample weight) over the batch plus penalties (Keras's sum_over_batch_size); each metric: its
 * total over the batch.
 */
export function measure(
  output: Node,
  { loss, metrics, labels, sampleWeight }: Objective,
  penalty: Node | null,
): Outputs {
  const data = o.mean(o.mul(loss.perSample(output, labels), sampleWeight));
  const totals = metrics.map((metric) => [metric.name, o.sum(metric.perSample(output, labels))]);
  return { loss: penalty ? o.add(data, penalty) : data, ...Object.fromEntries(totals) };
}

/** The sum of the penalties of trainable weights, or `null` if there are none; Keras counts no frozen ones. */
export function regularization({ weights }: Trace): Node | null {
  // A penalty is a sum over values, so that of a weight is the sum of its slabs'.
  const penalties = [...weights].flatMap(([{ regularizer, trainable }, slabs]) =>
    regularizer !== null && trainable ? slabs.map(({ node }) => regularizer.penalty(node)) : [],
  );
  return penalties.length === 0 ? null : penalties.reduce((total, penalty) => o.add(total, penalty));
}

/** State of the optimizer for a weight, or for a slab of one. */
export interface Slot extends Slab {
  readonly slot: string;
}

/** What training does to weights and optimizer state (`w3/velocity`): outputs `w3+` and `w3/velocity+`. */
export interface Updates {
  /** With an update. */
  readonly step: Outputs;
  /** Without one: gradients are added up, statistics move. Null if every batch has an update. */
  readonly accumulate: Outputs | null;
  readonly slots: ReadonlyMap<string, Slot>;
}

export function updates(
  trace: Trace,
  loss: Node,
  learned: readonly Variable[],
  optimizer: Optimizer,
  multipliers: ReadonlyMap<Layer, number>,
): Updates {
  const slots = new Map<string, Slot>();
  const inputs = learned.flatMap((variable) => trace.weights.get(variable)!);
  const values = inputs.map(({ node }) => node);
  const gradients = values.length > 0 ? differentiate(o.mul(loss, optimizer.lossScale), values) : [];
  const parameters = inputs.map(({ node, ...slab }, i) => {
    const { variable, shape } = slab;
    const own = optimizer.slots.map((slot) => {
      const name = `${slab.name}/${slot}`;
      slots.set(name, { ...slab, name, whole: `${slab.whole}/${slot}`, slot });
      return [slot, o.input(name, shape)];
    });
    return {
      path: variable.path,
      value: node,
      gradient: gradients[i]!,
      rateMultiplier: multipliers.get(variable.layer) ?? 1,
      slots: Object.fromEntries(own),
    };
  });
  const names = Object.keys(optimizer.scalarsAt(0, 0));
  const scalars = Object.fromEntries(names.map((name) => [name, o.input(name, [])]));
  const slotOutputs = (all: readonly Updated['slots'][]) =>
    Object.fromEntries(
      all.flatMap((next, i) =>
        Object.entries(next).map(([slot, node]) => [`${inputs[i]!.name}/${slot}+`, node]),
      ),
    );
  const statistics = Object.fromEntries(
    [...trace.training.updates].map(([variable, next]) => [
      `${trace.weights.get(variable)![0]!.name}+`,
      next,
    ]),
  );
  const updated = optimizer.update(parameters, scalars);
  const next = updated.map(({ value }, i) => [`${inputs[i]!.name}+`, value] as const);
  const added = optimizer.accumulate(parameters);
  return {
    step: {
      ...Object.fromEntries(next),
      ...slotOutputs(updated.map((each) => each.slots)),
      ...statistics,
    },
    accumulate: added && { ...slotOutputs(added), ...statistics },
    slots,
  };
}
