/** Looks values of a foreign ONNX graph up: the numbers of constants, and who takes what. */
import type { Tensor } from '../core/tensor.ts';
import {
  attributeOf,
  elementTypes,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from '../onnx/proto.ts';
import { namesTaken } from '../onnx/walk.ts';

export class ForeignGraph {
  readonly graph: GraphProto;
  readonly #initializers: ReadonlyMap<string, TensorProto>;
  readonly #makers: ReadonlyMap<string, NodeProto>;
  readonly #users = new Map<string, NodeProto[]>();

  constructor(graph: GraphProto) {
    this.graph = graph;
    this.#initializers = new Map(graph.initializer.map((value) => [value.name!, value]));
    this.#makers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
    for (const node of graph.node) {
      for (const name of namesTaken(node)) {
        const users = this.#users.get(name) ?? [];
        users.push(node);
        this.#users.set(name, users);
      }
    }
  }

  /** The node that takes a value, if there is only one and the value is no output. */
  next(name: string): NodeProto | null {
    const users = this.#users.get(name) ?? [];
    return users.length === 1 && !this.graph.output.some((output) => output.name === name) ? users[0]! : null;
  }

  /** A constant of float32, also behind nodes that pass it on: a cast from float16, a transposed matrix. */
  constant(name: string | undefined, transpose = false): Tensor<'float32'> | null {
    const value = this.#float32(name);
    if (!transpose || value === null) return value;
    return value.shape.length === 2 ? transposed(value) : null;
  }

  #float32(name: string | undefined): Tensor<'float32'> | null {
    if (!name) return null;
    const stored = this.#stored(name);
    if (stored !== null) {
      return { dtype: 'float32', shape: stored.dims, data: new Float32Array(copied(stored)) };
    }
    const maker = this.#makers.get(name);
    if (maker === undefined) return null;
    const { opType, input } = maker;
    const casts = opType === 'Cast' && attributeOf(maker, 'to')?.i === elementTypes.float32;
    if (opType === 'Identity' || casts) return this.#float32(input[0]);
    return opType === 'Transpose' ? this.constant(input[0], true) : null;
  }

  #stored(name: string): TensorProto | null {
    const maker = this.#makers.get(name);
    const value =
      maker?.opType === 'Constant' ? attributeOf(maker, 'value')?.t : this.#initializers.get(name);
    return value?.dataType === elementTypes.float32 ? value : null;
  }
}

/** The bytes may begin at an odd address of the file. */
function copied({ rawData }: TensorProto): ArrayBuffer {
  return new Uint8Array(rawData).buffer;
}

function transposed({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const [rows, columns] = shape as [number, number];
  const turned = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) turned[c * rows + r] = data[r * columns + c]!;
  }
  return { dtype: 'float32', shape: [columns, rows], data: turned };
}
