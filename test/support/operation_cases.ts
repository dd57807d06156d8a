/**
 * Small uses of every primitive operation, total over `OpName`: what the gradient tests and the device
 * contract go through. Values are drawn by seed and lie away from kinks and ties; those have tests of their own.
 */

import { Random } from '../../src/core/random.ts';
import { sizeOf, type Tensor, tensor } from '../../src/core/tensor.ts';
import {
  type ConvAttributes,
  type GraphDType,
  type Node,
  type OpName,
  type PoolAttributes,
  resolveShape,
  type Shape,
} from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';

/**
 * How an input is drawn: `normal` numbers; `positive` ones in [0.5, 2.5); `spaced` and `between` ones, which
 * keep 0.05 from each other, from zero and from every value of the other kind; `ids` in 0 … 3; `flags`, 0 or 1.
 */
type Draw = 'normal' | 'positive' | 'spaced' | 'between' | 'ids' | 'flags';

interface CaseInput {
  readonly shape: Shape;
  readonly draw: Draw;
  readonly dtype: GraphDType;
}

export interface OperationCase {
  readonly name: string;
  readonly inputs: readonly CaseInput[];
  /** Builds the value under test. It is called once for each test, with input nodes named x0, x1... */
  readonly build: (...inputs: Node[]) => Node;
  /** Says that there is no gradient: asking for one is an error with this text. */
  readonly refused?: string;
}

const float = (shape: Shape, draw: Draw = 'normal'): CaseInput => ({ shape, draw, dtype: 'float32' });
const ids = (shape: Shape, dtype: GraphDType = 'int32'): CaseInput => ({ shape, draw: 'ids', dtype });
const flags = (shape: Shape): CaseInput => ({ shape, draw: 'flags', dtype: 'bool' });

function drawValue(random: Random, draw: Draw, position: number): number {
  switch (draw) {
    case 'normal':
      return random.normal();
    case 'positive':
      return 0.5 + 2 * random.uniform();
    case 'spaced':
      return 0.1 * position + 0.05;
    case 'between':
      return 0.1 * position;
    case 'ids':
      return random.below(4);
    case 'flags':
      return random.below(2);
  }
}

/** A tensor for a concrete shape, the same for the same seed and purpose. */
export function drawTensor(shape: Shape, dtype: GraphDType, draw: Draw, purpose: string): Tensor {
  const random = new Random(20_151_210, purpose);
  const size = sizeOf(shape);
  const result = tensor(dtype, shape);
  // For the spaced kinds: distinct positions around zero, in random order; zero itself is left out.
  const order = random.permutation(size + 1).filter((position) => position !== size >> 1);
  for (let i = 0; i < size; i++) {
    (result.data as Float32Array)[i] = drawValue(random, draw, order[i]! - (size >> 1));
  }
  return result;
}

/** A case as a graph: its input nodes and its value. */
export interface BuiltCase {
  readonly inputs: readonly Node[];
  /** The inputs with respect to which there is a gradient. */
  readonly targets: readonly Node[];
  readonly value: Node;
  /** Tensors for the inputs at a batch size; another round draws other values. */
  feeds(batch: number, round?: number): Record<string, Tensor>;
}

export function buildCase(op: OpName, { name, inputs, build, refused }: OperationCase): BuiltCase {
  const nodes = inputs.map(({ shape, dtype }, i) => o.input(`x${i}`, shape, dtype));
  return {
    inputs: nodes,
    targets: nodes.filter(({ dtype }) => dtype === 'float32' && refused === undefined),
    value: build(...nodes),
    feeds: (batch, round = 0) =>
      Object.fromEntries(
        inputs.map(({ shape, dtype, draw }, i) => [
          `x${i}`,
          drawTensor(resolveShape(shape, batch), dtype, draw, `${op}/${name}/${i}/${round}`),
        ]),
      ),
  };
}

/** True if some input of the case grows with the batch. */
export function isBatched({ inputs }: OperationCase): boolean {
  return inputs.some(({ shape }) => shape.some((dim) => dim < 0));
}

const fixed = (shape: readonly number[], purpose: string): Node =>
  o.constant(drawTensor(shape, 'float32', 'normal', purpose));

