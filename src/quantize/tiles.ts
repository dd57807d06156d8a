/**
 * Convolutions on processors that multiply tiles of integers (Intel AMX). The runtime does so in its matrix products,
 * which a convolution comes to only if its weights have a zero point other than 0; else it has kernels of its own,
 * without tiles.
 */
import { type Tensor, tensor } from '../core/tensor.ts';

/**
 * Products for each value from which on tiles win: what moves into matrices is read often enough. Measured on ResNet50:
 * 576 products 3.0 instead of 3.2 ms, 2304 1.65 instead of 2.8, 256 between 0.9 and 1.3 times as long.
 */
const worthwhileProducts = 512;

/** The weights (OIHW) of a convolution and their zero points, one for each filter. The result is the same integers. */
export function withZeroPoints(
  weights: Tensor<'int8'>,
  { groups, tiles }: { readonly groups: number; readonly tiles: boolean },
): { readonly weights: Tensor<'int8'>; readonly zeroPoints: Tensor<'int8'> } {
  const filters = weights.shape[0]!;
  const products = weights.data.length / filters;
  const zeroPoints = tensor('int8', [filters]);
  if (!tiles || groups > 1 || products < worthwhileProducts) return { weights, zeroPoints };
  zeroPoints.data.fill(-1);
  // The least weight is −127, so it has room.
  return {
    weights: tensor(
      'int8',
      weights.shape,
      weights.data.map((weight) => weight - 1),
    ),
    zeroPoints,
  };
}
