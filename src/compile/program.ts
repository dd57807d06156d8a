/**
 * Turns a model, a loss, metrics and an optimizer into the graphs that run:
 *
 * - **frozen**: picture → features (absent if nothing worth it is frozen)
 * - **step**: features, labels → loss, metrics, and the next weights and optimizer state
 * - **accumulate**: features, labels → loss, metrics, and the gradients added to those that wait for a step
 * - **evaluate**: features, labels → loss and metrics
 * - **predict**: features → output
 */
import { createHash } from 'node:crypto';
import { fail } from '../core/errors.ts';
import { bytesOf, type Tensor, tensor } from '../core/tensor.ts';
import { type GraphDType, type Node, topologicalOrder } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { simplify, substitute } from '../graph/simplify.ts';
import type { Variable } from '../layers/layer.ts';
import type { Loss } from '../losses/index.ts';
import type { Metric } from '../metrics/index.ts';
import type { Network } from '../models/network.ts';
import { emitModel } from '../onnx/emit.ts';
import type { Optimizer } from '../optimizers/index.ts';
import { foldFrozen, Quantization, type Range } from '../quantize/index.ts';
import { findCut } from './cut.ts';
import {
  inputName,
  measure,
  mixedLabels,
  type Outputs,
  regularization,
  type Slot,
  updates,
} from './outputs.ts';
import { type Noise, traceModel, weightConstant } from './trace.ts';

export interface ProgramOptions {
  readonly network: Network;
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  /** False for a model that only predicts: every weight is a constant, whatever its layer says. */
  readonly trains: boolean;
  /** Element type of the pictures. */
  readonly imageDType: 'uint8' | 'float32';
  /** Class ids or one-hot rows. */
  readonly labels: 'ids' | 'rows';
  /** In which the frozen part hands its features over. */
  readonly featureDType: 'float32' | 'float16';
}

/** A graph ready to load: what is fed, and the state that it reads and replaces. */
export interface Executable {
  readonly model: () => Uint8Array;
  readonly feeds: readonly string[];
  readonly reads: Readonly<Record<string, string>>;
  readonly writes: Readonly<Record<string, string>>;
}

/** One tensor that crosses the cut. */
export interface Feature {
  /** Name of the frozen part's output and of the other graphs' input; `image` if nothing is computed. */
  readonly name: string;
  /** Without the batch. */
  readonly shape: readonly number[];
  readonly dtype: GraphDType;
}

/** The frozen part on its way to integers: `observe` what `observation` computes for some pictures first. */
export interface IntegerFrozen {
  readonly observation: Executable;
  observe(results: Readonly<Record<string, Tensor>>): void;
  ranges(): readonly Range[];
  frozen(ranges: readonly Range[]): Executable;
}

export interface Program {
  readonly features: readonly Feature[];
  readonly frozen: Executable | null;
  /** The same part to be run on integers. */
  readonly integers: (() => IntegerFrozen) | null;
  readonly step: Executable;
  /** For batches without an update; null if each has one. */
  readonly accumulate: Executable | null;
  readonly evaluate: Executable;
  readonly predict: Executable;
  /** State that the engine holds: weights that change (`w3`), by their variable. */
  readonly weights: ReadonlyMap<string, Variable>;
  /** Optimizer state (`w3/velocity`). */
  readonly slots: ReadonlyMap<string, Slot>;
  readonly noises: readonly Noise[];
  /** Identifies what the frozen part computes, in whatever dtype it hands it over: its graph and its weights. */
  readonly frozenDigest: string;
}

export function buildProgram(options: ProgramOptions): Program {
  const { network, optimizer, loss, metrics, imageDType, featureDType } = options;
  const trace = traceModel(network, imageDType);
  const labels = labelInput(options.labels, trace.inference.output);
  const objective = { loss, metrics, labels, sampleWeight: o.input('sampleWeight', [-1]) };
  const penalty = regularization(trace);

  // What changes from step to step: learned weights of trainable layers, and statistics that the step moves.
  const changing = network.variables.filter(
    (variable) => options.trains && (variable.trainable || trace.training.updates.has(variable)),
  );
  const learned = changing.filter(({ trainable }) => trainable);
  const mixed = { ...objective, labels: mixedLabels(trace, objective) };
  const measured = measure(trace.training.output, mixed, penalty);
  const update = updates(trace, measured['loss']!, learned, optimizer);

  // Simplifying all graphs together makes what they share the same nodes, so that one cut serves them all.
  const graphs = simplifyTogether({
    step: { ...measured, ...update.step },
    accumulate: update.accumulate === null ? {} : { ...measured, ...update.accumulate },
    evaluate: measure(trace.inference.output, objective, penalty),
    predict: { output: trace.inference.output },
  });
  const inputs = inputsOf(Object.values(graphs).flatMap((outputs) => Object.values(outputs)));
  const image = inputs.get('image') ?? fail('state', 'The output of the model does not depend on its input.');
  const states = new Map(changing.map((variable) => [inputName(trace.weights.get(variable)!), variable]));
  const constants = new Map<Node, Node>();
  for (const [variable, node] of trace.weights) {
    const input = inputs.get(inputName(node));
    if (input && !states.has(inputName(node))) constants.set(input, weightConstant(variable));
  }

  const moving = new Set([...inputs.values()].filter((node) => node !== image && !constants.has(node)));
  // Predicting must start from the same features as training, so the cut is found on the step alone.
  const roots = learned.length > 0 ? graphs.step : { ...graphs.evaluate, ...graphs.predict };
  const cut = findCut(Object.values(roots), image, moving);
  const features = describeFeatures(cut, image, imageDType, featureDType);
  const entries = new Map(constants);
  if (!cut.includes(image)) {
    cut.forEach((node, i) => {
      entries.set(node, o.cast(o.input(features[i]!.name, node.shape, featureDType), 'float32'));
    });
  }
  const isState = (name: string) => states.has(name) || update.slots.has(name);
  const frozen = cut.includes(image) ? null : foldFrozen(substitute(cut, constants));
  const handedOver =
    frozen && Object.fromEntries(frozen.map((node, i) => [features[i]!.name, o.cast(node, featureDType)]));
  return {
    features,
    frozen: handedOver && link(handedOver, () => false),
    integers: handedOver && (() => integerFrozen(handedOver)),
    step: link(substituteAll(graphs.step, entries), isState),
    accumulate: update.accumulate === null ? null : link(substituteAll(graphs.accumulate, entries), isState),
    evaluate: link(substituteAll(graphs.evaluate, entries), isState),
    predict: link(substituteAll(graphs.predict, entries), isState),
    weights: states,
    slots: update.slots,
    noises: trace.noises.filter(({ name }) => inputs.has(name)),
    frozenDigest: frozen ? digest(frozen) : '',
  };
}

