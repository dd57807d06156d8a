/**
 * Convolutions with trainable kernels by the runtime's own kernels, in the layout of `blocked.ts`. The input gradient is
 * the convolution of the output's gradient, spread by the strides, with the kernel turned round and its channels
 * swapped. The kernel gradient is in `blocked_kernel_gradient.ts`.
 */
import type { ConvAttributes, Node, NodeOf } from '../graph/node.ts';
import type { Emitter } from './emitter.ts';
import { blockedDomain } from './fused.ts';

export interface Geometry {
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
