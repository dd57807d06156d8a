/**
 * Frees the batch of a model that was exported for batches of one size. Such exports say the size again inside:
 * in the targets of reshapes, and in constants that are joined to pictures (the class token of a transformer).
 */
import { attributeOf, elementTypes, type GraphProto, type NodeProto, type TensorProto } from './proto.ts';
import { dependents, rewriteGraph } from './walk.ts';
import { Writer } from './writer.ts';

/** The graph for any batch, as far as that can be seen; a dry run says whether it was enough. */
export function withFreeBatch(graph: GraphProto, input: string): GraphProto {
  const batch = graph.input[0]!.type.tensorType.shape?.dim[0]?.dimValue;
  if (!batch) return graph;
  const moving = dependents(graph, input);
  const constants = new Map(graph.initializer.map((value) => [value.name!, value]));
  for (const each of graph.node) {
    const value = each.opType === 'Constant' ? attributeOf(each, 'value')?.t : undefined;
    if (value) constants.set(each.output[0]!, value);
  }
  return rewriteGraph(graph, {
    node: (node) => {
      if (!node.input.some((name) => moving.has(name))) return [node];
      if (node.opType === 'Reshape') return freeReshape(node, constants.get(node.input[1]!), batch);
      if (node.opType !== 'Concat' || batch !== 1) return [node];
      return freeConcat(node, input, (name) => (moving.has(name) ? undefined : constants.get(name)));
    },
  });
}

/** `[1, 768]`: the batch becomes -1, what is left over, or 0, what it was before, if another one is -1 already. */
function freeReshape(node: NodeProto, target: TensorProto | undefined, batch: number): NodeProto[] {
  if (target?.dataType !== elementTypes.int64) return [node];
  const dims = new BigInt64Array(new Uint8Array(target.rawData).buffer);
  if (dims.length === 0 || dims[0] !== BigInt(batch) || dims.includes(0n)) return [node];
  dims[0] = dims.includes(-1n) ? 0n : -1n;
  const write = new Writer(node.output[0]!);
  const shape = write.int64(Array.from(dims, Number));
  const attribute = node.attribute.filter(({ name }) => name !== 'allowzero');
  return [...write.nodes, { ...node, input: [node.input[0]!, shape], attribute }];
}

/** A constant for one picture is repeated for each. */
function freeConcat(
  node: NodeProto,
  input: string,
  constantOf: (name: string) => TensorProto | undefined,
): NodeProto[] {
  if (attributeOf(node, 'axis')?.i === 0) return [node];
  const write = new Writer(node.output[0]!);
  const inputs = node.input.map((name) => {
    const dims = constantOf(name)?.dims;
    if (dims === undefined || dims[0] !== 1) return name;
    const size = write.node('Gather', [write.node('Shape', [input]), write.int64([0])]);
    const shape = write.node('Concat', [size, write.int64(dims.slice(1))], { axis: 0 });
    return write.node('Expand', [name, shape]);
  });
  return [...write.nodes, { ...node, input: inputs }];
}