function unaryCases(op: (x: Node) => Node, draw: Draw = 'normal'): OperationCase[] {
  return [
    { name: 'of a batch', inputs: [float([-1, 3], draw)], build: (x) => op(x) },
    { name: 'of a batch of maps', inputs: [float([-1, 2, 3, 5], draw)], build: (x) => op(x) },
    { name: 'of a scalar', inputs: [float([], draw)], build: (x) => op(x) },
    {
      name: 'after a pooling, whose result is channels-first',
      inputs: [float([-1, 4, 4, 5], 'spaced')],
      build: (x) => {
        const pooled = o.maxPool(x, poolWindow([2, 2], { strides: [2, 2] }));
        // Log and square root need a positive operand.
        return op(draw === 'positive' ? o.add(o.mul(pooled, pooled), 0.5) : pooled);
      },
    },
  ];
}

/** Shapes that meet in a binary operation, with the ways in which they broadcast. */
const meetings: readonly (readonly [string, Shape, Shape])[] = [
  ['of equal shapes', [-1, 3], [-1, 3]],
  ['with a scalar', [-1, 3], []],
  ['with a vector along the last axis', [-2, 3], [3]],
  ['with size 1 on the left', [-1, 1, 3], [4, 1]],
  ['with size 1 in the batch', [-1, 2, 2, 5], [1, 2, 2, 5]],
  ['with size 1 on both sides', [3, 1], [1, 4]],
  ['of a batch of maps with a vector', [-1, 2, 3, 5], [5]],
  ['of a vector and a batch of maps', [5], [-1, 2, 3, 5]],
  ['of a map with its channel means', [-1, 2, 3, 5], [-1, 1, 1, 5]],
  ['of a map with a vector of one', [-1, 2, 3, 5], [1]],
];

function binaryCases(op: (a: Node, b: Node) => Node, a: Draw, b: Draw): OperationCase[] {
  const pooled = (x: Node) => o.averagePool(x, poolWindow([1, 1], {}));
  return [
    ...meetings.map(([name, left, right]) => ({
      name,
      inputs: [float(left, a), float(right, b)],
      build: op,
    })),
    ...meetings
      .filter(([, left, right]) => left.length === 4 || right.length === 4)
      .map(([name, left, right]) => ({
        name: `${name}, channels-first`,
        inputs: [float(left, a), float(right, b)],
        build: (x: Node, y: Node) =>
          op(left.length === 4 ? pooled(x) : x, right.length === 4 ? pooled(y) : y),
      })),
    {
      name: 'of a channels-first map with a constant vector',
      inputs: [float([-1, 2, 3, 5], a)],
      build: (x) => op(pooled(x), o.constant(drawTensor([5], 'float32', b, 'constant vector'))),
    },
    {
      name: 'of a channels-first map with a matrix of its columns and channels',
      inputs: [float([-1, 2, 3, 5], a), float([3, 5], b)],
      build: (x, y) => op(pooled(x), y),
    },
  ];
}

function reductionCases(op: (x: Node, axes?: readonly number[], keepDims?: boolean) => Node, draw: Draw) {
  const make = (name: string, shape: Shape, axes?: readonly number[], keepDims = false): OperationCase => ({
    name,
    inputs: [float(shape, draw)],
    build: (x) => op(x, axes, keepDims),
  });
  const channelsFirst = (name: string, axes: readonly number[], keepDims: boolean): OperationCase => ({
    name: `${name}, channels-first`,
    inputs: [float([-1, 4, 2, 5], draw)],
    build: (x) => op(o.maxPool(x, poolWindow([2, 1], { strides: [2, 1] })), axes, keepDims),
  });
  return [
    make('over everything', [-1, 3]),
    make('over the batch', [-1, 3], [0]),
    make('over the last axis, kept', [-1, 3], [-1], true),
    make('over a batch of matrices', [-1, 3, 2], [0, 2]),
    make('over an axis of one', [-1, 1, 3], [1]),
    make('over a static shape', [2, 3, 4], [0, 1], true),
    make('over the positions of maps', [-1, 2, 3, 5], [1, 2]),
    channelsFirst('over the positions', [1, 2], false),
    channelsFirst('over the positions, kept', [1, 2], true),
    channelsFirst('over batch and positions', [0, 1, 2], false),
    channelsFirst('over the channels', [3], false),
    channelsFirst('over the rows, kept', [1], true),
    channelsFirst('over everything', [0, 1, 2, 3], false),
  ];
}

export function poolWindow(size: readonly [number, number], window: Partial<PoolAttributes>): PoolAttributes {
  return { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], ...window, size };
}

