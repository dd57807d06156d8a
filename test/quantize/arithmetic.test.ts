import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32 } from '../../src/core/tensor.ts';
import { quantizationOf, quantizeKernel, roundHalfEven } from '../../src/quantize/arithmetic.ts';
import { drawn } from './support.ts';

describe('rounding', () => {
  it('takes ties to the even neighbour', () => {
    const values = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4999, 2.5001, -3.2];
    expect(values.map((value) => roundHalfEven(value) + 0)).toEqual([-2, -2, 0, 0, 2, 2, 2, 3, -3]);
  });
});

describe('a range', () => {
  it('from zero has zero point 0 and 255 steps', () => {
    expect(quantizationOf({ low: 0, high: 51 })).toEqual({ scale: Math.fround(0.2), zeroPoint: 0 });
  });

  it('around zero has a step at zero', () => {
    expect(quantizationOf({ low: -1, high: 4 }).zeroPoint).toBe(51);
    expect(quantizationOf({ low: -3, high: 0 }).zeroPoint).toBe(255);
  });
});

describe('a kernel as integers', () => {
  it('has a scale for each filter and errs by half of it at most', () => {
    const kernel = drawn([3, 3, 5, 4], 'kernel');
    kernel.data.forEach((value, i) => {
      kernel.data[i] = value * 10 ** (i % 4);
    });
    const { weights, scales } = quantizeKernel(kernel, new Float32Array(4), { scale: 1 });
    expect(weights.shape).toEqual([4, 5, 3, 3]);
    expect(scales[3]! / scales[0]!).toBeGreaterThan(500);
    for (let p = 0; p < 9; p++)
      for (let c = 0; c < 5; c++)
        for (let f = 0; f < 4; f++) {
          const error = weights.data[(f * 5 + c) * 9 + p]! * scales[f]! - kernel.data[(p * 5 + c) * 4 + f]!;
          expect(Math.abs(error)).toBeLessThanOrEqual(scales[f]! * 0.5000001);
        }
  });

  it('uses up the range: the largest weight or pair of neighbours is at its bound', () => {
    const { weights } = quantizeKernel(drawn([1, 1, 64, 1], 'kernel'), new Float32Array(1), { scale: 1 });
    const pairs = [...weights.data].slice(1).map((value, i) => Math.abs(value + weights.data[i]!));
    expect(Math.max(...pairs, ...weights.data.map(Math.abs))).toBeGreaterThan(125);
  });

  it('never lets two neighbours of one sign exceed what 16 bits of a sum hold', () => {
    const numbers = fc.array(fc.float({ noNaN: true, min: -100, max: 100 }), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(numbers, (values) => {
        const { weights } = quantizeKernel(float32([1, 1, 8, 1], values), new Float32Array(1), { scale: 1 });
        const q = [...weights.data];
        const sums = q.slice(1).map((value, i) => (value * q[i]! > 0 ? Math.abs(value + q[i]!) : 0));
        return Math.max(...sums) * 255 <= 32767 && Math.max(...q.map(Math.abs)) <= 127;
      }),
      { numRuns: 2000 },
    );
  });

  it('has its bias in units of the product', () => {
    const { bias, scales } = quantizeKernel(float32([1, 1, 1, 2], [1, 2]), Float32Array.of(3, -4), {
      scale: 0.5,
    });
    expect([...bias]).toEqual([Math.round(3 / (0.5 * scales[0]!)), Math.round(-4 / (0.5 * scales[1]!))]);
  });

  it('takes off its bias what rounding the weights adds to the mean', () => {
    const kernel = drawn([3, 3, 2, 6], 'kernel');
    const means = Float32Array.of(3, -1, 2, 5);
    const plain = { scale: 1e-3, groups: 2 };
    const given = Float32Array.of(1, 2, 3, 4, 5, 6);
    // The result for a map that is the mean everywhere: filters 0 to 2 see channels 0 and 1, the others 2 and 3.
    const result = ({ weights, scales, bias }: ReturnType<typeof quantizeKernel>, f: number) => {
      let sum = bias[f]! * scales[f]! * 1e-3;
      for (let c = 0; c < 2; c++)
        for (let p = 0; p < 9; p++)
          sum += weights.data[(f * 2 + c) * 9 + p]! * scales[f]! * means[(f < 3 ? 0 : 2) + c]!;
      return sum;
    };
    for (let f = 0; f < 6; f++) {
      let exact = given[f]!;
      for (let c = 0; c < 2; c++)
        for (let p = 0; p < 9; p++) exact += kernel.data[(p * 2 + c) * 6 + f]! * means[(f < 3 ? 0 : 2) + c]!;
      expect(result(quantizeKernel(kernel, given, { ...plain, means }), f)).toBeCloseTo(exact, 4);
      expect(Math.abs(result(quantizeKernel(kernel, given, plain), f) - exact)).toBeGreaterThan(1e-3);
    }
  });

  it('coarsens a filter without weights until its bias fits', () => {
    const { weights, scales, bias } = quantizeKernel(float32([1, 1, 1, 1], [0]), Float32Array.of(1e6), {
      scale: 1e-3,
    });
    expect(weights.data[0]).toBe(0);
    expect(bias[0]! * scales[0]! * 1e-3).toBeCloseTo(1e6, 0);
  });
});
