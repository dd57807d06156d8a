/**
 * The part of ONNX's protobuf schema that Graft reads and writes (onnx/onnx.proto, IR version 10), and the
 * plain records that stand for it. Field numbers and names are ONNX's.
 */
import protobuf from 'protobufjs/light.js';

export interface TensorProto {
  name?: string;
  dims: number[];
  dataType: number;
  rawData: Uint8Array;
}

/** A tensor as files have it: its values in any of several fields, or in another file. */
export interface StoredTensorProto extends Omit<TensorProto, 'rawData'> {
  rawData?: Uint8Array;
  floatData?: number[];
  int32Data?: number[];
  int64Data?: number[];
  doubleData?: number[];
  externalData?: { key: string; value: string }[];
  dataLocation?: number;
}

export interface AttributeProto {
  name: string;
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  t?: TensorProto;
  g?: GraphProto;
  floats?: number[];
  ints?: number[];
  strings?: Uint8Array[];
}

export interface NodeProto {
  input: string[];
  output: string[];
  name: string;
  opType: string;
  domain?: string;
  attribute: AttributeProto[];
}

export interface ValueInfoProto {
  name: string;
  type: { tensorType: { elemType: number; shape?: { dim: { dimValue?: number; dimParam?: string }[] } } };
}

export interface GraphProto {
  name: string;
  node: NodeProto[];
  initializer: TensorProto[];
  input: ValueInfoProto[];
  output: ValueInfoProto[];
}

export interface ModelProto {
  irVersion: number;
  producerName: string;
  producerVersion?: string;
  opsetImport: { domain: string; version: number }[];
  metadataProps: { key: string; value: string }[];
  graph: GraphProto;
  /** Functions of the model's own; Graft only sees that there are some. */
  functions?: { name?: string }[];
}

type Field = [type: string, id: number, rule?: 'repeated'];

function message(fields: Record<string, Field>, nested?: Record<string, protobuf.INamespace>) {
  const described = Object.entries(fields).map(([name, [type, id, rule]]) => [
    name,
    { type, id, ...(rule === undefined ? {} : { rule }) },
  ]);
  return { fields: Object.fromEntries(described), ...(nested === undefined ? {} : { nested }) };
}

const root = protobuf.Root.fromJSON({
  nested: {
    AttributeProto: message({
      name: ['string', 1],
      f: ['float', 2],
      i: ['int64', 3],
      s: ['bytes', 4],
      t: ['TensorProto', 5],
      g: ['GraphProto', 6],
      floats: ['float', 7, 'repeated'],
      ints: ['int64', 8, 'repeated'],
      strings: ['bytes', 9, 'repeated'],
      type: ['int32', 20],
    }),
    Dimension: message({ dimValue: ['int64', 1], dimParam: ['string', 2] }),
    TensorShapeProto: message({ dim: ['Dimension', 1, 'repeated'] }),
    TensorTypeProto: message({ elemType: ['int32', 1], shape: ['TensorShapeProto', 2] }),
    TypeProto: message({ tensorType: ['TensorTypeProto', 1] }),
    ValueInfoProto: message({ name: ['string', 1], type: ['TypeProto', 2] }),
    TensorProto: message({
      dims: ['int64', 1, 'repeated'],
      dataType: ['int32', 2],
      floatData: ['float', 4, 'repeated'],
      int32Data: ['int32', 5, 'repeated'],
      int64Data: ['int64', 7, 'repeated'],
      name: ['string', 8],
      rawData: ['bytes', 9],
      doubleData: ['double', 10, 'repeated'],
      externalData: ['StringStringEntryProto', 13, 'repeated'],
      dataLocation: ['int32', 14],
    }),
    NodeProto: message({
      input: ['string', 1, 'repeated'],
      output: ['string', 2, 'repeated'],
      name: ['string', 3],
      opType: ['string', 4],
      attribute: ['AttributeProto', 5, 'repeated'],
      domain: ['string', 7],
    }),
    GraphProto: message({
      node: ['NodeProto', 1, 'repeated'],
      name: ['string', 2],
      initializer: ['TensorProto', 5, 'repeated'],
      input: ['ValueInfoProto', 11, 'repeated'],
      output: ['ValueInfoProto', 12, 'repeated'],
    }),
    FunctionProto: message({ name: ['string', 1] }),
    OperatorSetIdProto: message({ domain: ['string', 1], version: ['int64', 2] }),
    StringStringEntryProto: message({ key: ['string', 1], value: ['string', 2] }),
    ModelProto: message({
      irVersion: ['int64', 1],
      producerName: ['string', 2],
      producerVersion: ['string', 3],
      graph: ['GraphProto', 7],
      opsetImport: ['OperatorSetIdProto', 8, 'repeated'],
      metadataProps: ['StringStringEntryProto', 14, 'repeated'],
      functions: ['FunctionProto', 25, 'repeated'],
    }),
  },
});

const modelType = root.lookupType('ModelProto');

/** The bytes of an `.onnx` file. */
export function encodeModel(model: ModelProto): Uint8Array {
  return modelType.encode(modelType.fromObject(model as unknown as Record<string, unknown>)).finish();
}

/** The records behind the bytes of an `.onnx` file; fields that Graft does not know are left out. */
export function decodeModel(bytes: Uint8Array): ModelProto {
  const options = { longs: Number, arrays: true };
  return modelType.toObject(modelType.decode(bytes), options) as unknown as ModelProto;
}

/** ONNX's numbers for element types (TensorProto.DataType). */
export const elementTypes = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
} as const;

/** ONNX's numbers for attribute types (AttributeProto.AttributeType). */
export const attributeTypes = {
  ...{ float: 1, int: 2, string: 3, tensor: 4, graph: 5, floats: 6, ints: 7, strings: 8 },
} as const;

/** Numbers and lists of them are whole; a Float32Array is floats. */
export type AttributeValue = number | string | readonly number[] | Float32Array;

export function attributeProto(name: string, value: AttributeValue): AttributeProto {
  if (typeof value === 'string') {
    return { name, type: attributeTypes.string, s: new TextEncoder().encode(value) };
  }
  if (typeof value === 'number') return { name, type: attributeTypes.int, i: value };
  if (value instanceof Float32Array) return { name, type: attributeTypes.floats, floats: [...value] };
  return { name, type: attributeTypes.ints, ints: [...value] };
}

export function attributeOf({ attribute }: NodeProto, name: string): AttributeProto | undefined {
  return attribute.find((each) => each.name === name);
}
