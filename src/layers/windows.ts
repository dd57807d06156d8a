/** Windows that slide over feature maps: how Keras's `kernel_size`, `strides` and `padding` become numbers. */
import * as v from 'valibot';
import { oneOf } from '../core/checked.ts';
import type { Pair } from '../graph/node.ts';

export type Padding = 'valid' | 'same';

/** One number for height and width, or one for each. */
export type PairOption = number | readonly number[];

/** One or two whole numbers of at least 1, as two. */
export const pairSchema = v.pipe(
  v.custom<PairOption>((value) => {
    const both = Array.isArray(value) ? value : [value, value];
    return both.length === 2 && both.every((each) => Number.isSafeInteger(each) && each > 0);
  }, 'a whole number of at least 1, or two of them for height and width'),
  v.transform((option): Pair => (typeof option === 'number' ? [option, option] : [option[0]!, option[1]!])),
);

export const paddingSchema = oneOf('valid', 'same');

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
