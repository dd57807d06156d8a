import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import { differenceHash, type Look, lookAlikes } from '../../src/data/near-duplicates.ts';

const picture = (values: readonly number[]) => tensor('uint8', [8, 9, 3], Uint8Array.from(values));
const grey = (levels: readonly number[]) => picture(levels.flatMap((level) => [level, level, level]));

describe('the difference hash', () => {
  it('has a bit for each pixel that is clearly brighter than its right neighbour, row by row', () => {
    const falling = Array.from({ length: 9 }, (_, i) => 90 - 4 * i);
    const rising = Array.from({ length: 9 }, (_, i) => 10 + 4 * i);
    const first = [9, 0, 0, 0, 0, 0, 0, 0, 0];
    const last = [5, 5, 5, 5, 5, 5, 5, 5, 0];
    const rows = [falling, rising, first, last, falling, rising, first, last].flat();
    expect(differenceHash(grey(rows)).look).toBe('ff008001ff008001');
  });

  it('does not see what saving a flat picture anew does to it', () => {
    const byThree = Array.from({ length: 9 }, (_, i) => 90 - 3 * i);
    expect(differenceHash(grey(new Array(8).fill(byThree).flat())).look).toBe('00'.repeat(8));
  });

  it('weighs colours as the eye does, and keeps their mean', () => {
    // Green 100 (58,700) is brighter than red 150 (44,850), which is brighter than blue 255 (29,070).
    const row = [0, 100, 0, 150, 0, 0, 0, 0, 255, ...new Array<number>(18).fill(0)];
    const { look, colour } = differenceHash(picture(new Array(8).fill(row).flat()));
    expect(look).toBe('e0'.repeat(8));
    expect(colour).toEqual([Math.round(150 / 9), Math.round(100 / 9), Math.round(255 / 9)]);
  });
});

describe('pictures that look alike', () => {
  const of = (look: string, level = 100): Look => ({ look, colour: [level, level, level] });

  it('differ in at most three bits, and hardly in colour', () => {
    const left = [of('ffffffff00000000')];
    expect(lookAlikes(left, [of('ffffffff00000007')])).toEqual([{ left: 0, right: 0, distance: 3 }]);
    expect(lookAlikes(left, [of('ffffffff0000000f')])).toEqual([]);
    expect(lookAlikes(left, [of('ffffffff00000000', 112)])).toHaveLength(1);
    expect(lookAlikes(left, [of('ffffffff00000000', 113)])).toEqual([]);
  });

  it('are found as a comparison of all with all finds them', async () => {
    // Few bits differ often: hashes are one base with some bits turned.
    const look = fc
      .uniqueArray(fc.integer({ min: 0, max: 63 }), { maxLength: 4 })
      .map((bits) => bits.reduce((word, bit) => word ^ (1n << BigInt(bit)), 0x0123456789abcdefn))
      .map((word) => word.toString(16).padStart(16, '0'));
    const looks = fc.array(fc.record({ look, colour: fc.constant([1, 2, 3] as const) }), { maxLength: 12 });
    const bits = (word: bigint) => [...word.toString(2)].filter((digit) => digit === '1').length;
    await fc.assert(
      fc.property(looks, looks, (left, right) => {
        const expected = right.flatMap((one, i) => {
          const distances = left.map((other) => bits(BigInt(`0x${one.look}`) ^ BigInt(`0x${other.look}`)));
          const least = Math.min(...distances);
          return least <= 3 ? [{ right: i, distance: least }] : [];
        });
        expect(lookAlikes(left, right).map(({ right: i, distance }) => ({ right: i, distance }))).toEqual(
          expected,
        );
      }),
      { seed: 11, numRuns: 300 },
    );
  });

  it('are found among tens of thousands', () => {
    const word = (i: number) => (Math.imul(i, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0');
    const many = (count: number, start: number) =>
      Array.from({ length: count }, (_, i) => of(word(start + i) + word(7 * (start + i))));
    const left = many(40_000, 1);
    const right = [...many(10_000, 100_000), left[12_345]!];
    const start = performance.now();
    expect(lookAlikes(left, right).at(-1)).toEqual({ left: 12_345, right: 10_000, distance: 0 });
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
