/** The distributions that the noise of a training step is drawn from. */
import type { Random } from './random.ts';
import { sizeOf, type Tensor, tensor } from './tensor.ts';

/**
 * - `uniform` in [0, 1), and standard `normal`
 * - `permutation`: the numbers 0 … n − 1 in random order, int32, shape (n)
 * - `beta`: Beta(α, α) for each element, with one α for all, drawn uniformly from [low, high)
 */
export type Distribution =
  | 'uniform'
  | 'normal'
  | 'permutation'
  | { readonly beta: readonly [low: number, high: number] };

/** Draws a tensor of concrete shape. */
export function draw(random: Random, distribution: Distribution, shape: readonly number[]): Tensor {
  if (distribution === 'permutation') return tensor('int32', shape, random.permutation(sizeOf(shape)));
  const result = tensor('float32', shape);
  if (distribution === 'uniform') random.fillUniform(result.data);
  else if (distribution === 'normal') fill(result.data, () => random.normal());
  else {
    const [low, high] = distribution.beta;
    const alpha = low + (high - low) * random.uniform();
    fill(result.data, () => random.beta(alpha, alpha));
  }
  return result;
}

function fill(out: Float32Array, next: () => number): void {
  for (let i = 0; i < out.length; i++) out[i] = next();
}
