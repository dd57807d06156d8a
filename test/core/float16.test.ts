import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromFloat16, toFloat16 } from '../../src/core/float16.ts';

const everyPattern = Uint16Array.from({ length: 65_536 }, (_, i) => i);
const isNaNPattern = (bits: number): boolean => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;
const half = (value: number): number => toFloat16(Float32Array.of(value))[0]!;
const float = (bits: number): number => fromFloat16(Uint16Array.of(bits))[0]!;

describe('float16', () => {
  it('comes back as the same bits for each of the 65,536 patterns', () => {
    const back = toFloat16(fromFloat16(everyPattern));
    const changed = everyPattern.filter((bits) => back[bits] !== bits && !isNaNPattern(bits));
    expect([...changed]).toEqual([]);
  });

  it('keeps each NaN a NaN', () => {
    const values = fromFloat16(everyPattern);
    const back = toFloat16(values);
    for (const bits of everyPattern.filter(isNaNPattern)) {
      expect(Number.isNaN(values[bits]!) && isNaNPattern(back[bits]!)).toBe(true);
    }
  });

  it.each([
    ['one', 0x3c00, 1],
    ['minus two', 0xc000, -2],
    ['the largest number', 0x7bff, 65_504],
    ['the smallest normal number', 0x0400, 2 ** -14],
    ['the largest subnormal number', 0x03ff, 2 ** -14 - 2 ** -24],
    ['the smallest number', 0x0001, 2 ** -24],
    ['a third', 0x3555, 0.333251953125],
    ['infinity', 0x7c00, Number.POSITIVE_INFINITY],
    ['minus infinity', 0xfc00, Number.NEGATIVE_INFINITY],
    ['minus zero', 0x8000, -0],
  ])('reads %s', (_name, bits, value) => {
    expect(float(bits)).toBe(value);
    expect(half(value)).toBe(bits);
  });

  it.each([
    ['halfway goes to the even neighbour below', 1 + 2 ** -11, 0x3c00],
    ['halfway goes to the even neighbour above', 1 + 3 * 2 ** -11, 0x3c02],
    ['just above halfway goes up', 1 + 2 ** -11 + 2 ** -23, 0x3c01],
    ['just below halfway goes down', 1 + 2 ** -11 - 2 ** -23, 0x3c00],
    ['rounding carries into the exponent', 2 - 2 ** -12, 0x4000],
    ['below 65,520 stays finite', 65_519.99609375, 0x7bff],
    ['from 65,520 on is infinite', 65_520, 0x7c00],
    ['a large float32 is infinite', Math.fround(-3e38), 0xfc00],
    ['half of the smallest number goes to zero', 2 ** -25, 0x0000],
    ['three halves of the smallest number go to two of them', 3 * 2 ** -25, 0x0002],
    ['a little more than half of the smallest number goes to it', 2 ** -25 + 2 ** -40, 0x0001],
    ['the largest subnormal number rounds up to a normal one', 2 ** -14 - 2 ** -26, 0x0400],
    ['a tiny negative number keeps its sign', Math.fround(-1e-30), 0x8000],
  ])('%s', (_name, value, bits) => {
    expect(Math.fround(value), 'the case is a float32').toBe(value);
    expect(half(value)).toBe(bits);
  });

  it('takes the nearest value there is', () => {
    const finite = [...fromFloat16(everyPattern.subarray(0, 0x7c00))];
    fc.assert(
      fc.property(fc.double({ min: -65_504, max: 65_504, noNaN: true }).map(Math.fround), (value) => {
        const bits = half(value);
        const error = Math.abs(float(bits) - value);
        const magnitude = bits & 0x7fff;
        const neighbours = [magnitude - 1, magnitude + 1].filter((i) => i >= 0 && i < finite.length);
        for (const i of neighbours) expect(error).toBeLessThanOrEqual(Math.abs(finite[i]! - Math.abs(value)));
      }),
    );
  });
});
