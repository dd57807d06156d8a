/** Whether probabilities mean what they say (Guo et al. 2017, "On Calibration of Modern Neural Networks"). */
import { isRight, type Judged, judge, logOf, type Predictions } from './predictions.ts';

/** The pictures whose confidence lies in (low, high]. */
export interface Bin {
  readonly low: number;
  readonly high: number;
  readonly count: number;
  /** Means over the bin; 0 where it is empty. */
  readonly confidence: number;
  readonly accuracy: number;
}

export function reliability(judged: readonly Judged[], bins = 15): Bin[] {
  const sums = Array.from({ length: bins }, () => ({ count: 0, confidence: 0, right: 0 }));
  for (const one of judged) {
    // Bins are open below and closed above, and a probability of 0 belongs to the first.
    const bin = sums[Math.min(Math.max(Math.ceil(one.confidence * bins) - 1, 0), bins - 1)]!;
    bin.count++;
    bin.confidence += one.confidence;
    if (isRight(one)) bin.right++;
  }
  return sums.map(({ count, confidence, right }, i) => ({
    ...{ low: i / bins, high: (i + 1) / bins, count },
    confidence: count === 0 ? 0 : confidence / count,
    accuracy: count === 0 ? 0 : right / count,
  }));
}

/** Expected calibration error: the mean of |accuracy - confidence| over bins, weighted by their pictures. */
export function expectedCalibrationError(bins: readonly Bin[]): number {
  const total = bins.reduce((sum, { count }) => sum + count, 0);
  return bins.reduce(
    (sum, { count, accuracy, confidence }) => sum + (count / total) * Math.abs(accuracy - confidence),
    0,
  );
}

/** Mean crossentropy in nats. */
export function negativeLogLikelihood(judged: readonly Judged[]): number {
  return judged.reduce((sum, { loss }) => sum + loss, 0) / judged.length;
}

/** Temperatures that are looked at lie between 1 / limit and limit. */
const limit = 100;

/**
 * The temperature T that minimises the NLL of softmax(logits / T), where logits are the logarithms of the
 * probabilities; null if there is no minimum between 1/100 and 100, as where every picture is right. In b = 1 / T the
 * NLL is convex with the derivative mean(Σ p·z - z_label), p = softmax(b·z), so its zero is found by bisection.
 */
export function fitTemperature(predictions: Predictions): number | null {
  const { labels, probabilities, classes } = predictions;
  const logits = Float64Array.from(probabilities, logOf);
  const slope = (b: number) => {
    let sum = 0;
    for (const [i, label] of labels.entries()) {
      const row = logits.subarray(i * classes, (i + 1) * classes);
      sum += expected(row, b) - row[label]!;
    }
    return sum;
  };
  let [low, high] = [Math.log(1 / limit), Math.log(limit)];
  if (slope(Math.exp(low)) >= 0 || slope(Math.exp(high)) <= 0) return null;
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (slope(Math.exp(middle)) < 0) low = middle;
    else high = middle;
  }
  return Math.exp(-(low + high) / 2);
}

/** The mean of z under softmax(b·z). */
function expected(z: Float64Array, b: number): number {
  const largest = z.reduce((most, value) => Math.max(most, value));
  let [sum, weighted] = [0, 0];
  for (const value of z) {
    const weight = Math.exp(b * (value - largest));
    sum += weight;
    weighted += weight * value;
  }
  return weighted / sum;
}

/** The same predictions at another temperature: softmax(log p / T). */
export function atTemperature(predictions: Predictions, temperature: number): Predictions {
  const { probabilities, classes } = predictions;
  const scaled = new Float32Array(probabilities.length);
  for (let start = 0; start < scaled.length; start += classes) {
    const row = probabilities.subarray(start, start + classes);
    const largest = logOf(Math.max(...row));
    const weights = Array.from(row, (value) => Math.exp((logOf(value) - largest) / temperature));
    const sum = weights.reduce((total, value) => total + value, 0);
    scaled.set(
      weights.map((value) => value / sum),
      start,
    );
  }
  return { ...predictions, probabilities: scaled };
}

/** What calibration comes to, before and after scaling by the temperature. */
export interface Calibration {
  readonly bins: readonly Bin[];
  readonly error: number;
  readonly loss: number;
}

export function calibrationOf(predictions: Predictions): Calibration {
  const judged = judge(predictions);
  const bins = reliability(judged);
  return { bins, error: expectedCalibrationError(bins), loss: negativeLogLikelihood(judged) };
}
