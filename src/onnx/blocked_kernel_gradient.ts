/**
 * The kernel gradient in the layout of `blocked.ts`: a convolution in which g, the gradient of the output, is the kernel.
 *
 *     ∂k[i, j, c, f] = Σ over pictures n, rows h, columns w of x[n, h + i, w + j, c] · g[n, h, w, f]
 *
 * x gives up the line of its columns with their channels, [n, height, width · b], and pictures become the channels of
 * that map; g is a kernel as large as itself whose columns are b apart. Taps and channels then lie side by side in the
 * result, [filters, kernel height, kernel width · b], so that every product is needed. There are three forms:
 *
 * - **groups of pictures**: a grouped convolution with so few pictures each that the runtime takes plain maps and g as
 *   it lies; what the groups have found is added. It wins where a picture's g fits into a cache.
 * - **all pictures**: blocks of pictures, for which both operands are moved. It wins on small maps, and on the largest,
 *   which are cut into strips.
 * - **a product**, where the window is one tap: a convolution of one tap as well, whose channels are all positions of all
 *   pictures. It wins unless filters are so few that moving x costs more.
 */
import type { ConvAttributes, Node, NodeOf } from '../graph/node.ts';
import { largestRows } from './blocked.ts';
import type { Emitter } from './emitter.ts';
import { blockedDomain, constantVector, convolve, depthwise } from './fused.ts';
import { type Geometry, seesEachPosition } from './geometry.ts';

/** A convolution streams through its kernel for every few results, so that should stay in a cache of 1 MB. */
const cachedFloats = 2 ** 18;
/** The runtime's convolutions make so many filters at once. */
const filtersAtOnce = 64;
/** With fewer positions a map is no work for a convolution of its own. */
const leastPositions = 64;

export function blockedKernelGradient(
  e: Emitter,
  node: NodeOf<'conv2dKernelGradient'> & Node,
  geometry: Geometry,
): void {
  const { y, kernel } = geometry;
  const [x, g] = node.inputs as [Node, Node];
  const [height, width, channels, filters] = kernel as readonly [number, number, number, number];
  const { block } = e.blocked;
  const positions = y[1]! * y[2]!;
  const grouped = positions >= leastPositions && positions * Math.min(filters, filtersAtOnce) <= cachedFloats;
  if (seesEachPosition(geometry) && !(grouped && filters < 2 * filtersAtOnce)) {
    // What is moved should be the smaller.
    const product =
      filters < channels && e.blocked.has(x) ? asProduct(e, g, x, false) : asProduct(e, x, g, true);
    e.define(node, e.reshape(product, kernel));
    return;
  }
  const cell = channels % block > 0 ? channels : block;
  const seen = { y, kernel, window: node.attributes, cell };
  const sums = grouped ? inGroups(e, x, g, seen) : overAllPictures(e, x, g, seen);
  // [blocks of channels, blocks of filters, taps, channels, filters] to HWIO.
  const parts = e.reshape(sums, [channels / cell, filters / block, height * width, cell, block]);
  e.define(node, e.reshape(e.transpose(parts, [2, 0, 3, 1, 4]), kernel));
}

/** aᵀ b over all positions: [channels of a, channels of b], or its transpose. b is the kernel. */
function asProduct(e: Emitter, a: Node, b: Node, channelsOfAFirst: boolean): string {
  const { batch, block } = e.blocked;
  const [, height, width, channels] = a.shape as readonly [number, number, number, number];
  const filters = b.shape[3]!;
  const all = batch * height * width;
  // The runtime's threads share lines and sets of filters.
  const line = filters < 8 * filtersAtOnce && channels % filtersAtOnce === 0 ? filtersAtOnce : channels;
  const map = e.once(`positions/${a.id}/${line}`, () =>
    e.node('ReorderInput', [e.reshape(e.value(a), [1, all, channels / line, line])], {}, blockedDomain),
  );
  const weights = e.once(`positions/${b.id}`, () => {
    const maps = e.reshape(e.blocked.name(b), [batch, filters / block, height * width * block]);
    const ordered = filters === block ? maps : e.transpose(maps, [1, 0, 2]);
    return e.reshape(ordered, [filters, all, 1, 1]);
  });
  const product = convolve(e, [map, weights], { kernel_shape: [1, 1] });
  const order = { channels: filters, channels_last: channelsOfAFirst ? 1 : 0 };
  return e.node('ReorderOutput', [product], order, blockedDomain);
}

/** What the window of a convolution sees of x. */
interface Seen {
  readonly y: readonly number[];
  readonly kernel: readonly number[];
  readonly window: ConvAttributes;
  /** Channels that lie beside each other. */
  readonly cell: number;
}

function dilationsOf({ window: { strides }, cell }: Seen): number[] {
  return [strides[0], strides[1] * cell];
}

/** [blocks of channels, filters, kernel height, kernel width · cell], blocked. */
function inGroups(e: Emitter, x: Node, g: Node, seen: Seen): string {
  const { batch, block } = e.blocked;
  const [, height, width, filters] = seen.y as readonly [number, number, number, number];
  const [rows, columns, channels] = seen.kernel as readonly [number, number, number];
  const taps = rows * columns;
  // One block of filters lies the same way however many pictures share a group. Where there are more, pictures would
  // have to be moved, which pays if there would be more results than values of g.
  const several = filters === block || taps * channels > 2 * height * width;
  const pictures = several ? block / 2 : 1;
  const groups = batch / pictures;
  const product = convolve(e, [picturesSideBySide(e, x, seen), groupedKernel(e, g, pictures)], {
    kernel_shape: [height, width],
    dilations: dilationsOf(seen),
    group: groups,
  });
  const parts = e.reshape(product, [channels / seen.cell, groups, filters * taps * seen.cell]);
  return e.node('ReduceSum', [parts, e.int64([1])], { keepdims: 0 });
}

