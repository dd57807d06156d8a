/** Writes a model into a graph, once as it trains and once as it predicts, over the same input and weights. */
import type { Distribution } from '../core/distributions.ts';
import { tensor } from '../core/tensor.ts';
import { type GraphDType, type Node, resolveShape } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import type { CallContext, Layer, Variable } from '../layers/layer.ts';
import type { Network } from '../models/network.ts';
import { type Slab, slabsOf } from './slabs.ts';

/** Noise that a graph takes. */
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

/** What a layer, or a network inside the network, puts out. */
export interface Call {
  readonly layer: Layer;
  readonly output: Node;
}

export interface Written {
  readonly output: Node;
  /** What each layer puts out, in order; the same layers in training and inference. */
  readonly calls: readonly Call[];
}

/** A weight as a graph's input, or the piece of a large one that this input is. */
export interface WeightInput extends Slab {
  readonly node: Node;
}

export interface Trace {
  /** The pictures as they come: (batch, height, width, channels). */
  readonly image: Node;
  /** Input nodes for each weight of the model, `w0`, `w1`, ... in the order of `network.variables`. */
  readonly weights: ReadonlyMap<Variable, readonly WeightInput[]>;
  readonly training: Written & {
    readonly updates: ReadonlyMap<Variable, Node>;
    /** What layers that mix pictures do to one-hot labels, in their order. */
    readonly labelMixes: readonly LabelMix[];
  };
  readonly inference: Written;
  readonly noises: readonly Noise[];
}

/** `cuts` says which weights may come in slabs; none by default. */
export function traceModel(
  network: Network,
  dtype: GraphDType,
  cuts: (variable: Variable) => boolean = () => false,
): Trace {
  const image = o.input('image', [-1, ...network.input.shape], dtype);
  const x = o.cast(image, 'float32');
  const weights = new Map<Variable, readonly WeightInput[]>();
  network.variables.forEach((variable, index) => {
    const slabs = slabsOf(`w${index}`, variable, cuts(variable));
    weights.set(
      variable,
      slabs.map((slab) => ({ ...slab, node: o.input(slab.name, slab.shape) })),
    );
  });
  const updates = new Map<Variable, Node>();
  const noises: Noise[] = [];
  const labelMixes: LabelMix[] = [];
  const addNoise: CallContext['draw'] = (_layer, shape, distribution) => {
    const noise = { name: `noise${noises.length}`, shape, distribution };
    noises.push(noise);
    return o.input(noise.name, shape, distribution === 'permutation' ? 'int32' : 'float32');
  };
  const context = (training: boolean, calls: Call[]): CallContext => ({
    training,
    called: (output, layer) => {
      calls.push({ layer, output });
    },
    weight: (variable) => weights.get(variable)![0]!.node,
    rows: (variable) => weights.get(variable)!.map(({ node }) => node),
    update: (variable, next) => {
      updates.set(variable, next);
    },
    uniform: (layer, shape) => addNoise(layer, shape, 'uniform'),
    draw: addNoise,
    mixLabels: (layer, mix) => {
      labelMixes.push({ layer: layer.name, mix });
    },
  });
  const write = (training: boolean): Written => {
    const calls: Call[] = [];
    return { output: network.call([x], context(training, calls)), calls };
  };
  return {
    image,
    weights,
    training: { ...write(true), updates, labelMixes },
    inference: write(false),
    noises,
  };
}

/** The constants that weights' current values are, by their inputs; of weights that were not cut. */
export function weightConstants({ weights }: Trace): Map<Node, Node> {
  return new Map([...weights].map(([variable, [whole]]) => [whole!.node, weightConstant(variable)]));
}

/** The constant that a weight's current values are. */
export function weightConstant(variable: Variable): Node {
  return o.constant(tensor('float32', variable.shape, variable.values));
}

/** The shape of a noise for a batch of this size. */
export function noiseShape({ shape }: Noise, batch: number): number[] {
  return resolveShape(shape, batch);
}

/** True if each picture has noise of its own, whichever batch it is in. */
export function perPicture({ shape, distribution }: Noise): boolean {
  return shape[0] === -1 && distribution !== 'permutation';
}
