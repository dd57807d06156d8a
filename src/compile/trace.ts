/** Writes a model into a graph, once as it trains and once as it predicts, over the same input and weights. */
import { tensor } from '../core/tensor.ts';
import { type GraphDType, type Node, resolveShape } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import type { CallContext, Variable } from '../layers/layer.ts';
import type { Network } from '../models/network.ts';

/** Uniform noise that a step takes. */
export interface Noise {
  /** The graph's input. */
  readonly name: string;
  readonly shape: readonly number[];
}

export interface Trace {
  /** The pictures as they come: (batch, height, width, channels). */
  readonly image: Node;
  /** An input node for each weight of the model, `w0`, `w1`, ... in the order of `network.variables`. */
  readonly weights: ReadonlyMap<Variable, Node>;
  readonly training: { readonly output: Node; readonly updates: ReadonlyMap<Variable, Node> };
  readonly inference: { readonly output: Node };
  readonly noises: readonly Noise[];
}

export function traceModel(network: Network, dtype: GraphDType): Trace {
  const image = o.input('image', [-1, ...network.input.shape], dtype);
  const x = o.cast(image, 'float32');
  const weights = new Map<Variable, Node>();
  network.variables.forEach((variable, index) => {
    weights.set(variable, o.input(`w${index}`, variable.shape));
  });
  const updates = new Map<Variable, Node>();
  const noises: Noise[] = [];
  const context = (training: boolean): CallContext => ({
    training,
    weight: (variable) => weights.get(variable)!,
    update: (variable, next) => {
      updates.set(variable, next);
    },
    uniform: (_layer, shape) => {
      const noise = { name: `noise${noises.length}`, shape };
      noises.push(noise);
      return o.input(noise.name, shape);
    },
  });
  return {
    image,
    weights,
    training: { output: network.call([x], context(true)), updates },
    inference: { output: network.call([x], context(false)) },
    noises,
  };
}

/** The constant that a weight's current values are. */
export function weightConstant(variable: Variable): Node {
  return o.constant(tensor('float32', variable.shape, variable.values));
}

/** Numbers that a noise needs for a batch of this size. */
export function noiseSize({ shape }: Noise, batch: number): number {
  return resolveShape(shape, batch).reduce((size, dim) => size * dim, 1);
}
