/** What an ImageNet classifier's predictions mean (keras.applications.imagenet_utils.decode_predictions). */
import * as v from 'valibot';
import { checked, fields, optional } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { formatShape, type Tensor, tensorOf } from '../core/tensor.ts';
import { type ImageNetClass, imagenetClasses } from './imagenet_classes.ts';

/** One guess; `score` is the prediction as it came. */
export interface DecodedPrediction extends ImageNetClass {
  readonly score: number;
}

const most = imagenetClasses.length;
const decodeOptions = fields({
  top: optional(
    v.custom<number>(
      (value) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= most,
      `a whole number from 1 to ${most}`,
    ),
    5,
  ),
});

/**
 * The best guesses for each picture, best first. `predictions` is (pictures, 1000); `top` defaults to 5. The names are
 * part of Graft, so nothing is downloaded. Throws `shape` for other predictions than ImageNet's.
 */
export function decodePredictions(
  predictions: Tensor<'float32'>,
  options: { readonly top?: number } = {},
): DecodedPrediction[][] {
  const where = 'decodePredictions';
  checked(tensorOf('float32'), predictions, where);
  const { top } = checked(decodeOptions, options, where);
  const [pictures, classes] = predictions.shape;
  if (predictions.shape.length !== 2 || classes !== imagenetClasses.length) {
    fail(
      'shape',
      `decodePredictions takes predictions (pictures, 1000) of an ImageNet classifier, got ${formatShape(predictions.shape)}.`,
    );
  }
  return Array.from({ length: pictures! }, (_, picture) => {
    const scores = predictions.data.subarray(picture * classes, (picture + 1) * classes);
    const ranked = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]!);
    return ranked.slice(0, top).map((index) => ({ ...imagenetClasses[index]!, score: scores[index]! }));
  });
}
