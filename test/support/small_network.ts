/**
 * A small network with everything that a training step has: convolution, normalisation over the batch, relu,
 * pooling, dense, softmax cross-entropy, momentum. It runs in an engine and in the reference side by side.
 */
import { Random } from '../../src/core/random.ts';
import { float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import type { Node } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue, type Value } from '../../src/graph/reference.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import type { Engine } from '../../src/runtime/engine.node.ts';
import { convWindow, drawTensor, poolWindow } from './operation_cases.ts';

const classes = 3;
const batchSizes = [6, 6, 5, 6, 6, 5, 6, 6, 5, 6];

function initialWeights(): Record<string, Tensor<'float32'>> {
  const drawn = (name: string, shape: readonly number[], scale: number) => {
    const { data } = drawTensor(shape, 'float32', 'normal', name);
    return float32(
      shape,
      (data as Float32Array).map((value) => value * scale),
    );
  };
  return {
    kernel: drawn('kernel', [3, 3, 2, 5], 0.3),
    gamma: float32([5], [1, 0.9, 1.1, 1, 1.2]),
    beta: float32([5], [0.1, 0, -0.1, 0.2, 0]),
    kernel2: drawn('kernel2', [3, 3, 5, 6], 0.2),
    dense: drawn('dense', [54, classes], 0.1),
    bias: float32([classes], [0.01, -0.01, 0.02]),
  };
}

function normalize(x: Node, gamma: Node, beta: Node): Node {
  const centred = o.sub(x, o.mean(x, [0, 1, 2], true));
  const variance = o.mean(o.square(centred), [0, 1, 2], true);
  return o.add(o.mul(o.div(centred, o.sqrt(o.add(variance, 1e-3))), gamma), beta);
}

/** The loss of the network: x [batch, 6, 6, 2] bytes, labels [batch] class ids. */
function lossOf(weights: Readonly<Record<string, Node>>): Node {
  const x = o.sub(o.mul(o.cast(o.input('x', [-1, 6, 6, 2], 'uint8'), 'float32'), 1 / 127.5), 1);
  const same = convWindow({ pads: [1, 1, 1, 1] });
  const maps = o.relu(normalize(o.conv2d(x, weights['kernel']!, same), weights['gamma']!, weights['beta']!));
  const pooled = o.maxPool(
    o.conv2d(maps, weights['kernel2']!, same),
    poolWindow([2, 2], { strides: [2, 2] }),
  );
  const logits = o.add(o.matmul(o.reshape(o.relu(pooled), [-1, 54]), weights['dense']!), weights['bias']!);
  const labels = o.oneHot(o.input('labels', [-1], 'int32'), classes);
  return o.neg(o.mean(o.sum(o.mul(labels, o.logSoftmax(logits)), [-1])));
}

/** One step as a pure function: outputs are the loss, and each weight and momentum after the step. */
function stepGraph(initial: Readonly<Record<string, Tensor>>): Record<string, Node> {
  const names = Object.keys(initial);
  const weights = Object.fromEntries(names.map((name) => [name, o.input(name, initial[name]!.shape)]));
  const loss = lossOf(weights);
  const gradients = differentiate(loss, Object.values(weights));
  const outputs: Record<string, Node> = { loss };
  const rate = o.input('rate', []);
  names.forEach((name, i) => {
    const momentum = o.input(`${name}_momentum`, initial[name]!.shape);
    // m ← 0.9 m − rate · g;  w ← w + m
    const moved = o.sub(o.mul(momentum, 0.9), o.mul(rate, gradients[i]!));
    outputs[`${name}_momentum_next`] = moved;
    outputs[`${name}_next`] = o.add(weights[name]!, moved);
  });
  return outputs;
}

/** A batch whose class decides its mean, so that it can be learned. */
function batchOf(step: number): { x: Tensor; labels: Tensor; rate: Tensor } {
  const random = new Random(3, 'batch', step);
  const size = batchSizes[step]!;
  const labels = Int32Array.from({ length: size }, () => random.below(classes));
  const x = new Uint8Array(size * 72);
  for (let i = 0; i < x.length; i++) {
    const label = labels[Math.floor(i / 72)]!;
    x[i] = random.below(120) + (i % 2 === 0 ? label * 40 : 80 - label * 40);
  }
  return {
    x: tensor('uint8', [size, 6, 6, 2], x),
    labels: tensor('int32', [size], labels),
    rate: float32([], [0.05]),
  };
}

const valuesOf = (tensors: Readonly<Record<string, Tensor>>): Record<string, Value> =>
  Object.fromEntries(Object.entries(tensors).map(([name, value]) => [name, toValue(value)]));

export async function startTraining(engine: Engine) {
  const weights = initialWeights();
  const initial: Record<string, Tensor> = {};
  for (const [name, value] of Object.entries(weights)) {
    initial[name] = value;
    initial[`${name}_momentum`] = float32(value.shape, new Float32Array(value.data.length));
  }
  const outputs = stepGraph(weights);
  const names = Object.keys(initial);
  const session = await engine.load(emitModel(outputs), {
    reads: Object.fromEntries(names.map((name) => [name, `training/${name}`])),
    writes: Object.fromEntries(names.map((name) => [`${name}_next`, `training/${name}`])),
  });
  await engine.write(Object.fromEntries(names.map((name) => [`training/${name}`, initial[name]!])));
  let state = valuesOf(initial);

  return {
    async step(step: number): Promise<{ engineLoss: number; referenceLoss: number }> {
      const batch = batchOf(step);
      const { loss } = await session.run(batch);
      const results = evaluate(Object.values(outputs), { ...valuesOf(batch), ...state });
      const named = Object.fromEntries(Object.keys(outputs).map((name, i) => [name, results[i]!]));
      state = Object.fromEntries(names.map((name) => [name, named[`${name}_next`]!]));
      return { engineLoss: loss!.data[0] as number, referenceLoss: named['loss']!.data[0]! };
    },
    async state() {
      const read = await engine.read(names.map((name) => `training/${name}`));
      const engineState = Object.fromEntries(names.map((name) => [name, read[`training/${name}`]!]));
      return { engineState, referenceState: state, initialState: valuesOf(initial) };
    },
  };
}
