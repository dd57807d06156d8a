/** Foreign ONNX models on integers: which parts run so, and that they compute what the file computes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toFloat16 } from '../../src/core/float16.ts';
import { bytesOf, float32, type Tensor } from '../../src/core/tensor.ts';
import * as o from '../../src/graph/ops.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { partUpTo } from '../../src/onnx/inspect.ts';
import {
  attributeProto,
  attributeTypes,
  decodeModel,
  encodeModel,
  type NodeProto,
  type TensorProto,
} from '../../src/onnx/proto.ts';
import { readOnnx } from '../../src/onnx/read.node.ts';
import { Quantization, type ValueRange } from '../../src/quantize/index.ts';
import { Engine } from '../../src/runtime/engine.node.ts';
import { drawn, shifted } from './support.ts';

let engine: Engine;
let folder: string;
beforeAll(async () => {
  engine = Engine.start({ threads: 2 });
  folder = await mkdtemp(join(tmpdir(), 'graft-foreign-int8-'));
});
afterAll(async () => {
  await engine.close();
  await rm(folder, { recursive: true });
});

/** Collects the nodes and weights of a model, one after the other. */
class Maker {
  readonly node: NodeProto[] = [];
  readonly initializer: TensorProto[] = [];

  add(
    opType: string,
    input: string,
    output: string,
    attributes: Record<string, number | number[]> = {},
  ): void {
    this.node.push({
      ...{ opType, name: '', input: input.split(' '), output: [output] },
      attribute: Object.entries(attributes).map(([name, value]) => attributeProto(name, value)),
    });
  }

  float(opType: string, input: string, output: string, numbers: Record<string, number>): void {
    this.add(opType, input, output);
    const attribute = Object.entries(numbers).map(([name, f]) => ({ name, type: attributeTypes.float, f }));
    this.node.at(-1)!.attribute.push(...attribute);
  }

  weights(name: string, values: Tensor<'float32'>): void {
    this.initializer.push({ name, dims: [...values.shape], dataType: 1, rawData: bytesOf(values) });
  }

  /** A convolution with a batch norm of its own behind it. */
  conv(x: string, y: string, shape: number[], attributes: Record<string, number | number[]> = {}): void {
    this.weights(`${y}.w`, drawn(shape, y));
    this.add('Conv', `${x} ${y}.w`, `${y}.conv`, attributes);
    this.norm(`${y}.conv`, y, shape[0]!);
  }

  norm(x: string, y: string, channels: number): void {
    const names = ['gamma', 'beta', 'mean', 'variance'].map((name) => `${y}.${name}`);
    for (const name of names) {
      const values = drawn([channels], name);
      this.weights(
        name,
        name.endsWith('variance')
          ? float32(
              [channels],
              values.data.map((v) => 20 + v * v),
            )
          : values,
      );
    }
    this.add('BatchNormalization', [x, ...names].join(' '), y);
  }
}

/** A small network as others write them, of operator set 9: the batch norms stand alone, a kernel is float16. */
async function network(): Promise<string> {
  const m = new Maker();
  const same = { pads: [1, 1, 1, 1] };
  m.conv('image', 'stem', [16, 3, 3, 3], { ...same, strides: [2, 2] });
  m.float('Clip', 'stem', 'stem6', { min: 0, max: 6 });
  m.conv('stem6', 'deep', [16, 1, 3, 3], { ...same, group: 16 });
  m.float('Clip', 'deep', 'deep6', { min: 0, max: 6 });
  const half = drawn([16, 16, 1, 1], 'half');
  const rawData = new Uint8Array(toFloat16(half.data).buffer);
  m.initializer.push({ name: 'half', dims: [...half.shape], dataType: 10, rawData });
  m.add('Cast', 'half', 'back.w', { to: 1 });
  m.add('Conv', 'deep6 back.w', 'back.conv');
  m.norm('back.conv', 'back', 16);
  m.add('Add', 'stem6 back', 'sum');
  m.add('Relu', 'sum', 'block');
  m.add('MaxPool', 'block', 'pool', { kernel_shape: [2, 2], strides: [2, 2] });
  m.conv('pool', 'branch', [64, 16, 1, 1]);
  m.add('Concat', 'pool branch', 'joined', { axis: 1 });
  m.add('AveragePool', 'joined', 'average', { kernel_shape: [2, 2] });
  // No integers for this one.
  m.float('Selu', 'average', 'selu', {});
  m.conv('selu', 'last', [24, 80, 3, 3]);
  m.add('Relu', 'last', 'map');
  m.add('GlobalAveragePool', 'map', 'mean');
  m.add('Flatten', 'mean', 'vector');
  m.weights('matrix', drawn([10, 24], 'matrix'));
  m.weights('offset', drawn([10], 'offset'));
  m.node.push({
    ...{ opType: 'Gemm', name: '', input: ['vector', 'matrix', 'offset'], output: ['embedding'] },
    attribute: [attributeProto('transB', 1)],
  });
  const shape = { dim: [{ dimParam: 'n' }, ...[3, 16, 16].map((dimValue) => ({ dimValue }))] };
  const value = (name: string, dims: typeof shape | undefined) => ({
    name,
    type: { tensorType: { elemType: 1, ...(dims === undefined ? {} : { shape: dims }) } },
  });
  const path = join(folder, 'network.onnx');
  const graph = { name: 'network', input: [value('image', shape)], output: [value('embedding', undefined)] };
  await writeFile(
    path,
    encodeModel({
      ...{ irVersion: 8, producerName: 'test', metadataProps: [], opsetImport: [{ domain: '', version: 9 }] },
      graph: { ...graph, node: m.node, initializer: m.initializer },
    }),
  );
  return path;
}

