/**
 * How the three convolutions become ONNX. With a constant kernel (a frozen layer) it is `Conv` in the
 * runtime's blocked layout. With a trainable kernel there are four formulations, and measurements decide:
 *
 * - **blocks** (`blocked_convolution.ts`): the runtime's own kernels, for models of one batch on a CPU that has them. It
 *   wins everywhere but for 3x3 windows between many channels.
 * - **tiles** (`winograd.ts`): 3x3 windows of stride 1, with a third of the products.
 * - **matrices**: the map is a matrix [batch · positions, taps · channels] (each tap a shifted slice) and the
 *   HWIO kernel is a matrix already. Its weight gradient is one product. It moves taps times the map, so it
 *   wins where maps are small and channels many.
 * - **windows**: `Conv` forward, `ConvTranspose` for the input, one product for each tap for the kernel. It wins
 *   where maps are large.
 */
import { type Tensor, tensor } from '../core/tensor.ts';
import { symbolicSize } from '../graph/dimensions.ts';
import type { ConvAttributes, Node, NodeOf, Pair } from '../graph/node.ts';
import { blockedConv2d, canBlock } from './blocked_convolution.ts';
import { blockedInputGradient } from './blocked_input_gradient.ts';
import { blockedKernelGradient } from './blocked_kernel_gradient.ts';
import { columnSums } from './columns.ts';
import type { Emitter } from './emitter.ts';
import { type Geometry, seesEachPosition } from './geometry.ts';
import { winograd, winogradInputGradient, winogradKernelGradient, winogradProducts } from './winograd.ts';

/** Above this many output positions of an image, moving taps times the map costs more than `Conv` does. */
const matrixPositions = 14 * 14;

export function emitConv2d(e: Emitter, node: NodeOf<'conv2d'> & Node): void {
  const [x, kernel] = node.inputs as [Node, Node];
  const geometry = { x: x.shape, y: node.shape, kernel: kernel.shape, attributes: node.attributes };
  if (kernel.op === 'constant') {
    const weights = e.initializer(toFiltersFirst(kernel.attributes.value as Tensor<'float32'>));
    const strided = stridedSource(geometry, x);
    const source = strided?.source ?? x;
    const window = convAttributes(node.attributes, kernel.shape);
    const attributes = strided ? { ...window, strides: strided.steps } : window;
    e.defineChannelsFirst(node, e.node('Conv', [e.channelsFirst(source), weights], attributes));
  } else if (usesBlocks(e, geometry)) {
    blockedConv2d(e, node);
  } else if (usesWinograd(geometry)) {
    winograd(e, node, x, kernel, node.attributes.pads);
  } else if (usesMatrices(geometry)) {
    const product = e.node('MatMul', [patches(e, x, geometry), kernelMatrix(e, kernel)]);
    e.define(node, e.reshape(product, node.shape));
  } else {
    const weights = filtersFirst(e, kernel);
    const attributes = convAttributes(node.attributes, kernel.shape);
    e.defineChannelsFirst(node, e.node('Conv', [e.channelsFirst(x), weights], attributes));
  }
}

export function emitConv2dInputGradient(e: Emitter, node: NodeOf<'conv2dInputGradient'> & Node): void {
  const [g, kernel] = node.inputs as [Node, Node];
  const geometry = { x: node.shape, y: g.shape, kernel: kernel.shape, attributes: node.attributes };
  if (usesBlocks(e, geometry) && kernel.shape[2]! % e.blocked.block === 0) {
    blockedInputGradient(e, node, geometry);
    return;
  }
  if (usesWinograd(geometry)) {
    winogradInputGradient(e, node, g, kernel, node.attributes.pads);
    return;
  }
  if (usesMatrices(geometry)) {
    const columns = e.node('Gemm', [rowsOf(e, g), kernelMatrix(e, kernel)], { transB: 1 });
    e.define(node, sumPatches(e, columns, geometry));
    return;
  }
  // A transposed convolution reaches so far; what the strides left over is the output padding.
  const { strides, pads, dilations, groups } = node.attributes;
  const leftOver = ([0, 1] as const).map((axis) => {
    const reach = (g.shape[axis + 1]! - 1) * strides[axis] + (kernel.shape[axis]! - 1) * dilations[axis] + 1;
    return node.shape[axis + 1]! - (reach - pads[axis] - pads[axis + 2]!);
  });
  const window = {
    kernel_shape: kernel.shape.slice(0, 2),
    strides,
    pads,
    dilations,
    group: groups,
    output_padding: leftOver,
  };
  const parts = depthwiseParts(e, geometry, e.channelsFirst(g), filtersFirst(e, kernel));
  const gradients = parts.map((part) => e.node('ConvTranspose', part, window));
  e.defineChannelsFirst(
    node,
    gradients.reduce((total, part) => e.node('Add', [total, part])),
  );
}

