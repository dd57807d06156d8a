/** Windows that slide over feature maps: how Keras's `kernel_size`, `strides` and `padding` become numbers. */
import { fail } from '../core/errors.ts';
import type { Pair } from '../graph/node.ts';

export type Padding = 'valid' | 'same';

/** One number for height and width, or one for each. */
export type PairOption = number | readonly number[];

/** Throws `argument` unless the option is one or two positive integers. */
export function pair(name: string, option: PairOption): Pair {
  const [height, width] = typeof option === 'number' ? [option, option] : (option as Pair);
  const valid = [height, width].every((value) => Number.isInteger(value) && value > 0);
  if (!valid || (typeof option !== 'number' && option.length !== 2)) {
    fail('argument', `${name} must be a positive integer or two of them, got ${JSON.stringify(option)}.`);
  }
  return [height, width];
}

/** Throws `argument` unless padding is one of Keras's two. */
export function checkPadding(layer: string, padding: string): Padding {
  if (padding === 'valid' || padding === 'same') return padding;
  return fail('argument', `${layer}: padding must be "valid" or "same", got ${JSON.stringify(padding)}.`);
}

/**
 * Top, left, bottom, right padding. "same" gives ⌈input / stride⌉ outputs and puts the odd value at the bottom
 * and right, as TensorFlow does.
 */
export function paddingOf(
  padding: Padding,
  input: Pair,
  size: Pair,
  strides: Pair,
  dilations: Pair = [1, 1],
): [number, number, number, number] {
  if (padding === 'valid') return [0, 0, 0, 0];
  const total = ([0, 1] as const).map((axis) => {
    const outputs = Math.ceil(input[axis] / strides[axis]);
    const reach = (outputs - 1) * strides[axis] + (size[axis] - 1) * dilations[axis] + 1;
    return Math.max(0, reach - input[axis]);
  }) as [number, number];
  const [top, left] = [Math.floor(total[0] / 2), Math.floor(total[1] / 2)];
  return [top, left, total[0] - top, total[1] - left];
}
