/** Writes a graph as an ONNX model. */
import { fail } from '../core/errors.ts';
import {
  type GraphDType,
  type Node,
  type NodeOf,
  type OpName,
  resolveShape,
  type Shape,
  topologicalOrder,
} from '../graph/node.ts';
import { type Blocking, Emitter } from './emitter.ts';
import { graftOpset } from './opsets.ts';
import { elementTypes, encodeModel, type ModelProto, type NodeProto, type ValueInfoProto } from './proto.ts';
import { type Repetition, repeated } from './repeat.ts';
import { emissions } from './rules.ts';
import { namesTaken } from './walk.ts';

const irVersion = 9;

export interface EmitOptions {
  /** Becomes the model's metadata. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Writes a node in place of its emission rule and says true, or leaves it to the rule. */
  readonly instead?: (e: Emitter, node: Node) => boolean;
  /** Writes a model for this batch alone, with the runtime's own convolutions where they win. */
  readonly blocking?: Blocking;
  /** Inputs that the model gathers itself: it takes `allRows(name)` and `positions` in their place. */
  readonly gathered?: readonly string[];
  /** Writes a model that runs the graph several times, once for each step that it is fed. */
  readonly repetition?: Repetition;
}

/** The input with all rows of a data set, in place of an input that is some of them. */
export const allRows = (input: string): string => `${input}/all`;

/** The input that says which, as int32. */
export const positions = 'positions';

/** The bytes of an ONNX model that computes `outputs`; its inputs are the graph's `input` nodes by name. */
export function emitModel(outputs: Readonly<Record<string, Node>>, options: EmitOptions = {}): Uint8Array {
  const order = topologicalOrder(Object.values(outputs));
  const e = new Emitter(countUses(order, Object.values(outputs)), options.blocking);
  const inputs = order.filter((node): node is NodeOf<'input'> & Node => node.op === 'input');
  checkNames(
    inputs.map((node) => node.attributes.name),
    Object.keys(outputs),
  );
  const gathered = new Set(options.gathered);
  const { repetition } = options;
  for (const node of inputs) {
    const { name } = node.attributes;
    e.define(node, gathered.has(name) ? e.node('Gather', [allRows(name), positions]) : name);
  }
  const batched = inputs.find((node) => node.shape.some((dim) => dim < 0));
  if (batched !== undefined) e.once('batch', () => emitBatch(e, batched));
  for (const node of order) {
    if (node.op !== 'input' && !options.instead?.(e, node))
      (emissions[node.op] as (e: Emitter, node: NodeOf<OpName> & Node) => void)(e, node);
  }
  const own = Object.entries(outputs).map(([name, node]) => [name, e.value(node)] as const);
  const wanted = [...own, ...e.outputs];
  const used = usedNodes(
    nameOutputs(e.nodes, wanted),
    wanted.map(([name]) => name),
  );
  const graph = {
    name: 'graft',
    node: used.nodes,
    initializer: e.initializers.filter(({ name }) => used.names.has(name!)),
    input: [
      ...inputs.map(({ attributes: { name }, dtype, shape }) =>
        gathered.has(name) ? rowsInfo(name, dtype, shape) : valueInfo(name, dtype, shape, options.blocking),
      ),
      ...(gathered.size > 0 ? [valueInfo(positions, 'int32', [-1], options.blocking)] : []),
    ],
    output: [
      ...Object.entries(outputs).map(([name, node]) => valueInfo(name, node.dtype, node.shape)),
      ...[...e.outputs.keys()].map((name) => ({
        name,
        type: { tensorType: { elemType: elementTypes.float32 } },
      })),
    ],
  };
  return encodeModel({
    irVersion: Math.max(irVersion, ...e.splices.map((splice) => splice.irVersion)),
    producerName: 'graft',
    opsetImport: opsetsOf(e, used.nodes),
    metadataProps: Object.entries(options.metadata ?? {}).map(([key, value]) => ({ key, value })),
    graph: repetition === undefined ? graph : repeated(graph, repetition),
  });
}

