/** Writes a graph as an ONNX model. */
import {
  type GraphDType,
  type Node,
  type NodeOf,
  type OpName,
  type Shape,
  topologicalOrder,
} from '../graph/node.ts';
import { Emitter } from './emitter.ts';
import { elementTypes, encodeModel, type ValueInfoProto } from './proto.ts';
import { emissions } from './rules.ts';

/** The newest operator set that Graft writes: the first with everything used here. */
const opsetVersion = 20;
const irVersion = 9;

export interface EmitOptions {
  /** Becomes the model's metadata. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The bytes of an ONNX model that computes `outputs`; its inputs are the graph's `input` nodes by name. */
export function emitModel(outputs: Readonly<Record<string, Node>>, options: EmitOptions = {}): Uint8Array {
  const e = new Emitter();
  const order = topologicalOrder(Object.values(outputs));
  const inputs = order.filter((node): node is NodeOf<'input'> & Node => node.op === 'input');
  for (const node of inputs) e.define(node, node.attributes.name);
  const batched = inputs.find((node) => node.shape.includes(-1));
  if (batched !== undefined) {
    e.once('batch', () => {
      const axis = batched.shape.indexOf(-1);
      return e.node('Gather', [e.node('Shape', [batched.attributes.name]), e.int64([axis])]);
    });
  }
  for (const node of order) {
    if (node.op !== 'input')
      (emissions[node.op] as (e: Emitter, node: NodeOf<OpName> & Node) => void)(e, node);
  }
  for (const [name, node] of Object.entries(outputs)) {
    e.nodes.push({
      opType: 'Identity',
      name: `output_${name}`,
      input: [e.value(node)],
      output: [name],
      attribute: [],
    });
  }
  return encodeModel({
    irVersion,
    producerName: 'graft',
    opsetImport: [{ domain: '', version: opsetVersion }],
    metadataProps: Object.entries(options.metadata ?? {}).map(([key, value]) => ({ key, value })),
    graph: {
      name: 'graft',
      node: e.nodes,
      initializer: e.initializers,
      input: inputs.map((node) => valueInfo(node.attributes.name, node.dtype, node.shape)),
      output: Object.entries(outputs).map(([name, node]) => valueInfo(name, node.dtype, node.shape)),
    },
  });
}

function valueInfo(name: string, dtype: GraphDType, shape: Shape): ValueInfoProto {
  const dim = shape.map((size) =>
    size >= 0 ? { dimValue: size } : { dimParam: size === -1 ? 'batch' : `${-size}*batch` },
  );
  return { name, type: { tensorType: { elemType: elementTypes[dtype], shape: { dim } } } };
}
