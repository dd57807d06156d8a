/**
 * A convolution of stride 2 over few channels, as the first of most networks is, written as one of stride 1 over blocks
 * of 2x2 positions. The runtime's integer convolution wants 16 channels: 3 of them it copies out, window by window.
 */
import { type Tensor, tensor } from '../core/tensor.ts';
import type { NodeOf } from '../graph/node.ts';

/** Channels of one position in a block; 4 positions make the 16. */
export const blockChannels = 4;

export interface BlockConvolution {
  /** OIHW, over blocks: channels are (row in the block, column in the block, `blockChannels`). */
  readonly weights: Tensor<'int8'>;
  /** In blocks: top, left, bottom, right. */
  readonly pads: readonly number[];
}

/** The convolution over blocks, or `null` if it cannot be one or would gain nothing. `weights` are OIHW. */
export function overBlocks(conv: NodeOf<'conv2d'>, weights: Tensor<'int8'>): BlockConvolution | null {
  const { strides, dilations, groups, pads } = conv.attributes;
  const [, ...map] = conv.inputs[0]!.shape;
  const [filters, channels, ...size] = weights.shape as [number, number, number, number];
  const suits = groups === 1 && channels <= blockChannels && [...strides].every((stride) => stride === 2);
  if (!suits || dilations.some((dilation) => dilation !== 1)) return null;
  const axes = [0, 1].map((axis) => alongAxis(map[axis]!, size[axis]!, pads[axis]!, conv.shape[axis + 1]!));
  if (axes.some((axis) => axis === null)) return null;
  const [rows, columns] = axes as [Axis, Axis];
  const shape = [filters, 4 * blockChannels, rows.size, columns.size];
  const blocks = tensor('int8', shape);
  for (let f = 0, i = 0; f < filters; f++)
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < size[0]!; y++)
        for (let x = 0; x < size[1]!; x++, i++) {
          const [row, column] = [y + rows.offset, x + columns.offset];
          const channel = ((row % 2) * 2 + (column % 2)) * blockChannels + c;
          const at = ((f * shape[1]! + channel) * rows.size + (row >> 1)) * columns.size + (column >> 1);
          blocks.data[at] = weights.data[i]!;
        }
  return { weights: blocks, pads: [rows.before, columns.before, rows.after, columns.after] };
}

interface Axis {
  /** Zeros in front of the kernel, so that padding is whole blocks. */
  readonly offset: number;
  /** Of the kernel and of the padding, in blocks. */
  readonly size: number;
  readonly before: number;
  readonly after: number;
}

/** Output o is at 2·o - pad: in blocks at o - (pad + offset) / 2, with a kernel that begins `offset` zeros earlier. */
function alongAxis(positions: number, kernel: number, pad: number, outputs: number): Axis | null {
  if (positions < 0 || positions % 2 !== 0) return null;
  const offset = pad % 2;
  const size = Math.ceil((kernel + offset) / 2);
  const before = (pad + offset) / 2;
  const after = outputs - 1 + size - positions / 2 - before;
  return after < 0 ? null : { offset, size, before, after };
}