/**
 * The operands of a transposed convolution. With several filters for each single channel they are taken apart
 * into depthwise ones, since the runtime's WebGPU provider (1.30) computes ConvTranspose wrongly where a group
 * has one output and an even number of inputs.
 */
function depthwiseParts(
  e: Emitter,
  { kernel, attributes: { groups } }: Geometry,
  g: string,
  weights: string,
): string[][] {
  const multiplier = kernel[3]! / groups;
  if (groups === 1 || kernel[2] !== 1 || multiplier === 1) return [[g, weights]];
  const every = (x: string, axis: number, start: number) =>
    e.node('Slice', [x, e.int64([start]), e.int64([kernel[3]!]), e.int64([axis]), e.int64([multiplier])]);
  return Array.from({ length: multiplier }, (_, i) => [every(g, 1, i), every(weights, 0, i)]);
}

export function emitConv2dKernelGradient(e: Emitter, node: NodeOf<'conv2dKernelGradient'> & Node): void {
  const [x, g] = node.inputs as [Node, Node];
  const geometry = { x: x.shape, y: g.shape, kernel: node.shape, attributes: node.attributes };
  if (usesBlocks(e, geometry)) {
    blockedKernelGradient(e, node, geometry);
    return;
  }
  if (usesWinograd(geometry)) {
    e.define(node, winogradKernelGradient(e, node, x, g, node.attributes.pads));
    return;
  }
  if (usesMatrices(geometry)) {
    e.define(
      node,
      e.reshape(e.node('Gemm', [patches(e, x, geometry), rowsOf(e, g)], { transA: 1 }), node.shape),
    );
    return;
  }
  const taps = tapsOf(geometry).map((tap) => {
    const seen = e.reshape(tapView(e, x, geometry, tap), [-1, x.shape[3]!]);
    return e.reshape(tapProduct(e, seen, g, geometry), [1, node.shape[2]!, node.shape[3]!]);
  });
  const stacked = taps.length === 1 ? taps[0]! : e.node('Concat', taps, { axis: 0 });
  e.define(node, e.reshape(stacked, node.shape));
}

/** From so many channels on Winograd's fewer products save more than its passage to the points and back costs. */
const winogradPrevails = 256;

function usesBlocks(e: Emitter, geometry: Geometry): boolean {
  const [, , channels, filters] = geometry.kernel as readonly [number, number, number, number];
  const products = channels * filters;
  return canBlock(e, geometry) && !(products >= winogradPrevails ** 2 && usesWinograd(geometry));
}

/** With fewer channels the passage to Winograd's points costs as much as its fewer products save. */
const winogradChannels = 16;

function usesWinograd({ y, kernel, attributes: { strides, dilations, groups } }: Geometry): boolean {
  const [height, width, channels, filters] = kernel as [number, number, number, number];
  const plain = groups === 1 && [...strides, ...dilations].every((step) => step === 1);
  if (!plain || height !== 3 || width !== 3 || Math.min(channels, filters) < winogradChannels) return false;
  return winogradProducts(y) * 2 <= 9 * y[1]! * y[2]!;
}

