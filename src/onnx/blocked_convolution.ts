/**
 * Convolutions with trainable kernels by the runtime's own kernels, in the layout of `blocked.ts`. The input gradient is
 * the convolution of the output's gradient, spread by the strides, with the kernel turned round and its channels
 * swapped. The kernel gradient is a convolution as well, in which pictures are the channels:
 *
 *     ∂k[i, j, c, f] = Σ over pictures n, rows h, columns w of x[n, h + i, w + j, c] · g[n, h, w, f]
 *
 * x gives up the line of its columns with their channels, [n, height, width · b], as a map of n channels, and g is a
 * kernel as large as itself whose columns are b apart. Taps and channels then lie side by side in the result,
 * [filters, kernel height, kernel width · b], so that every product is needed.
 */
import type { ConvAttributes, Node, NodeOf } from '../graph/node.ts';
import type { Emitter } from './emitter.ts';

interface Geometry {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly kernel: readonly number[];
  readonly attributes: ConvAttributes;
}

/** True where these formulations apply: whole blocks of channels, of filters and of pictures. */
export function canBlock(e: Emitter, { x, y, kernel, attributes }: Geometry): boolean {
  const { block, batch } = e.blocked;
  if (block === 0 || batch % block !== 0 || attributes.groups > 1 || x[0] !== -1) return false;
  const [, , channels, filters] = kernel as readonly [number, number, number, number];
  if (attributes.dilations.some((step) => step > 1)) return false;
  if (filters % block !== 0 || (channels % block !== 0 && channels > 4)) return false;
  return inputPads({ x, y, kernel, attributes }).every((amount) => amount >= 0);
}

/** The padding of the gradient, spread by the strides, from which the input gradient is a plain convolution. */
function inputPads({ x, y, kernel, attributes }: Geometry): number[] {
  const { strides, pads } = attributes;
  const before = ([0, 1] as const).map((axis) => kernel[axis]! - 1 - pads[axis]);
  // Spread maps end with the gaps behind their last value.
  const after = ([0, 1] as const).map(
    (axis) => x[axis + 1]! - y[axis + 1]! * strides[axis] - before[axis]! + kernel[axis]! - 1,
  );
  return [...before, ...after];
}

export function blockedConv2d(e: Emitter, node: NodeOf<'conv2d'> & Node): void {
  const [x, kernel] = node.inputs as [Node, Node];
  const [height, width, channels, filters] = kernel.shape as readonly [number, number, number, number];
  const { block } = e.blocked;
  const whole = channels % block === 0;
  const weights = e.once(`blocked/${kernel.id}`, () => {
    const blocks = whole ? [channels / block, block] : [1, channels];
    const cells = e.reshape(e.value(kernel), [height, width, ...blocks, filters / block, block]);
    // With few channels the input is channels-first, and the kernel's channels come before its taps.
    const ordered = e.transpose(cells, whole ? [4, 2, 0, 1, 3, 5] : [4, 2, 3, 0, 1, 5]);
    return e.reshape(ordered, [filters, channels, height, width]);
  });
  const { strides, pads } = node.attributes;
  e.blocked.defineConvolution(node, {
    inputs: [whole ? e.blocked.name(x) : e.channelsFirst(x), weights],
    attributes: { kernel_shape: [height, width], strides, pads },
  });
}

export function blockedInputGradient(
  e: Emitter,
  node: NodeOf<'conv2dInputGradient'> & Node,
  geometry: Geometry,
): void {
  const [g, kernel] = node.inputs as [Node, Node];
  const [height, width, channels, filters] = kernel.shape as readonly [number, number, number, number];
  const { block } = e.blocked;
  const taps = height * width;
  const turned = e.once(`turned/${kernel.id}`, () => {
    const flat = e.reshape(e.value(kernel), [taps, channels * filters]);
    const last = Array.from({ length: taps }, (_, i) => taps - 1 - i);
    const reversed = taps === 1 ? flat : e.node('Gather', [flat, e.int64(last)], { axis: 0 });
    const cells = e.reshape(reversed, [height, width, channels / block, block, filters / block, block]);
    return e.reshape(e.transpose(cells, [2, 4, 0, 1, 5, 3]), [channels, filters, height, width]);
  });
  e.blocked.defineConvolution(node, {
    inputs: [spreadByStrides(e, g, node.attributes), turned],
    attributes: {
      kernel_shape: [height, width],
      strides: [1, 1],
      pads: inputPads(geometry),
    },
  });
}

