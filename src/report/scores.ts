/** Numbers about right and wrong: accuracy with its interval, the confusion matrix, and scores by class. */
import { isRight, type Judged } from './predictions.ts';

/** How often pictures of one class were taken for each: `matrix[label][predicted]`. */
export function confusionMatrix(judged: readonly Judged[], classes: number): number[][] {
  const matrix = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (const { label, predicted } of judged) matrix[label]![predicted]!++;
  return matrix;
}

export interface ClassScores {
  /** Of the pictures that were taken for this class, the share that is; null if there are none. */
  readonly precision: number | null;
  /** Of the pictures of this class, the share that was recognised; null if there are none. */
  readonly recall: number | null;
  /** The harmonic mean of both, 2·tp / (2·tp + fp + fn); null where nothing is or was taken for the class. */
  readonly f1: number | null;
  /** Pictures of this class. */
  readonly support: number;
}

export function classScores(matrix: readonly (readonly number[])[]): ClassScores[] {
  const ratio = (part: number, whole: number) => (whole === 0 ? null : part / whole);
  return matrix.map((row, id) => {
    const right = row[id]!;
    const support = row.reduce((sum, value) => sum + value, 0);
    const taken = matrix.reduce((sum, other) => sum + other[id]!, 0);
    return {
      precision: ratio(right, taken),
      recall: ratio(right, support),
      f1: ratio(2 * right, support + taken),
      support,
    };
  });
}

export interface Share {
  readonly right: number;
  readonly count: number;
  readonly value: number;
  /** The 95 % interval. */
  readonly low: number;
  readonly high: number;
}

/** The 97.5th percentile of the normal distribution. */
const z = 1.959963984540054;

/** A share with Wilson's 95 % interval (1927), which stays between 0 and 1 also where nearly all are right. */
export function shareOf(right: number, count: number): Share {
  const value = right / count;
  const scale = 1 / (1 + z ** 2 / count);
  const center = scale * (value + z ** 2 / (2 * count));
  const half = scale * z * Math.sqrt((value * (1 - value)) / count + z ** 2 / (4 * count ** 2));
  return { right, count, value, low: Math.max(center - half, 0), high: Math.min(center + half, 1) };
}

export function accuracyOf(judged: readonly Judged[]): Share {
  return shareOf(judged.filter(isRight).length, judged.length);
}
