/**
 * The derivative of each operation, all on one page. With y = op(x...) and g = dL/dy, a rule writes dL/dx for
 * each input, `null` where the input carries no gradient; a `null` rule says that the operation has none.
 * Elementwise rules may answer in the shape of y: the walk in `autodiff.ts` sums broadcast axes away.
 */

import { fail } from '../core/errors.ts';
import { float32 } from '../core/tensor.ts';
import type { Node, NodeOf, OpName, PoolAttributes, Shape } from './node.ts';
import * as o from './ops.ts';
import { interpolationMatrix } from './resampling.ts';

type Rule<K extends OpName> = ((g: Node, node: NodeOf<K> & Node) => readonly (Node | null)[]) | null;

/** Gives a reduced gradient its lost axes back and spreads it over the input. */
function spread(g: Node, { inputs, attributes }: NodeOf<'sum'> | NodeOf<'reduceMax'>): Node {
  return o.expand(keepingDims(g, inputs[0]!.shape, attributes.axes), inputs[0]!.shape);
}

function keepingDims(x: Node, shape: Shape, axes: readonly number[]): Node {
  return o.reshape(
    x,
    shape.map((dim, i) => (axes.includes(i) ? 1 : dim)),
  );
}

/** 1 for true, 0 for false. */
function indicator(condition: Node): Node {
  return o.cast(condition, 'float32');
}

/** One tap of a pooling window: where it looks first, and the view of x that it has, (batch, outHeight, outWidth, c). */
interface Tap {
  readonly top: number;
  readonly left: number;
  readonly view: Node;
}

function poolTaps(
  x: Node,
  y: Node,
  { size, strides, pads, dilations }: PoolAttributes,
  padValue: number,
): Tap[] {
  const [, outHeight, outWidth] = y.shape as [number, number, number, number];
  const padded = o.pad(x, [0, pads[0], pads[1], 0], [0, pads[2], pads[3], 0], { value: padValue });
  return Array.from({ length: size[0] * size[1] }, (_, tap) => {
    const top = Math.floor(tap / size[1]) * dilations[0];
    const left = (tap % size[1]) * dilations[1];
    const view = o.slice(padded, [
      { axis: 1, start: top, end: top + (outHeight - 1) * strides[0] + 1, step: strides[0] },
      { axis: 2, start: left, end: left + (outWidth - 1) * strides[1] + 1, step: strides[1] },
    ]);
    return { top, left, view };
  });
}

/**
 * The transpose of taking views: adds what each tap has to where it looked. Taps whose offsets agree modulo the
 * strides fall on the same coarse grid, where they are added; the grids are interleaved at the end, so that no
 * full-sized map is moved for each tap.
 */
function putBack(
  x: Node,
  { strides, pads }: PoolAttributes,
  parts: readonly (Omit<Tap, 'view'> & { readonly values: Node })[],
): Node {
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const [rows, columns] = [
    Math.ceil((height + pads[0] + pads[2]) / strides[0]),
    Math.ceil((width + pads[1] + pads[3]) / strides[1]),
  ];
  const grid = (rowOffset: number, columnOffset: number) => {
    const placed = parts
      .filter(({ top, left }) => top % strides[0] === rowOffset && left % strides[1] === columnOffset)
      .map(({ top, left, values }) => {
        const [above, before] = [Math.floor(top / strides[0]), Math.floor(left / strides[1])];
        const [, outHeight, outWidth] = values.shape as [number, number, number, number];
        const after = [0, rows - above - outHeight, columns - before - outWidth, 0];
        return o.pad(values, [0, above, before, 0], after);
      });
    const nothing = () => o.expand(o.scalar(0), [batch, rows, columns, channels]);
    return placed.length === 0 ? nothing() : placed.reduce((total, part) => o.add(total, part));
  };
  const lines = Array.from({ length: strides[0] }, (_, i) => {
    const cells = o.concat(
      Array.from({ length: strides[1] }, (_, j) => grid(i, j)),
      3,
    );
    return o.reshape(cells, [batch, rows, 1, columns * strides[1] * channels]);
  });
  const full = o.reshape(o.concat(lines, 2), [batch, rows * strides[0], columns * strides[1], channels]);
  return o.slice(full, [
    { axis: 1, start: pads[0], end: pads[0] + height },
    { axis: 2, start: pads[1], end: pads[1] + width },
  ]);
}

