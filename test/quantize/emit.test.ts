/** The integer kernels of the runtime against integers in TypeScript, and whole graphs against float32. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { float32, type Tensor } from '../../src/core/tensor.ts';
import type { ConvAttributes, Node } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue } from '../../src/graph/reference.ts';
import { decodeModel } from '../../src/onnx/proto.ts';
import { quantizationOf, quantizeKernel } from '../../src/quantize/arithmetic.ts';
import { emitQuantized } from '../../src/quantize/emit.ts';
import { foldFrozen } from '../../src/quantize/fold.ts';
import { Quantization } from '../../src/quantize/index.ts';
import type { Range } from '../../src/quantize/ranges.ts';
import { findUnits } from '../../src/quantize/units.ts';
import { Engine } from '../../src/runtime/engine.node.ts';
import { convWindow, poolWindow } from '../support/operation_cases.ts';
import {
  batchNorm,
  dequantize,
  drawn,
  drawnConstant,
  integerConvolution,
  quantize,
  shifted,
} from './support.ts';

let engine: Engine;
beforeAll(() => {
  engine = Engine.start({ threads: 2 });
});
afterAll(() => engine.close());

async function run(model: Uint8Array, x: Tensor): Promise<Record<string, Tensor>> {
  const session = await engine.load(model);
  try {
    return await session.run({ x });
  } finally {
    await session.release();
  }
}

const operations = (model: Uint8Array): string[] => decodeModel(model).graph.node.map(({ opType }) => opType);

interface ConvCase {
  readonly name: string;
  readonly size: number;
  readonly kernel: readonly number[];
  readonly window: ConvAttributes;
  readonly input?: Range;
  readonly output?: Range;
  readonly rectify?: 'relu' | 'relu6';
  /** Every picture value and weight at its largest. */
  readonly extreme?: boolean;
  /** A processor that multiplies tiles of integers gets other weights for it. */
  readonly tiles?: boolean;
}

const cases: readonly ConvCase[] = [
  { name: '1x1', size: 5, kernel: [1, 1, 19, 7], window: convWindow() },
  { name: '3x3 with padding', size: 7, kernel: [3, 3, 5, 9], window: convWindow({ pads: [1, 1, 1, 1] }) },
  {
    name: '3x3 with uneven padding, strides and a rectifier',
    size: 8,
    kernel: [3, 3, 16, 16],
    window: convWindow({ strides: [2, 1], pads: [0, 1, 2, 0] }),
    rectify: 'relu',
  },
  {
    name: '3x3 with strides and padding behind only',
    size: 10,
    kernel: [3, 3, 3, 8],
    window: convWindow({ strides: [2, 2], pads: [0, 0, 1, 1] }),
  },
  {
    name: '2x5 with strides on two channels, padded more in front',
    size: 8,
    kernel: [2, 5, 2, 8],
    window: convWindow({ strides: [2, 2], pads: [1, 2, 0, 1] }),
  },
  {
    name: '4x4 with strides on four channels of an odd size',
    size: 9,
    kernel: [4, 4, 4, 8],
    window: convWindow({ strides: [2, 2], pads: [1, 1, 1, 1] }),
  },
  {
    name: '7x7 with strides on a picture',
    size: 12,
    kernel: [7, 7, 3, 8],
    window: convWindow({ strides: [2, 2], pads: [3, 3, 3, 3] }),
    input: { low: -2, high: 3 },
  },
  { name: '3x3 with dilations', size: 9, kernel: [3, 3, 4, 4], window: convWindow({ dilations: [2, 3] }) },
  { name: '3x3 in groups', size: 6, kernel: [3, 3, 3, 8], window: convWindow({ groups: 2 }) },
  {
    name: '3x3 depthwise with relu6',
    size: 6,
    kernel: [3, 3, 1, 16],
    window: convWindow({ groups: 16, pads: [1, 1, 1, 1] }),
    rectify: 'relu6',
  },
  {
    name: '3x3 depthwise with two filters for each channel',
    size: 6,
    kernel: [3, 3, 1, 12],
    window: convWindow({ groups: 6 }),
  },
  {
    name: '3x3 whose range cuts off results at both ends',
    size: 6,
    kernel: [3, 3, 5, 6],
    window: convWindow({ pads: [1, 1, 1, 1] }),
    output: { low: -1, high: 1.5 },
  },
  {
    name: '3x3 with padding and 576 products for each value',
    size: 6,
    kernel: [3, 3, 64, 16],
    window: convWindow({ pads: [1, 1, 1, 1] }),
    output: { low: -200, high: 300 },
    tiles: true,
  },
  {
    name: '1x1 of 512 channels with the largest sums',
    size: 4,
    kernel: [1, 1, 512, 16],
    window: convWindow(),
    input: { low: 0, high: 2 },
    output: { low: 0, high: 1200 },
    extreme: true,
    tiles: true,
  },
  {
    name: '3x3 in groups with 576 products for each value',
    size: 5,
    kernel: [3, 3, 64, 8],
    window: convWindow({ groups: 2 }),
    output: { low: -200, high: 300 },
  },
  {
    name: '1x1 with the largest sums',
    size: 4,
    kernel: [1, 1, 64, 16],
    window: convWindow(),
    input: { low: 0, high: 2 },
    output: { low: 0, high: 150 },
    extreme: true,
  },
];

