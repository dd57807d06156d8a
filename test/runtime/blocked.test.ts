/**
 * Graphs in the runtime's own layout, written for one batch, beside the float64 reference: each convolution with its
 * gradients, and the elementwise operations that are fused with it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildProgram } from '../../src/compile/program.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import type { Node, Shape } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue } from '../../src/graph/reference.ts';
import { simplify } from '../../src/graph/simplify.ts';
import * as layers from '../../src/layers/index.ts';
import { categoricalCrossentropy } from '../../src/losses/index.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { decodeModel } from '../../src/onnx/proto.ts';
import { sgd } from '../../src/optimizers/index.ts';
import { Engine, type Tensors } from '../../src/runtime/engine.node.ts';
import { model } from '../../src/training/build.ts';
import { weightedSum, weightsFor } from '../support/loss.ts';
import { convWindow, drawTensor } from '../support/operation_cases.ts';

let engine: Engine;
let block: number;
beforeAll(async () => {
  engine = Engine.start({ threads: 2 });
  block = await engine.channelBlock();
});
afterAll(() => engine.close());

const batch = 16;

/** The largest difference between engine and reference, relative to the largest value, of y and its gradients. */
async function differences(y: Node, inputs: Readonly<Record<string, Node>>) {
  const gradients = differentiate(weightedSum(y), Object.values(inputs));
  const names = ['y', ...Object.keys(inputs)];
  const outputs = Object.fromEntries(simplify([y, ...gradients]).map((node, i) => [names[i]!, node]));
  const model = emitModel(outputs, { blocking: { block, batch } });
  const drawn = Object.entries(inputs).map(([name, { shape }]) => {
    const full = shape.map((dim) => (dim < 0 ? batch : dim));
    return [`${name}_`, drawTensor(full, 'float32', 'normal', name)] as const;
  });
  const feeds = { ...Object.fromEntries(drawn), ...weightsFor(y, batch) };
  const session = await engine.load(model);
  const got = await session.run(feeds);
  await session.release();
  const values = Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, toValue(value)]));
  const expected = evaluate(Object.values(outputs), values, batch);
  const errors = names.map((name, i) => {
    const scale = expected[i]!.data.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
    expect(got[name]!.shape).toEqual(expected[i]!.shape);
    const { data } = toValue(got[name]!);
    return data.reduce((most, v, j) => Math.max(most, Math.abs(v - expected[i]!.data[j]!)), 0) / scale;
  });
  return { worst: Math.max(...errors), types: decodeModel(model).graph.node.map(({ opType }) => opType) };
}

const input = (name: string, shape: Shape) => o.input(`${name}_`, shape);

const same = { pads: [1, 1, 1, 1] } as const;

it.each([
  // Both kernels and y leave their blocks; the map between the convolutions only where it has fewer channels.
  ['more', 32, 48, 4],
  ['fewer', 48, 32, 3],
])('a 1x1 convolution of small maps to %s channels moves the smaller map', async (_, middle, last, moved) => {
  const inputs = {
    x: input('x', [-1, 5, 5, 16]),
    first: input('first', [1, 1, 16, middle]),
    second: input('second', [1, 1, middle, last]),
  };
  const y = o.conv2d(o.conv2d(inputs.x, inputs.first, convWindow()), inputs.second, convWindow());
  const { worst, types } = await differences(y, inputs);
  expect(worst).toBeLessThan(2e-6);
  // x leaves its blocks too; the 16 channels of one block only change their shape for that.
  const reordered = moved + (block === 16 ? 0 : 1);
  expect(types.filter((type) => type === 'ReorderOutput')).toHaveLength(block === 0 ? 0 : reordered);
});

it('the input gradient of a large kernel has the kernel as left factor', async () => {
  const inputs = { x: input('x', [-1, 4096]), kernel: input('kernel', [4096, 256]) };
  const { worst, types } = await differences(o.matmul(inputs.x, inputs.kernel), inputs);
  expect(worst).toBeLessThan(2e-6);
  // x · kernel and kernel · gᵀ; xᵀ · g.
  expect(['MatMul', 'Gemm', 'Transpose'].map((name) => types.filter((type) => type === name).length)).toEqual(
    [2, 1, 2],
  );
});