/** A blocked map with zeros behind each value. */
function spreadByStrides(e: Emitter, g: Node, { strides }: ConvAttributes): string {
  const name = e.blocked.name(g);
  if (strides[0] === 1 && strides[1] === 1) return name;
  const { block } = e.blocked;
  const [, height, width, filters] = g.shape as readonly [number, number, number, number];
  const cells = e.reshape(name, [-1, height, 1, width, 1, block]);
  const gaps = e.int64([0, 0, 0, 0, 0, 0, 0, 0, strides[0] - 1, 0, strides[1] - 1, 0]);
  const spread = e.node('Pad', [cells, gaps, e.scalar(0)]);
  return e.reshape(spread, [-1, filters, height * strides[0], width * strides[1]]);
}

export function blockedKernelGradient(
  e: Emitter,
  node: NodeOf<'conv2dKernelGradient'> & Node,
  { x: [, , , channels], kernel }: Geometry,
): void {
  const [x, g] = node.inputs as [Node, Node];
  const [height, width, , filters] = kernel as readonly [number, number, number, number];
  const { block } = e.blocked;
  const { strides, pads } = node.attributes;
  const cell = channels! % block === 0 ? block : channels!;
  const [, outHeight, outWidth] = g.shape as readonly [number, number, number, number];
  const size = [(outHeight - 1) * strides[0] + height, (outWidth - 1) * strides[1] + width] as const;
  const product = e.node(
    'Conv',
    [picturesAsChannels(e, x, size, pads, cell), gradientAsKernel(e, g)],
    {
      kernel_shape: [outHeight, outWidth],
      dilations: [strides[0], strides[1] * cell],
    },
    'com.microsoft.nchwc',
  );
  // [blocks of channels, blocks of filters, taps · channels, filters] to HWIO.
  const parts = e.reshape(product, [channels! / cell, filters / block, height, width, cell, block]);
  const ordered = e.transpose(parts, [2, 3, 0, 4, 1, 5]);
  e.define(node, e.reshape(ordered, [height, width, channels!, filters]));
}

/** x padded to the rows and columns that are seen, [blocks of channels, batch, rows, columns · channels], blocked. */
function picturesAsChannels(
  e: Emitter,
  x: Node,
  [rows, columns]: readonly [number, number],
  [top, left]: readonly number[],
  cell: number,
): string {
  const [, height, width, channels] = x.shape as readonly [number, number, number, number];
  const blocks = channels / cell;
  const { batch } = e.blocked;
  const map = cell === e.blocked.block ? e.blocked.name(x) : e.value(x);
  return e.once(`pictures/${map}/${top}/${left}/${rows}/${columns}`, () => {
    const lines = e.reshape(map, [batch, blocks, height, width * cell]);
    const ordered =
      blocks === 1 ? e.reshape(lines, [1, batch, height, width * cell]) : e.transpose(lines, [1, 0, 2, 3]);
    const after = [rows - top! - height, (columns - left! - width) * cell];
    const amounts = e.int64([0, 0, top!, left! * cell, 0, 0, ...after]);
    return e.node(
      'ReorderInput',
      [e.node('Pad', [ordered, amounts, e.scalar(0)])],
      {},
      'com.microsoft.nchwc',
    );
  });
}

/** g as the kernel [filters, batch, height, width], blocked. */
function gradientAsKernel(e: Emitter, g: Node): string {
  const { block, batch } = e.blocked;
  const [, height, width, filters] = g.shape as readonly [number, number, number, number];
  return e.once(`kernel/${g.id}`, () => {
    const cells = [batch / block, block, filters / block, height * width, block];
    const ordered = e.transpose(e.reshape(e.blocked.name(g), cells), [2, 0, 3, 1, 4]);
    return e.reshape(ordered, [filters, batch, height, width]);
  });
}
