/**
 * Brings a foreign ONNX model into the one form that the rest works on, and refuses what is wrong with it: values
 * in `rawData`, exactly as many as a shape says; nodes each after what they need; names that stand for one value.
 */
import { fail, GraftError, messageOf } from '../core/errors.ts';
import { sizeOf } from '../core/tensor.ts';
import {
  type AttributeProto,
  attributeTypes,
  decodeModel,
  type GraphProto,
  type ModelProto,
  type StoredTensorProto,
  type TensorProto,
} from './proto.ts';
import { namesTaken } from './walk.ts';

/** The oldest operator set whose meaning `opsets.ts` knows. */
const oldestOpset = 7;

/** The records of an ONNX file, unchecked. Throws `file` if it is none. */
export function decodeForeign(path: string, bytes: Uint8Array): ModelProto {
  let model: ModelProto;
  try {
    model = decodeModel(bytes);
  } catch (error) {
    return fail('file', `${path} is damaged or no ONNX model: ${messageOf(error)}`, error);
  }
  if (!(model.irVersion > 0) || !model.graph || model.graph.node.length === 0) {
    fail('file', `${path} is no ONNX model: it has no graph of operations.`);
  }
  return model;
}

/**
 * A model whose values all lie in memory, in one form, its nodes each after what they need. Throws `file` for what
 * is wrong with it and `unsupported` for what Graft cannot take apart.
 */
export function checkModel(path: string, model: ModelProto): ModelProto {
  try {
    return checked(model);
  } catch (error) {
    if (error instanceof GraftError) fail(error.code, `${path}: ${error.message}`, error);
    throw error;
  }
}

function checked(model: ModelProto): ModelProto {
  if ((model.functions?.length ?? 0) > 0) {
    fail(
      'unsupported',
      'It has functions of its own. Write it without them: onnx.inliner.inline_local_functions(model) in Python.',
    );
  }
  const opsetImport = model.opsetImport.map(({ domain, version }) => ({
    domain: domain === undefined || domain === 'ai.onnx' ? '' : domain,
    version,
  }));
  const opset = opsetImport.find(({ domain }) => domain === '')?.version;
  if (opset === undefined) fail('file', 'It does not say its operator set.');
  if (opset < oldestOpset) {
    fail(
      'unsupported',
      `It is written with operator set ${opset}; Graft reads sets from ${oldestOpset} on. Convert it: ` +
        'onnx.version_converter.convert_version(model, 17) in Python.',
    );
  }
  return { ...model, opsetImport, graph: checkedGraph(model.graph, new Set()) };
}

/** Names of an outer graph are known inside. */
function checkedGraph(graph: GraphProto, outer: ReadonlySet<string>): GraphProto {
  const initializer = graph.initializer.map(plainTensor);
  const known = new Set(outer);
  const define = (name: string) => {
    if (known.has(name)) fail('file', `Two values of the graph are named "${name}".`);
    known.add(name);
  };
  for (const { name } of initializer) define(name ?? '');
  // Before IR version 4 initializers were listed as inputs too.
  const input = graph.input.filter(({ name }) => !initializer.some((value) => value.name === name));
  for (const { name } of input) define(name);
  const node = sorted(graph.node, known, define).map((each) => ({
    ...each,
    name: each.name ?? '',
    domain: each.domain === undefined || each.domain === 'ai.onnx' ? '' : each.domain,
    attribute: each.attribute.map((attribute) => plainAttribute(attribute, each.opType, known)),
  }));
  const missing = graph.output.find(({ name }) => !known.has(name));
  if (missing) fail('file', `Nothing in the graph computes its output "${missing.name}".`);
  return { ...graph, node, initializer, input };
}

/** Nodes each after those whose values they take, in their own order as far as that goes. */
function sorted(
  nodes: readonly GraphProto['node'][number][],
  known: ReadonlySet<string>,
  define: (name: string) => void,
): GraphProto['node'] {
  for (const { output } of nodes) for (const name of output) if (name !== '') define(name);
  const makers = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node] as const)));
  const needs = new Map(nodes.map((node) => [node, takenFrom(node, makers)] as const));
  const order: GraphProto['node'] = [];
  const state = new Map<GraphProto['node'][number], 'open' | 'done'>();
  for (const start of nodes) {
    const stack = [start];
    while (stack.length > 0) {
      const node = stack.at(-1)!;
      if (state.get(node) === undefined) {
        state.set(node, 'open');
        for (const before of needs.get(node)!) {
          if (state.get(before) === 'open') fail('file', `The graph goes in a circle at ${describe(node)}.`);
          if (state.get(before) === undefined) stack.push(before);
        }
      } else {
        stack.pop();
        if (state.get(node) !== 'open') continue;
        state.set(node, 'done');
        const unknown = node.input.find((name) => name !== '' && !known.has(name));
        if (unknown) fail('file', `${describe(node)} takes "${unknown}", which nothing computes.`);
        order.push(node);
      }
    }
  }
  return order;
}

