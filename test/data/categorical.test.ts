import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32, tensor } from '../../src/core/tensor.ts';
import { toCategorical } from '../../src/data/categorical.ts';

describe('toCategorical', () => {
  it('turns class ids into one-hot rows', () => {
    expect(toCategorical([0, 2, 1])).toEqual(float32([3, 3], [1, 0, 0, 0, 0, 1, 0, 1, 0]));
  });

  it('takes the number of classes when it is more than the labels show', () => {
    expect(toCategorical([1, 0], 4)).toEqual(float32([2, 4], [0, 1, 0, 0, 1, 0, 0, 0]));
  });

  it('drops a last dimension of 1, as Keras does with the labels of CIFAR-10', () => {
    const column = tensor('uint8', [3, 1], Uint8Array.of(1, 0, 1));
    expect(toCategorical(column)).toEqual(float32([3, 2], [0, 1, 1, 0, 0, 1]));
    expect(toCategorical(tensor('uint8', [1], Uint8Array.of(1)))).toEqual(float32([1, 2], [0, 1]));
  });

  it('keeps the other dimensions', () => {
    const grid = tensor('int32', [2, 2], Int32Array.of(0, 1, 1, 0));
    expect(toCategorical(grid, 2)).toEqual(float32([2, 2, 2], [1, 0, 0, 1, 0, 1, 1, 0]));
  });

  it('takes 64-bit labels', () => {
    expect(toCategorical(tensor('int64', [2], BigInt64Array.of(1n, 0n)))).toEqual(
      float32([2, 2], [0, 1, 1, 0]),
    );
  });

  it('has exactly one 1 a row, at the label', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { minLength: 1, maxLength: 50 }), (labels) => {
        const { data } = toCategorical(labels, 21);
        const rows = labels.map((_, i) => data.subarray(i * 21, (i + 1) * 21));
        expect(rows.map((row) => row.indexOf(1))).toEqual(labels);
        expect(data.reduce((sum, value) => sum + value, 0)).toBe(labels.length);
      }),
    );
  });

  it('refuses labels that are negative, fractions or too high, saying where', () => {
    expect(() => toCategorical([0, -1], 3)).toThrow(
      'toCategorical: label -1 at position 1; with 3 classes 0 … 2 fit.',
    );
    expect(() => toCategorical([0, 3], 3)).toThrow(
      'toCategorical: label 3 at position 1; with 3 classes 0 … 2 fit.',
    );
    expect(() => toCategorical([0.5], 3)).toThrow('toCategorical: label 0.5 at position 0');
    expect(() => toCategorical([2, -1])).toThrow(
      'toCategorical: label -1 at position 1; labels are whole numbers',
    );
  });

  it('refuses to guess the number of classes from nothing', () => {
    expect(() => toCategorical([])).toThrow('give numClasses');
    expect(toCategorical([], 3).shape).toEqual([0, 3]);
  });
});
