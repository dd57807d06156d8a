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
import { largestRows } from './blocked.ts';
import type { Emitter } from './emitter.ts';
import { blockedDomain, convolve } from './fused.ts';

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
  const whole = kernel.shape[2]! % e.blocked.block === 0;
  const { strides, pads } = node.attributes;
  e.blocked.defineConvolution(node, {
    inputs: whole
      ? [e.blocked.name(x), kernelInBlocks(e, kernel)]
      : [e.channelsFirst(x), kernelOfFewChannels(e, kernel)],
    attributes: { kernel_shape: kernel.shape.slice(0, 2), strides, pads },
  });
}

/** HWIO as [filters / b, channels / b, taps, b channels, b filters]. */
function kernelInBlocks(e: Emitter, kernel: Node): string {
  const [height, width, channels, filters] = kernel.shape as readonly [number, number, number, number];
  const { block } = e.blocked;
  return e.once(`kernelInBlocks/${kernel.id}`, () => {
    // As a map of positions (tap, channel) whose channels are the filters: [filters / b, taps, channels, b filters].
    const map = e.reshape(e.value(kernel), [1, height * width, channels, filters]);
    const byFilters = e.node('ReorderInput', [map], { channels_last: 1 }, blockedDomain);
    const cells = [filters / block, height * width, channels / block, block * block];
    const ordered = swapped(e, byFilters, cells, [0, 2, 1, 3]);
    return e.reshape(ordered, [filters, channels, height, width]);
  });
}

/** The kernel turned round, channels and filters swapped: [channels / b, filters / b, taps, b filters, b channels]. */
function turnedKernelInBlocks(e: Emitter, kernel: Node): string {
  const [height, width, channels, filters] = kernel.shape as readonly [number, number, number, number];
  const { block } = e.blocked;
  const taps = height * width;
  return e.once(`turnedKernel/${kernel.id}`, () => {
    // Each tap is a map of positions (filters), channels first: [taps, channels / b, filters, b channels].
    const map = e.reshape(e.value(kernel), [taps, channels, filters, 1]);
    const byChannels = e.node('ReorderInput', [map], {}, blockedDomain);
    const backwards = e.int64(Array.from({ length: taps }, (_, i) => taps - 1 - i));
    const turned = taps === 1 ? byChannels : e.node('Gather', [byChannels, backwards], { axis: 0 });
    const cells = [taps, channels / block, filters / block, block * block];
    return e.reshape(swapped(e, turned, cells, [1, 2, 0, 3]), [channels, filters, height, width]);
  });
}

/** Reshaped and transposed; a single tap stays where it is. */
function swapped(e: Emitter, value: string, cells: readonly number[], order: readonly number[]): string {
  const taps = order.indexOf(0) === 0 ? cells[1] : cells[0];
  return taps === 1 ? value : e.transpose(e.reshape(value, cells), order);
}

/** With few channels the input is channels-first, and the kernel's channels come before its taps. */
function kernelOfFewChannels(e: Emitter, kernel: Node): string {
  const [height, width, channels, filters] = kernel.shape as readonly [number, number, number, number];
  const { block } = e.blocked;
  return e.once(`kernelOfFewChannels/${kernel.id}`, () => {
    const cells = e.reshape(e.value(kernel), [height * width, channels, filters / block, block]);
    return e.reshape(e.transpose(cells, [2, 1, 0, 3]), [filters, channels, height, width]);
  });
}

