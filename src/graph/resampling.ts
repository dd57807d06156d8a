/** Interpolation weights of resizing, shared by its gradient and its reference. */
import { type Tensor, tensor } from '../core/tensor.ts';

/**
 * The matrix [output, input] that resizes one axis with half-pixel centres and no antialiasing, as
 * `tf.image.resize` does: output i looks at x = (i + ½) · input/output − ½, clamped to the border.
 * Nearest takes ⌊x + ½⌋.
 */
export function interpolationMatrix(
  input: number,
  output: number,
  interpolation: 'bilinear' | 'nearest',
): Tensor<'float32'> {
  const matrix = tensor('float32', [output, input]);
  for (let i = 0; i < output; i++) {
    const center = ((i + 0.5) * input) / output - 0.5;
    if (interpolation === 'nearest') {
      matrix.data[i * input + Math.min(Math.floor(center + 0.5), input - 1)] = 1;
      continue;
    }
    const clamped = Math.min(Math.max(center, 0), input - 1);
    const low = Math.floor(clamped);
    const high = Math.min(low + 1, input - 1);
    matrix.data[i * input + low]! += 1 - (clamped - low);
    matrix.data[i * input + high]! += clamped - low;
  }
  return matrix;
}
