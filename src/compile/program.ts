/**
 * Turns a model, a loss, metrics and an optimizer into the graphs that run:
 *
 * - **frozen**: picture → features (absent if nothing worth it is frozen)
 * - **step**: features, labels → loss, metrics, and the next weights and optimizer state
 * - **evaluate**: features, labels → loss and metrics
 * - **predict**: features → output
 */
import { createHash } from 'node:crypto';
import { fail } from '../core/errors.ts';
import { bytesOf, type Tensor, tensor } from '../core/tensor.ts';
import { differentiate } from '../graph/autodiff.ts';
import { type GraphDType, type Node, topologicalOrder } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { simplify, substitute } from '../graph/simplify.ts';
import type { Variable } from '../layers/layer.ts';
import type { Loss } from '../losses/index.ts';
import type { Metric } from '../metrics/index.ts';
import type { Network } from '../models/network.ts';
import { emitModel } from '../onnx/emit.ts';
import type { Optimizer } from '../optimizers/index.ts';
import { findCut } from './cut.ts';
import { type Noise, traceModel, weightConstant } from './trace.ts';

export interface ProgramOptions {
  readonly network: Network;
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  /** Element type of the pictures. */
  readonly imageDType: 'uint8' | 'float32';
  /** Class ids or one-hot rows. */
  readonly labels: 'ids' | 'rows';
  /** In which the frozen part hands its features over. */
  readonly featureDType: 'float32' | 'float16';
}

/** A graph ready to load, with the state that it reads and replaces. */
export interface Executable {
  readonly model: () => Uint8Array;
  /** Inputs that are fed. */
  readonly feeds: readonly string[];
  readonly reads: Readonly<Record<string, string>>;
  readonly writes: Readonly<Record<string, string>>;
}

/** One tensor that crosses the cut. */
export interface Feature {
  /** Name of the frozen part's output and of the other graphs' input. */
  readonly name: string;
  /** Without the batch. */
  readonly shape: readonly number[];
  readonly dtype: GraphDType;
}

export interface Program {
  readonly features: readonly Feature[];
  readonly frozen: Executable | null;
  readonly step: Executable;
  readonly evaluate: Executable;
  readonly predict: Executable;
  /** State that the engine holds: weights that change (`w3`), by their variable. */
  readonly weights: ReadonlyMap<string, Variable>;
  /** Optimizer state (`w3/velocity`): the variable it belongs to and the slot. */
  readonly slots: ReadonlyMap<string, { readonly variable: Variable; readonly slot: string }>;
  readonly noises: readonly Noise[];
  /** Names of the step's scalar inputs besides the learning rate come from the optimizer. */
  readonly metricNames: readonly string[];
  /** Identifies what the frozen part computes: its graph and its weights. */
  readonly frozenDigest: string;
}