export function convWindow(window: Partial<ConvAttributes> = {}): ConvAttributes {
  return { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1, ...window };
}

interface Convolution {
  readonly name: string;
  readonly x: Shape;
  readonly kernel: readonly [number, number, number, number];
  readonly window: ConvAttributes;
}

const same3 = { pads: [1, 1, 1, 1] } as const;

/**
 * Each way through `onnx/convolution.ts`: matrices up to 196 positions or 4 channels, windows beyond, tiles
 * (Winograd) from 16 channels on, and what strides, pads, dilations and groups do in each.
 */
const convolutions: readonly Convolution[] = (
  [
    ['3x3', [-1, 5, 6, 3], [3, 3, 3, 4], same3],
    ['3x3 of six channels without padding', [-1, 5, 4, 6], [3, 3, 6, 2], {}],
    ['of a static batch', [2, 4, 4, 5], [3, 3, 5, 2], same3],
    ['with stride 2 on an odd size', [-1, 7, 5, 5], [3, 3, 5, 2], { strides: [2, 2], ...same3 }],
    ['with stride 2 on an even size', [-1, 8, 6, 5], [3, 3, 5, 2], { strides: [2, 2], pads: [0, 0, 1, 1] }],
    ['with a stride that leaves a row over', [-1, 6, 8, 5], [3, 3, 5, 2], { strides: [2, 2] }],
    ['with stride 3 and a window of 2', [-1, 8, 7, 5], [2, 2, 5, 2], { strides: [3, 3] }],
    ['with strides 2 and 1', [-1, 7, 5, 5], [3, 3, 5, 2], { strides: [2, 1], ...same3 }],
    ['with asymmetric pads', [-1, 4, 5, 5], [3, 2, 5, 2], { pads: [2, 0, 1, 1] }],
    ['with dilation 2', [-1, 6, 7, 5], [3, 3, 5, 2], { dilations: [2, 2], pads: [2, 2, 2, 2] }],
    [
      'with dilation 2 and stride 2',
      [-1, 7, 8, 5],
      [3, 3, 5, 2],
      { dilations: [2, 2], strides: [2, 2], ...same3 },
    ],
    ['of two groups', [-1, 5, 4, 6], [3, 3, 3, 4], { groups: 2, ...same3 }],
    ['of two groups with stride 2', [-1, 6, 5, 6], [3, 3, 3, 4], { groups: 2, strides: [2, 2], ...same3 }],
    ['depthwise', [-1, 5, 5, 6], [3, 3, 1, 6], { groups: 6, ...same3 }],
    [
      'depthwise, two filters a channel',
      [-1, 6, 6, 5],
      [3, 3, 1, 10],
      { groups: 5, strides: [2, 2], pads: [0, 0, 1, 1] },
    ],
    ['1x1', [-1, 3, 4, 6], [1, 1, 6, 3], {}],
    ['1x1 with stride 2 on an even size', [-1, 4, 6, 6], [1, 1, 6, 3], { strides: [2, 2] }],
    ['1x1 with stride 2 on an odd size', [-1, 5, 3, 6], [1, 1, 6, 3], { strides: [2, 2] }],
    ['1x1 with strides 1 and 2', [-1, 5, 4, 6], [1, 1, 6, 3], { strides: [1, 2] }],
    ['1x1 with padding', [-1, 3, 4, 6], [1, 1, 6, 3], { pads: [1, 0, 0, 2] }],
    [
      '1x1 of a single position, which padding and stride move',
      [-1, 1, 1, 6],
      [1, 1, 6, 3],
      { pads: [1, 1, 0, 0], strides: [2, 2] },
    ],
    ['1x1 of two groups', [-1, 3, 4, 6], [1, 1, 3, 4], { groups: 2 }],
    ['1x1 on a large map', [-1, 15, 15, 5], [1, 1, 5, 2], {}],
    [
      '7x7 with stride 2 of three channels',
      [-1, 15, 16, 3],
      [7, 7, 3, 4],
      { strides: [2, 2], pads: [3, 3, 3, 3] },
    ],
    [
      '7x7 with stride 2 and asymmetric pads',
      [-1, 16, 16, 3],
      [7, 7, 3, 2],
      { strides: [2, 2], pads: [2, 2, 3, 3] },
    ],
    ['3x3 of a single position', [-1, 1, 1, 5], [3, 3, 5, 2], same3],
    ['5x5 of four positions', [-1, 2, 2, 5], [5, 5, 5, 2], { pads: [2, 2, 2, 2] }],
    ['5x5 of a single position', [-1, 1, 1, 5], [5, 5, 5, 2], { pads: [2, 2, 2, 2] }],
    ['as large as its map', [-1, 3, 3, 5], [3, 3, 5, 2], {}],
    ['3x3 on 196 positions, the last size for matrices', [-1, 14, 14, 5], [3, 3, 5, 2], same3],
    ['3x3 on 225 positions, the first size for windows', [-1, 15, 15, 5], [3, 3, 5, 2], same3],
    ['of windows with stride 2 on an odd size', [-1, 31, 29, 5], [3, 3, 5, 2], { strides: [2, 2], ...same3 }],
    [
      'of windows with stride 2 on an even size',
      [-1, 30, 30, 5],
      [3, 3, 5, 2],
      { strides: [2, 2], pads: [0, 0, 1, 1] },
    ],
    ['of windows with a stride that leaves a row over', [-1, 32, 30, 5], [3, 3, 5, 2], { strides: [2, 2] }],
    ['of windows with strides 2 and 1', [-1, 31, 15, 5], [3, 3, 5, 2], { strides: [2, 1], ...same3 }],
    ['of windows with asymmetric pads', [-1, 15, 15, 5], [3, 2, 5, 2], { pads: [2, 0, 1, 2] }],
    ['of windows with dilation 2', [-1, 15, 16, 5], [3, 3, 5, 2], { dilations: [2, 2], pads: [2, 2, 2, 2] }],
    ['of windows in two groups', [-1, 15, 15, 6], [3, 3, 3, 4], { groups: 2, ...same3 }],
    [
      'of windows, depthwise with stride 2',
      [-1, 30, 30, 5],
      [3, 3, 1, 5],
      { groups: 5, strides: [2, 2], ...same3 },
    ],
    ['by tiles of 4', [-1, 4, 8, 16], [3, 3, 16, 16], same3],
    ['by tiles that hang over', [-1, 7, 5, 17], [3, 3, 17, 16], same3],
    ['by tiles without padding', [-1, 6, 11, 16], [3, 3, 16, 18], {}],
    ['by tiles with asymmetric pads', [-1, 5, 6, 16], [3, 3, 16, 16], { pads: [0, 1, 2, 2] }],
    ['by tiles that are not full', [-1, 3, 3, 16], [3, 3, 16, 16], same3],
    ['of too few positions for tiles', [-1, 2, 2, 16], [3, 3, 16, 16], same3],
  ] as const
).map(([name, x, kernel, window]) => ({ name, x, kernel, window: convWindow(window) }));

