/**
 * The distribution of a stream of numbers in bounded memory. Bins are a power of two wide and double when a number
 * falls outside, so that the result does not depend on how the stream was cut into pieces or ordered.
 */
import { fail } from '../core/errors.ts';

/** Bins on each side of zero. */
const binsPerSide = 2048;
/** Where doubling starts: finer than any activation matters. */
const smallestWidth = 2 ** -40;

export class Histogram {
  /** `counts[binsPerSide + i]` holds the numbers in [i · width, (i + 1) · width). */
  counts = new Float64Array(2 * binsPerSide);
  width = smallestWidth;
  total = 0;
  low = Number.POSITIVE_INFINITY;
  high = Number.NEGATIVE_INFINITY;

  add(values: Float32Array): void {
    let low = this.low;
    let high = this.high;
    let sum = 0;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      sum += value;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (!Number.isFinite(sum)) fail('data', 'A value of the frozen part is infinite or not a number.');
    this.low = low;
    this.high = high;
    while (Math.max(high, -low) >= binsPerSide * this.width) this.#double();
    const scale = 1 / this.width;
    const { counts } = this;
    for (let i = 0; i < values.length; i++) {
      counts[binsPerSide + Math.floor(values[i]! * scale)]!++;
    }
    this.total += values.length;
  }

  #double(): void {
    const merged = new Float64Array(2 * binsPerSide);
    for (let i = 0; i < merged.length; i++) {
      merged[binsPerSide + Math.floor((i - binsPerSide) / 2)]! += this.counts[i]!;
    }
    this.counts = merged;
    this.width *= 2;
  }

  /** The lower end of a bin. */
  edge(bin: number): number {
    return (bin - binsPerSide) * this.width;
  }

  /** The first bin, and the bin after the last, that hold anything. */
  occupied(): readonly [number, number] {
    let from = 0;
    let to = this.counts.length;
    while (from < to && this.counts[from] === 0) from++;
    while (to > from && this.counts[to - 1] === 0) to--;
    return [from, to];
  }
}
