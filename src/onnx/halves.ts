/** float16 in foreign models: it saves room in files, but on CPUs the arithmetic is float32's. */
import { fromFloat16 } from '../core/float16.ts';
import { elementTypes, type GraphProto, type NodeProto, type TensorProto } from './proto.ts';
import { rewriteGraph } from './walk.ts';

/** The graph with float32 in place of every float16: weights, casts, inputs and outputs. */
export function withoutHalves(graph: GraphProto): GraphProto {
  const single = (type: number) => (type === elementTypes.float16 ? elementTypes.float32 : type);
  const widened = rewriteGraph(graph, { tensor: widenTensor, node: (node) => [widenTypes(node, single)] });
  const values = (list: GraphProto['input']) =>
    list.map((value) => ({
      ...value,
      type: {
        ...value.type,
        ...(value.type?.tensorType
          ? { tensorType: { ...value.type.tensorType, elemType: single(value.type.tensorType.elemType) } }
          : {}),
      },
    }));
  return { ...widened, input: values(widened.input), output: values(widened.output) };
}

function widenTensor(value: TensorProto): TensorProto {
  if (value.dataType !== elementTypes.float16) return value;
  // The bytes may begin at an odd address of the file.
  const bits = new Uint16Array(new Uint8Array(value.rawData).buffer);
  const rawData = new Uint8Array(fromFloat16(bits).buffer);
  return { ...value, dataType: elementTypes.float32, rawData };
}

/** Attributes that name an element type: `to` of Cast, `dtype` of the random and range operations. */
function widenTypes(node: NodeProto, single: (type: number) => number): NodeProto {
  const attribute = node.attribute.map((each) =>
    (each.name === 'to' || each.name === 'dtype') && each.i !== undefined
      ? { ...each, i: single(each.i) }
      : each,
  );
  return { ...node, attribute };
}