/** x with its padding, [blocks of channels, batch, rows, columns · cell]. */
function picturesSideBySide(e: Emitter, x: Node, seen: Seen): string {
  const { name, blocks, rows, columns } = padded(e, x, seen);
  const { batch } = e.blocked;
  return e.once(`sideBySide/${name}`, () => {
    const maps = e.reshape(name, [batch, blocks, rows * columns]);
    const ordered = blocks === 1 ? maps : e.transpose(maps, [1, 0, 2]);
    return e.reshape(ordered, [blocks, batch, rows, columns]);
  });
}

/** g as the kernel [groups · filters, pictures of a group, height, width]. */
function groupedKernel(e: Emitter, g: Node, pictures: number): string {
  const { block, batch } = e.blocked;
  const [, height, width, filters] = g.shape as readonly [number, number, number, number];
  const groups = batch / pictures;
  return e.once(`kernel/${g.id}/groups/${pictures}`, () => {
    const maps = e.reshape(e.blocked.name(g), [groups, pictures, filters / block, height * width * block]);
    const ordered = pictures === 1 || filters === block ? maps : e.transpose(maps, [0, 2, 1, 3]);
    return e.reshape(ordered, [groups * filters, pictures, height, width]);
  });
}

/** [blocks of channels, filters, kernel height, kernel width · cell], blocked. */
function overAllPictures(e: Emitter, x: Node, g: Node, seen: Seen): string {
  const strips = stripsOf(e, seen);
  return convolve(e, [picturesAsChannels(e, x, seen, strips), wholeKernel(e, g, strips)], {
    kernel_shape: [strips.rows, seen.y[2]!],
    dilations: dilationsOf(seen),
  });
}

/** How the sum over positions is divided: pictures are cut into strips of this many rows of the output. */
interface Strips {
  readonly count: number;
  readonly rows: number;
}

function stripsOf(e: Emitter, { y }: Seen): Strips {
  const [, height, width, filters] = y as readonly [number, number, number, number];
  const positions = cachedFloats / e.blocked.block / Math.min(filters, filtersAtOnce);
  const rows = largestRows(height, width, positions);
  return { count: height / rows, rows };
}

/** What the window sees of x, [blocks of channels, strips · batch, rows, columns · channels], blocked. */
function picturesAsChannels(e: Emitter, x: Node, seen: Seen, strips: Strips): string {
  const { name, blocks, rows, columns } = padded(e, x, seen);
  const { batch } = e.blocked;
  const stride = seen.window.strides[0];
  return e.once(`pictures/${name}/${strips.count}`, () => {
    const high = (strips.rows - 1) * stride + seen.kernel[0]!;
    const starts = Array.from({ length: strips.count }, (_, i) => i * strips.rows * stride);
    const wanted = starts.flatMap((start) => Array.from({ length: high }, (_, i) => start + i));
    const lines = e.reshape(name, [batch, blocks, rows, columns]);
    // Neighbouring strips see some rows both.
    const cut = wanted.length === rows ? lines : e.node('Gather', [lines, e.int64(wanted)], { axis: 2 });
    const cells = e.reshape(cut, [batch, blocks, strips.count, high * columns]);
    const ordered = blocks * strips.count === 1 ? cells : e.transpose(cells, [1, 2, 0, 3]);
    const maps = e.reshape(ordered, [blocks, strips.count * batch, high, columns]);
    return e.node('ReorderInput', [maps], {}, blockedDomain);
  });
}

/** g as the kernel [filters, strips · batch, rows, width], blocked. */
function wholeKernel(e: Emitter, g: Node, strips: Strips): string {
  const { block, batch } = e.blocked;
  const [, , width, filters] = g.shape as readonly [number, number, number, number];
  return e.once(`kernel/${g.id}/${strips.count}`, () => {
    const cells = [batch / block, block, filters / block, strips.count, strips.rows * width, block];
    const ordered = e.transpose(e.reshape(e.blocked.name(g), cells), [2, 3, 0, 4, 1, 5]);
    return e.reshape(ordered, [filters, strips.count * batch, strips.rows, width]);
  });
}

/** x with zeros around it or without what no window sees: [batch, blocks of channels, rows, columns · cell]. */
function padded(e: Emitter, x: Node, { y, kernel, window, cell }: Seen) {
  const [, height, width, channels] = x.shape as readonly [number, number, number, number];
  const { strides, pads } = window;
  const blocks = channels / cell;
  const map = cell === e.blocked.block ? e.blocked.name(x) : e.value(x);
  const rows = (y[1]! - 1) * strides[0] + kernel[0]!;
  const columns = (y[2]! - 1) * strides[1] + kernel[1]!;
  const amounts = [pads[0], pads[1], rows - pads[0] - height, columns - pads[1] - width] as const;
  const name = e.once(`padded/${map}/${amounts}`, () => {
    if (amounts.every((amount) => amount === 0)) return map;
    if (cell === e.blocked.block && amounts.every((amount) => amount >= 0)) {
      // A depthwise convolution of one tap pads in half the time.
      return depthwise(e, map, constantVector(e, channels, 1), channels, [], { pads: amounts });
    }
    const [top, left, bottom, right] = amounts;
    const lines = e.reshape(map, [-1, blocks, height, width * cell]);
    const zeros = e.int64([0, 0, top, left * cell, 0, 0, bottom, right * cell]);
    return e.node('Pad', [lines, zeros, e.scalar(0)]);
  });
  return { name, blocks, rows, columns: columns * cell };
}
