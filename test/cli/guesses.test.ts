/** The most probable classes, as `predict`, `explain` and `start` name them. */
import { describe, expect, it } from 'vitest';
import { probabilitiesOf, topGuesses } from '../../src/cli/predict.ts';
import { float32 } from '../../src/core/tensor.ts';

describe('the most probable classes', () => {
  const names = ['cat', 'dog', 'owl'];

  it('are named with what the model says of them', () => {
    const output = float32([2, 3], Float32Array.of(1, 0, 0, 0.25, 0.125, 0.625));
    expect(topGuesses(output, 1, names, 2)).toEqual([
      { class: 'owl', id: 2, probability: 0.625 },
      { class: 'cat', id: 0, probability: 0.25 },
    ]);
  });

  it('of logits have the probabilities of their softmax', () => {
    // exp(ln 6), exp(ln 3) and exp(0) are 6, 3 and 1 of 10, whatever is added to all.
    const output = float32([1, 3], Float32Array.of(Math.log(3) + 2, Math.log(6) + 2, 2));
    expect(topGuesses(probabilitiesOf(output), 0, null, 3)).toEqual([
      { class: 'class 1', id: 1, probability: expect.closeTo(0.6, 6) as number },
      { class: 'class 0', id: 0, probability: expect.closeTo(0.3, 6) as number },
      { class: 'class 2', id: 2, probability: expect.closeTo(0.1, 6) as number },
    ]);
    // Large ones do not overflow.
    const large = float32([1, 2], Float32Array.of(3000, -3000));
    expect(topGuesses(probabilitiesOf(large), 0, null, 1)).toEqual([
      { class: 'class 0', id: 0, probability: 1 },
    ]);
  });

  it('of independent outputs stay as they are', () => {
    const sigmoids = float32([1, 2], Float32Array.of(0.75, 0.5));
    expect(topGuesses(probabilitiesOf(sigmoids), 0, null, 2).map(({ probability }) => probability)).toEqual([
      0.75, 0.5,
    ]);
  });

  it('of one output alone are two classes, of its probability or its logit', () => {
    expect([...probabilitiesOf(float32([2, 1], Float32Array.of(0.25, 1))).data]).toEqual([0.75, 0.25, 0, 1]);
    // 1 / (1 + exp(−ln 3)) = 3/4; all rows are logits if one of them can only be one.
    const { shape, data } = probabilitiesOf(float32([2, 1], Float32Array.of(Math.log(3), 0)));
    expect(shape).toEqual([2, 2]);
    [0.25, 0.75, 0.5, 0.5].forEach((value, i) => {
      expect(data[i]).toBeCloseTo(value, 6);
    });
  });

  it('of rows that look like probabilities are logits if another row can only be logits', () => {
    const output = float32([2, 2], Float32Array.of(0, 0, Math.log(9), 0));
    const { data } = probabilitiesOf(output);
    [0.5, 0.5, 0.9, 0.1].forEach((value, i) => {
      expect(data[i]).toBeCloseTo(value, 6);
    });
  });
});
