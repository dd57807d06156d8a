/** Several steps in one run of the engine. Expected numbers are counted by hand, in the comments. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { float32, tensor } from '../../src/core/tensor.ts';
import * as o from '../../src/graph/ops.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { Engine } from '../../src/runtime/engine.node.ts';

/** total ← decay · total + the sum of the rows of x; seen: total before, plus offset. */
const step = () => {
  const total = o.input('total', [2]);
  const next = o.add(o.mul(total, o.input('decay', [])), o.sum(o.input('x', [-1, 2]), [0]));
  return { next, seen: o.add(total, o.input('offset', [2])) };
};
const state = { reads: { total: 'sum', offset: 'offset' }, writes: { next: 'sum' } };
const carried = { next: 'total' };

describe('a graph that is repeated', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = Engine.start({ threads: 2 });
    await engine.write({ offset: float32([2], [100, 200]) });
  });
  afterAll(() => engine.close());

  const total = async () => [...(await engine.read(['sum']))['sum']!.data];

  it('hands state from step to step and gathers what each gives', async () => {
    const model = emitModel(step(), { repetition: { feeds: ['x', 'decay'], carried } });
    for (const inPlace of [false, true]) {
      const session = await engine.load(model, { ...state, inPlace });
      await engine.write({ sum: float32([2], [8, 4]) });
      const three = {
        x: float32([3, 2, 2], [1, 0, 1, 2, 3, 3, 0, 0, 5, 6, 7, 8]),
        decay: float32([3], [0.5, 2, 1]),
      };
      const { seen } = await session.run(three);
      // 4 + 2, 2 + 2; 12 + 3, 8 + 3; 15 + 12, 11 + 14.
      expect(seen).toEqual(float32([3, 2], [108, 204, 106, 204, 115, 211]));
      expect(await total()).toEqual([27, 25]);
      // Two steps of one row each, from there: 27 · 0 + 1, 25 · 0 + 2; 1 − 1, 2 − 1.
      const two = { x: float32([2, 1, 2], [1, 2, -1, -1]), decay: float32([2], [0, 1]) };
      expect((await session.run(two))['seen']).toEqual(float32([2, 2], [127, 225, 101, 202]));
      expect(await total()).toEqual([0, 1]);
    }
  });

  it('takes the rows of each step out of those that the engine keeps', async () => {
    const repetition = { feeds: ['positions', 'decay'], carried };
    const session = await engine.load(emitModel(step(), { gathered: ['x'], repetition }), {
      ...state,
      inPlace: true,
    });
    await engine.write({ sum: float32([2], [0, 0]) });
    const plain = await engine.load(emitModel(step()), state);
    const rows = float32([4, 2], [1, 1, 10, 20, 100, 200, 1000, 2000]);
    const set = { set: 'rows', length: 4, inputs: ['x'] };
    await plain.run({ x: rows, decay: float32([], [0]) }, { ...set, indices: [0, 1, 2, 3], steps: 1 });
    await engine.write({ sum: float32([2], [0, 0]) });
    const decay = float32([2], [1, 2]);
    await session.run({ decay }, { ...set, indices: [3, 0, 1, 1], steps: 2 });
    // Rows 3 and 0, then twice that and row 1 twice.
    expect(await total()).toEqual([2022, 4042]);
  });

  it('says which name it does not have', () => {
    const missing = { feeds: ['y'], carried };
    expect(() => emitModel(step(), { repetition: missing })).toThrow('The graph has no "y" to repeat.');
  });

  it('refuses feeds of steps that do not match the state', async () => {
    const model = emitModel(step(), { repetition: { feeds: ['x', 'decay'], carried } });
    const session = await engine.load(model, { ...state, inPlace: true });
    await expect(
      session.run({ x: tensor('float32', [2, 1, 3]), decay: float32([2], [1, 1]) }),
    ).rejects.toMatchObject({
      code: 'shape',
      message: expect.stringContaining('[steps, batch, 2]') as string,
    });
  });
});