/** Small maps and ungrouped kernels go as matrices, and so does every 1x1 convolution. */
function usesMatrices({ y, kernel, attributes }: Geometry): boolean {
  if (attributes.groups > 1) return false;
  const [height, width, channels] = kernel as [number, number, number, number];
  if (height === 1 && width === 1) return true;
  // A first layer of three channels has few columns whatever its window, and `Conv` gains nothing from them.
  return y[1]! * y[2]! <= matrixPositions || channels <= 4;
}

/** One tap's part of the kernel gradient: xᵀ g over all positions, [channels / groups, filters]. */
function tapProduct(
  e: Emitter,
  seen: string,
  g: Node,
  { x, kernel, attributes: { groups } }: Geometry,
): string {
  const filters = kernel[3]!;
  if (groups === 1) return e.node('Gemm', [seen, rowsOf(e, g)], { transA: 1 });
  const perGroup = x[3]! / groups;
  // Depthwise, each column of x meets one of g: up to 5 times faster than a product for each channel.
  if (perGroup === 1 && filters === groups) {
    const rows = symbolicSize(g.shape.slice(0, 3));
    return columnSums(e, e.node('Mul', [seen, rowsOf(e, g)]), rows);
  }
  const left = e.transpose(e.reshape(seen, [-1, groups, perGroup]), [1, 2, 0]);
  const right = e.once(`groups/${g.id}`, () =>
    e.transpose(e.reshape(e.value(g), [-1, groups, filters / groups]), [1, 0, 2]),
  );
  const product = e.node('MatMul', [left, right]); // [groups, channels / groups, filters / groups]
  return e.reshape(e.transpose(product, [1, 0, 2]), [perGroup, filters]);
}

interface Tap {
  readonly i: number;
  readonly j: number;
}

function tapsOf({ kernel }: Geometry): Tap[] {
  const [height, width] = kernel as [number, number];
  return Array.from({ length: height * width }, (_, k) => ({ i: Math.floor(k / width), j: k % width }));
}

/** The slice of the padded map that one tap of the window sees: [batch, outHeight, outWidth, channels]. */
function tapView(e: Emitter, x: Node, { y, attributes }: Geometry, { i, j }: Tap): string {
  const { strides, pads, dilations } = attributes;
  const [top, left, bottom, right] = pads;
  const padded = pads.some((amount) => amount > 0)
    ? e.once(`padded/${x.id}/${pads}`, () =>
        e.node('Pad', [e.value(x), e.int64([0, top, left, 0, 0, bottom, right, 0]), e.scalar(0)]),
      )
    : e.value(x);
  const start = [i * dilations[0], j * dilations[1]];
  const end = start.map((from, axis) => from + (y[axis + 1]! - 1) * strides[axis as 0 | 1] + 1);
  const inputs = [padded, e.int64(start), e.int64(end), e.int64([1, 2]), e.int64(strides)];
  return e.once(`tap/${inputs}`, () => e.node('Slice', inputs));
}

/** The matrix [batch · positions, taps · channels] of everything that the window sees. */
function patches(e: Emitter, x: Node, geometry: Geometry): string {
  const { kernel } = geometry;
  const columns = kernel[0]! * kernel[1]! * x.shape[3]!;
  if (seesEachPosition(geometry)) return rowsOf(e, x);
  // The views have one name for each place that they look at, so they tell whether these patches exist already.
  const views = tapsOf(geometry).map((tap) => tapView(e, x, geometry, tap));
  return e.once(`patches/${views}`, () =>
    e.reshape(views.length === 1 ? views[0]! : e.node('Concat', views, { axis: 3 }), [-1, columns]),
  );
}

