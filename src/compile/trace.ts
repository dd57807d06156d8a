/** Writes a model into a graph, once as it trains and once as it predicts, over the same input and weights. */
import { type Distribution, draw } from '../core/distributions.ts';
import { Random } from '../core/random.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import { type GraphDType, type Node, resolveShape } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import type { CallContext, Variable } from '../layers/layer.ts';
import type { Network } from '../models/network.ts';

/** Noise that a step takes. */
export interface Noise {
  /** The graph's input. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly distribution: Distribution;
}

export interface LabelMix {
  readonly layer: string;
  mix(rows: Node): Node;
}

export interface Trace {
  /** The pictures as they come: (batch, height, width, channels). */
  readonly image: Node;
  /** An input node for each weight of the model, `w0`, `w1`, ... in the order of `network.variables`. */
  readonly weights: ReadonlyMap<Variable, Node>;
  readonly training: {
    readonly output: Node;
    readonly updates: ReadonlyMap<Variable, Node>;
    /** What layers that mix pictures do to one-hot labels, in their order. */
    readonly labelMixes: readonly LabelMix[];
  };
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
  const labelMixes: LabelMix[] = [];
  const addNoise: CallContext['draw'] = (_layer, shape, distribution) => {
    const noise = { name: `noise${noises.length}`, shape, distribution };
    noises.push(noise);
    return o.input(noise.name, shape, distribution === 'permutation' ? 'int32' : 'float32');
  };
  const context = (training: boolean): CallContext => ({
    training,
    weight: (variable) => weights.get(variable)!,
    update: (variable, next) => {
      updates.set(variable, next);
    },
    uniform: (layer, shape) => addNoise(layer, shape, 'uniform'),
    draw: addNoise,
    mixLabels: (layer, mix) => {
      labelMixes.push({ layer: layer.name, mix });
    },
  });
  return {
    image,
    weights,
    training: { output: network.call([x], context(true)), updates, labelMixes },
    inference: { output: network.call([x], context(false)) },
    noises,
  };
}

/** The constant that a weight's current values are. */
export function weightConstant(variable: Variable): Node {
  return o.constant(tensor('float32', variable.shape, variable.values));
}

/** The noise of one step for a batch of this size. */
export function drawNoise(
  { name, shape, distribution }: Noise,
  { seed, step, batch }: { readonly seed: number; readonly step: number; readonly batch: number },
): Tensor {
  return draw(new Random(seed, name, step), distribution, resolveShape(shape, batch));
}