const pictures = drawn([32, 16, 16, 3], 'pictures');

async function run(model: Uint8Array): Promise<Record<string, Tensor>> {
  const session = await engine.load(model);
  try {
    return await session.run({ x: pictures });
  } finally {
    await session.release();
  }
}

async function quantized(output: string, shape: readonly number[]) {
  const part = partUpTo(await readOnnx(await network()), output);
  const y = o.foreign(o.input('x', [-1, 16, 16, 3]), part, [-1, ...shape]);
  const quantization = new Quantization({ y });
  quantization.observe(await run(quantization.observation()));
  const model = quantization.model(quantization.ranges());
  return { quantization, expected: (await run(emitModel({ y }))).y!, model, got: (await run(model)).y! };
}

describe('a foreign model on integers', () => {
  it('runs its convolutions, sums, pools and matrices on them, the rest in float32', async () => {
    const { model } = await quantized('embedding', [10]);
    const types = decodeModel(model).graph.node.map(({ opType }) => opType);
    const count = (type: string) => types.filter((other) => other === type).length;
    expect(
      ['Conv', 'BatchNormalization', 'Clip', 'Relu', 'Add', 'Gemm', 'Cast', 'Concat'].map(count),
    ).toEqual([...[0, 0, 0, 0, 0, 0, 0, 0]]);
    expect(
      ['QLinearConv', 'QLinearAdd', 'QLinearConcat', 'QLinearAveragePool', 'MaxPool'].map(count),
    ).toEqual([5, 1, 1, 1, 1]);
    expect(['MatMulIntegerToFloat', 'Selu', 'GlobalAveragePool'].map(count)).toEqual([1, 1, 1]);
    expect(count('QuantizeLinear'), 'the picture, behind Selu, and the vector').toBe(3);
    expect(count('DequantizeLinear'), 'in front of Selu and of the mean').toBe(2);
  });

  it.each([
    ['embedding', [10]],
    ['map', [1, 1, 24]],
    ['sum', [8, 8, 16]],
  ] as const)('gives nearly what it gives in float32: %s', async (output, shape) => {
    const { expected, got } = await quantized(output, shape);
    expect(got.shape).toEqual([32, ...shape]);
    const values = expected.data as Float32Array;
    const mean = values.reduce((total, value) => total + value, 0) / values.length;
    const spread = values.reduce((total, value) => total + (value - mean) ** 2, 0);
    const noise = values.reduce((total, value, i) => total + (value - Number(got.data[i])) ** 2, 0);
    expect(noise / spread).toBeLessThan(1e-2);
    expect(noise / spread, 'it is no float32').toBeGreaterThan(1e-7);
  });

  it('gives the same on a processor that multiplies tiles of integers', async () => {
    const { quantization, model, got } = await quantized('embedding', [10]);
    const tiled = quantization.model(quantization.ranges(), true);
    expect(shifted(tiled), 'the one with 720 products for a value').toBe(1);
    expect(shifted(model)).toBe(0);
    expect((await run(tiled)).y).toEqual(got);
  });

  it('has the ranges of what the file computes', async () => {
    const { quantization } = await quantized('block', [8, 8, 16]);
    const ranges = quantization.ranges();
    // image, stem6, deep6, back, block
    expect(ranges.map(({ means }: ValueRange) => means.length)).toEqual([3, 16, 16, 16, 16]);
    expect(ranges.map(({ low }) => low).map((low) => low < 0)).toEqual([true, false, false, true, false]);
    expect(ranges[1]!.high).toBeLessThanOrEqual(6);
    const block = (await run(emitModel({ block: await float('block', [8, 8, 16]) })))['block']!;
    const values = block.data as Float32Array;
    expect(values.reduce((most, value) => Math.max(most, value))).toBeCloseTo(ranges[4]!.high, 5);
    // Maps of 8x8 are looked at whole.
    for (let c = 0; c < 16; c++) {
      const channel = values.filter((_, i) => i % 16 === c);
      const mean = channel.reduce((total, value) => total + value, 0) / channel.length;
      expect(ranges[4]!.means[c]).toBeCloseTo(mean, 5);
    }
  });
});

async function float(output: string, shape: readonly number[]) {
  const part = partUpTo(await readOnnx(await network()), output);
  return o.foreign(o.input('x', [-1, 16, 16, 3]), part, [-1, ...shape]);
}
