/**
 * Writes nodes of an older operator set so that they mean the same in Graft's (opset 20): everything that changed
 * for inference between sets 7 and 20, from the changelog of ONNX's operators. What is not listed kept its meaning.
 */
import { fail } from '../core/errors.ts';
import { float32 } from '../core/tensor.ts';
import {
  type AttributeValue,
  attributeOf,
  attributeProto,
  type GraphProto,
  type NodeProto,
} from './proto.ts';
import { rewriteGraph } from './walk.ts';
import { Writer } from './writer.ts';

/** The set that Graft writes: the first with everything that its own graphs use. */
export const graftOpset = 20;

interface Change {
  /** The first set with the new form. */
  readonly since: number;
  /** The node in the new form; the writer makes what has to stand in front of it. */
  readonly write: (node: NodeProto, write: Writer) => NodeProto;
}

function without(node: NodeProto, ...names: readonly string[]): NodeProto {
  return { ...node, attribute: node.attribute.filter(({ name }) => !names.includes(name)) };
}

function plus(node: NodeProto, name: string, value: AttributeValue): NodeProto {
  return { ...node, attribute: [...without(node, name).attribute, attributeProto(name, value)] };
}

/** A list that was an attribute becomes the next input. */
const listToInput =
  (name: string): Change['write'] =>
  (node, write) => {
    const list = attributeOf(node, name)?.ints;
    if (list === undefined) return node;
    const rest = without(node, name);
    return { ...rest, input: [...rest.input, write.int64(list)] };
  };

/** Softmax saw its input as a matrix, its rows ending at `axis`; since opset 13 it works along one axis. */
const rowwise: Change = {
  since: 13,
  write: (node, write) => {
    const axis = attributeOf(node, 'axis')?.i ?? 1;
    if (axis === -1) return node;
    const [x] = node.input as [string];
    const shape = write.node('Shape', [x]);
    const rows = write.node('Flatten', [x], { axis });
    const result = write.node(node.opType, [rows], plus(node, 'axis', -1).attribute);
    return { ...without(node, 'axis'), opType: 'Reshape', input: [result, shape] };
  },
};

const reduction: Change = { since: 18, write: listToInput('axes') };
const axesFrom13: Change = { since: 13, write: listToInput('axes') };

/** Sets before 11 had no word for it: position x of the result is x / scale of the input, rounded down. */
function resized(node: NodeProto, input: readonly string[]): NodeProto {
  const mode = new TextDecoder().decode(attributeOf(node, 'mode')?.s ?? new Uint8Array());
  const linear = mode === 'linear' || mode === 'bilinear';
  let result: NodeProto = { ...without(node, 'scales', 'mode'), opType: 'Resize', input: [...input] };
  result = plus(result, 'mode', linear ? 'linear' : 'nearest');
  result = plus(result, 'coordinate_transformation_mode', 'asymmetric');
  return linear ? result : plus(result, 'nearest_mode', 'floor');
}

const changes: Readonly<Record<string, readonly Change[]>> = {
  BatchNormalization: [
    {
      since: 9,
      write: (node) => {
        if (attributeOf(node, 'spatial')?.i === 0) {
          fail('unsupported', `BatchNormalization "${node.name}" with spatial = 0 is gone from ONNX.`);
        }
        return without(node, 'spatial');
      },
    },
    // Outputs 2 to 5 were for training.
    { since: 14, write: (node) => ({ ...node, output: node.output.slice(0, 1) }) },
  ],
  Clip: [
    {
      since: 11,
      write: (node, write) => {
        const bound = (name: string) => {
          const value = attributeOf(node, name)?.f;
          return value === undefined ? '' : write.constant(float32([], [value]));
        };
        const input = [node.input[0]!, bound('min'), bound('max')];
        return { ...without(node, 'min', 'max'), input };
      },
    },
  ],
  Dropout: [
    {
      since: 12,
      write: (node) => ({ ...without(node, 'ratio'), opType: 'Identity', output: node.output.slice(0, 1) }),
    },
  ],
  GridSample: [
    {
      since: 20,
      write: (node) => {
        const mode = new TextDecoder().decode(attributeOf(node, 'mode')?.s ?? new Uint8Array());
        const renamed: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' };
        return renamed[mode] === undefined ? node : plus(node, 'mode', renamed[mode]);
      },
    },
  ],
  Hardmax: [rowwise],
  LogSoftmax: [rowwise],
  Pad: [
    {
      since: 11,
      write: (node, write) => {
        const pads = write.int64(attributeOf(node, 'pads')?.ints ?? []);
        const value = write.constant(float32([], [attributeOf(node, 'value')?.f ?? 0]));
        return { ...without(node, 'pads', 'value'), input: [node.input[0]!, pads, value] };
      },
    },
  ],
  ReduceL1: [reduction],
  ReduceL2: [reduction],
  ReduceLogSum: [reduction],
  ReduceLogSumExp: [reduction],
  ReduceMax: [reduction],
  ReduceMean: [reduction],
  ReduceMin: [reduction],
  ReduceProd: [reduction],
  ReduceSum: [axesFrom13],
  ReduceSumSquare: [reduction],
  Resize: [{ since: 11, write: (node) => resized(node, [node.input[0]!, '', node.input[1]!]) }],
  Scatter: [{ since: 11, write: (node) => ({ ...node, opType: 'ScatterElements' }) }],
  Slice: [
    {
      since: 10,
      write: (node, write) => {
        const [starts, ends, axes] = ['starts', 'ends', 'axes'].map(
          (name) => attributeOf(node, name)?.ints ?? [],
        );
        const lists = [starts!, ends!, axes!.length > 0 ? axes! : starts!.map((_, axis) => axis)];
        const input = [node.input[0]!, ...lists.map((list) => write.int64(list))];
        return { ...without(node, 'starts', 'ends', 'axes'), input };
      },
    },
  ],
  Softmax: [rowwise],
  Split: [
    { since: 13, write: listToInput('split') },
    {
      since: 18,
      write: (node) => (node.input.length > 1 ? node : plus(node, 'num_outputs', node.output.length)),
    },
  ],
  Squeeze: [axesFrom13],
  TopK: [
    {
      since: 10,
      write: (node, write) => {
        const k = write.int64([attributeOf(node, 'k')?.i ?? 1]);
        return { ...without(node, 'k'), input: [node.input[0]!, k] };
      },
    },
  ],
  Unsqueeze: [axesFrom13],
  Upsample: [
    {
      since: 9,
      write: (node, write) => {
        const scales = attributeOf(node, 'scales')?.floats ?? [];
        const input = [node.input[0]!, write.constant(float32([scales.length], scales))];
        return { ...without(node, 'scales'), input };
      },
    },
    { since: 10, write: (node) => resized(node, [node.input[0]!, '', node.input[1]!]) },
  ],
};

/** A graph of operator set `from` in the words of Graft's set, or as it is if it is newer. */
export function upgraded(graph: GraphProto, from: number): GraphProto {
  return rewriteGraph(graph, { node: (node) => upgradedNode(node, from) });
}

function upgradedNode(node: NodeProto, from: number): NodeProto[] {
  if (node.domain) return [node];
  const writer = new Writer(node.output.find((name) => name !== '')!);
  const due = (changes[node.opType] ?? []).filter(({ since }) => from < since);
  const last = due.reduce((current, { write }) => write(current, writer), node);
  return [...writer.nodes, last];
}
