import { describe, expect, it } from 'vitest';
import { fail, GraftError, messageOf } from '../../src/core/errors.ts';
import {
  bytesOf,
  bytesPerElement,
  float32,
  formatShape,
  gatherRows,
  rows,
  sameShape,
  sizeOf,
  tensor,
} from '../../src/core/tensor.ts';

describe('a tensor', () => {
  it('is filled with zeros when no data is given', () => {
    expect(tensor('int64', [2]).data).toEqual(BigInt64Array.of(0n, 0n));
    expect(tensor('float16', [1, 2]).data).toEqual(new Uint16Array(2));
    expect(tensor('bool', []).data).toEqual(new Uint8Array(1));
  });

  it('refuses data of another size', () => {
    expect(() => float32([2, 3], [1, 2])).toThrow(
      new GraftError('shape', 'A float32 tensor of shape (2, 3) needs 6 values, got 2.'),
    );
  });

  it('keeps the memory of a Float32Array', () => {
    const data = new Float32Array(2);
    expect(float32([2], data).data).toBe(data);
  });

  it('may have no elements', () => {
    expect(tensor('uint8', [0, 3]).data).toHaveLength(0);
  });
});

describe('rows', () => {
  const source = float32([3, 2], [0, 1, 10, 11, 20, 21]);

  it('share the memory of their tensor', () => {
    const middle = rows(source, 1, 3);
    expect(middle).toEqual(float32([2, 2], [10, 11, 20, 21]));
    expect(middle.data.buffer).toBe(source.data.buffer);
  });

  it('that are gathered are copies, in the order asked for', () => {
    const gathered = gatherRows(source, [2, 0, 2]);
    expect(gathered).toEqual(float32([3, 2], [20, 21, 0, 1, 20, 21]));
    expect(gathered.data.buffer).not.toBe(source.data.buffer);
  });

  it('of a vector are its elements', () => {
    expect(gatherRows(tensor('int64', [3], BigInt64Array.of(5n, 6n, 7n)), [1]).data).toEqual(
      BigInt64Array.of(6n),
    );
  });

  it('have bytes of their own range only', () => {
    expect(bytesOf(rows(source, 2, 3))).toEqual(new Uint8Array(Float32Array.of(20, 21).buffer));
  });
});

describe('shapes', () => {
  it('are written as Keras writes them', () => {
    expect([[5], [null, 10], [], [2, 3]].map(formatShape)).toEqual(['(5,)', '(None, 10)', '()', '(2, 3)']);
  });

  it('have a size, which is 1 for a scalar', () => {
    expect([sizeOf([]), sizeOf([2, 3]), sizeOf([4, 0])]).toEqual([1, 6, 0]);
  });

  it('are the same only with as many axes', () => {
    expect(sameShape([2, 3], [2, 3])).toBe(true);
    expect(sameShape([2, 3], [2, 3, 1])).toBe(false);
    expect(sameShape([2, 3], [3, 2])).toBe(false);
  });

  it('have elements of a known width', () => {
    expect(
      (['float32', 'float16', 'int32', 'int64', 'uint8', 'int8', 'bool'] as const).map(bytesPerElement),
    ).toEqual([4, 2, 4, 8, 1, 1, 1]);
  });
});

describe('an error', () => {
  it('carries its code, its text and its cause', () => {
    const cause = new Error('disk full');
    const thrown = (() => {
      try {
        return fail('file', 'Cannot write a.h5.', cause);
      } catch (error) {
        return error;
      }
    })();
    expect(thrown).toBeInstanceOf(GraftError);
    expect(thrown).toMatchObject({ name: 'GraftError', code: 'file', message: 'Cannot write a.h5.', cause });
  });

  it('has a text whatever was thrown', () => {
    expect([messageOf(new Error('a')), messageOf('b'), messageOf(undefined)]).toEqual([
      'a',
      'b',
      'undefined',
    ]);
  });
});
