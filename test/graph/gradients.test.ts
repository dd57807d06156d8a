import { describe, expect, it } from 'vitest';
import { float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import { type Node, topologicalOrder } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue, type Value } from '../../src/graph/reference.ts';
import { weightedSum, weightsFor } from '../support/loss.ts';
import { allCases, buildCase, poolWindow } from '../support/operation_cases.ts';

type Feeds = Readonly<Record<string, Value>>;

const relativeTolerance = 1e-6;

function valuesOf(tensors: Readonly<Record<string, Tensor>>): Feeds {
  return Object.fromEntries(Object.entries(tensors).map(([name, value]) => [name, toValue(value)]));
}

function nameOf(node: Node): string {
  return node.op === 'input' ? node.attributes.name : expect.fail(`a ${node.op} is not an input`);
}

/** dLoss/dx for one element, by central differences of the reference. */
function slope(loss: Node, feeds: Feeds, name: string, element: number): number {
  const step = 1e-4;
  const at = (offset: number) => {
    const { shape, data } = feeds[name]!;
    const moved = data.slice();
    moved[element]! += offset;
    return evaluate([loss], { ...feeds, [name]: { shape, data: moved } })[0]!.data[0]!;
  };
  return (at(step) - at(-step)) / (2 * step);
}

/** Up to `most` elements spread over an array, the first and the last among them. */
function elements(length: number, most: number): number[] {
  if (length <= most) return Array.from({ length }, (_, i) => i);
  return Array.from({ length: most }, (_, i) => Math.round((i * (length - 1)) / (most - 1)));
}

/** Compares the written gradients of a loss with central differences, for each of `targets`. */
function checkGradients(loss: Node, targets: readonly Node[], feeds: Feeds): void {
  const gradients = evaluate(differentiate(loss, targets), feeds, 2);
  const products = topologicalOrder([loss]).some(({ op }) => op.startsWith('conv2d'));
  targets.forEach((target, i) => {
    const { shape, data } = gradients[i]!;
    const name = nameOf(target);
    expect(shape, `shape of the gradient of ${name}`).toEqual(feeds[name]!.shape);
    const scale = Math.max(1, ...data.map(Math.abs));
    for (const element of elements(data.length, products && data.length > 500 ? 12 : 60)) {
      const numeric = slope(loss, feeds, name, element);
      const error = Math.abs(numeric - data[element]!) / scale;
      expect(
        error,
        `element ${element} of ${name}: ${data[element]} written, ${numeric} measured`,
      ).toBeLessThan(relativeTolerance);
    }
  });
}

describe('every gradient equals central differences', () => {
  for (const { op, operationCase } of allCases) {
    it(`${op} ${operationCase.name}`, () => {
      const built = buildCase(op, operationCase);
      const loss = weightedSum(built.value);
      const feeds = valuesOf({ ...built.feeds(2), ...weightsFor(built.value, 2) });
      const targets = built.targets;
      if (operationCase.refused !== undefined) {
        expect(() => differentiate(loss, built.inputs)).toThrow(operationCase.refused);
      }
      if (op !== 'stopGradient') return checkGradients(loss, targets, feeds);
      for (const { data } of evaluate(differentiate(loss, targets), feeds, 2)) {
        expect(data).toEqual(new Float64Array(data.length));
      }
    });
  }
});

