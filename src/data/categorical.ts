/** Class ids to one-hot rows. */
import { shown } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';

/**
 * Class ids to float32 one-hot rows, as `keras.utils.to_categorical`: labels of shape (n,) or (n, 1) become
 * (n, numClasses), labels of shape (a, b) become (a, b, numClasses).
 *
 * Keras wraps negative labels around and cuts off fractions; here both are errors, since both are mistakes.
 *
 * @param labels class ids from 0: a tensor of any shape, or a plain array
 * @param numClasses default: the highest label + 1
 * @throws `data` for a label that is no whole number from 0 to numClasses - 1
 */
export function toCategorical(
  labels: Tensor<'int32' | 'int64' | 'uint8' | 'int8' | 'float32'> | ArrayLike<number>,
  numClasses?: number,
): Tensor<'float32'> {
  if (typeof labels !== 'object' || labels === null || !('shape' in labels || 'length' in labels)) {
    fail(
      'argument',
      `toCategorical: labels must be a tensor or a list of whole numbers, got ${shown(labels)}.`,
    );
  }
  const isTensor = 'shape' in labels;
  const values: ArrayLike<number | bigint> = isTensor ? labels.data : labels;
  const shape = isTensor ? labels.shape : [labels.length];
  const leading = shape.length > 1 && shape.at(-1) === 1 ? shape.slice(0, -1) : shape;
  const classes = numClasses ?? highest(values) + 1;
  if (!Number.isInteger(classes) || classes < 1) {
    fail('argument', `toCategorical: numClasses is a whole number, at least 1, got ${classes}.`);
  }
  const result = tensor('float32', [...leading, classes]);
  for (let i = 0; i < values.length; i++) {
    const label = Number(values[i]!);
    if (!Number.isInteger(label) || label < 0 || label >= classes) {
      fail(
        'data',
        `toCategorical: label ${label} at position ${i}; with ${classes} classes 0 … ${classes - 1} fit.`,
      );
    }
    result.data[i * classes + label] = 1;
  }
  return result;
}

function highest(values: ArrayLike<number | bigint>): number {
  if (values.length === 0) {
    fail('argument', 'toCategorical: there are no labels to count the classes by; give numClasses.');
  }
  let max = 0;
  for (let i = 0; i < values.length; i++) {
    const label = Number(values[i]!);
    if (!Number.isInteger(label) || label < 0) {
      fail('data', `toCategorical: label ${label} at position ${i}; labels are whole numbers from 0.`);
    }
    max = Math.max(max, label);
  }
  return max;
}
