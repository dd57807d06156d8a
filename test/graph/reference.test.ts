/** What everything else is compared with, compared with arithmetic done by hand. */
import { describe, expect, it } from 'vitest';
import { float32, tensor } from '../../src/core/tensor.ts';
import type { Node, SampleAttributes, Shape } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue, type Value } from '../../src/graph/reference.ts';
import { convWindow, poolWindow } from '../support/operation_cases.ts';

/** A constant from plain numbers. */
const given = (shape: readonly number[], values: readonly number[]): Node =>
  o.constant(float32(shape, values));

function valuesOf(node: Node): number[] {
  return [...evaluate([node], {})[0]!.data];
}

const counting = (length: number): number[] => Array.from({ length }, (_, i) => i + 1);

describe('convolution', () => {
  // 1 2 3
  // 4 5 6
  const x = given([1, 2, 3, 1], counting(6));
  const kernel = given([2, 2, 1, 1], [1, 10, 100, 1000]);

  it('is a correlation: the kernel is not flipped', () => {
    expect(valuesOf(o.conv2d(x, kernel, convWindow()))).toEqual([5421, 6532]);
  });

  it('pads top, left, bottom and right by their own amounts', () => {
    const top = valuesOf(o.conv2d(x, kernel, convWindow({ pads: [1, 0, 0, 0] })));
    expect(top).toEqual([2100, 3200, 5421, 6532]);
    const left = valuesOf(o.conv2d(x, kernel, convWindow({ pads: [0, 1, 0, 0] })));
    expect(left).toEqual([4010, 5421, 6532]);
    const bottom = valuesOf(o.conv2d(x, kernel, convWindow({ pads: [0, 0, 1, 0] })));
    expect(bottom).toEqual([5421, 6532, 54, 65]);
    const right = valuesOf(o.conv2d(x, kernel, convWindow({ pads: [0, 0, 0, 1] })));
    expect(right).toEqual([5421, 6532, 603]);
  });

  it('steps by its strides, each along its own axis', () => {
    expect(valuesOf(o.conv2d(x, kernel, convWindow({ strides: [1, 2], pads: [0, 0, 0, 1] })))).toEqual([
      5421, 603,
    ]);
    expect(valuesOf(o.conv2d(x, kernel, convWindow({ strides: [2, 1], pads: [0, 0, 1, 0] })))).toEqual([
      5421, 6532,
    ]);
  });

  it('spreads its window by the dilations', () => {
    expect(valuesOf(o.conv2d(x, kernel, convWindow({ dilations: [1, 2] })))).toEqual([1 + 30 + 400 + 6000]);
  });

  it('sums over input channels and lays the filters last', () => {
    const two = given([1, 1, 1, 2], [3, 5]);
    // kernel[0][0] = [[1, 2, 3], [10, 20, 30]]: input channel by filter
    const filters = given([1, 1, 2, 3], [1, 2, 3, 10, 20, 30]);
    expect(valuesOf(o.conv2d(two, filters, convWindow()))).toEqual([53, 106, 159]);
  });

  it('gives each group its own channels and filters', () => {
    const four = given([1, 1, 1, 4], [1, 2, 3, 4]);
    const filters = given([1, 1, 2, 2], [1, 10, 100, 1000]);
    // filter 0 sees channels 0, 1; filter 1 sees channels 2, 3
    expect(valuesOf(o.conv2d(four, filters, convWindow({ groups: 2 })))).toEqual([1 + 200, 30 + 4000]);
  });

  it('of one position and strides is the same as a slice and a convolution', () => {
    const pointwise = given([1, 1, 1, 2], [1, -1]);
    expect(valuesOf(o.conv2d(x, pointwise, convWindow({ strides: [2, 2] })))).toEqual([1, -1, 3, -3]);
  });
});

describe('pooling', () => {
  // 1 2 3
  // 4 5 6
  // 7 8 9
  const x = given([1, 3, 3, 1], counting(9));
  const window = poolWindow([2, 2], { strides: [2, 2], pads: [1, 1, 0, 0] });

  it('averages over what is inside the map', () => {
    expect(valuesOf(o.averagePool(x, window))).toEqual([1, 2.5, 5.5, 7]);
  });

  it('never takes padding for a maximum', () => {
    const negative = o.neg(x);
    expect(valuesOf(o.maxPool(negative, window))).toEqual([-1, -2, -4, -5]);
    expect(valuesOf(o.maxPool(x, window))).toEqual([1, 3, 7, 9]);
  });

  it('keeps channels apart', () => {
    const two = given([1, 2, 1, 2], [1, 40, 3, 20]);
    expect(valuesOf(o.maxPool(two, poolWindow([2, 1], {})))).toEqual([3, 40]);
    expect(valuesOf(o.averagePool(two, poolWindow([2, 1], {})))).toEqual([2, 30]);
  });
});