/** The shape of a convolution's output, by the rule itself, and its kernel's height and width. */
function outputOf({ x, kernel, window }: Convolution): Shape {
  return o.makeNode('conv2d', [o.input('x', x), o.input('kernel', kernel)], window).shape;
}

const conv2dCases = convolutions.flatMap((convolution): OperationCase[] => {
  const { name, x, kernel, window } = convolution;
  return [
    {
      name: `${name}, kernel trained`,
      inputs: [float(x), float(kernel)],
      build: (source, weights) => o.conv2d(source, weights, window),
    },
    {
      name: `${name}, kernel constant`,
      inputs: [float(x)],
      build: (source) => o.conv2d(source, fixed(kernel, name), window),
    },
  ];
});

/** A convolution behind a slice with steps: what a constant 1x1 kernel folds into its own strides. */
const slicedConvolutions = (
  [
    ['3x3 of every second position', [3, 3, 5, 2], convWindow(same3)],
    ['1x1 with padding of every second position', [1, 1, 5, 2], convWindow({ pads: [1, 0, 0, 0] })],
    ['1x1 of every second position', [1, 1, 5, 2], convWindow()],
    ['1x1 with strides of every second position', [1, 1, 5, 2], convWindow({ strides: [2, 2] })],
  ] as const
).map(
  ([name, kernel, window]): OperationCase => ({
    name: `${name}, kernel constant`,
    inputs: [float([-1, 7, 8, 5])],
    build: (x) => {
      const sampled = o.slice(x, [
        { axis: 1, start: 0, end: 7, step: 2 },
        { axis: 2, start: 0, end: 8, step: 2 },
      ]);
      return o.makeNode('conv2d', [sampled, fixed(kernel, name)], window);
    },
  }),
);