export function buildProgram(options: ProgramOptions): Program {
  const { network, optimizer, loss, metrics, imageDType, labels, featureDType } = options;
  const trace = traceModel(network, imageDType);
  const classes = trace.inference.output.shape.at(-1)!;
  const y = labels === 'ids' ? o.input('y', [-1], 'int32') : o.input('y', [-1, classes]);
  const sampleWeight = o.input('sampleWeight', [-1]);

  // What changes from step to step: learned weights of trainable layers, and statistics that the step moves.
  const changing = network.variables.filter(
    (variable) => variable.trainable || trace.training.updates.has(variable),
  );
  const learned = changing.filter(({ trainable }) => trainable);
  const nodeOf = (variable: Variable) => trace.weights.get(variable)!;
  const constants = new Map<Node, Node>();

  // The two modes in one graph, so that what they share is the same node in both.
  const penalty = regularization(network, nodeOf);
  const trainingLoss = objective(loss, trace.training.output, y, sampleWeight, penalty);
  const inferenceLoss = objective(loss, trace.inference.output, y, sampleWeight, penalty);
  const totals = (output: Node) => metrics.map((metric) => o.sum(metric.perSample(output, y)));

  const step: Record<string, Node> = { loss: trainingLoss };
  metrics.forEach(({ name }, i) => {
    step[name] = totals(trace.training.output)[i]!;
  });
  const slots = new Map<string, { variable: Variable; slot: string }>();
  const slotInputs = new Map<Variable, Record<string, Node>>();
  for (const variable of learned) {
    const inputs: Record<string, Node> = {};
    for (const slot of optimizer.rule.slots) {
      const name = `${inputName(nodeOf(variable))}/${slot}`;
      slots.set(name, { variable, slot });
      inputs[slot] = o.input(name, variable.shape);
    }
    slotInputs.set(variable, inputs);
  }
  if (learned.length > 0) {
    const gradients = differentiate(trainingLoss, learned.map(nodeOf));
    const parameters = learned.map((variable, i) => ({
      path: variable.path,
      value: nodeOf(variable),
      gradient: gradients[i]!,
      slots: slotInputs.get(variable)!,
    }));
    const scalars = Object.fromEntries(
      Object.keys(optimizer.scalarsAt(0, 0)).map((name) => [name, o.input(name, [])]),
    );
    optimizer.update(parameters, scalars).forEach(({ value, slots: next }, i) => {
      const name = inputName(nodeOf(learned[i]!));
      step[`${name}+`] = value;
      for (const [slot, node] of Object.entries(next)) step[`${name}/${slot}+`] = node;
    });
  }
  for (const [variable, next] of trace.training.updates) step[`${inputName(nodeOf(variable))}+`] = next;

  const evaluate: Record<string, Node> = { loss: inferenceLoss };
  metrics.forEach(({ name }, i) => {
    evaluate[name] = totals(trace.inference.output)[i]!;
  });
  const predict = { output: trace.inference.output };

  // One simplification over all graphs merges what training and inference share.
  const groups = [step, evaluate, predict];
  const simple = simplify(groups.flatMap((group) => Object.values(group)));
  let taken = 0;
  const [simpleStep, simpleEvaluate, simplePredict] = groups.map((group) =>
    Object.fromEntries(Object.keys(group).map((name) => [name, simple[taken++]!])),
  ) as [Record<string, Node>, Record<string, Node>, Record<string, Node>];

  const inputs = new Map(
    topologicalOrder(simple).flatMap((node) =>
      node.op === 'input' ? [[node.attributes.name, node] as const] : [],
    ),
  );
  const image = inputs.get('image') ?? fail('state', 'The output of the model does not depend on its input.');
  for (const variable of network.variables) {
    const node = inputs.get(inputName(nodeOf(variable)));
    if (node && !changing.includes(variable)) constants.set(node, weightConstant(variable));
  }
  const steady = new Set([image, ...constants.keys()]);
  const moving = new Set([...inputs.values()].filter((node) => !steady.has(node)));
  // Predicting must start from the same features as training, so the cut is found on the step alone.
  const cut = findCut(
    learned.length > 0 ? Object.values(simpleStep) : Object.values(simplePredict),
    image,
    moving,
  );
  const isImage = cut.length === 1 && cut[0] === image;

  const features: Feature[] = cut.map((node, i) => ({
    name: isImage ? 'image' : `feature${i}`,
    shape: node.shape.slice(1),
    dtype: isImage ? imageDType : featureDType,
  }));
  const entries = new Map<Node, Node>(constants);
  if (!isImage) {
    cut.forEach((node, i) => {
      entries.set(node, o.cast(o.input(`feature${i}`, node.shape, featureDType), 'float32'));
    });
  }

  const stateNames = new Map(changing.map((variable) => [inputName(nodeOf(variable)), variable]));
  const executable = (outputs: Record<string, Node>): Executable => {
    const nodes = substitute(Object.values(outputs), entries);
    const named = Object.fromEntries(Object.keys(outputs).map((name, i) => [name, nodes[i]!]));
    const read = topologicalOrder(nodes).flatMap((node) =>
      node.op === 'input' ? [node.attributes.name] : [],
    );
    const isState = (name: string) => stateNames.has(name) || slots.has(name);
    return {
      model: () => emitModel(named),
      feeds: read.filter((name) => !isState(name)),
      reads: Object.fromEntries(read.filter(isState).map((name) => [name, name])),
      writes: Object.fromEntries(
        Object.keys(outputs)
          .filter((name) => name.endsWith('+'))
          .map((name) => [name, name.slice(0, -1)]),
      ),
    };
  };

  const frozenOutputs = isImage ? null : substitute(cut, constants).map((node) => o.cast(node, featureDType));
  return {
    features,
    frozen: frozenOutputs && {
      model: () => emitModel(Object.fromEntries(frozenOutputs.map((node, i) => [`feature${i}`, node]))),
      feeds: ['image'],
      reads: {},
      writes: {},
    },
    step: executable(simpleStep),
    evaluate: executable(simpleEvaluate),
    predict: executable(simplePredict),
    weights: stateNames,
    slots,
    noises: trace.noises.filter(({ name }) => inputs.has(name)),
    metricNames: metrics.map(({ name }) => name),
    frozenDigest: frozenOutputs ? digest(frozenOutputs) : '',
  };
}

/** mean(loss · sample weight) over the batch, plus the penalties: Keras's sum_over_batch_size. */
function objective(loss: Loss, output: Node, y: Node, sampleWeight: Node, penalty: Node | null): Node {
  const data = o.mean(o.mul(loss.perSample(output, y), sampleWeight));
  return penalty ? o.add(data, penalty) : data;
}

function regularization(network: Network, nodeOf: (variable: Variable) => Node): Node | null {
  const penalties = network.variables
    .filter(({ regularizer, trainable }) => regularizer !== null && trainable)
    .map((variable) => variable.regularizer!.penalty(nodeOf(variable)));
  return penalties.length === 0 ? null : penalties.reduce((total, penalty) => o.add(total, penalty));
}

function inputName(node: Node): string {
  return node.op === 'input'
    ? node.attributes.name
    : fail('state', 'A weight must be an input of the graph.');
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
