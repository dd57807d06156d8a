/**
 * Part of a foreign ONNX model, from its picture to one tensor, as a node of Graft's graphs. It owns what has to be
 * done to it: the nodes between the two, a batch that is free, float32 for float16, Graft's operator set.
 */
import { createHash } from 'node:crypto';
import { fail } from '../core/errors.ts';
import { sizeOf } from '../core/tensor.ts';
import type { Foreign } from '../graph/node.ts';
import { withFreeBatch } from './batch.ts';
import { withoutHalves } from './halves.ts';
import { upgraded } from './opsets.ts';
import { attributeOf, elementTypes, encodeModel, type GraphProto, type ModelProto } from './proto.ts';
import { sourcesOf } from './walk.ts';

/** Where the channels of a map lie: [batch, channels, height, width] or [batch, height, width, channels]. */
export type ImageLayout = 'channelsFirst' | 'channelsLast';

/** One end of a part. */
export interface End {
  readonly name: string;
  /** Of no meaning for values that are no maps. */
  readonly layout: ImageLayout;
}

/** A graph that can stand among Graft's own nodes. */
export interface Splice {
  readonly graph: GraphProto;
  readonly irVersion: number;
  readonly opsets: ModelProto['opsetImport'];
}

/**
 * The newest that onnxruntime-node 1.30 takes. Later ones add types and notes on devices to the format; what operations
 * mean is a matter of operator sets, so a model that uses none of them is the same in this one.
 */
const newestIrVersion = 13;

export class OnnxPart implements Foreign {
  readonly input: End;
  readonly output: End;
  /** SHA-256 of `bytes`. */
  readonly digest: string;
  /** The part alone as an ONNX file, in its own operator set and types. */
  readonly bytes: Uint8Array;
  readonly #model: ModelProto;
  #splice: Splice | null = null;

  /** `model` comes from `readOnnx`. Throws `argument` if `output` does not depend on `input` alone. */
  constructor(model: ModelProto, input: End, output: End) {
    this.input = input;
    this.output = output;
    this.#model = { ...model, graph: cut(model.graph, input.name, output.name) };
    this.bytes = encodeModel(this.#model);
    this.digest = createHash('sha256')
      .update(`${input.layout} ${output.layout} `)
      .update(this.bytes)
      .digest('hex');
  }

  get metadata(): ModelProto['metadataProps'] {
    return this.#model.metadataProps;
  }

  /** How many numbers its weights have. */
  get parameters(): number {
    return parametersOf(this.#model);
  }

  /** The part with a free batch, in float32 and Graft's operator set, or in its own if that is newer. */
  get splice(): Splice {
    const { graph, opsetImport, irVersion } = this.#model;
    const opset = opsetImport.find(({ domain }) => domain === '')!.version;
    this.#splice ??= {
      graph: upgraded(withoutHalves(withFreeBatch(graph, this.input.name)), opset),
      irVersion: Math.min(irVersion, newestIrVersion),
      opsets: opsetImport,
    };
    return this.#splice;
  }

  /** What stands for the part where a graph is turned into text. */
  toJSON(): string {
    return this.digest;
  }
}

/** Numbers in weights; single numbers and lists of axes and shapes are none. */
export function parametersOf({ graph }: ModelProto): number {
  const constants = graph.node.flatMap((node) =>
    node.opType === 'Constant' ? (attributeOf(node, 'value')?.t ?? []) : [],
  );
  return [...graph.initializer, ...constants]
    .filter(({ dataType, dims }) => dataType !== elementTypes.int64 && dims.length > 0)
    .reduce((total, { dims }) => total + sizeOf(dims), 0);
}

/** The nodes and weights that `output` needs, with `input` as the only input. */
function cut(graph: GraphProto, input: string, output: string): GraphProto {
  const needed = sourcesOf(graph, output, input);
  const node = graph.node.filter((each) => each.output.some((name) => needed.has(name) && name !== input));
  const other = graph.input.find(({ name }) => name !== input && needed.has(name));
  if (other) {
    fail('argument', `The tensor "${output}" depends on a second input, "${other.name}", beside "${input}".`);
  }
  if (!needed.has(input) || node.length === 0) {
    fail('argument', `The tensor "${output}" does not depend on the picture "${input}".`);
  }
  return {
    name: graph.name ?? '',
    node,
    initializer: graph.initializer.filter(({ name }) => needed.has(name!)),
    input: graph.input.filter(({ name }) => name === input),
    output: [
      graph.output.find(({ name }) => name === output) ?? ({ name: output } as GraphProto['output'][0]),
    ],
  };
}
