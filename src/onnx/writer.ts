/** Makes ONNX nodes for a graph that somebody else named: what it makes is called after a value of that graph. */
import { bytesOf, type Tensor, tensor } from '../core/tensor.ts';
import {
  type AttributeProto,
  type AttributeValue,
  attributeProto,
  attributeTypes,
  elementTypes,
  type NodeProto,
} from './proto.ts';

export class Writer {
  /** In the order in which they were made. */
  readonly nodes: NodeProto[] = [];
  readonly #base: string;

  /** `base` names a value of the graph; one writer for each. */
  constructor(base: string) {
    this.#base = base;
  }

  /** Adds a node of one output, and gives that output's name: a new one if none is given. */
  node(
    opType: string,
    input: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> | readonly AttributeProto[] = {},
    { domain, output = `${this.#base}/${opType}_${this.nodes.length}` }: NodeOptions = {},
  ): string {
    const attribute = Array.isArray(attributes)
      ? [...attributes]
      : Object.entries(attributes).map(([name, value]) => attributeProto(name, value as AttributeValue));
    const made: NodeProto = { opType, name: output, input: [...input], output: [output], attribute };
    this.nodes.push(domain === undefined ? made : { ...made, domain });
    return output;
  }

  constant(value: Tensor): string {
    const t = { dims: [...value.shape], dataType: elementTypes[value.dtype], rawData: bytesOf(value) };
    return this.node('Constant', [], [{ name: 'value', type: attributeTypes.tensor, t }]);
  }

  int64(values: readonly number[]): string {
    return this.constant(tensor('int64', [values.length], BigInt64Array.from(values, BigInt)));
  }
}

export interface NodeOptions {
  readonly domain?: string;
  /** Name of the output. */
  readonly output?: string;
}