const inputGradientCases = convolutions.flatMap((convolution): OperationCase[] => {
  const { name, x, kernel, window } = convolution;
  const attributes = { ...window, size: [x[1]!, x[2]!] as const };
  const y = float(outputOf(convolution));
  return [
    {
      name: `${name}, kernel trained`,
      inputs: [y, float(kernel)],
      build: (g, weights) => o.conv2dInputGradient(g, weights, attributes),
    },
    {
      name: `${name}, kernel constant`,
      inputs: [y],
      build: (g) => o.conv2dInputGradient(g, fixed(kernel, name), attributes),
    },
  ];
});

const kernelGradientCases = convolutions.map(
  (convolution): OperationCase => ({
    name: convolution.name,
    inputs: [float(convolution.x), float(outputOf(convolution))],
    build: (x, g) => {
      const [height, width] = convolution.kernel;
      return o.conv2dKernelGradient(x, g, { ...convolution.window, size: [height, width] });
    },
  }),
);

function poolCases(op: (x: Node, attributes: PoolAttributes) => Node): OperationCase[] {
  const make = (name: string, shape: Shape, attributes: PoolAttributes): OperationCase => ({
    name,
    inputs: [float(shape, 'spaced')],
    build: (x) => op(x, attributes),
  });
  return [
    make('2x2', [-1, 4, 6, 3], poolWindow([2, 2], { strides: [2, 2] })),
    make('2x2 that leaves a row over', [-1, 5, 3, 2], poolWindow([2, 2], { strides: [2, 2] })),
    make(
      '3x3 with stride 2 and padding',
      [-1, 7, 6, 2],
      poolWindow([3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] }),
    ),
    make(
      '3x3 with asymmetric pads',
      [-1, 6, 6, 2],
      poolWindow([3, 3], { strides: [2, 2], pads: [0, 0, 1, 1] }),
    ),
    make('overlapping 3x3 with padding', [2, 4, 3, 2], poolWindow([3, 3], { pads: [1, 1, 1, 1] })),
    make('2x3 with strides 1 and 2', [-1, 3, 7, 2], poolWindow([2, 3], { strides: [1, 2] })),
    make('with a stride larger than the window', [-1, 8, 7, 2], poolWindow([2, 1], { strides: [3, 2] })),
    make('with dilation 2', [-1, 6, 5, 2], poolWindow([2, 2], { dilations: [2, 2] })),
    make('of a whole map', [-1, 3, 4, 2], poolWindow([3, 4], {})),
  ];
}