/** The gradient rule of every operation. */
export const gradients: { readonly [K in OpName]: Rule<K> } = {
  input: null,
  constant: null,

  add: (g) => [g, g],
  sub: (g) => [g, o.neg(g)],
  mul: (g, { inputs: [a, b] }) => [o.mul(g, b!), o.mul(g, a!)],
  // d(a/b) = da/b − (a/b) db/b
  div: (g, y) => [o.div(g, y.inputs[1]!), o.neg(o.div(o.mul(g, y), y.inputs[1]!))],
  // A tie gives the gradient to the first operand, so that relu(x) = max(x, 0) has slope 1 at 0 only there.
  max: (g, { inputs: [a, b] }) => {
    const second = indicator(o.greater(b!, a!));
    return [o.mul(g, o.sub(1, second)), o.mul(g, second)];
  },
  min: (g, { inputs: [a, b] }) => {
    const second = indicator(o.greater(a!, b!));
    return [o.mul(g, o.sub(1, second)), o.mul(g, second)];
  },
  greater: null,
  equal: null,
  select: (g, { inputs: [condition] }) => [null, o.select(condition!, g, 0), o.select(condition!, 0, g)],
  neg: (g) => [o.neg(g)],
  exp: (g, y) => [o.mul(g, y)],
  log: (g, { inputs: [x] }) => [o.div(g, x!)],
  // d√x = dx / (2√x)
  sqrt: (g, y) => [o.div(o.mul(g, 0.5), y)],
  sin: (g, { inputs: [x] }) => [o.mul(g, o.cos(x!))],
  cos: (g, { inputs: [x] }) => [o.neg(o.mul(g, o.sin(x!)))],
  // d erf(x) = 2/√π · exp(−x²) dx
  erf: (g, { inputs: [x] }) => [o.mul(g, o.mul(2 / Math.sqrt(Math.PI), o.exp(o.neg(o.square(x!)))))],
  tanh: (g, y) => [o.mul(g, o.sub(1, o.square(y)))],
  sigmoid: (g, y) => [o.mul(g, o.mul(y, o.sub(1, y)))],
  relu: (g, y) => [o.mul(g, indicator(o.greater(y, 0)))],
  stopGradient: null,
  cast: null,

  sum: (g, node) => [spread(g, node)],
  // As in TensorFlow, tied maxima share the gradient equally.
  reduceMax: (g, node) => {
    const { inputs, attributes } = node;
    const x = inputs[0]!;
    const hits = indicator(o.equal(x, keepingDims(node, x.shape, attributes.axes)));
    const shared = o.div(hits, o.sum(hits, attributes.axes, true));
    return [o.mul(shared, keepingDims(g, x.shape, attributes.axes))];
  },
  argMax: null,
  count: null,

  reshape: (g, { inputs: [x] }) => [o.reshape(g, x!.shape)],
  transpose: (g, { attributes: { order } }) => [
    o.transpose(
      g,
      order.map((_, axis) => order.indexOf(axis)),
    ),
  ],
  expand: (g) => [g],
  concat: (g, { inputs, attributes: { axis } }) => {
    let start = 0;
    return inputs.map(({ shape }) => {
      const range = { axis, start, end: start + shape[axis]! };
      start = range.end;
      return o.slice(g, [range]);
    });
  },
  slice: (g, { inputs: [x], attributes: { starts, ends, steps }, shape }) => {
    const fixed = (axis: number) => shape[axis]! >= 0;
    const last = shape.map((dim, i) => (fixed(i) ? starts[i]! + (dim - 1) * steps[i]! + 1 : ends[i]!));
    const after = shape.map((_, i) => (fixed(i) ? x!.shape[i]! - last[i]! : 0));
    return [o.pad(g, starts, after, { interior: steps.map((step) => step - 1) })];
  },
  pad: (g, { inputs: [x], attributes: { before, interior } }) => {
    const ranges = x!.shape.flatMap((dim, axis) => {
      if (dim < 0) return [];
      const step = interior[axis]! + 1;
      return [{ axis, start: before[axis]!, end: before[axis]! + (dim - 1) * step + 1, step }];
    });
    return [o.slice(g, ranges)];
  },
  // Y = SX along the axis, with a one-hot row of S for each index, so dX = Sᵀ G.
  gather: (g, { inputs: [x, indices], attributes: { axis }, shape }) => {
    const size = x!.shape[axis]!;
    if (size < 0) {
      fail(
        'unsupported',
        'There is no gradient through gather along the batch: no weight in front can learn.',
      );
    }
    const rest = shape.slice(axis + 1).reduce((product, dim) => product * dim, 1);
    const spread = o.matmul(o.oneHot(indices!, size), o.reshape(g, [...shape.slice(0, axis + 1), rest]), {
      transposeA: true,
    });
    return [o.reshape(spread, x!.shape), null];
  },

  // Y = AB: dA = G Bᵀ, dB = Aᵀ G; the flags move the transposes to where they belong.
  matmul: (g, { inputs: [a, b], attributes: { transposeA, transposeB } }) => [
    transposeA
      ? o.matmul(b!, g, { transposeA: transposeB, transposeB: true })
      : o.matmul(g, b!, { transposeB: !transposeB }),
    transposeB
      ? o.matmul(g, a!, { transposeA: true, transposeB: transposeA })
      : o.matmul(a!, g, { transposeA: !transposeA }),
  ],
  // The three convolutions are each bilinear and each other's derivatives.
  conv2d: (g, { inputs: [x, kernel], attributes }) => [
    o.conv2dInputGradient(g, kernel!, { ...attributes, size: [x!.shape[1]!, x!.shape[2]!] }),
    o.conv2dKernelGradient(x!, g, { ...attributes, size: [kernel!.shape[0]!, kernel!.shape[1]!] }),
  ],
  conv2dInputGradient: (g, { inputs: [y, kernel], attributes: { size: _, ...window } }) => [
    o.conv2d(g, kernel!, window),
    o.conv2dKernelGradient(g, y!, { ...window, size: [kernel!.shape[0]!, kernel!.shape[1]!] }),
  ],
  conv2dKernelGradient: (g, { inputs: [x, y], attributes: { size: _, ...window } }) => [
    o.conv2dInputGradient(y!, g, { ...window, size: [x!.shape[1]!, x!.shape[2]!] }),
    o.conv2d(x!, g, window),
  ],
  // The first maximum of a window, in row-major order, takes the whole gradient, as in TensorFlow.
  maxPool: (g, node) => {
    const x = node.inputs[0]!;
    let free: Node | null = null;
    const taps = poolTaps(x, node, node.attributes, Number.NEGATIVE_INFINITY);
    const parts = taps.map(({ view, ...place }) => {
      const hit: Node = indicator(o.equal(view, node));
      const taken: Node = free === null ? hit : o.mul(hit, free);
      free = o.sub(free ?? 1, taken);
      return { ...place, values: o.mul(g, taken) };
    });
    return [putBack(x, node.attributes, parts)];
  },
  averagePool: (g, node) => {
    const x = node.inputs[0]!;
    const share = o.mul(g, o.constant(inverseWindowCounts(x, node)));
    const parts = poolTaps(x, node, node.attributes, 0).map((place) => ({ ...place, values: share }));
    return [putBack(x, node.attributes, parts)];
  },
  // Resizing is linear and separable, Y = R X Cᵀ for each channel, so dX = Rᵀ G C.
  resize: (g, { inputs: [x], attributes: { size, interpolation } }) => {
    const [batch, height, width, channels] = x!.shape as [number, number, number, number];
    const rowMatrix = o.constant(interpolationMatrix(height, size[0], interpolation));
    const columnMatrix = o.constant(interpolationMatrix(width, size[1], interpolation));
    const overRows = o.matmul(rowMatrix, o.reshape(g, [batch, size[0], size[1] * channels]), {
      transposeA: true,
    });
    const overColumns = o.matmul(columnMatrix, o.reshape(overRows, [batch * height, size[1], channels]), {
      transposeA: true,
    });
    return [o.reshape(overColumns, [batch, height, width, channels])];
  },
  // Not written: pictures are resampled in front of every weight. Said aloud, or those weights would stand still.
  gridSample: () =>
    fail(
      'unsupported',
      'There is no gradient through gridSample, which rotates, shifts and zooms pictures: a trainable layer must ' +
        'come after it, not before.',
    ),
  // Only asked for if something before it is to be trained, which null would leave as it is without a word.
  foreign: () =>
    fail(
      'unsupported',
      'Nothing before a foreign ONNX model can be trained or explained, since Graft has no gradient of it: freeze ' +
        'those layers, explain later ones.',
    ),
};

/** 1 / (number of unpadded elements) for each output position of an average pooling. */
function inverseWindowCounts(x: Node, y: NodeOf<'averagePool'>) {
  const { size, strides, pads, dilations } = y.attributes;
  const along = (axis: 0 | 1) =>
    Array.from({ length: y.shape[axis + 1]! }, (_, out) => {
      let inside = 0;
      for (let tap = 0; tap < size[axis]; tap++) {
        const at = out * strides[axis] - pads[axis] + tap * dilations[axis];
        if (at >= 0 && at < x.shape[axis + 1]!) inside++;
      }
      return inside;
    });
  const columns = along(1);
  const values = along(0).flatMap((high) => columns.map((wide) => 1 / (high * wide)));
  return float32([1, y.shape[1]!, y.shape[2]!, 1], values);
}