describe('resizing has half-pixel centres', () => {
  const row = given([1, 1, 4, 1], [0, 10, 20, 40]);

  it('when it enlarges', () => {
    // Output i looks at i/2 - 1/4: -0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25; the borders are repeated.
    expect(valuesOf(o.resize(row, [1, 8], 'bilinear'))).toEqual([0, 2.5, 7.5, 12.5, 17.5, 25, 35, 40]);
    expect(valuesOf(o.resize(row, [1, 8], 'nearest'))).toEqual([0, 0, 10, 10, 20, 20, 40, 40]);
  });

  it('when it reduces, without antialiasing', () => {
    // Output i looks at 2i + 1/2: halfway between neighbours; nearest takes the upper one.
    expect(valuesOf(o.resize(row, [1, 2], 'bilinear'))).toEqual([5, 30]);
    expect(valuesOf(o.resize(row, [1, 2], 'nearest'))).toEqual([10, 40]);
    // A quarter: output 0 looks at 1.5 and sees two values only.
    expect(valuesOf(o.resize(row, [1, 1], 'bilinear'))).toEqual([15]);
    expect(valuesOf(o.resize(row, [1, 1], 'nearest'))).toEqual([20]);
  });

  it('along both axes', () => {
    const x = given([1, 2, 2, 1], [0, 8, 16, 24]);
    const rows = [0, 2, 6, 8].map((value) => [0, 4, 12, 16].map((down) => value + down));
    const expected = [0, 1, 2, 3].flatMap((i) => rows.map((column) => column[i]!));
    expect(valuesOf(o.resize(x, [4, 4], 'bilinear'))).toEqual(expected);
  });
});

describe('moving data', () => {
  const x = given([5], counting(5));

  it('slices with a step', () => {
    expect(valuesOf(o.slice(x, [{ axis: 0, start: 1, end: 5, step: 2 }]))).toEqual([2, 4]);
    expect(valuesOf(o.slice(x, [{ axis: 0, start: 0, end: 5, step: 2 }]))).toEqual([1, 3, 5]);
  });

  it('pads before, after and between', () => {
    const padded = o.pad(given([3], [1, 2, 3]), [1], [2], { interior: [2], value: 9 });
    expect(valuesOf(padded)).toEqual([9, 1, 9, 9, 2, 9, 9, 3, 9, 9]);
  });

  it('pads the rows of a matrix apart from its columns', () => {
    const padded = o.pad(given([2, 2], counting(4)), [0, 1], [1, 0], { interior: [1, 0] });
    expect(valuesOf(padded)).toEqual([0, 1, 2, 0, 0, 0, 0, 3, 4, 0, 0, 0]);
  });

  it('transposes', () => {
    const cube = given([2, 1, 3], counting(6));
    expect(valuesOf(o.transpose(cube, [2, 0, 1]))).toEqual([1, 4, 2, 5, 3, 6]);
  });

  it('concatenates along any axis', () => {
    const [a, b] = [given([2, 1], [1, 2]), given([2, 2], [3, 4, 5, 6])];
    expect(valuesOf(o.concat([a, b], 1))).toEqual([1, 3, 4, 2, 5, 6]);
  });
});

describe('matrix products', () => {
  const a = given([2, 3], counting(6));

  it('multiply rows by columns', () => {
    expect(valuesOf(o.matmul(a, given([3, 2], counting(6))))).toEqual([22, 28, 49, 64]);
    expect(valuesOf(o.matmul(a, a, { transposeB: true }))).toEqual([14, 32, 32, 77]);
    expect(valuesOf(o.matmul(a, a, { transposeA: true }))).toEqual([17, 22, 27, 22, 29, 36, 27, 36, 45]);
  });

  it('broadcast their leading axes', () => {
    const left = given([2, 1, 1, 2], [1, 2, 3, 4]);
    const right = given([1, 2, 2, 1], [10, 1, 100, 1000]);
    const product = o.matmul(left, right);
    expect(product.shape).toEqual([2, 2, 1, 1]);
    expect(valuesOf(product)).toEqual([12, 2100, 34, 4300]);
  });
});