function drawCase({ size, kernel, window, extreme = false }: ConvCase) {
  const [, , perGroup, filters] = kernel as [number, number, number, number];
  const shape = [2, size, size, perGroup * window.groups];
  const weights = drawn(kernel, 'kernel');
  // Filters of very different sizes.
  weights.data.forEach((value, i) => {
    weights.data[i] = extreme ? 1 : value * 4 ** ((i % filters) % 3);
  });
  const x = drawn(shape, 'pictures');
  return { shape, weights, bias: drawn([filters], 'bias'), x: extreme ? float32(shape, x.data.fill(2)) : x };
}

describe('a convolution on integers is bit for bit what integers say', () => {
  it.each(cases)('$name', async (given) => {
    const { kernel, window, rectify } = given;
    const { input = { low: -3, high: 3 }, output = { low: -20, high: 30 } } = given;
    const { shape, weights, bias, x } = drawCase(given);
    const image = o.input('x', [-1, ...shape.slice(1)]);
    const sum = o.add(o.conv2d(image, o.constant(weights), window), o.constant(bias));
    const y = rectify === undefined ? sum : rectify === 'relu' ? o.relu(sum) : o.min(6, o.relu(sum));
    const means = drawn([shape[3]!], 'means').data;
    const ranges = new Map([
      [image, { ...input, means }],
      [y, { ...output, means }],
    ]);
    const units = findUnits([y]);
    expect([...units.keys()]).toEqual([y]);
    const graph = { outputs: { y }, units, ranges };
    const models = [false, true].map((tiles) => emitQuantized({ ...graph, tiles }));
    expect(models.map(shifted)).toEqual([0, given.tiles ? 1 : 0]);
    const [result, tiled] = [(await run(models[0]!, x))['y']!, (await run(models[1]!, x))['y']!];

    const from = quantizationOf(input);
    const low = rectify ? 0 : output.low;
    const to = quantizationOf({ low, high: rectify === 'relu6' ? 6 : output.high });
    const map = { ...from, shape, data: quantize(x.data as Float32Array, from) };
    const yShape = [2, ...y.shape.slice(1)];
    const expected = integerConvolution(
      map,
      quantizeKernel(weights, bias.data, { ...from, groups: window.groups, means }),
      window,
      {
        ...to,
        shape: yShape,
      },
    );
    expect(new Set(expected).size, 'the case says something').toBeGreaterThan(given.extreme ? 0 : 20);
    expect(result).toEqual(float32(yShape, dequantize(expected, to)));
    expect(tiled).toEqual(result);
    expect(kernel[3]).toBe(result.shape[3]);
  });

  it('of which one comes close to what 16 bits hold', () => {
    const { weights, bias, shape } = drawCase(cases.at(-1)!);
    const { weights: q } = quantizeKernel(weights, bias.data, { scale: 2 / 255 });
    expect(255 * (q.data[0]! + q.data[1]!)).toBeGreaterThan(32_000);
    expect(shape[3]! * 255 * q.data[0]!).toBeGreaterThan(1e6);
  });
});