function takenFrom(
  node: GraphProto['node'][number],
  makers: ReadonlyMap<string, GraphProto['node'][number]>,
): GraphProto['node'] {
  return namesTaken(node).flatMap((name) => makers.get(name) ?? []);
}

function describe({ opType, name }: GraphProto['node'][number]): string {
  return name ? `${opType} "${name}"` : `a node of type ${opType}`;
}

/** AttributeProto.AttributeType up to `strings`: the kinds that are read. */
const lastKind = 8;

/** The value of an attribute that has none: writers leave zeros out, as those of proto3 do. */
const absent: Readonly<Record<number, Partial<AttributeProto>>> = {
  [attributeTypes.float]: { f: 0 },
  [attributeTypes.int]: { i: 0 },
  [attributeTypes.string]: { s: new Uint8Array() },
};

function plainAttribute(
  attribute: AttributeProto,
  opType: string,
  outer: ReadonlySet<string>,
): AttributeProto {
  if (attribute.type > lastKind) {
    fail('unsupported', `${opType} has an attribute "${attribute.name}" of a kind that Graft does not read.`);
  }
  return {
    ...absent[attribute.type],
    ...attribute,
    ...(attribute.i === undefined ? {} : { i: exact(attribute.i) }),
    ...(attribute.ints === undefined ? {} : { ints: attribute.ints.map(exact) }),
    ...(attribute.t === undefined ? {} : { t: plainTensor(attribute.t) }),
    ...(attribute.g === undefined ? {} : { g: checkedGraph(attribute.g, outer) }),
  };
}

/** The largest int64 stands for "to the end"; as a JavaScript number it would overflow when it is written. */
function exact(value: number): number {
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(value, Number.MAX_SAFE_INTEGER));
}

/** Bytes of an element, and the field that holds values outside of `rawData`, by ONNX's number of the type. */
const storage: Readonly<
  Record<number, { readonly bytes: number; readonly values?: (tensor: StoredTensorProto) => ArrayBufferView }>
> = {
  1: { bytes: 4, values: ({ floatData = [] }) => Float32Array.from(floatData) },
  2: { bytes: 1, values: ({ int32Data = [] }) => Uint8Array.from(int32Data) },
  3: { bytes: 1, values: ({ int32Data = [] }) => Int8Array.from(int32Data) },
  4: { bytes: 2, values: ({ int32Data = [] }) => Uint16Array.from(int32Data) },
  5: { bytes: 2, values: ({ int32Data = [] }) => Int16Array.from(int32Data) },
  6: { bytes: 4, values: ({ int32Data = [] }) => Int32Array.from(int32Data) },
  7: { bytes: 8, values: ({ int64Data = [] }) => BigInt64Array.from(int64Data, int64) },
  9: { bytes: 1, values: ({ int32Data = [] }) => Uint8Array.from(int32Data) },
  10: { bytes: 2, values: ({ int32Data = [] }) => Uint16Array.from(int32Data) },
  11: { bytes: 8, values: ({ doubleData = [] }) => Float64Array.from(doubleData) },
  12: { bytes: 4 },
  13: { bytes: 8 },
  16: { bytes: 2, values: ({ int32Data = [] }) => Uint16Array.from(int32Data) },
};

function int64(value: number): bigint {
  return value >= 2 ** 63 ? 2n ** 63n - 1n : BigInt(value);
}

function plainTensor(stored: StoredTensorProto): TensorProto {
  const { name = '', dims, dataType } = stored;
  const kind = storage[dataType];
  const what = `The values of "${name}"`;
  if (kind === undefined)
    fail('unsupported', `${what} are of a type (${dataType}) that Graft does not read.`);
  const raw = stored.rawData ?? viewBytes(kind.values?.(stored) ?? new Uint8Array());
  const bytes = sizeOf(dims) * kind.bytes;
  if (!dims.every((dim) => dim >= 0) || raw.byteLength !== bytes) {
    fail('file', `${what} should be ${bytes} bytes for shape [${dims}], but there are ${raw.byteLength}.`);
  }
  return { name, dims, dataType, rawData: raw };
}

function viewBytes({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}