describe('numbers', () => {
  it('of erf agree with tables to 1e-12', () => {
    // Abramowitz and Stegun 7.1 extended with mpmath's erf, 20 digits.
    const table: readonly (readonly [number, number])[] = [
      [0.01, 0.011283415555849618],
      [0.1, 0.1124629160182849],
      [0.5, 0.5204998778130465],
      [1, 0.8427007929497149],
      [1.5, 0.9661051464753108],
      [2, 0.9953222650189527],
      [2.5, 0.999593047982555],
      [3, 0.9999779095030014],
      [3.5, 0.9999992569016276],
      [4, 0.9999999845827421],
    ];
    const x = o.input('x', [table.length * 2]);
    const points = table.map(([at]) => at);
    const data = Float64Array.from([...points, ...points.map((at) => -at)]);
    const [result] = evaluate([o.erf(x)], { x: { shape: [data.length], data } });
    table.forEach(([, expected], i) => {
      expect(Math.abs(result!.data[i]! - expected)).toBeLessThan(1e-12);
      expect(result!.data[i + table.length]).toBe(-result!.data[i]!);
    });
    expect(valuesOf(o.erf(o.scalar(0)))).toEqual([0]);
  });

  it('of erf have no jump where the formula changes', () => {
    const x = o.input('x', [2]);
    const data = Float64Array.of(2 - 2 ** -52, 2);
    const [below, above] = evaluate([o.erf(x)], { x: { shape: [2], data } })[0]!.data;
    expect(Math.abs(above! - below!)).toBeLessThan(2e-15);
  });

  it('of a cast to whole numbers are cut towards zero', () => {
    expect(valuesOf(o.cast(given([4], [1.9, -1.9, 0.5, -0.5]), 'int32'))).toEqual([1, -1, 0, -0]);
  });

  it('name the first of several maxima', () => {
    expect(valuesOf(o.argMax(given([2, 4], [1, 3, 3, 0, 5, 5, 5, 5]), 1))).toEqual([1, 0]);
    expect(valuesOf(o.argMax(given([3, 2], [1, 9, 4, 2, 4, 9]), 0))).toEqual([1, 0]);
  });

  it('count elements along axes, the batch included', () => {
    const x = o.input('x', [-2, 3]);
    const feeds = { x: toValue(tensor('float32', [8, 3])) };
    expect([...evaluate([o.count(x, [0]), o.count(x)], feeds)].map(({ data }) => data[0])).toEqual([8, 24]);
    expect(o.count(x, [1]).op).toBe('constant');
  });

  it('reduce along the axes that are named', () => {
    const x = given([2, 3], counting(6));
    expect(valuesOf(o.sum(x, [0]))).toEqual([5, 7, 9]);
    expect(valuesOf(o.sum(x, [1]))).toEqual([6, 15]);
    expect(valuesOf(o.reduceMax(o.neg(x), [0]))).toEqual([-1, -2, -3]);
    expect(valuesOf(o.mean(o.constant(float32([2, 2], counting(4)))))).toEqual([2.5]);
  });

  it('of a softmax survive large inputs', () => {
    const x = given([1, 3], [1000, 1000, -1000]);
    expect(valuesOf(o.softmax(x))).toEqual([0.5, 0.5, 0]);
    expect(valuesOf(o.logSoftmax(x))).toEqual([-Math.LN2, -Math.LN2, -2000 - Math.LN2]);
  });

  it('of one-hot rows mark the class', () => {
    const ids = o.constant(tensor('int32', [2], Int32Array.of(2, 0)));
    expect(valuesOf(o.oneHot(ids, 3))).toEqual([0, 0, 1, 1, 0, 0]);
  });
});