function integerFrozen(outputs: Outputs): IntegerFrozen {
  const quantization = new Quantization(outputs);
  const executable = link(outputs, () => false);
  return {
    observation: link(quantization.observed, () => false),
    observe: (results) => quantization.observe(results),
    ranges: () => quantization.ranges(),
    frozen: (ranges) => ({ ...executable, model: () => quantization.model(ranges) }),
  };
}

function labelInput(kind: ProgramOptions['labels'], output: Node): Node {
  return kind === 'ids' ? o.input('y', [-1], 'int32') : o.input('y', [-1, output.shape.at(-1)!]);
}

function simplifyTogether<K extends string>(graphs: Readonly<Record<K, Outputs>>): Record<K, Outputs> {
  const names = Object.keys(graphs) as K[];
  const simple = simplify(names.flatMap((name) => Object.values(graphs[name])));
  let taken = 0;
  const rename = (name: K) => Object.keys(graphs[name]).map((output) => [output, simple[taken++]!] as const);
  return Object.fromEntries(names.map((name) => [name, Object.fromEntries(rename(name))])) as Record<
    K,
    Outputs
  >;
}

function substituteAll(outputs: Outputs, replacements: ReadonlyMap<Node, Node>): Outputs {
  const nodes = substitute(Object.values(outputs), replacements);
  return Object.fromEntries(Object.keys(outputs).map((name, i) => [name, nodes[i]!]));
}

/** The inputs that nodes depend on, by name. */
function inputsOf(nodes: readonly Node[]): Map<string, Node> {
  return new Map(
    topologicalOrder(nodes).flatMap((node) =>
      node.op === 'input' ? [[node.attributes.name, node] as const] : [],
    ),
  );
}

function describeFeatures(
  cut: readonly Node[],
  image: Node,
  imageDType: GraphDType,
  featureDType: GraphDType,
): Feature[] {
  return cut.map((node, i) =>
    node === image
      ? { name: 'image', shape: image.shape.slice(1), dtype: imageDType }
      : { name: `feature${i}`, shape: node.shape.slice(1), dtype: featureDType },
  );
}

/** Outputs named `x+` replace the state `x`; the model is emitted when it is asked for. */
function link(outputs: Outputs, isState: (name: string) => boolean): Executable {
  const inputs = [...inputsOf(Object.values(outputs)).keys()];
  const written = Object.keys(outputs).filter((name) => name.endsWith('+'));
  return {
    model: () => emitModel(outputs),
    feeds: inputs.filter((name) => !isState(name)),
    reads: Object.fromEntries(inputs.filter(isState).map((name) => [name, name])),
    writes: Object.fromEntries(written.map((name) => [name, name.slice(0, -1)])),
  };
}

/** SHA-256 over the structure of a graph and the values of its constants. */
function digest(outputs: readonly Node[]): string {
  const hash = createHash('sha256');
  const index = new Map<Node, number>();
  for (const node of topologicalOrder(outputs)) {
    index.set(node, index.size);
    hash.update(`${node.op} ${node.inputs.map((input) => index.get(input))} [${node.shape}] ${node.dtype} `);
    if (node.op === 'constant') hash.update(bytesOf(node.attributes.value));
    else hash.update(JSON.stringify(node.attributes));
  }
  return hash.digest('hex');
}

/** Zeros for each slot of the optimizer. */
export function initialSlots(program: Program): Record<string, Tensor> {
  return Object.fromEntries(
    [...program.slots].map(([name, { variable }]) => [name, tensor('float32', variable.shape)]),
  );
}
