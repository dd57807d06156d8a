/**
 * Turns a model, a loss, metrics and an optimizer into the graphs that run:
 *
 * - **frozen**: picture → features (absent if nothing worth it is frozen)
 * - **augmented**: picture, noise → features, as training sees them (absent if no random layer is in front)
 * - **step**: features, labels → loss, metrics, and the next weights and optimizer state
 * - **accumulate**: features, labels → loss, metrics, and the gradients added to those that wait for a step
 * - **evaluate**: features, labels → loss and metrics
 * - **predict**: features → output
 */
import { fail } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import { type GraphDType, type Node, topologicalOrder } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { simplify, substitute } from '../graph/simplify.ts';
import type { Variable } from '../layers/layer.ts';
import type { Loss } from '../losses/index.ts';
import type { Metric } from '../metrics/index.ts';
import type { Network } from '../models/network.ts';
import { type LearningRateMultipliers, multipliersOf } from '../models/rates.ts';
import type { Optimizer } from '../optimizers/index.ts';
import { chooseCut } from './cut.ts';
import { type Executable, inputsOf, link } from './executable.ts';
import { type FrozenPart, frozenPart } from './frozen_part.ts';
import {
  inputName,
  measure,
  mixedLabels,
  type Outputs,
  regularization,
  type Slot,
  updates,
} from './outputs.ts';
import type { Slab } from './slabs.ts';
import { type Noise, perPicture, type Trace, traceModel, weightConstant } from './trace.ts';

export type { Executable } from './executable.ts';
export type { FrozenPart, IntegerFrozen } from './frozen_part.ts';

export interface ProgramOptions {
  readonly network: Network;
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  /** Defaults to the whole rate for all layers. */
  readonly learningRateMultipliers?: LearningRateMultipliers;
  /** False for a model that only predicts: every weight is a constant, whatever its layer says. */
  readonly trains: boolean;
  /** Element type of the pictures. */
  readonly imageDType: 'uint8' | 'float32';
  /** Class ids or one-hot rows. */
  readonly labels: 'ids' | 'rows';
  /** In which the frozen part hands its features over. */
  readonly featureDType: 'float32' | 'float16';
}

/** One tensor that crosses the cut. */
export interface Feature {
  /** Name of the frozen part's output and of the other graphs' input; `image` if nothing is computed. */
  readonly name: string;
  /** Without the batch. */
  readonly shape: readonly number[];
  readonly dtype: GraphDType;
}

export interface Program {
  readonly features: readonly Feature[];
  readonly frozen: FrozenPart | null;
  /** The frozen part with the random layers in front of it; null where training sees what evaluation sees. */
  readonly augmented: FrozenPart | null;
  readonly step: Executable;
  /** For batches without an update; null if each has one. */
  readonly accumulate: Executable | null;
  readonly evaluate: Executable;
  readonly predict: Executable;
  /** State that the engine holds: weights that change (`w3`), large ones in slabs. */
  readonly weights: ReadonlyMap<string, Slab>;
  /** Optimizer state (`w3/velocity`). */
  readonly slots: ReadonlyMap<string, Slot>;
  /** What `step` takes. */
  readonly noises: readonly Noise[];
}

export function buildProgram(options: ProgramOptions): Program {
  const { network, imageDType, featureDType } = options;
  // Only a norm of each weight's own gradient needs it whole.
  const whole = options.optimizer.options.clipnorm !== null;
  const cuts = (variable: Variable) => options.trains && variable.trainable && !whole;
  const trace = traceModel(network, imageDType, cuts);
  // What changes from step to step: learned weights of trainable layers, and statistics that the step moves.
  const changing = network.variables.filter(
    (variable) => options.trains && (variable.trainable || trace.training.updates.has(variable)),
  );
  const learned = changing.filter(({ trainable }) => trainable);
  const { graphs, inferred, slots } = writeGraphs(trace, learned, options);
  const inputs = inputsOf(Object.values(graphs).flatMap((outputs) => Object.values(outputs)));
  const image = inputs.get('image') ?? fail('state', 'The output of the model does not depend on its input.');
  const states = new Map(
    changing.flatMap((variable) => trace.weights.get(variable)!.map((slab) => [slab.name, slab] as const)),
  );
  const constants = constantInputs(trace, inputs, states);
  const divided = divide(graphs, {
    trains: learned.length > 0,
    image,
    moving: new Set([...inputs.values()].filter((node) => node !== image && !constants.has(node))),
    noises: trace.noises.filter(perPicture).flatMap(({ name }) => inputs.get(name) ?? []),
    inferred,
  });

  const features = describeFeatures(divided.cut, image, imageDType, featureDType);
  const names = features.map(({ name }) => name);
  const taken = (node: Node, i: number) =>
    [node, o.cast(o.input(names[i]!, node.shape, featureDType), 'float32')] as const;
  const isState = (name: string) => states.has(name) || slots.has(name);
  const part = (outputs: Outputs, cut: readonly Node[]) => {
    const given = new Map([...constants, ...(cut.includes(image) ? [] : cut.map(taken))]);
    return link(substituteAll(outputs, given), isState);
  };
  const early = trace.noises.filter(({ name }) => divided.noises.some((node) => inputName(node) === name));
  const frozen = (cut: readonly Node[], noises: readonly Noise[]) =>
    cut.includes(image) ? null : frozenPart(substitute(cut, constants), names, featureDType, noises);
  const accumulates = Object.keys(divided.accumulate).length > 0;
  return {
    features,
    frozen: frozen(divided.twins, []),
    augmented: early.length > 0 ? frozen(divided.cut, early) : null,
    step: part(divided.step, divided.cut),
    accumulate: accumulates ? part(divided.accumulate, divided.cut) : null,
    evaluate: part(divided.evaluate, divided.twins),
    predict: part(divided.predict, divided.twins),
    weights: states,
    slots,
    noises: trace.noises.filter((noise) => inputs.has(noise.name) && !early.includes(noise)),
  };
}

