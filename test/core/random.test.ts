import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { philox, Random } from '../../src/core/random.ts';

type Four = readonly [number, number, number, number];

describe('philox gives the vectors of Random123', () => {
  // kat_vectors of Random123, lines "philox4x32 10".
  const vectors: readonly (readonly [string, Four, readonly [number, number], Four])[] = [
    ['zeros', [0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [
      'ones',
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      'the digits of pi',
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  it.each(vectors)('for %s', (_name, counter, key, expected) => {
    const out = new Uint32Array(4);
    philox(counter, key, out);
    expect([...out]).toEqual(expected);
  });
});

describe('a stream', () => {
  const draws = (random: Random, count = 9) => Array.from({ length: count }, () => random.uint32());

  it('is the same for the same seed, purpose and step', () => {
    expect(draws(new Random(7, 'shuffle', 3))).toEqual(draws(new Random(7, 'shuffle', 3)));
  });

  it('stays what it was when it was recorded', () => {
    // Computed in Python from key [42, FNV-1a of the purpose] and counter [block, 0, step, 0]: saved runs rely on it.
    expect(draws(new Random(42, 'shuffle', 1), 4)).toEqual([3646676162, 4094096167, 4287854633, 2254399306]);
  });

  it.each([
    ['seed', new Random(8, 'shuffle', 3)],
    ['purpose', new Random(7, 'dropout', 3)],
    ['step', new Random(7, 'shuffle', 4)],
    ['step beyond 32 bits', new Random(7, 'shuffle', 3 + 2 ** 32)],
  ])('differs for another %s', (_what, other) => {
    const own = new Set(draws(new Random(7, 'shuffle', 3), 100));
    expect(draws(other, 100).filter((value) => own.has(value))).toEqual([]);
  });
});

describe('numbers', () => {
  const count = 200_000;
  const moments = (values: Float64Array) => {
    const mean = values.reduce((sum, value) => sum + value) / count;
    const power = (k: number) => values.reduce((sum, value) => sum + (value - mean) ** k, 0) / count;
    const deviation = Math.sqrt(power(2));
    return { mean, deviation, skewness: power(3) / deviation ** 3, kurtosis: power(4) / deviation ** 4 };
  };
  const sample = (draw: (random: Random) => number) => {
    const random = new Random(1, 'moments');
    return Float64Array.from({ length: count }, () => draw(random));
  };
  // Five standard errors of a mean of 200,000 numbers: 5 / √200000 ≈ 0.011 deviations.

  it('that are uniform have the moments of the uniform distribution', () => {
    const values = sample((random) => random.uniform());
    const { mean, deviation, skewness, kurtosis } = moments(values);
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.0033);
    expect(Math.abs(deviation - Math.sqrt(1 / 12))).toBeLessThan(0.0015);
    expect(Math.abs(skewness)).toBeLessThan(0.02);
    expect(Math.abs(kurtosis - 1.8)).toBeLessThan(0.02);
    expect(values.every((value) => value >= 0 && value < 1 && Math.fround(value) === value)).toBe(true);
  });

  it('that are normal have the moments of the normal distribution', () => {
    const { mean, deviation, skewness, kurtosis } = moments(sample((random) => random.normal()));
    expect(Math.abs(mean)).toBeLessThan(0.011);
    expect(Math.abs(deviation - 1)).toBeLessThan(0.008);
    expect(Math.abs(skewness)).toBeLessThan(0.03);
    expect(Math.abs(kurtosis - 3)).toBeLessThan(0.06);
  });

  it('that are truncated normal stay within two deviations and keep their shape', () => {
    const values = sample((random) => random.truncatedNormal());
    expect(Math.max(...values.subarray(0, 50_000).map(Math.abs))).toBeLessThanOrEqual(2);
    // The deviation of a normal distribution cut at ±2.
    expect(Math.abs(moments(values).deviation - 0.8796)).toBeLessThan(0.006);
  });

  it.each([
    [0.2, 0.2],
    [1, 1],
    [3, 3],
    [2, 5],
  ])('that are Beta(%f, %f) have its mean and variance', (a, b) => {
    const values = sample((random) => random.beta(a, b));
    const { mean, deviation } = moments(values);
    expect(Math.abs(mean - a / (a + b))).toBeLessThan(0.011 * deviation);
    const variance = (a * b) / ((a + b) ** 2 * (a + b + 1));
    expect(Math.abs(deviation ** 2 / variance - 1)).toBeLessThan(0.02);
    expect(values.every((value) => value >= 0 && value <= 1)).toBe(true);
  });

  it('that are Beta of almost nothing are 0 or 1, a half each', () => {
    const values = sample((random) => random.beta(1e-6, 1e-6)).subarray(0, 20_000);
    // Between 1e-9 and 1 − 1e-9 lie about 2 · 20.7 · 1e-6 / 2 of them: one in 50,000.
    expect(values.filter((value) => value < 1e-9 || value > 1 - 1e-9).length).toBeGreaterThan(19_990);
    expect(Math.abs(values.reduce((total, value) => total + value, 0) / 20_000 - 0.5)).toBeLessThan(0.018);
  });

  it('in a row do not depend on each other', () => {
    const values = sample((random) => random.normal());
    for (const lag of [1, 2, 3, 4]) {
      let correlation = 0;
      for (let i = lag; i < count; i++) correlation += (values[i]! * values[i - lag]!) / count;
      expect(Math.abs(correlation), `lag ${lag}`).toBeLessThan(0.011);
    }
  });

  it('below a bound are unbiased, even for a bound of two thirds of the range', () => {
    // Taking the remainder alone would draw the lower half of this range twice as often.
    const bound = 2 ** 31 + 2 ** 30;
    const random = new Random(5, 'bias');
    let low = 0;
    for (let i = 0; i < 100_000; i++) if (random.below(bound) < bound / 2) low++;
    expect(Math.abs(low / 100_000 - 0.5)).toBeLessThan(0.008);
  });

  it('below a small bound are equally frequent', () => {
    const random = new Random(5, 'dice');
    const counts = new Array<number>(6).fill(0);
    for (let i = 0; i < 60_000; i++) counts[random.below(6)]!++;
    const chiSquare = counts.reduce((sum, got) => sum + (got - 10_000) ** 2 / 10_000, 0);
    // Five degrees of freedom: beyond 20.5 with probability 0.001.
    expect(chiSquare).toBeLessThan(20.5);
  });

  it('below a bound are below it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 32 }), fc.nat(), (bound, seed) => {
        const draw = new Random(seed, 'bound').below(bound);
        expect(Number.isInteger(draw) && draw >= 0 && draw < bound).toBe(true);
      }),
    );
  });

  it('fill an array as if they were drawn one by one', () => {
    const one = new Random(2, 'fill');
    const expected = Float32Array.from({ length: 10 }, () => one.uniform());
    expect(new Random(2, 'fill').fillUniform(new Float32Array(10))).toEqual(expected);
  });
});

describe('a permutation', () => {
  it('contains each index once', () => {
    fc.assert(
      fc.property(fc.nat(300), fc.nat(), fc.nat(), (size, seed, step) => {
        const order = new Random(seed, 'shuffle', step).permutation(size);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, i) => i));
      }),
    );
  });

  it('puts each element in each place equally often', () => {
    const random = new Random(11, 'shuffle');
    const counts = new Map<string, number>();
    for (let i = 0; i < 24_000; i++) {
      const key = random.permutation(4).join('');
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    const chiSquare = [...counts.values()].reduce((sum, got) => sum + (got - 1000) ** 2 / 1000, 0);
    // 23 degrees of freedom: beyond 49.7 with probability 0.001.
    expect(chiSquare).toBeLessThan(49.7);
  });
});