/** A network with everything that runs on integers. */
function network(x: Node): Node {
  const conv = (from: Node, filters: number, purpose: string, size: number, window = convWindow()) =>
    o.conv2d(from, drawnConstant([size, size, from.shape[3]! / window.groups, filters], purpose), window);
  const same = convWindow({ pads: [1, 1, 1, 1] });
  const stem = o.relu(batchNorm(conv(x, 16, 'stem', 3, same), 'stem'));
  const pooled = o.maxPool(stem, poolWindow([3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] }));
  const deep = o.relu(batchNorm(conv(pooled, 16, 'deep', 3, { ...same, groups: 16 }), 'deep'));
  const block = o.relu(o.add(batchNorm(conv(deep, 16, 'back', 1), 'back'), pooled));
  const joined = o.concat([block, conv(block, 8, 'branch', 1)], 3);
  const averaged = o.averagePool(joined, poolWindow([2, 2], { strides: [2, 2] }));
  const swished = o.mul(averaged, o.sigmoid(averaged));
  // The values may be negative, so the zeros count in the maximum.
  const padded = o.pad(conv(swished, 8, 'last', 1), [0, 1, 0, 0], [0, 0, 1, 0]);
  const largest = o.maxPool(padded, poolWindow([2, 2], {}));
  return o.mean(conv(largest, 8, 'end', 2), [1, 2]);
}

describe('a network on integers', () => {
  const x = o.input('x', [-1, 12, 12, 3]);
  const outputs = { y: foldFrozen([network(x)])[0]! };
  const pictures = drawn([8, 12, 12, 3], 'pictures');
  const calibrated = async () => {
    const quantization = new Quantization(outputs);
    quantization.observe(await run(quantization.observation(), pictures));
    return quantization;
  };

  it('runs every convolution, addition and pooling on integers', async () => {
    const quantization = await calibrated();
    const types = operations(quantization.model(quantization.ranges()));
    const count = (type: string) => types.filter((other) => other === type).length;
    expect(['Conv', 'MaxPool', 'AveragePool', 'Add', 'Concat', 'Relu'].map(count)).toEqual([
      0, 0, 0, 0, 0, 0,
    ]);
    expect(['QLinearConv', 'QLinearAdd', 'QLinearConcat'].map(count)).toEqual([6, 1, 1]);
    expect(['NhwcMaxPool', 'QLinearAveragePool', 'Pad'].map(count)).toEqual([2, 1, 1]);
    expect(['QuantizeLinear', 'DequantizeLinear'].map(count), 'at the picture and at the swish').toEqual([
      2, 2,
    ]);
  });

  it('gives nearly what it gives in float32', async () => {
    const quantization = await calibrated();
    const { y } = await run(quantization.model(quantization.ranges()), pictures);
    const [expected] = evaluate([outputs.y], { x: toValue(pictures) });
    const mean = expected!.data.reduce((total, value) => total + value, 0) / expected!.data.length;
    const spread = expected!.data.reduce((total, value) => total + (value - mean) ** 2, 0);
    const noise = expected!.data.reduce((total, value, i) => total + (value - Number(y!.data[i])) ** 2, 0);
    expect(noise / spread).toBeLessThan(1.5e-2);
    expect(noise / spread, 'it is no float32').toBeGreaterThan(1e-7);
  });

  it('has the same ranges whatever the batches were', async () => {
    const quantization = new Quantization(outputs);
    const session = await engine.load(quantization.observation());
    for (const [start, end] of [
      [0, 3],
      [3, 8],
    ] as const) {
      const rows = pictures.data.slice(start * 432, end * 432);
      quantization.observe(await session.run({ x: float32([end - start, 12, 12, 3], rows) }));
    }
    await session.release();
    expect(quantization.ranges()).toEqual((await calibrated()).ranges());
  });

  it('keeps an output that lies inside a convolution with its rectifier', async () => {
    const sum = o.conv2d(x, drawnConstant([3, 3, 3, 8], 'kernel'), convWindow());
    const quantization = new Quantization({ sum, y: o.relu(sum) });
    quantization.observe(await run(quantization.observation(), pictures));
    const results = await run(quantization.model(quantization.ranges()), pictures);
    expect(results['y']!.data).toEqual(
      (results['sum']!.data as Float32Array).map((value) => Math.max(value, 0)),
    );
    expect(Math.min(...(results['sum']!.data as Float32Array))).toBeLessThan(-1);
  });

  it('leaves mixtures of colours in float32', () => {
    const mixed = o.conv2d(x, drawnConstant([1, 1, 3, 3], 'colours'), convWindow());
    expect([...findUnits([mixed]).keys()]).toEqual([]);
  });

  it('leaves a trainable kernel in float32', () => {
    const map = o.conv2d(x, o.input('kernel', [3, 3, 3, 8]), convWindow());
    expect([...findUnits([map]).keys()]).toEqual([]);
  });
});
