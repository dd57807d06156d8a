/**
 * Convolutions with trainable kernels by the runtime's own kernels, in the layout of `blocked.ts`. Their gradients are in
 * `blocked_input_gradient.ts` and `blocked_kernel_gradient.ts`.
 */
import type { Node, NodeOf } from '../graph/node.ts';
import { windowsOnGradient } from './blocked_input_gradient.ts';
import type { Emitter } from './emitter.ts';
import { blockedDomain } from './fused.ts';
import type { Geometry } from './geometry.ts';

/** True where these formulations apply: whole blocks of channels, of filters and of pictures. */
export function canBlock(e: Emitter, { x, y, kernel, attributes }: Geometry): boolean {
  const { block, batch } = e.blocked;
  if (block === 0 || batch % block !== 0 || attributes.groups > 1 || x[0] !== -1) return false;
  const [, , channels, filters] = kernel as readonly [number, number, number, number];
  if (attributes.dilations.some((step) => step > 1)) return false;
  if (filters % block !== 0 || (channels % block !== 0 && channels > 4)) return false;
  return windowsOnGradient({ x, y, kernel, attributes }).every(
    ({ before, after }) => before >= 0 && after >= 0,
  );
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
    const ordered = height * width === 1 ? byFilters : e.transpose(e.reshape(byFilters, cells), [0, 2, 1, 3]);
    return e.reshape(ordered, [filters, channels, height, width]);
  });
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