export function blockedInputGradient(
  e: Emitter,
  node: NodeOf<'conv2dInputGradient'> & Node,
  geometry: Geometry,
): void {
  const [g, kernel] = node.inputs as [Node, Node];
  e.blocked.defineConvolution(node, {
    inputs: [spreadByStrides(e, g, node.attributes), turnedKernelInBlocks(e, kernel)],
    attributes: { kernel_shape: kernel.shape.slice(0, 2), strides: [1, 1], pads: inputPads(geometry) },
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

/** How the sum over positions is divided: pictures are cut into strips of this many rows of the output. */
interface Strips {
  readonly count: number;
  readonly rows: number;
}

/** A convolution streams through a block of its kernel for every few results, so that should stay in a cache of 1 MB. */
const cachedFloats = 2 ** 18;
/** The runtime's convolutions make so many filters at once. */
const filtersAtOnce = 64;

function stripsOf(e: Emitter, [, height, width, filters]: readonly number[], taps: number): Strips {
  const positions = cachedFloats / e.blocked.block / Math.min(filters!, filtersAtOnce);
  const rows = taps === 1 ? 1 : largestRows(height!, width!, positions);
  return { count: height! / rows, rows };
}

export function blockedKernelGradient(
  e: Emitter,
  node: NodeOf<'conv2dKernelGradient'> & Node,
  { y, kernel }: Geometry,
): void {
  const [x, g] = node.inputs as [Node, Node];
  const [height, width, channels, filters] = kernel as readonly [number, number, number, number];
  const { block } = e.blocked;
  const { strides } = node.attributes;
  const cell = channels % block === 0 ? block : channels;
  const strips = stripsOf(e, y, height * width);
  const pictures = picturesAsChannels(e, x, { y, kernel, strips, cell, window: node.attributes });
  const product = convolve(e, [pictures, gradientAsKernel(e, g, strips)], {
    kernel_shape: [strips.rows, y[2]!],
    dilations: [strides[0], strides[1] * cell],
  });
  // [blocks of channels, blocks of filters, taps, channels, filters] to HWIO.
  const parts = e.reshape(product, [channels / cell, filters / block, height * width, cell, block]);
  e.define(node, e.reshape(e.transpose(parts, [2, 0, 3, 1, 4]), kernel));
}

interface Seen {
  readonly y: readonly number[];
  readonly kernel: readonly number[];
  readonly window: ConvAttributes;
  readonly strips: Strips;
  readonly cell: number;
}

/** What the window sees of x, [blocks of channels, strips · batch, rows, columns · channels], blocked. */
function picturesAsChannels(e: Emitter, x: Node, { y, kernel, window, strips, cell }: Seen): string {
  const [, height, width, channels] = x.shape as readonly [number, number, number, number];
  const { strides, pads } = window;
  const { batch } = e.blocked;
  const blocks = channels / cell;
  const map = cell === e.blocked.block ? e.blocked.name(x) : e.value(x);
  const rows = (y[1]! - 1) * strides[0] + kernel[0]!;
  const columns = ((y[2]! - 1) * strides[1] + kernel[1]!) * cell;
  return e.once(`pictures/${map}/${pads}/${kernel.slice(0, 2)}/${strips.count}`, () => {
    const before = [0, 0, pads[0], pads[1] * cell];
    const after = [0, 0, rows - pads[0] - height, columns - (pads[1] + width) * cell];
    const lines = e.reshape(map, [batch, blocks, height, width * cell]);
    const amounts = [...before, ...after];
    const padded = amounts.some((amount) => amount !== 0)
      ? e.node('Pad', [lines, e.int64(amounts), e.scalar(0)])
      : lines;
    const seen = (strips.rows - 1) * strides[0] + kernel[0]!;
    const starts = Array.from({ length: strips.count }, (_, i) => i * strips.rows * strides[0]);
    const wanted = starts.flatMap((start) => Array.from({ length: seen }, (_, i) => start + i));
    // Neighbouring strips see some rows both.
    const cut =
      wanted.length === rows && strips.count * seen === rows
        ? padded
        : e.node('Gather', [padded, e.int64(wanted)], { axis: 2 });
    const cells = e.reshape(cut, [batch, blocks, strips.count, seen * columns]);
    const ordered = blocks * strips.count === 1 ? cells : e.transpose(cells, [1, 2, 0, 3]);
    const maps = e.reshape(ordered, [blocks, strips.count * batch, seen, columns]);
    return e.node('ReorderInput', [maps], {}, blockedDomain);
  });
}

/** g as the kernel [filters, strips · batch, rows, width], blocked. */
function gradientAsKernel(e: Emitter, g: Node, strips: Strips): string {
  const { block, batch } = e.blocked;
  const [, , width, filters] = g.shape as readonly [number, number, number, number];
  return e.once(`kernel/${g.id}/${strips.count}`, () => {
    const cells = [batch / block, block, filters / block, strips.count, strips.rows * width, block];
    const ordered = e.transpose(e.reshape(e.blocked.name(g), cells), [2, 3, 0, 4, 1, 5]);
    return e.reshape(ordered, [filters, strips.count * batch, strips.rows, width]);
  });
}