/** What each graph computes from pictures on. Simplified together, so that what they share is the same nodes. */
function writeGraphs(trace: Trace, learned: readonly Variable[], options: ProgramOptions) {
  const { network, loss, metrics, optimizer, learningRateMultipliers = {} } = options;
  const labels = labelInput(options.labels, trace.inference.output);
  const objective = { loss, metrics, labels, sampleWeight: o.input('sampleWeight', [-1]) };
  const penalty = regularization(trace);
  const mixed = { ...objective, labels: mixedLabels(trace, objective) };
  const measured = measure(trace.training.output, mixed, penalty);
  const multipliers = multipliersOf(network, learningRateMultipliers);
  const { step, accumulate, slots } = updates(trace, measured['loss']!, learned, optimizer, multipliers);
  const { trained, inferred, ...graphs } = simplifyTogether({
    step: { ...measured, ...step },
    accumulate: accumulate === null ? {} : { ...measured, ...accumulate },
    evaluate: measure(trace.inference.output, objective, penalty),
    predict: { output: trace.inference.output },
    trained: numbered(trace.training.calls.map(({ output }) => output)),
    inferred: numbered(trace.inference.calls.map(({ output }) => output)),
  });
  const pairs = Object.values(trained).map((node, i) => [node, inferred[i]!] as const);
  return { graphs, slots, inferred: new Map(pairs) };
}

/** `accumulate` is empty if every batch has an update. */
type Graphs = Readonly<Record<'step' | 'accumulate' | 'evaluate' | 'predict', Outputs>>;

/** The graphs, and the values between them and the frozen part. */
interface Divided extends Graphs {
  readonly cut: readonly Node[];
  /** The same values as inference computes them: without the random layers in front. */
  readonly twins: readonly Node[];
  /** Noises of the random layers in front. */
  readonly noises: readonly Node[];
}

interface Division {
  readonly trains: boolean;
  readonly image: Node;
  readonly moving: ReadonlySet<Node>;
  readonly noises: readonly Node[];
  /** What a layer puts out in inference, by what it puts out in training. */
  readonly inferred: ReadonlyMap<Node, Node>;
}

function divide(graphs: Graphs, { trains, image, moving, noises, inferred }: Division): Divided {
  // Predicting must start from the same features as training, so the cut is found on the step alone.
  const roots = trains ? graphs.step : { ...graphs.evaluate, ...graphs.predict };
  const { nodes: cut, noises: early } = chooseCut(Object.values(roots), image, moving, noises);
  const { twins, evaluate, predict } = simplifyTogether({
    evaluate: graphs.evaluate,
    predict: graphs.predict,
    twins: numbered(early.length > 0 ? substitute(cut, inferred) : cut),
  });
  const divided = { ...graphs, evaluate, predict, cut, twins: Object.values(twins), noises: early };
  const needed = [
    ...(trains ? inputsBehind(cut, [graphs.step, graphs.accumulate]) : []),
    ...inputsBehind(divided.twins, [evaluate, predict]),
  ];
  const whole = needed.some((node) => node === image || early.includes(node));
  return whole ? { ...graphs, cut: [image], twins: [image], noises: [] } : divided;
}

/** The inputs that graphs still need when the values of a cut are given. */
function inputsBehind(cut: readonly Node[], graphs: readonly Outputs[]): Node[] {
  const nodes = graphs.flatMap((outputs) => Object.values(outputs));
  return topologicalOrder(nodes, (node) => cut.includes(node)).filter(({ op }) => op === 'input');
}

function numbered(nodes: readonly Node[]): Outputs {
  return Object.fromEntries(nodes.map((node, i) => [i, node]));
}

/** The weights that no step changes, by their inputs. */
function constantInputs(
  trace: Trace,
  inputs: ReadonlyMap<string, Node>,
  states: ReadonlyMap<string, Slab>,
): Map<Node, Node> {
  const constants = new Map<Node, Node>();
  for (const [variable, [{ name }]] of trace.weights) {
    const input = inputs.get(name);
    if (input && !states.has(name)) constants.set(input, weightConstant(variable));
  }
  return constants;
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

/** Zeros for each slot of the optimizer. */
export function initialSlots(program: Program): Record<string, Tensor> {
  return Object.fromEntries([...program.slots].map(([name, { shape }]) => [name, tensor('float32', shape)]));
}
