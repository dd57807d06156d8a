import { describe, expect, it } from 'vitest';
import { float32, tensor } from '../../src/core/tensor.ts';
import { fromTensors, limit, slice, splitValidation } from '../../src/data/dataset.ts';
import { datasetContract } from './support.ts';

/** Example i is a 1x2 picture of one channel with the values 10i and 10i + 1, and label i. */
function numbered(length: number) {
  const x = tensor('uint8', [length, 1, 2, 1]);
  const y = tensor('int32', [length]);
  for (let i = 0; i < length; i++) {
    x.data.set([10 * i, 10 * i + 1], 2 * i);
    y.data[i] = i;
  }
  return fromTensors(x, y, { name: 'numbered' });
}

const labelsOf = async (dataset: ReturnType<typeof numbered>) => {
  const { y } = await dataset.read(Array.from({ length: dataset.shape[0]! }, (_, i) => i));
  return [...y.data];
};

describe('tensors as a data set', () => {
  datasetContract(async () => numbered(5));

  it('keeps shape, dtype and class names', async () => {
    const x = float32([2, 1, 1, 1], [0.5, 1.5]);
    const dataset = fromTensors(x, tensor('int32', [2]), { name: 'pair', classNames: ['a', 'b'] });
    expect(dataset).toMatchObject({
      name: 'pair',
      shape: [2, 1, 1, 1],
      dtype: 'float32',
      classNames: ['a', 'b'],
    });
    const { x: read } = await dataset.read([1]);
    expect(read).toEqual(float32([1, 1, 1, 1], [1.5]));
  });

  it('takes soft labels', async () => {
    const y = float32([2, 3], [0.2, 0.3, 0.5, 0, 1, 0]);
    const dataset = fromTensors(tensor('uint8', [2, 1, 1, 3]), y);
    expect((await dataset.read([1])).y).toEqual(float32([1, 3], [0, 1, 0]));
  });

  it('refuses pictures and labels of different lengths', () => {
    expect(() => fromTensors(tensor('uint8', [2, 1, 1, 1]), tensor('int32', [3]))).toThrow(
      'tensors: x and y need the same number of rows, got x (2, 1, 1, 1) and y (3,).',
    );
  });

  it('refuses labels of a shape that means nothing', () => {
    expect(() => fromTensors(tensor('uint8', [2, 1]), tensor('int32', [2, 1]))).toThrow(
      'y is int32 class ids of shape (n,) or float32 of shape (n, classes), got int32 (2, 1).',
    );
    expect(() => fromTensors(tensor('uint8', [2, 1]), tensor('float32', [2]))).toThrow('got float32 (2,).');
  });

  it('refuses a label that has no name, naming the example', () => {
    const y = tensor('int32', [3], Int32Array.of(0, 1, 2));
    expect(() => fromTensors(tensor('uint8', [3, 1]), y, { classNames: ['a', 'b'] })).toThrow(
      'tensors, example 2: label 2, but with 2 class names 0 … 1 fit.',
    );
    const soft = tensor('float32', [3, 4]);
    expect(() => fromTensors(tensor('uint8', [3, 1]), soft, { classNames: ['a', 'b'] })).toThrow('4 columns');
  });

  it('says that it is empty when it is read', async () => {
    await expect(numbered(0).read([0])).rejects.toMatchObject({
      code: 'data',
      message: 'numbered is empty: there is no example to train on or to evaluate.',
    });
  });

  it('has a fingerprint of its content, whatever its name', () => {
    const make = (pixels: number[], labels: number[], name: string) =>
      fromTensors(
        tensor('uint8', [pixels.length, 1], Uint8Array.from(pixels)),
        tensor('int32', [labels.length], Int32Array.from(labels)),
        { name },
      ).fingerprint;
    const base = make([1, 2, 3, 4, 5], [0, 1, 0, 1, 0], 'a');
    expect(make([1, 2, 3, 4, 5], [0, 1, 0, 1, 0], 'b')).toBe(base);
    expect(make([1, 2, 3, 4, 6], [0, 1, 0, 1, 0], 'a')).not.toBe(base);
    expect(make([2, 1, 3, 4, 5], [0, 1, 0, 1, 0], 'a')).not.toBe(base);
    expect(make([1, 2, 3, 4, 5], [0, 1, 0, 1, 1], 'a')).not.toBe(base);
  });

  it('sees in its fingerprint that two signs changed', () => {
    const make = (values: number[]) =>
      fromTensors(float32([values.length, 1], values), tensor('int32', [values.length])).fingerprint;
    expect(make([-1, -2, 3])).not.toBe(make([1, 2, 3]));
    expect(make([-1, 2, -3])).not.toBe(make([1, -2, 3]));
  });
});

