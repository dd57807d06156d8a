/**
 * Chooses the range of float32 values that 256 steps are spread over: a wide one rounds coarsely, a narrow one cuts
 * off what lies outside.
 */
import type { Histogram } from './histogram.ts';

/** The numbers that the lowest and highest step stand for; zero lies between them. */
export interface Range {
  readonly low: number;
  readonly high: number;
}

/** The range of a value, and the mean of each channel (the last axis). */
export interface ValueRange extends Range {
  readonly means: Float32Array;
}

export type RangeMethod =
  /** Everything that was seen. */
  | { readonly name: 'minMax' }
  /** All but `100 − percent` percent of the values, half of that at each end if both ends are open. */
  | { readonly name: 'percentile'; readonly percent: number }
  /** The range of the least mean squared error. */
  | { readonly name: 'squaredError' };

const steps = 256;

export function chooseRange(histogram: Histogram, method: RangeMethod): Range {
  const { low, high } = histogram;
  if (histogram.total === 0 || (low === 0 && high === 0)) return { low: 0, high: 1 };
  const whole = { low: Math.min(low, 0), high: Math.max(high, 0) };
  switch (method.name) {
    case 'minMax':
      return whole;
    case 'percentile':
      return percentileRange(histogram, method.percent, whole);
    case 'squaredError':
      return leastSquaredError(histogram, whole);
  }
}

function percentileRange(histogram: Histogram, percent: number, whole: Range): Range {
  const outside = histogram.total * (1 - percent / 100);
  const allowed = whole.low < 0 && whole.high > 0 ? outside / 2 : outside;
  const [from, to] = histogram.occupied();
  let top = to;
  for (let cut = 0; top > from; top--) {
    cut += histogram.counts[top - 1]!;
    if (cut > allowed) break;
  }
  let bottom = from;
  for (let cut = 0; bottom < to; bottom++) {
    cut += histogram.counts[bottom]!;
    if (cut > allowed) break;
  }
  return {
    low: whole.low < 0 ? Math.min(0, Math.max(whole.low, histogram.edge(bottom))) : 0,
    high: whole.high > 0 ? Math.max(0, Math.min(whole.high, histogram.edge(top))) : 0,
  };
}

/** Tries shares of the whole range, the same for both ends. */
function leastSquaredError(histogram: Histogram, whole: Range): Range {
  let best = whole;
  let least = squaredError(histogram, whole);
  for (let percent = 99; percent > 10; percent--) {
    const range = { low: (whole.low * percent) / 100, high: (whole.high * percent) / 100 };
    const tried = squaredError(histogram, range);
    if (tried < least) {
      best = range;
      least = tried;
    }
  }
  return best;
}

/** Mean squared error of rounding inside the range and cutting outside; values of a bin lie in its middle. */
function squaredError(histogram: Histogram, { low, high }: Range): number {
  const step = (high - low) / (steps - 1);
  const [from, to] = histogram.occupied();
  let total = 0;
  for (let bin = from; bin < to; bin++) {
    const middle = histogram.edge(bin) + histogram.width / 2;
    const outside = Math.max(low - middle, middle - high, 0);
    total += histogram.counts[bin]! * (outside > 0 ? outside * outside : (step * step) / 12);
  }
  return total / histogram.total;
}