/** The transpose of `patches`: adds each tap's columns back to where they came from. */
function sumPatches(e: Emitter, columns: string, geometry: Geometry): string {
  const { x, y, attributes } = geometry;
  const { strides, pads, dilations } = attributes;
  const channels = x[3]!;
  const taps = tapsOf(geometry);
  if (seesEachPosition(geometry)) return e.reshape(columns, x);
  const map = e.reshape(columns, [-1, y[1]!, y[2]!, taps.length * channels]);
  const parts = taps.map(({ i, j }, k) => {
    const range = [e.int64([k * channels]), e.int64([(k + 1) * channels]), e.int64([3])];
    const part = taps.length === 1 ? map : e.node('Slice', [map, ...range]);
    const before = [i * dilations[0] - pads[0], j * dilations[1] - pads[1]] as const;
    return placeTap(e, part, { from: [y[1]!, y[2]!], to: [x[1]!, x[2]!], strides, before, channels });
  });
  return parts.reduce((total, part) => e.node('Add', [total, part]));
}

interface Placement {
  readonly from: Pair;
  readonly to: Pair;
  readonly strides: Pair;
  readonly before: Pair;
  readonly channels: number;
}

/** Spreads a map by the strides and shifts it into a larger one; negative padding crops what hangs over. */
function placeTap(e: Emitter, part: string, { from, to, strides, before, channels }: Placement): string {
  let spread = part;
  const dilated = [from[0] * strides[0], from[1] * strides[1]] as const;
  if (strides[0] > 1 || strides[1] > 1) {
    const cells = e.reshape(part, [-1, from[0], 1, from[1], 1, channels]);
    const gaps = e.int64([0, 0, 0, 0, 0, 0, 0, 0, strides[0] - 1, 0, strides[1] - 1, 0]);
    spread = e.reshape(e.node('Pad', [cells, gaps, e.scalar(0)]), [-1, dilated[0], dilated[1], channels]);
  }
  const after = [to[0] - before[0] - dilated[0], to[1] - before[1] - dilated[1]] as const;
  if (before[0] === 0 && before[1] === 0 && after[0] === 0 && after[1] === 0) return spread;
  return e.node('Pad', [
    spread,
    e.int64([0, before[0], before[1], 0, 0, after[0], after[1], 0]),
    e.scalar(0),
  ]);
}

/** A feature map as the matrix [batch · positions, channels]. */
function rowsOf(e: Emitter, map: Node): string {
  return e.once(`rows/${map.id}`, () => e.reshape(e.value(map), [-1, map.shape[3]!]));
}

/** The HWIO kernel as the matrix [taps · channels, filters]. */
function kernelMatrix(e: Emitter, kernel: Node): string {
  const [height, width, channels, filters] = kernel.shape as [number, number, number, number];
  return e.once(`kernelMatrix/${kernel.id}`, () =>
    e.reshape(e.value(kernel), [height * width * channels, filters]),
  );
}

/** A trainable HWIO kernel as ONNX's OIHW. */
function filtersFirst(e: Emitter, kernel: Node): string {
  return e.once(`filtersFirst/${kernel.id}`, () => e.transpose(e.value(kernel), [3, 2, 0, 1]));
}

function convAttributes({ strides, pads, dilations, groups }: ConvAttributes, kernel: readonly number[]) {
  return { kernel_shape: kernel.slice(0, 2), strides, pads, dilations, group: groups };
}

/** A constant HWIO kernel as ONNX's OIHW. */
function toFiltersFirst({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const [height, width, channels, filters] = shape as [number, number, number, number];
  const result = tensor('float32', [filters, channels, height, width]);
  const positions = height * width;
  for (let p = 0; p < positions; p++)
    for (let c = 0; c < channels; c++)
      for (let f = 0; f < filters; f++) {
        result.data[(f * channels + c) * positions + p] = data[(p * channels + c) * filters + f]!;
      }
  return result;
}

/** If a map is every n-th position of another one, a frozen 1x1 convolution can stride over that itself. */
function stridedSource(geometry: Geometry, x: Node): { source: Node; steps: Pair } | null {
  if (x.op !== 'slice' || !seesEachPosition(geometry)) return null;
  const { starts, ends, steps } = x.attributes;
  const source = x.inputs[0]!;
  const whole = [1, 2, 3].every((axis) => starts[axis] === 0 && ends[axis] === source.shape[axis]);
  return whole && steps[3] === 1 ? { source, steps: [steps[1]!, steps[2]!] } : null;
}
