/** Which values are looked at to choose ranges: those at the border too, which padding makes unlike the others. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf, float32, type Tensor } from '../../src/core/tensor.ts';
import type { Node } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { partUpTo } from '../../src/onnx/inspect.ts';
import { attributeProto } from '../../src/onnx/proto.ts';
import { Quantization, type ValueRange } from '../../src/quantize/index.ts';
import { Engine } from '../../src/runtime/engine.node.ts';
import { convWindow } from '../support/operation_cases.ts';

let engine: Engine;
beforeAll(() => {
  engine = Engine.start({ threads: 2 });
});
afterAll(() => engine.close());

/** Not every position of a map of this size is looked at. */
const size = 24;
const x = o.input('x', [-1, size, size, 3]);

async function ranges(y: Node, pictures: Tensor): Promise<readonly ValueRange[]> {
  const quantization = new Quantization({ y });
  const session = await engine.load(quantization.observation());
  quantization.observe(await session.run({ x: pictures }));
  await session.release();
  return quantization.ranges();
}

/** A convolution of a foreign file, with a padding of one. */
function foreign(kernel: Tensor): Node {
  const value = (name: string, dims: readonly (number | string)[]) => {
    const dim = dims.map((each) => (typeof each === 'string' ? { dimParam: each } : { dimValue: each }));
    return { name, type: { tensorType: { elemType: 1, shape: { dim } } } };
  };
  const node = {
    ...{ opType: 'Conv', name: '', input: ['image', 'w'], output: ['y'] },
    attribute: [attributeProto('pads', [1, 1, 1, 1])],
  };
  const w = { name: 'w', dims: [...kernel.shape], dataType: 1, rawData: bytesOf(kernel) };
  const ends = { input: [value('image', ['n', 3, size, size])], output: [value('y', ['n', 1, size, size])] };
  const file = {
    ...{ irVersion: 8, producerName: 'test', metadataProps: [], opsetImport: [{ domain: '', version: 17 }] },
    graph: { name: 'one', ...ends, node: [node], initializer: [w] },
  };
  return o.foreign(x, partUpTo(file, 'y'), [-1, size, size, 1]);
}

describe('a range holds what padding makes of a constant picture', () => {
  const ones = float32([2, size, size, 3], new Float32Array(2 * size * size * 3).fill(1));
  /** Twice a value less its neighbour: 0 inside, and 2 where the neighbour is padding. */
  const difference = (neighbour: number) => {
    const taps = new Float32Array(9);
    taps[4] = 2;
    taps[neighbour] = -2;
    return taps;
  };
  const borders = [
    { border: 'top', neighbour: 1 },
    { border: 'left', neighbour: 3 },
    { border: 'right', neighbour: 5 },
    { border: 'bottom', neighbour: 7 },
  ];

  it.each(borders)('at the $border', async ({ neighbour }) => {
    const kernel = float32([3, 3, 3, 1], new Float32Array(27));
    difference(neighbour).forEach((tap, i) => {
      kernel.data[3 * i] = tap;
    });
    const y = o.conv2d(x, o.constant(kernel), convWindow({ pads: [1, 1, 1, 1] }));
    const [, range] = await ranges(y, ones);
    expect(range).toMatchObject({ low: 0, high: 2 });
  });

  it.each(borders)('at the $border of a foreign map', async ({ neighbour }) => {
    const kernel = float32([1, 3, 3, 3], new Float32Array(27));
    kernel.data.set(difference(neighbour));
    const [, range] = await ranges(foreign(kernel), ones);
    expect(range).toMatchObject({ low: 0, high: 2 });
  });
});