describe('convolutions in blocks of channels and their gradients equal the reference', () => {
  it.each([
    ['3x3', [-1, 5, 6, 32], [3, 3, 32, 16], same],
    ['3x3 without padding', [-1, 5, 6, 16], [3, 3, 16, 32], {}],
    ['3x3 where groups of pictures have one block of filters', [-1, 12, 11, 32], [3, 3, 32, 16], same],
    ['3x3 where each picture is a group', [-1, 13, 12, 16], [3, 3, 16, 32], same],
    ['3x3 where groups of pictures have several', [-1, 8, 9, 32], [3, 3, 32, 32], same],
    ['1x1 where groups of pictures have several', [-1, 8, 8, 144], [1, 1, 144, 32], {}],
    ['2x1 on strips of a map too large for a cache', [-1, 131, 128, 1], [2, 1, 1, 16], {}],
    [
      '3x3 with stride 2 where groups leave a row over',
      [-1, 18, 18, 16],
      [3, 3, 16, 16],
      { strides: [2, 2] },
    ],
    [
      '3x3 with stride 2 on an even size',
      [-1, 8, 6, 16],
      [3, 3, 16, 32],
      { strides: [2, 2], pads: [0, 0, 1, 1] },
    ],
    ['3x3 with stride 2 on an odd size', [-1, 7, 5, 32], [3, 3, 32, 16], { strides: [2, 2], ...same }],
    ['with a stride that leaves a row over', [-1, 6, 8, 16], [3, 3, 16, 16], { strides: [2, 2] }],
    ['with asymmetric pads', [-1, 5, 6, 16], [3, 2, 16, 16], { pads: [2, 0, 1, 1] }],
    ['with dilation 2', [-1, 6, 7, 16], [3, 3, 16, 16], { dilations: [2, 2], pads: [2, 2, 2, 2] }],
    ['3x3 by tiles, between many channels', [-1, 3, 3, 256], [3, 3, 256, 256], same],
    ['1x1', [-1, 3, 4, 48], [1, 1, 48, 32], {}],
    ['1x1 as a product in lines', [-1, 8, 8, 64], [1, 1, 64, 128], {}],
    [
      '7x7 with stride 2 of three channels',
      [-1, 15, 16, 3],
      [7, 7, 3, 16],
      { strides: [2, 2], pads: [3, 3, 3, 3] },
    ],
  ] as const)('%s', async (_name, x, kernel, window) => {
    const inputs = { x: input('x', x), kernel: input('kernel', kernel) };
    const { worst } = await differences(o.conv2d(inputs.x, inputs.kernel, convWindow(window)), inputs);
    expect(worst).toBeLessThan(5e-6);
  });
});

describe('what is fused with a convolution equals the reference', () => {
  const x = input('x', [-1, 5, 6, 16]);
  const kernel = input('kernel', [3, 3, 16, 16]);
  const [scale, shift] = [input('scale', [16]), input('shift', [16])];
  const other = input('other', [-1, 5, 6, 16]);
  const y = o.conv2d(x, kernel, convWindow(same));
  const inputs = { x, kernel, scale, shift, other };
  it.each<[string, Node]>([
    ['a bias, a map and ReLU', o.relu(o.add(o.add(y, shift), other))],
    ['a scale and a shift', o.add(o.mul(y, scale), o.sub(shift, scale))],
    ['a difference', o.sub(o.mul(other, scale), o.sub(y, shift))],
    ['a negative and a number', o.mul(o.sub(o.neg(y), 2), 0.5)],
    ['two convolutions', o.add(y, o.conv2d(other, kernel, convWindow(same)))],
    ['the same map twice', o.add(o.mul(y, scale), o.mul(y, y))],
    ['operations that have no form in this layout', o.add(o.tanh(y), o.max(y, scale))],
    ['sums over positions', o.add(o.mul(y, o.mean(y, [1, 2], true)), o.sum(o.mul(y, other), [0, 1, 2]))],
    ['a mean that goes back to each position', o.mul(o.relu(y), o.mean(y, [1, 2], true))],
  ])('%s', async (_name, value) => {
    // Everything is used, so that every input has a gradient.
    const rest = o.mul(o.add(other, o.add(scale, shift)), 1e-3);
    const { worst } = await differences(o.add(value, rest), inputs);
    expect(worst).toBeLessThan(3e-6);
  });
});

