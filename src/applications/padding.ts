/** How Keras pads in front of strided convolutions (keras.applications.imagenet_utils.correct_pad). */
import type { SymbolicTensor } from '../layers/layer.ts';

/** [[top, bottom], [left, right]] for a window of `size` and stride 2: one less before the map where its side is even. */
export function correctPad(
  { shape }: SymbolicTensor,
  size: number,
): readonly [readonly [number, number], readonly [number, number]] {
  const half = Math.floor(size / 2);
  const side = (length: number) => [half - (1 - (length % 2)), half] as const;
  return [side(shape[0]!), side(shape[1]!)];
}
