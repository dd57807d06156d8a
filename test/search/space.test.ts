/** What a search tries: the order of grids, and what is drawn. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { grid, type Point, random, type Space, sizeOfSpace } from '../../src/search/space.ts';

/** The first draws. */
function drawn(space: Space, count: number, seed: number): Point[] {
  const points: Point[] = [];
  for (const point of random(space, seed)) {
    points.push(point);
    if (points.length === count) break;
  }
  return points;
}

const rates = { low: 1e-4, high: 1e-1, whole: false };

describe('a grid', () => {
  it('has all combinations, the last option changing fastest', () => {
    expect(grid({ rate: ['1e-3', '1e-2'], optimizer: ['adam', 'sgd', 'rmsprop'] })).toEqual([
      { rate: '1e-3', optimizer: 'adam' },
      { rate: '1e-3', optimizer: 'sgd' },
      { rate: '1e-3', optimizer: 'rmsprop' },
      { rate: '1e-2', optimizer: 'adam' },
      { rate: '1e-2', optimizer: 'sgd' },
      { rate: '1e-2', optimizer: 'rmsprop' },
    ]);
  });

  it('of nothing is one point without options', () => {
    expect(grid({})).toEqual([{}]);
  });

  it('refuses a range, which has no end of values', () => {
    expect(() => grid({ rate: rates })).toThrow('rate=0.0001..0.1 is a range; a grid has every value');
  });

  it('is as large as the space, and has no point twice', () => {
    const domain = fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 4 });
    void fc.assert(
      fc.property(domain, domain, domain, (a, b, c) => {
        const points = grid({ a, b, c });
        expect(points).toHaveLength(a.length * b.length * c.length);
        expect(sizeOfSpace({ a, b, c })).toBe(points.length);
        expect(new Set(points.map((point) => JSON.stringify(point))).size).toBe(points.length);
      }),
    );
    expect(sizeOfSpace({ size: { low: 16, high: 128, whole: true }, b: ['x', 'y'] })).toBe(2 * 113);
    expect(sizeOfSpace({ rate: rates })).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('random draws', () => {
  it('are log-uniform numbers that the seed decides', () => {
    // test/golden/make_search.py: Philox in Python, 1e-4 * (1e-1 / 1e-4) ** u, three digits.
    const expected = ['0.00038', '0.000451', '0.000832', '0.0175', '0.0322'];
    const points = drawn({ 'learning-rate': rates }, 5, 7);
    expect(points.map((point) => point['learning-rate'])).toEqual(expected);
  });

  it('of a longer search begin with those of the shorter one, and leave other options alone', () => {
    const space: Space = { rate: rates, head: ['linear', 'pooled', 'gap,bn'] };
    const long = drawn(space, 40, 3);
    expect(long.slice(0, 12)).toEqual(drawn(space, 12, 3));
    expect(drawn(space, 12, 4)).not.toEqual(long.slice(0, 12));
    const rateAlone = drawn({ rate: rates }, 12, 3);
    expect(long.slice(0, 12).map(({ rate }) => ({ rate }))).toEqual(rateAlone);
  });

  it('fall into each power of ten equally often', () => {
    const points = drawn({ rate: rates }, 900, 0);
    const decades = [1e-4, 1e-3, 1e-2].map(
      (low) => points.filter(({ rate }) => Number(rate) >= low && Number(rate) < 10 * low).length,
    );
    // 300 expected, standard deviation √(900·⅓·⅔) = 14; uniform draws would be 8, 81, 811.
    for (const count of decades) expect(Math.abs(count - 300)).toBeLessThan(4 * 14.2);
  });

  it('are uniform from 0 on', () => {
    const points = drawn({ smoothing: { low: 0, high: 0.2, whole: false } }, 100, 0);
    const lower = points.filter(({ smoothing }) => Number(smoothing) < 0.1).length;
    expect(Math.abs(lower - 50)).toBeLessThan(3 * 5); // √(100/4) = 5.
  });

  it('of whole numbers reach both ends, and no number twice', () => {
    const sizes = drawn({ size: { low: 3, high: 9, whole: true } }, 100, 1).map(({ size }) => Number(size));
    expect([...sizes].sort((a, b) => a - b)).toEqual([3, 4, 5, 6, 7, 8, 9]);
    const fromZero = drawn({ epochs: { low: 0, high: 2, whole: true } }, 9, 1).map(({ epochs }) => epochs);
    expect([...fromZero].sort()).toEqual(['0', '1', '2']);
  });

  it('stay inside their range', () => {
    const end = fc.double({ min: 1e-6, max: 1e3, noNaN: true });
    void fc.assert(
      fc.property(end, end, fc.nat(), (a, b, seed) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b) + 1e-3];
        for (const { rate } of drawn({ rate: { low, high, whole: false } }, 3, seed)) {
          expect(Number(rate)).toBeGreaterThanOrEqual(low);
          expect(Number(rate)).toBeLessThanOrEqual(high);
        }
      }),
      { numRuns: 50 },
    );
  });
});