it.each([6, 7])('1x1 with stride 2 on a map of %i rows in this layout', async (rows) => {
  const inputs = {
    x: input('x', [-1, rows, 8, 16]),
    kernel: input('kernel', [3, 3, 16, 32]),
    pointwise: input('pointwise', [1, 1, 32, 16]),
  };
  const y = o.conv2d(inputs.x, inputs.kernel, convWindow(same));
  const strided = o.conv2d(y, inputs.pointwise, convWindow({ strides: [2, 2] }));
  const { worst, types } = await differences(strided, inputs);
  expect(worst).toBeLessThan(3e-6);
  if (block > 0) expect(types).not.toContain('Slice');
});

it('normalizing a batch is one pass forward, two back, and three sums without a map of their own', async () => {
  const x = input('x', [-1, 6, 5, 32]);
  const kernel = input('kernel', [3, 3, 32, 32]);
  const gamma = input('gamma', [32]);
  const y = o.conv2d(x, kernel, convWindow(same));
  const mean = o.mean(y, [0, 1, 2]);
  const variance = o.sub(o.mean(o.square(y), [0, 1, 2]), o.square(mean));
  const slope = o.div(gamma, o.sqrt(o.add(variance, 1e-3)));
  const normal = o.relu(o.add(o.mul(y, slope), o.neg(o.mul(mean, slope))));
  const { worst, types } = await differences(normal, { x, kernel, gamma });
  expect(worst).toBeLessThan(1e-5);
  const count = (type: string) => types.filter((each) => each === type).length;
  if (block === 0) return;
  // Of the maps y and ∂y; the sums of y² and of y ∂y are convolutions. One product of maps is ReLU's gradient, one
  // the loss of this test.
  expect(count('GlobalAveragePool')).toBe(2);
  expect(count('Add')).toBeLessThan(12);
});

it('a step of a whole network is the step that is written for any batch', async () => {
  const conv = (filters: number, strides: number) =>
    layers.conv2d({ filters, kernelSize: 3, strides, padding: 'same', useBias: false });
  const image = layers.input({ shape: [12, 12, 3] });
  const first = layers.relu().apply(layers.batchNormalization().apply(conv(16, 1).apply(image)));
  const second = layers.relu().apply(layers.batchNormalization().apply(conv(32, 2).apply(first)));
  const shortcut = layers.conv2d({ filters: 32, kernelSize: 1, strides: 2 }).apply(first);
  const pooled = layers
    .globalAveragePooling2d()
    .apply(layers.maxPooling2d().apply(layers.relu().apply(layers.add().apply([second, shortcut]))));
  const outputs = layers.dense({ units: 4, activation: 'softmax' }).apply(pooled);
  const network = model({ inputs: image, outputs });
  network.initialize(1);
  const { step, weights } = buildProgram({
    network,
    optimizer: sgd({ learningRate: 0.1 }),
    loss: categoricalCrossentropy(),
    metrics: [],
    trains: true,
    imageDType: 'float32',
    labels: 'ids',
    featureDType: 'float32',
  });
  const ids = Int32Array.from({ length: batch }, (_, i) => i % 4);
  const feeds = {
    image: drawTensor([batch, 12, 12, 3], 'float32', 'normal', 'image'),
    y: tensor('int32', [batch], ids),
    sampleWeight: float32([batch], new Float32Array(batch).fill(1)),
    learningRate: float32([], [0.1]),
    ...Object.fromEntries(
      [...weights].map(([name, { shape, variable }]) => [
        name,
        float32(shape, Float32Array.from(variable.values)),
      ]),
    ),
  };
  const results = [];
  for (const blocking of [undefined, { block, batch }]) {
    const session = await engine.load(step.model(blocking && { blocking }));
    results.push(await session.run(feeds));
    await session.release();
  }
  const [plain, blocked] = results as [Tensors, Tensors];
  for (const [name, { data }] of Object.entries(plain)) {
    const start = feeds[name.slice(0, -1) as keyof typeof feeds]?.data;
    const moved = [...data].map((value, i) => Number(value) - Number(start?.[i] ?? 0));
    const error = moved.map((_, i) => Math.abs(Number(blocked[name]!.data[i]) - Number(data[i])));
    const most = Math.max(...moved.map(Math.abs));
    // Float32 leaves the weights themselves, about 1, an error of 6e-8.
    expect(Math.max(...error), name).toBeLessThan(2e-5 * most + 2e-7);
  }
});