describe('views', () => {
  datasetContract(async () => slice(numbered(9), 2, 7));

  it('slices from start up to, not including, end', async () => {
    const part = slice(numbered(6), 2, 5);
    expect(part.shape).toEqual([3, 1, 2, 1]);
    expect(await labelsOf(part)).toEqual([2, 3, 4]);
    expect([...(await part.read([0])).x.data]).toEqual([20, 21]);
  });

  it('slices names with their pictures', () => {
    expect(slice({ ...numbered(4), names: ['a', 'b', 'c', 'd'] }, 1, 3).names).toEqual(['b', 'c']);
    expect(slice(numbered(4), 1, 3).names).toBeUndefined();
  });

  it('slices slices', async () => {
    expect(await labelsOf(slice(slice(numbered(10), 2, 9), 1, 4))).toEqual([3, 4, 5]);
  });

  it('limits to the first examples, or to all when there are fewer', async () => {
    expect(await labelsOf(limit(numbered(6), 2))).toEqual([0, 1]);
    expect(await labelsOf(limit(numbered(3), 100))).toEqual([0, 1, 2]);
  });

  it('have fingerprints that differ from their source and from each other', () => {
    const whole = numbered(6);
    const prints = [whole, slice(whole, 0, 3), slice(whole, 3, 6), slice(whole, 0, 4)].map(
      (d) => d.fingerprint,
    );
    expect(new Set(prints).size).toBe(4);
    expect(limit(whole, 4).fingerprint).toBe(prints[3]);
    expect(slice(whole, 0, 6).fingerprint).toBe(prints[0]);
  });

  it('refuse ranges that are empty, outside or not whole', () => {
    for (const [start, end] of [
      [2, 2],
      [3, 1],
      [-1, 2],
      [0, 7],
      [0.5, 2],
    ] as const) {
      expect(() => slice(numbered(6), start, end)).toThrow(
        `numbered: a slice needs whole numbers with 0 <= start < end <= 6, got start ${start} and end ${end}.`,
      );
    }
    expect(() => limit(numbered(6), 0)).toThrow('at least 1, got 0');
  });
});

describe('splitValidation', () => {
  it('sets the last fraction aside', async () => {
    const { train, validation } = splitValidation(numbered(10), 0.2);
    expect(await labelsOf(train)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(await labelsOf(validation)).toEqual([8, 9]);
  });

  it('rounds the training part down, as Keras does', () => {
    // floor(7 * 0.9) = floor(6.3) = 6; floor(10 * (1 - 0.25)) = 7
    expect(splitValidation(numbered(7), 0.1).train.shape[0]).toBe(6);
    expect(splitValidation(numbered(10), 0.25).validation.shape[0]).toBe(3);
  });

  it('refuses fractions that leave one side empty', () => {
    for (const fraction of [0, 1, -0.5, 1.5, Number.NaN, 0.95]) {
      expect(() => splitValidation(numbered(5), fraction)).toThrow(
        `numbered has 5 examples: validation needs a fraction between 0 and 1 that leaves examples on both sides, ` +
          `got ${fraction}.`,
      );
    }
  });
});