/** The cases of every operation. */
export const operationCases: { readonly [K in OpName]: readonly OperationCase[] } = {
  input: [{ name: 'passed on', inputs: [float([-1, 3])], build: (x) => x }],
  constant: [
    {
      name: 'beside a batch',
      inputs: [float([-1, 3])],
      build: (x) => o.add(x, fixed([3], 'constant')),
    },
    {
      name: 'larger than what is told apart by value',
      inputs: [float([-1, 24])],
      build: (x) => o.mul(o.add(x, fixed([24], 'first')), fixed([24], 'second')),
    },
  ],

  add: binaryCases(o.add, 'normal', 'normal'),
  sub: binaryCases(o.sub, 'normal', 'normal'),
  mul: [
    ...binaryCases(o.mul, 'normal', 'normal'),
    { name: 'of a value with itself', inputs: [float([-1, 3])], build: (x) => o.mul(x, x) },
  ],
  div: binaryCases(o.div, 'normal', 'positive'),
  max: binaryCases(o.max, 'spaced', 'between'),
  min: binaryCases(o.min, 'spaced', 'between'),
  greater: binaryCases(o.greater, 'spaced', 'between'),
  equal: [
    { name: 'of class ids', inputs: [ids([-1]), ids([-1])], build: o.equal },
    { name: 'of class ids with every class', inputs: [ids([-1])], build: (x) => o.oneHot(x, 4) },
    { name: 'of float numbers', inputs: [float([-1, 3], 'ids'), float([3], 'ids')], build: o.equal },
    {
      name: 'of a channels-first map with its maximum',
      inputs: [float([-1, 4, 4, 5], 'spaced')],
      build: (x) => {
        const pooled = o.maxPool(x, poolWindow([2, 2], { strides: [2, 2] }));
        return o.equal(pooled, o.reduceMax(pooled, [1, 2], true));
      },
    },
  ],
  select: [
    {
      name: 'by flags',
      inputs: [flags([-1, 3]), float([-1, 3]), float([-1, 3])],
      build: (condition, a, b) => o.select(condition, a, b),
    },
    {
      name: 'with a condition that broadcasts',
      inputs: [flags([-1, 1]), float([-1, 3]), float([3])],
      build: (condition, a, b) => o.select(condition, a, b),
    },
    {
      name: 'by a comparison, channels-first',
      inputs: [float([-1, 4, 4, 5], 'spaced'), float([5])],
      build: (x, b) => {
        const pooled = o.maxPool(x, poolWindow([2, 2], { strides: [2, 2] }));
        return o.select(o.greater(pooled, 0), pooled, b);
      },
    },
  ],
  neg: unaryCases(o.neg),
  exp: unaryCases(o.exp),
  log: unaryCases(o.log, 'positive'),
  sqrt: unaryCases(o.sqrt, 'positive'),
  sin: unaryCases(o.sin),
  cos: unaryCases(o.cos),
  erf: unaryCases(o.erf),
  tanh: unaryCases(o.tanh),
  sigmoid: unaryCases(o.sigmoid),
  relu: unaryCases(o.relu, 'spaced'),
  stopGradient: unaryCases(o.stopGradient),
  cast: [
    { name: 'from bytes', inputs: [ids([-1, 2, 2, 3], 'uint8')], build: (x) => o.cast(x, 'float32') },
    { name: 'from class ids', inputs: [ids([-1])], build: (x) => o.cast(x, 'float32') },
    { name: 'from flags', inputs: [flags([-1, 2])], build: (x) => o.cast(x, 'float32') },
    {
      name: 'to whole numbers, towards zero',
      inputs: [float([-1, 3], 'spaced')],
      build: (x) => o.cast(x, 'int32'),
    },
  ],

  sum: reductionCases(o.sum, 'normal'),
  reduceMax: reductionCases(o.reduceMax, 'spaced'),
  argMax: [
    { name: 'over classes', inputs: [float([-1, 4], 'spaced')], build: (x) => o.argMax(x, -1) },
    { name: 'over the first axis', inputs: [float([3, 4], 'spaced')], build: (x) => o.argMax(x, 0) },
    { name: 'over rows of maps', inputs: [float([-1, 3, 2, 2], 'spaced')], build: (x) => o.argMax(x, 1) },
  ],
  count: [
    { name: 'of a batch', inputs: [float([-1, 3])], build: (x) => o.count(x) },
    { name: 'of some axes', inputs: [float([-1, 3, 2])], build: (x) => o.count(x, [0, 2]) },
    { name: 'of positions', inputs: [float([-4, 3])], build: (x) => o.count(x, [0]) },
    { name: 'as the divisor of a mean', inputs: [float([-1, 3])], build: (x) => o.mean(x, [0]) },
  ],

  reshape: [
    { name: 'to a matrix of positions', inputs: [float([-1, 2, 3, 5])], build: (x) => o.reshape(x, [-6, 5]) },
    { name: 'back to maps', inputs: [float([-6, 5])], build: (x) => o.reshape(x, [-1, 2, 3, 5]) },
    { name: 'to rows', inputs: [float([-1, 2, 3, 5])], build: (x) => o.reshape(x, [-1, 30]) },
    { name: 'to a scalar', inputs: [float([1, 1])], build: (x) => o.reshape(x, []) },
    {
      name: 'of a channels-first map',
      inputs: [float([-1, 4, 4, 3], 'spaced')],
      build: (x) => o.reshape(o.maxPool(x, poolWindow([2, 2], { strides: [2, 2] })), [-1, 12]),
    },
  ],
  transpose: [
    { name: 'of a matrix', inputs: [float([-1, 3])], build: (x) => o.transpose(x, [1, 0]) },
    { name: 'in a circle', inputs: [float([-1, 2, 3, 4])], build: (x) => o.transpose(x, [2, 0, 3, 1]) },
  ],
  expand: [
    {
      name: 'of a vector to a batch',
      inputs: [float([3]), float([-1, 3])],
      build: (x, like) => o.add(o.expand(x, [-1, 3]), like),
    },
    { name: 'of an axis of one', inputs: [float([-1, 1, 3])], build: (x) => o.expand(x, [-1, 4, 3]) },
    { name: 'of a scalar', inputs: [float([])], build: (x) => o.expand(x, [2, 3]) },
    {
      name: 'to a matrix of positions',
      inputs: [float([3]), float([-1, 3])],
      build: (x, like) =>
        o.add(o.expand(x, [-6, 3]), o.reshape(o.concat([like, like, like, like, like, like], 1), [-6, 3])),
    },
  ],
  concat: [
    { name: 'of columns', inputs: [float([-1, 2]), float([-1, 3])], build: (a, b) => o.concat([a, b], -1) },
    {
      name: 'of three static matrices',
      inputs: [float([2, 2]), float([1, 2]), float([3, 2])],
      build: (a, b, c) => o.concat([a, b, c], 0),
    },
    { name: 'of a value with itself', inputs: [float([-1, 2])], build: (x) => o.concat([x, x], 1) },
    {
      name: 'of the channels of channels-first maps',
      inputs: [float([-1, 4, 4, 3], 'spaced'), float([-1, 2, 2, 2])],
      build: (x, y) => o.concat([o.maxPool(x, poolWindow([2, 2], { strides: [2, 2] })), y], 3),
    },
  ],
  slice: [
    {
      name: 'of columns',
      inputs: [float([-1, 5])],
      build: (x) => o.slice(x, [{ axis: 1, start: 1, end: 4 }]),
    },
    {
      name: 'with a step',
      inputs: [float([-1, 7])],
      build: (x) => o.slice(x, [{ axis: 1, start: 1, end: 6, step: 2 }]),
    },
    {
      name: 'with a step that leaves values over',
      inputs: [float([-1, 7])],
      build: (x) => o.slice(x, [{ axis: 1, start: 0, end: 6, step: 3 }]),
    },
    {
      name: 'of a channels-first map',
      inputs: [float([-1, 4, 5, 3], 'spaced')],
      build: (x) =>
        o.slice(o.maxPool(x, poolWindow([1, 1], {})), [
          { axis: 1, start: 0, end: 4, step: 2 },
          { axis: 2, start: 1, end: 4 },
          { axis: 3, start: 0, end: 2 },
        ]),
    },
    {
      name: 'of a static first axis',
      inputs: [float([5, 2])],
      build: (x) => o.slice(x, [{ axis: 0, start: 2, end: 5 }]),
    },
  ],
  pad: [
    { name: 'of columns', inputs: [float([-1, 3])], build: (x) => o.pad(x, [0, 1], [0, 2], { value: 0.5 }) },
    {
      name: 'between values',
      inputs: [float([-1, 3])],
      build: (x) => o.pad(x, [0, 1], [0, 2], { interior: [0, 2] }),
    },
    {
      name: 'between values only',
      inputs: [float([2, 3])],
      build: (x) => o.pad(x, [0, 0], [0, 0], { interior: [1, 1], value: 2 }),
    },
    { name: 'of a map', inputs: [float([-1, 3, 2, 2])], build: (x) => o.pad(x, [0, 1, 0, 0], [0, 0, 2, 0]) },
    {
      name: 'of a channels-first map',
      inputs: [float([-1, 4, 4, 3], 'spaced')],
      build: (x) =>
        o.pad(o.maxPool(x, poolWindow([2, 2], { strides: [2, 2] })), [0, 1, 2, 0], [0, 0, 1, 1], {
          value: -3,
        }),
    },
  ],
  gather: [
    { name: 'of rows', inputs: [float([5, 3]), ids([4])], build: (x, i) => o.gather(x, i, 0) },
    {
      name: 'of rows, as many as the batch',
      inputs: [float([5, 3]), ids([-1])],
      build: (x, i) => o.gather(x, i, 0),
    },
    { name: 'of a map', inputs: [float([-1, 4, 5, 3]), ids([3])], build: (x, i) => o.gather(x, i, 1) },
    { name: 'of the last axis', inputs: [float([-1, 2, 4]), ids([6])], build: (x, i) => o.gather(x, i, -1) },
    {
      name: 'of a channels-first map',
      inputs: [float([-1, 8, 8, 3], 'spaced'), ids([3])],
      build: (x, i) => o.gather(o.maxPool(x, poolWindow([2, 2], { strides: [2, 2] })), i, 2),
    },
    {
      name: 'of the pictures of a batch',
      inputs: [float([-1, 2, 2, 3]), ids([-1])],
      // 0, 0, 0 and 1 for 0 … 3: a batch has two pictures at least.
      build: (x, i) => o.gather(x, o.cast(o.mul(o.cast(i, 'float32'), 1 / 3), 'int32'), 0),
      refused: 'There is no gradient through gather along the batch',
    },
  ],

  matmul: [
    { name: 'of a batch of rows', inputs: [float([-1, 3]), float([3, 4])], build: (a, b) => o.matmul(a, b) },
    {
      name: 'over the batch',
      inputs: [float([-1, 3]), float([-1, 4])],
      build: (a, b) => o.matmul(a, b, { transposeA: true }),
    },
    {
      name: 'with the right one transposed',
      inputs: [float([-1, 3]), float([4, 3])],
      build: (a, b) => o.matmul(a, b, { transposeB: true }),
    },
    {
      name: 'with both transposed',
      inputs: [float([3, 2]), float([4, 3])],
      build: (a, b) => o.matmul(a, b, { transposeA: true, transposeB: true }),
    },
    {
      name: 'of batches of matrices',
      inputs: [float([-1, 2, 3]), float([-1, 3, 4])],
      build: (a, b) => o.matmul(a, b),
    },
    {
      name: 'of batches of matrices, left transposed',
      inputs: [float([-1, 3, 2]), float([-1, 3, 4])],
      build: (a, b) => o.matmul(a, b, { transposeA: true }),
    },
    {
      name: 'of batches of matrices, both transposed',
      inputs: [float([-1, 3, 2]), float([-1, 4, 3])],
      build: (a, b) => o.matmul(a, b, { transposeA: true, transposeB: true }),
    },
    {
      name: 'with one matrix on the right for the batch',
      inputs: [float([-1, 2, 3]), float([3, 4])],
      build: (a, b) => o.matmul(a, b),
    },
    {
      name: 'with one matrix on the left for the batch',
      inputs: [float([2, 3]), float([-1, 3, 4])],
      build: (a, b) => o.matmul(a, b),
    },
    {
      name: 'with axes of one that broadcast',
      inputs: [float([2, 1, 2, 3]), float([1, 3, 3, 2])],
      build: (a, b) => o.matmul(a, b, { transposeB: false }),
    },
  ],
  conv2d: [...conv2dCases, ...slicedConvolutions],
  conv2dInputGradient: inputGradientCases,
  conv2dKernelGradient: kernelGradientCases,
  maxPool: [
    ...poolCases(o.maxPool),
    {
      name: 'of negative values in a border of zeros',
      inputs: [float([-1, 5, 5, 2], 'spaced')],
      build: (x) => o.maxPool(o.pad(o.sub(x, 100), [0, 1, 1, 0], [0, 1, 1, 0]), poolWindow([3, 3], {})),
    },
  ],
  averagePool: poolCases(o.averagePool),
  gridSample: (['bilinear', 'nearest'] as const).flatMap((interpolation) =>
    (['zeros', 'border', 'reflection'] as const).map((padding) => ({
      name: `${interpolation} with ${padding}`,
      inputs: [float([-1, 4, 5, 3]), float([-1, 3, 6, 2])],
      // Positions spread over the map and some way around it.
      build: (x: Node, positions: Node) =>
        o.gridSample(x, o.add(o.mul(positions, 3), 2), { interpolation, padding }),
      refused: 'There is no gradient through gridSample',
    })),
  ),
  resize: (
    [
      ['twice as large', [3, 4], [6, 8]],
      ['seven times as large', [2, 2], [14, 14]],
      ['by a fraction', [3, 5], [7, 8]],
      ['smaller', [8, 7], [3, 3]],
      ['of one position', [1, 1], [3, 2]],
      ['of one axis', [3, 4], [3, 6]],
    ] as const
  ).flatMap(([name, from, to]) =>
    (['bilinear', 'nearest'] as const).map((interpolation) => ({
      name: `${name}, ${interpolation}`,
      inputs: [float([-1, from[0], from[1], 2])],
      build: (x: Node) => o.resize(x, to, interpolation),
    })),
  ),
  // The reference cannot compute it; test/applications/from_onnx.test.ts compares it with ONNX Runtime.
  foreign: [],
};

/** Every case with its operation, for `describe.each`. */
export const allCases: readonly { readonly op: OpName; readonly operationCase: OperationCase }[] = (
  Object.keys(operationCases) as OpName[]
).flatMap((op) => operationCases[op].map((operationCase) => ({ op, operationCase })));