/** By how many nodes and outputs each node is asked for. */
function countUses(order: readonly Node[], outputs: readonly Node[]): Map<Node, number> {
  const uses = new Map<Node, number>();
  // A count looks at the shape alone.
  const takers = order.filter(({ op }) => op !== 'count');
  const used = [...takers.flatMap(({ inputs }) => [...new Set(inputs)]), ...outputs];
  for (const node of used) uses.set(node, (uses.get(node) ?? 0) + 1);
  return uses;
}

/** A name stands for one value of the model. */
function checkNames(inputs: readonly string[], outputs: readonly string[]): void {
  const seen = new Set<string>();
  for (const name of [...inputs, ...outputs]) {
    if (seen.has(name)) {
      fail(
        'argument',
        `Two inputs or outputs of the graph are named "${name}"; give each a name of its own.`,
      );
    }
    seen.add(name);
  }
}

/**
 * Gives values the names of the outputs that they are. A value that no node computes, or that is two outputs, is
 * passed through an Identity, which copies it.
 */
function nameOutputs(
  nodes: readonly NodeProto[],
  wanted: readonly (readonly [string, string])[],
): NodeProto[] {
  const computed = new Set(nodes.flatMap(({ output }) => output));
  const names = new Map<string, string>();
  const copies: NodeProto[] = [];
  for (const [name, value] of wanted) {
    if (computed.has(value) && !names.has(value)) names.set(value, name);
    else
      copies.push({
        opType: 'Identity',
        name: `output_${name}`,
        input: [value],
        output: [name],
        attribute: [],
      });
  }
  const rename = (value: string) => names.get(value) ?? value;
  return [...nodes, ...copies].map((node) => ({
    ...node,
    input: node.input.map(rename),
    output: node.output.map(rename),
  }));
}

/**
 * The ONNX nodes that outputs depend on, and all names that they use: rules leave some unused (a kernel in
 * Graft's layout beside the one in ONNX's, a slice that became a stride).
 */
function usedNodes(nodes: readonly NodeProto[], outputs: readonly string[]) {
  const names = new Set(outputs);
  const kept: NodeProto[] = [];
  for (const node of [...nodes].reverse()) {
    if (!node.output.some((name) => names.has(name))) continue;
    for (const name of namesTaken(node)) names.add(name);
    kept.push(node);
  }
  return { nodes: kept.reverse(), names };
}

/**
 * The operator sets of a model: Graft's, or that of a foreign graph if it is newer (Graft's own operations mean the
 * same there), and those of other domains. The runtime's own operations have a set of one version.
 */
function opsetsOf({ splices }: Emitter, nodes: readonly NodeProto[]): ModelProto['opsetImport'] {
  const newest = (wanted: string, least: number) => {
    const all = splices.flatMap(({ opsets }) => opsets).filter(({ domain }) => domain === wanted);
    return Math.max(least, ...all.map(({ version }) => version));
  };
  const domains = new Set(nodes.flatMap(({ domain }) => (domain ? [domain] : [])));
  return [
    { domain: '', version: newest('', graftOpset) },
    ...[...domains].map((domain) => ({ domain, version: newest(domain, 1) })),
  ];
}

/** The batch size as an int64 vector of one, computed from an input that grows with it. */
function emitBatch(e: Emitter, input: Node): string {
  const { shape } = input;
  const axis = shape.findIndex((dim) => dim < 0);
  const size = e.node('Gather', [e.node('Shape', [e.value(input)]), e.int64([axis])]);
  return shape[axis] === -1 ? size : e.node('Div', [size, e.int64([-shape[axis]!])]);
}

function rowsInfo(name: string, dtype: GraphDType, [, ...shape]: Shape): ValueInfoProto {
  const dim = [{ dimParam: 'rows' }, ...shape.map((size) => ({ dimValue: size }))];
  return { name: allRows(name), type: { tensorType: { elemType: elementTypes[dtype], shape: { dim } } } };
}

function valueInfo(name: string, dtype: GraphDType, symbolic: Shape, blocking?: Blocking): ValueInfoProto {
  const shape = blocking ? resolveShape(symbolic, blocking.batch) : symbolic;
  const dim = shape.map((size) =>
    size >= 0 ? { dimValue: size } : { dimParam: size === -1 ? 'batch' : `${-size}*batch` },
  );
  return { name, type: { tensorType: { elemType: elementTypes[dtype], shape: { dim } } } };
}
