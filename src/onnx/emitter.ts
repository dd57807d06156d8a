/**
 * Collects the ONNX nodes of one model while the emission rules run. It owns names, initializers, and the two
 * layouts of a feature map: Graft's graphs are channels-last, ONNX's convolutions channels-first, and the
 * emitter keeps for each value which of the two it has, so that a transpose is written only where a rule
 * asks for the other one.
 */
import { bytesOf, float32, type Tensor, tensor } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import { BlockedMaps } from './blocked.ts';
import type { Splice } from './foreign.ts';
import {
  type AttributeValue,
  attributeProto,
  elementTypes,
  type NodeProto,
  type TensorProto,
} from './proto.ts';
import { rewriteGraph } from './walk.ts';

/** For which processor and batch a model may be written. */
export interface Blocking {
  /** Channels of a block in the runtime's own layout; 0 if there is none. */
  readonly block: number;
  readonly batch: number;
}

const toFirst = [0, 3, 1, 2];
const toLast = [0, 2, 3, 1];

export class Emitter {
  readonly nodes: NodeProto[] = [];
  readonly initializers: TensorProto[] = [];
  /** What the foreign graphs among the nodes ask of a model. */
  readonly splices: Omit<Splice, 'graph'>[] = [];
  /** Values beside the graph's own that the model puts out, by name. */
  readonly outputs = new Map<string, string>();
  readonly #last = new Map<Node, string>();
  readonly #first = new Map<Node, string>();
  readonly #memo = new Map<string, string>();
  readonly #memory = new Map<Tensor['data'], number>();
  readonly #uses: ReadonlyMap<Node, number>;
  /** Maps in the third layout, that of the runtime's own convolutions. */
  readonly blocked: BlockedMaps;
  #count = 0;

  /** `uses` says how many nodes or outputs ask for a node; `block` and `batch` are those of `EmitOptions.blocked`. */
  constructor(
    uses: ReadonlyMap<Node, number> = new Map(),
    { block, batch }: Blocking = { block: 0, batch: 0 },
  ) {
    this.#uses = uses;
    this.blocked = new BlockedMaps(this, block, batch);
  }

  uses(node: Node): number {
    return this.#uses.get(node) ?? 0;
  }

  /** A name that no input or output has: those do not begin with a percent sign. */
  #fresh(kind: 'v' | 'c'): string {
    return `%${kind}${this.#count++}`;
  }

  /** Appends an ONNX node with one output and returns the output's name. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    domain = '',
  ): string {
    const output = this.#fresh('v');
    this.nodes.push({
      opType,
      name: `${opType}_${this.nodes.length}`,
      input: [...inputs],
      output: [output],
      attribute: Object.entries(attributes).map(([name, value]) => attributeProto(name, value)),
      ...(domain === '' ? {} : { domain }),
    });
    return output;
  }

  /** Writes a value once, however often the same key asks for it. */
  once(key: string, write: () => string): string {
    const known = this.#memo.get(key);
    if (known !== undefined) return known;
    const name = write();
    this.#memo.set(key, name);
    return name;
  }

  initializer(value: Tensor): string {
    const write = () => {
      const name = this.#fresh('c');
      const dataType = elementTypes[value.dtype];
      this.initializers.push({ name, dims: [...value.shape], dataType, rawData: bytesOf(value) });
      return name;
    };
    // Small values are told apart by their content, large ones by the memory that they lie in.
    const { dtype, shape, data } = value;
    const content = data.length <= 16 ? bytesOf(value) : `memory ${this.#memoryNumber(data)}`;
    return this.once(`initializer/${dtype}/${shape}/${content}`, write);
  }

  #memoryNumber(data: Tensor['data']): number {
    const known = this.#memory.get(data) ?? this.#memory.size;
    this.#memory.set(data, known);
    return known;
  }

  /** An int64 vector, which ONNX takes for shapes, axes and ends. */
  int64(values: readonly number[]): string {
    return this.initializer(tensor('int64', [values.length], BigInt64Array.from(values, BigInt)));
  }

  scalar(value: number): string {
    return this.initializer(float32([], [value]));
  }

  /**
   * Puts a foreign graph of one input behind `x`; returns the names of its outputs. Names inside it get a prefix that
   * none of Graft's own have.
   */
  splice({ graph, irVersion, opsets }: Splice, x: string): string[] {
    const prefix = `%f${this.splices.length}/`;
    const input = graph.input[0]!.name;
    this.splices.push({ irVersion, opsets });
    const { node, initializer } = rewriteGraph(graph, {
      name: (name) => (name === input ? x : prefix + name),
    });
    this.nodes.push(...node);
    this.initializers.push(...initializer);
    return graph.output.map(({ name }) => prefix + name);
  }

  /** Makes a float32 value an output of the model beside those of the graph. */
  output(name: string, value: string): void {
    this.outputs.set(name, value);
  }

  reshape(x: string, shape: readonly number[]): string {
    // At most one dimension of a graph shape is symbolic; ONNX infers it.
    return this.node('Reshape', [x, this.int64(shape.map((dim) => (dim < 0 ? -1 : dim)))]);
  }

  transpose(x: string, order: readonly number[]): string {
    return this.node('Transpose', [x], { perm: order });
  }

  /** Records the name of a node's value. */
  define(node: Node, name: string): void {
    this.#last.set(node, name);
  }

  /** Records the name of a feature map that is channels-first. */
  defineChannelsFirst(node: Node, name: string): void {
    this.#first.set(node, name);
  }

  /** True if a feature map so far exists channels-first only. */
  isChannelsFirst(node: Node): boolean {
    return this.#first.has(node) && !this.#last.has(node);
  }

  /** The value as the graph means it: channels-last for feature maps. */
  value(node: Node): string {
    let name = this.#last.get(node);
    if (name === undefined) {
      const first = this.#first.get(node);
      name = first === undefined ? this.blocked.channelsLast(node) : this.transpose(first, toLast);
      this.#last.set(node, name);
    }
    return name;
  }

  /** The value of a feature map, channels-first. */
  channelsFirst(node: Node): string {
    let name = this.#first.get(node);
    if (name === undefined) {
      name = this.transpose(this.value(node), toFirst);
      this.#first.set(node, name);
    }
    return name;
  }
}