describe('gradients through several operations', () => {
  const x = o.input('x', [-1, 3]);
  const feeds = { x: toValue(float32([2, 3], [0.5, -1, 2, 0.25, 1.5, -0.75])) };

  it('add up where a value is used twice', () => {
    checkGradients(o.sum(o.add(o.mul(x, o.exp(x)), o.tanh(x))), [x], feeds);
  });

  it.each([
    [
      'in order',
      [
        [0, 1],
        [1, 2],
        [2, 3],
      ],
    ],
    [
      'in another order',
      [
        [1, 2],
        [0, 1],
        [2, 3],
      ],
    ],
    [
      'that overlap',
      [
        [0, 2],
        [1, 3],
      ],
    ],
    [
      'with a gap',
      [
        [0, 1],
        [2, 3],
      ],
    ],
    [
      'of which one is taken twice',
      [
        [0, 1],
        [1, 3],
        [0, 1],
      ],
    ],
  ])('are right for slices %s', (_name, ranges) => {
    const parts = ranges.map(([start = 0, end = 0], i) =>
      o.sum(o.mul(o.exp(o.slice(x, [{ axis: 1, start, end }])), i + 1)),
    );
    checkGradients(
      parts.reduce((total, part) => o.add(total, part)),
      [x],
      feeds,
    );
  });

  it('of slices that make up a value are put side by side', () => {
    const parts = [0, 1, 2].map((start) => o.sum(o.exp(o.slice(x, [{ axis: 1, start, end: start + 1 }]))));
    const [gradient] = differentiate(
      parts.reduce((total, part) => o.add(total, part)),
      [x],
    );
    expect(gradient!.op).toBe('concat');
    expect(gradient!.inputs).toHaveLength(3);
  });

  it('add up where a value meets a reduction of itself', () => {
    const loss = o.sum(o.square(o.sub(x, o.mean(x, [0], true))));
    checkGradients(loss, [x], feeds);
  });

  it('are right for the log of a softmax', () => {
    const loss = o.neg(o.sum(o.mul(o.logSoftmax(x), o.constant(float32([3], [0.2, 0.5, 0.3])))));
    checkGradients(loss, [x], feeds);
  });

  it('are right for a softmax', () => {
    const loss = o.sum(o.mul(o.softmax(x), o.constant(float32([3], [1, -2, 3]))));
    checkGradients(loss, [x], feeds);
  });

  it('are right for a gradient of a gradient', () => {
    const [first] = differentiate(o.sum(o.mul(o.exp(x), o.tanh(x))), [x]);
    checkGradients(o.sum(o.square(first!)), [x], feeds);
  });

  it('are undone for each way of broadcasting at once', () => {
    const row = o.input('row', [1, 3]);
    const vector = o.input('vector', [3]);
    const one = o.input('one', []);
    const loss = o.sum(o.square(o.add(o.mul(o.add(x, row), vector), one)));
    checkGradients(loss, [x, row, vector, one], {
      ...feeds,
      row: toValue(float32([1, 3], [1, 2, 3])),
      vector: toValue(float32([3], [-1, 0.5, 2])),
      one: toValue(float32([], [0.3])),
    });
  });

  it('stop at stopGradient', () => {
    const [gradient] = differentiate(o.sum(o.mul(o.stopGradient(x), x)), [x]);
    expect(evaluate([gradient!], feeds)[0]!.data).toEqual(feeds.x.data);
  });

  it('reach a value in the middle of the graph', () => {
    const middle = o.square(x);
    const [gradient] = differentiate(o.sum(o.square(middle)), [middle]);
    expect(evaluate([gradient!], feeds)[0]!.data).toEqual(feeds.x.data.map((value) => 2 * value * value));
  });

  it('are zeros for a target that the loss does not depend on', () => {
    const other = o.input('other', [2, 2]);
    const [gradient, own] = differentiate(o.sum(x), [other, x]);
    expect(evaluate([gradient!], {})[0]).toEqual({ shape: [2, 2], data: new Float64Array(4) });
    expect(evaluate([own!], feeds, 2)[0]!.data).toEqual(new Float64Array(6).fill(1));
  });

  it('of the loss itself is one', () => {
    const loss = o.sum(x);
    expect(evaluate(differentiate(loss, [loss]), feeds)[0]).toEqual({ shape: [], data: Float64Array.of(1) });
  });

  it('write nothing for a branch without targets', () => {
    const frozen = o.exp(o.input('frozen', [3]));
    const [gradient] = differentiate(o.sum(o.mul(x, frozen)), [x]);
    expect(topologicalOrder([gradient!]).filter(({ op }) => op === 'exp')).toEqual([frozen]);
  });

  it('pass through 20,000 operations', () => {
    let value: Node = x;
    for (let i = 0; i < 20_000; i++) value = o.mul(value, 1.0001);
    const [gradient] = differentiate(o.sum(value), [x]);
    const factor = Math.fround(1.0001) ** 20_000;
    for (const slope of evaluate([gradient!], feeds, 2)[0]!.data) expect(slope / factor).toBeCloseTo(1, 9);
  });

  it('need a scalar', () => {
    expect(() => differentiate(x, [x])).toThrow('Only a scalar can be differentiated, got shape [N, 3].');
  });
});

describe('ties', () => {
  function gradientAt(build: (...inputs: Node[]) => Node, ...values: (readonly number[])[]): number[][] {
    const inputs = values.map((row, i) => o.input(`x${i}`, [row.length]));
    const feeds = Object.fromEntries(values.map((row, i) => [`x${i}`, toValue(float32([row.length], row))]));
    return evaluate(differentiate(o.sum(build(...inputs)), inputs), feeds).map(({ data }) => [...data]);
  }

  it('of max and min go to the first operand', () => {
    expect(gradientAt((a, b) => o.max(a!, b!), [1, 2, 3], [1, 3, 2])).toEqual([
      [1, 0, 1],
      [0, 1, 0],
    ]);
    expect(gradientAt((a, b) => o.min(a!, b!), [1, 2, 3], [1, 3, 2])).toEqual([
      [1, 1, 0],
      [0, 0, 1],
    ]);
  });

  it('of relu at zero have slope zero', () => {
    expect(gradientAt((x) => o.relu(x!), [-1, 0, 1])).toEqual([[0, 0, 1]]);
  });

  it('of a maximum share the gradient', () => {
    expect(gradientAt((x) => o.reduceMax(x!), [2, 5, 5, 1])).toEqual([[0, 0.5, 0.5, 0]]);
  });

  it('of a pooling window go to its first maximum', () => {
    const pooled = (x: Node) =>
      o.maxPool(o.reshape(x, [1, 2, 4, 1]), poolWindow([2, 2], { strides: [2, 2] }));
    expect(gradientAt((x) => pooled(x!), [1, 3, 0, 2, 3, 3, 2, 2])).toEqual([[0, 1, 0, 1, 0, 0, 0, 0]]);
  });

  it('of a window of equal values count each value once', () => {
    const pooled = (x: Node) =>
      o.maxPool(o.reshape(x, [1, 3, 3, 1]), poolWindow([3, 3], { pads: [1, 1, 1, 1] }));
    const [gradient] = gradientAt((x) => pooled(x!), new Array<number>(9).fill(7));
    expect(gradient!.reduce((total, part) => total + part)).toBe(9);
    expect(gradient).toEqual([4, 2, 0, 2, 1, 0, 0, 0, 0]);
  });

  it('between values that are near, but not equal, do not share', () => {
    const near = 1 + 2 ** -23;
    expect(gradientAt((x) => o.reduceMax(x!), [1, near])).toEqual([[0, 1]]);
    expect(gradientAt((a, b) => o.max(a!, b!), [1], [near])).toEqual([[0], [1]]);
  });
});

it('a whole number carries no gradient', () => {
  const x = o.input('x', [-1, 4]);
  const loss = o.sum(o.cast(o.argMax(x, 1), 'float32'));
  const [gradient] = differentiate(loss, [x]);
  const feeds = { x: toValue(tensor('float32', [1, 4])) };
  expect(evaluate([gradient!], feeds, 1)[0]!.data).toEqual(new Float64Array(4));
});
