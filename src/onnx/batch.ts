/**
 * Frees the batch of a model that was exported for batches of one size. Such exports say the size again inside:
 * in the targets of reshapes, and in constants that are joined to pictures (the class token of a transformer).
 */
import { bytesOf, type Tensor, tensor } from '../core/tensor.ts';
import {
  type AttributeProto,
  attributeTypes,
  elementTypes,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from './proto.ts';
import { dependents, rewriteGraph } from './walk.ts';

/** The graph for any batch, as far as that can be seen; a dry run says whether it was enough. */
export function withFreeBatch(graph: GraphProto, input: string): GraphProto {
  const batch = graph.input[0]!.type.tensorType.shape?.dim[0]?.dimValue;
  if (!batch) return graph;
  const moving = dependents(graph, input);
  const constants = new Map(graph.initializer.map((value) => [value.name!, value]));
  for (const { opType, attribute, output } of graph.node) {
    const value = opType === 'Constant' ? attribute.find(({ name }) => name === 'value')?.t : undefined;
    if (value) constants.set(output[0]!, value);
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
  const shape = constant(`${node.output[0]}/shape`, tensor('int64', [dims.length], dims));
  const attribute = node.attribute.filter(({ name }) => name !== 'allowzero');
  return [shape, { ...node, input: [node.input[0]!, shape.output[0]!], attribute }];
}

/** A constant for one picture is repeated for each. */
function freeConcat(
  node: NodeProto,
  input: string,
  constantOf: (name: string) => TensorProto | undefined,
): NodeProto[] {
  if (node.attribute.find(({ name }) => name === 'axis')?.i === 0) return [node];
  const added: NodeProto[] = [];
  const add = (
    opType: string,
    from: readonly string[],
    attribute: readonly AttributeProto[] = [],
  ): string => {
    const output = `${node.output[0]}/${opType}_${added.length}`;
    added.push({ opType, name: output, input: [...from], output: [output], attribute: [...attribute] });
    return output;
  };
  const int64 = (values: readonly number[]): string => {
    const value = tensor('int64', [values.length], BigInt64Array.from(values, BigInt));
    const made = constant(`${node.output[0]}/Constant_${added.length}`, value);
    added.push(made);
    return made.output[0]!;
  };
  const inputs = node.input.map((name) => {
    const dims = constantOf(name)?.dims;
    if (dims === undefined || dims[0] !== 1) return name;
    const size = add('Gather', [add('Shape', [input]), int64([0])]);
    const axis = { name: 'axis', type: attributeTypes.int, i: 0 };
    const shape = add('Concat', [size, int64(dims.slice(1))], [axis]);
    return add('Expand', [name, shape]);
  });
  return [...added, { ...node, input: inputs }];
}

function constant(name: string, value: Tensor): NodeProto {
  const t = { name, dims: [...value.shape], dataType: elementTypes[value.dtype], rawData: bytesOf(value) };
  const attribute = [{ name: 'value', type: attributeTypes.tensor, t }];
  return { opType: 'Constant', name, input: [], output: [name], attribute };
}