describe('evaluate', () => {
  const x = o.input('x', [-1, 2]);
  const fed: Value = { shape: [3, 2], data: Float64Array.from(counting(6)) };

  it('takes the batch from what is fed', () => {
    expect(evaluate([o.sum(x, [1])], { x: fed })[0]).toEqual({ shape: [3], data: Float64Array.of(3, 7, 11) });
  });

  it('says which input was not fed', () => {
    expect(() => evaluate([x], {}, 3)).toThrow('Input x was not fed.');
    expect(() => evaluate([o.add(x, o.input('y', [2]))], { x: fed })).toThrow('Input y was not fed.');
  });

  it('says what shape an input needs', () => {
    expect(() => evaluate([x], { x: fed }, 2)).toThrow('Input x needs shape [2,2], got [3,2].');
  });

  it('does not guess a batch', () => {
    expect(() => evaluate([o.expand(o.scalar(1), [-1, 2])], {})).toThrow(
      'Shapes contain the batch, but no fed input tells its size: pass it to evaluate.',
    );
  });
});

describe('shape rules refuse', () => {
  const map = o.input('map', [-1, 4, 4, 3]);
  const matrix = o.input('matrix', [-1, 3]);
  const ids = o.input('ids', [-1], 'int32');

  const refusals: readonly (readonly [string, () => Node, string])[] = [
    [
      'shapes that do not broadcast',
      () => o.add(matrix, o.input('y', [-1, 4])),
      'Shapes [N, 3] and [N, 4] do not broadcast.',
    ],
    [
      'a batch beside a number',
      () => o.mul(matrix, o.input('y', [5, 3])),
      'Shapes [N, 3] and [5, 3] do not broadcast.',
    ],
    [
      'positions beside a batch',
      () => o.add(o.input('a', [-49, 3]), matrix),
      'Shapes [49N, 3] and [N, 3] do not broadcast.',
    ],
    ['arithmetic on whole numbers', () => o.add(ids, ids), 'add works on float32, got int32; cast first.'],
    ['a function of whole numbers', () => o.exp(ids), 'exp works on float32, got int32; cast first.'],
    [
      'operands of two dtypes',
      () => o.equal(ids, o.input('y', [-1])),
      'equal needs operands of one dtype, got int32 and float32.',
    ],
    [
      'a condition that is no bool',
      () => o.select(matrix, matrix, 0),
      'select needs a bool condition, got float32.',
    ],
    ['an axis that is not there', () => o.sum(matrix, [2]), 'Axis 2 is outside of shape [N, 3].'],
    [
      'a reshape to another size',
      () => o.reshape(matrix, [-1, 4]),
      'Cannot reshape [N, 3] to [N, 4]: the sizes differ.',
    ],
    [
      'a reshape that loses the batch',
      () => o.reshape(matrix, [3, 1]),
      'Cannot reshape [N, 3] to [3, 1]: the sizes differ.',
    ],
    [
      'the batch twice in a shape',
      () => o.reshape(o.input('a', [-1, -1]), [-1, 4]),
      'Shape [N, N] contains the batch more than once.',
    ],
    [
      'an order that is no permutation',
      () => o.transpose(matrix, [0, 0]),
      'Order [0, 0] does not permute the axes of [N, 3].',
    ],
    ['an expansion that would shrink', () => o.expand(matrix, [3]), 'Cannot expand [N, 3] to [3].'],
    [
      'parts of different width',
      () => o.concat([matrix, map], 1),
      'Cannot concatenate [N, 3] and [N, 4, 4, 3] on axis 1.',
    ],
    [
      'a concatenation along the batch',
      () => o.concat([matrix, matrix], 0),
      'Cannot concatenate along the batch, axis 0 of [N, 3].',
    ],
    ['a concatenation of nothing', () => o.concat([], 0), 'concat needs at least one input.'],
    [
      'a slice beyond the end',
      () => o.slice(matrix, [{ axis: 1, start: 1, end: 4 }]),
      'Slice 1:4:1 is outside of axis 1 of [N, 3].',
    ],
    [
      'an empty slice',
      () => o.slice(matrix, [{ axis: 1, start: 2, end: 2 }]),
      'Slice 2:2:1 is outside of axis 1 of [N, 3].',
    ],
    [
      'a product of vectors',
      () => o.matmul(o.input('a', [3]), matrix),
      'matmul needs operands of rank 2 or more.',
    ],
    [
      'inner dimensions that differ',
      () => o.matmul(matrix, o.input('b', [4, 2])),
      'matmul: inner dimensions 3 and 4 of [N, 3] and [4, 2] differ.',
    ],
    [
      'a kernel for other channels',
      () => o.conv2d(map, o.input('k', [3, 3, 4, 8]), convWindow()),
      'conv2d: kernel [3, 3, 4, 8] with 1 group(s) needs 4 input channels and filters divisible by the groups, got input [N, 4, 4, 3].',
    ],
    [
      'a window larger than its map',
      () => o.maxPool(map, poolWindow([5, 5], {})),
      'maxPool: a window of 5x5 does not fit into [N, 4, 4, 3].',
    ],
    [
      'pooling of a matrix',
      () => o.maxPool(matrix, poolWindow([2, 2], {})),
      'maxPool needs an input of rank 4, got shape [N, 3].',
    ],
    [
      'resizing of bytes',
      () => o.resize(o.input('bytes', [-1, 4, 4, 3], 'uint8'), [8, 8], 'nearest'),
      'resize works on float32, got uint8; cast first.',
    ],
    [
      'gather by fractions',
      () => o.gather(o.input('x', [-1, 3]), o.input('indices', [2]), 1),
      'gather needs int32 indices, got float32.',
    ],
    [
      'positions without a pair',
      () =>
        o.gridSample(o.input('x', [-1, 4, 4, 3]), o.input('positions', [-1, 2, 2, 3]), {
          interpolation: 'bilinear',
          padding: 'zeros',
        }),
      'gridSample needs positions [N, height, width, 2] in [N, 4, 4, 3], got [N, 2, 2, 3].',
    ],
    [
      'a constant that no operation takes',
      () => o.constant(tensor('int64', [1])),
      'A constant of dtype int64 has no place in a graph.',
    ],
  ];

  it.each(refusals)('%s', (_name, build, message) => {
    expect(build).toThrow(expect.objectContaining({ code: 'shape', message }));
  });
});

