/** What a classifier made of labelled pictures, and which of them deserve a look. */

export interface Predictions {
  /** The class id of each picture. */
  readonly labels: Int32Array;
  /** [n, classes], row by row; each row sums to 1. */
  readonly probabilities: Float32Array;
  readonly classes: number;
}

/** One picture of them. */
export interface Judged {
  /** Its position. */
  readonly index: number;
  readonly label: number;
  /** The most probable class; of equals the first. */
  readonly predicted: number;
  /** Probability of the predicted class. */
  readonly confidence: number;
  /** Crossentropy, in nats: -ln of the probability of the label. */
  readonly loss: number;
  /** Confidence minus the probability of the runner-up. */
  readonly margin: number;
}

/** The smallest normal float32: a probability that underflowed to 0 still has a logarithm. */
const smallest = 2 ** -126;

export function logOf(probability: number): number {
  return Math.log(Math.max(probability, smallest));
}

/** Every picture, in order. */
export function judge({ labels, probabilities, classes }: Predictions): Judged[] {
  return Array.from(labels, (label, index) => {
    const row = probabilities.subarray(index * classes, (index + 1) * classes);
    let predicted = 0;
    let runnerUp = 0;
    for (let i = 1; i < classes; i++) {
      if (row[i]! > row[predicted]!) {
        runnerUp = row[predicted]!;
        predicted = i;
      } else runnerUp = Math.max(runnerUp, row[i]!);
    }
    const confidence = row[predicted]!;
    const loss = 0 - logOf(row[label]!);
    return { index, label, predicted, confidence, loss, margin: confidence - runnerUp };
  });
}

export function isRight({ label, predicted }: Judged): boolean {
  return label === predicted;
}

/** Mistakes, the highest loss first. */
export function worstMistakes(judged: readonly Judged[]): Judged[] {
  return judged.filter((one) => !isRight(one)).sort((a, b) => b.loss - a.loss || a.index - b.index);
}

/** All pictures, the smallest margin between the first two classes first. */
export function leastSure(judged: readonly Judged[]): Judged[] {
  return [...judged].sort((a, b) => a.margin - b.margin || a.index - b.index);
}

/** Mistakes that are shown, and of those the first that are explained. */
export const shownMistakes = 24;
export const explainedMistakes = 12;
