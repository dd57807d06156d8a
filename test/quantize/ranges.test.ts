import { describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { Histogram } from '../../src/quantize/histogram.ts';
import { chooseRange } from '../../src/quantize/ranges.ts';

function of(...pieces: readonly Float32Array[]): Histogram {
  const histogram = new Histogram();
  for (const piece of pieces) histogram.add(piece);
  return histogram;
}

const uniform = new Random(1, 'uniform').fillUniform(new Float32Array(100_000));
const normal = Float32Array.from(
  { length: 100_000 },
  (() => {
    const random = new Random(1, 'normal');
    return () => random.normal();
  })(),
);
const outliers = new Float32Array(50).fill(40);

describe('a histogram', () => {
  it('does not depend on how the values came', () => {
    const whole = of(normal, outliers);
    const pieces = of(outliers, normal.slice(60_000).reverse(), normal.slice(0, 60_000));
    expect(pieces.counts).toEqual(whole.counts);
    expect(pieces.width).toBe(whole.width);
  });

  it('counts each value where it lies, however much the bins have grown', () => {
    const histogram = of(Float32Array.of(0.001, -0.001), Float32Array.of(1000, -2000));
    const [from, to] = histogram.occupied();
    expect(histogram.edge(from)).toBeLessThanOrEqual(-2000);
    expect(histogram.edge(from) + histogram.width).toBeGreaterThan(-2000);
    expect(histogram.edge(to - 1)).toBeLessThanOrEqual(1000);
    expect(histogram.counts.reduce((total, count) => total + count)).toBe(4);
  });

  it('refuses values that are not finite', () => {
    const message = 'A value of the frozen part is infinite or not a number.';
    expect(() => of(Float32Array.of(1, Number.NaN))).toThrow(
      expect.objectContaining({ code: 'data', message }),
    );
    expect(() => of(Float32Array.of(1, Number.POSITIVE_INFINITY))).toThrow(message);
  });
});

describe('the range', () => {
  it('of everything is exact and contains zero', () => {
    expect(chooseRange(of(Float32Array.of(3, 5)), { name: 'minMax' })).toEqual({ low: 0, high: 5 });
    expect(chooseRange(of(Float32Array.of(-3, 5)), { name: 'minMax' })).toEqual({ low: -3, high: 5 });
    expect(chooseRange(of(Float32Array.of(-3, -1)), { name: 'minMax' })).toEqual({ low: -3, high: 0 });
  });

  it('of nothing but zeros can be divided', () => {
    expect(chooseRange(of(new Float32Array(9)), { name: 'minMax' }).high).toBeGreaterThan(0);
    expect(chooseRange(of(), { name: 'minMax' }).high).toBeGreaterThan(0);
  });

  it('of a percentile leaves out that share', () => {
    const { low, high } = chooseRange(of(uniform), { name: 'percentile', percent: 90 });
    expect(low).toBe(0);
    expect(high).toBeGreaterThan(0.895);
    expect(high).toBeLessThan(0.905);
  });

  it('of a percentile leaves out half of it at each end of signed values', () => {
    const { low, high } = chooseRange(of(normal), { name: 'percentile', percent: 95 });
    expect(low).toBeCloseTo(-1.96, 1);
    expect(high).toBeCloseTo(1.96, 1);
  });

  it('of a percentile ignores rarer outliers', () => {
    expect(chooseRange(of(uniform, outliers), { name: 'percentile', percent: 99.9 }).high).toBeLessThan(1.1);
    expect(chooseRange(of(uniform, outliers), { name: 'percentile', percent: 99.99 }).high).toBe(40);
  });

  it('of the least squared error keeps what is dense and cuts what is rare', () => {
    expect(chooseRange(of(uniform), { name: 'squaredError' }).high).toBeGreaterThan(0.95);
    const { high } = chooseRange(of(normal, Float32Array.of(8)), { name: 'squaredError' });
    expect(high).toBeGreaterThan(3);
    expect(high).toBeLessThan(7.5);
  });
});