describe('reading between pixels', () => {
  // 1 2
  // 3 4
  const x = given([1, 2, 2, 1], counting(4));
  const at = (positions: readonly (readonly [number, number])[], attributes: SampleAttributes) =>
    valuesOf(o.gridSample(x, given([1, 1, positions.length, 2], positions.flat()), attributes));

  it('weighs the four pixels around a position, x first', () => {
    const values = at(
      [
        [0, 0],
        [1, 0],
        [0.5, 0],
        [0.5, 0.5],
        [0.25, 0.75],
      ],
      { interpolation: 'bilinear', padding: 'zeros' },
    );
    // 1 + 0.25 · 1 + 0.75 · 2
    expect(values).toEqual([1, 2, 1.5, 2.5, 2.75]);
  });

  it.each([
    ['zeros', [0.5, 0, 0, 0, 1]],
    ['border', [1, 1, 1, 1, 2]],
    // … 2 1 | 1 2 | 2 1 …
    ['reflection', [1, 1, 2, 1.5, 2]],
  ] as const)('fills what lies outside: %s', (padding, expected) => {
    const positions = [-0.5, -1, -2, -1.5, 1.5].map((place) => [place, 0] as const);
    expect(at(positions, { interpolation: 'bilinear', padding })).toEqual(expected);
  });

  it('takes the nearest pixel', () => {
    const values = at(
      [
        [0.4, 0.6],
        [0.6, 0.4],
        [-0.6, 0],
      ],
      { interpolation: 'nearest', padding: 'zeros' },
    );
    expect(values).toEqual([3, 2, 0]);
  });
});

it('gather takes positions of an axis in the order of the indices', () => {
  const x = given([2, 3], counting(6));
  const take = (axis: number, ...indices: number[]) =>
    valuesOf(o.gather(x, o.constant(tensor('int32', [indices.length], Int32Array.from(indices))), axis));
  expect(take(0, 1, 0, 1)).toEqual([4, 5, 6, 1, 2, 3, 4, 5, 6]);
  expect(take(1, 2, 0)).toEqual([3, 1, 6, 4]);
});

describe('shapes with a batch', () => {
  const cases: readonly (readonly [string, Node, Shape])[] = [
    [
      'a product over the batch has none',
      o.matmul(o.input('a', [-49, 3]), o.input('b', [-49, 5]), { transposeA: true }),
      [3, 5],
    ],
    [
      'a batch of maps becomes a matrix of positions',
      o.reshape(o.input('x', [-1, 7, 7, 512]), [-49, 512]),
      [-49, 512],
    ],
    ['a reduction over the batch has none', o.sum(o.input('x', [-1, 7]), [0]), [7]],
  ];
  it.each(cases)('%s', (_name, node, shape) => {
    expect(node.shape).toEqual(shape);
  });
});
