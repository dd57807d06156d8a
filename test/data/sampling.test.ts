import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import { batches, labelsOf } from '../../src/data/batches.ts';
import { fromTensors, slice } from '../../src/data/dataset.ts';
import {
  alternatingOrder,
  balancedOrder,
  balancedWeights,
  stratifiedSplit,
} from '../../src/data/sampling.ts';

const labelArrays = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 60 });
const countIn = (values: ArrayLike<number>, wanted: number) =>
  Array.from(values).filter((v) => v === wanted).length;

describe('balanced weights', () => {
  it("are scikit-learn's class_weight='balanced'", () => {
    // compute_class_weight('balanced', classes=[0, 1, 2], y=[0, 0, 0, 0, 0, 0, 1, 1, 1, 2]): 10/(3*6), 10/(3*3), 10/3.
    expect(balancedWeights([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])).toEqual({ 0: 10 / 18, 1: 10 / 9, 2: 10 / 3 });
  });

  it('leave out classes that do not occur', () => {
    expect(balancedWeights([3, 1, 3, 3])).toEqual({ 1: 2, 3: 4 / 6 });
  });
});

describe('the balanced order', () => {
  it('draws every class equally often, for any sizes', async () => {
    await fc.assert(
      fc.property(labelArrays, fc.nat(1000), fc.nat(50), (labels, seed, epoch) => {
        const order = balancedOrder(labels, seed, epoch);
        expect(order.length).toBe(labels.length);
        const classes = [...new Set(labels)];
        const drawn = Array.from(order, (index) => labels[index]!);
        for (const label of classes) {
          const share = labels.length / classes.length;
          expect([Math.floor(share), Math.ceil(share)]).toContain(countIn(drawn, label));
        }
        // No picture comes again before all of its class have come.
        for (const [index, label] of labels.entries()) {
          const rounds = countIn(drawn, label) / countIn(labels, label);
          expect([Math.floor(rounds), Math.ceil(rounds)]).toContain(countIn(order, index));
        }
      }),
      { seed: 3, numRuns: 200 },
    );
  });

  it('depends on seed and epoch alone, and gives a large class its turn', () => {
    const labels = [...new Array<number>(30).fill(0), 1, 1];
    expect(balancedOrder(labels, 5, 2)).toEqual(balancedOrder(labels, 5, 2));
    expect(balancedOrder(labels, 5, 3)).not.toEqual(balancedOrder(labels, 5, 2));
    expect(balancedOrder(labels, 6, 2)).not.toEqual(balancedOrder(labels, 5, 2));
    const seen = new Set(
      Array.from({ length: 10 }, (_, epoch) => [...balancedOrder(labels, 5, epoch)]).flat(),
    );
    expect(seen.size).toBe(32);
  });

  it('is what batches go through, from any batch on', async () => {
    const labels = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2];
    const x = tensor(
      'uint8',
      [10, 1, 1, 1],
      Uint8Array.from({ length: 10 }, (_, i) => i),
    );
    const rows = fromTensors(x, tensor('int32', [10], Int32Array.from(labels)));
    const indices = async (startBatch: number) => {
      const seen: number[] = [];
      for await (const batch of batches(rows, {
        batchSize: 3,
        balance: labels,
        seed: 4,
        epoch: 1,
        startBatch,
      })) {
        seen.push(...batch.indices);
      }
      return seen;
    };
    const whole = await indices(0);
    expect(whole).toEqual([...balancedOrder(labels, 4, 1)]);
    expect(await indices(2)).toEqual(whole.slice(6));
  });
});

describe('the stratified split', () => {
  it('takes a share of each class, at least one, never all', async () => {
    await fc.assert(
      fc.property(
        labelArrays,
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.nat(99),
        (labels, share, seed) => {
          const aside = stratifiedSplit(
            labels,
            labels.map((_, i) => String(i)),
            share,
            seed,
          );
          for (const label of new Set(labels)) {
            const size = countIn(labels, label);
            const taken = labels.filter((other, i) => other === label && aside[i]).length;
            const wanted = Math.min(Math.max(Math.round(share * size), 1), size - 1);
            expect(taken).toBe(wanted);
          }
        },
      ),
      { seed: 5, numRuns: 200 },
    );
  });

  it('draws anew for another seed', () => {
    const labels = new Array<number>(40).fill(0);
    const names = labels.map((_, i) => String(i));
    const drawn = (seed: number) => stratifiedSplit(labels, names, 0.25, seed);
    expect(drawn(1)).toEqual(drawn(1));
    expect(drawn(1)).not.toEqual(drawn(2));
  });

  it('does not part a group', () => {
    const labels = new Array<number>(40).fill(0);
    const names = labels.map((_, i) => String(i % 10));
    const aside = stratifiedSplit(labels, names, 0.3, 7);
    expect(aside.filter((held) => held)).toHaveLength(12);
    for (const [i, held] of aside.entries()) expect(held).toBe(aside[i % 10]);
  });
});

describe('the alternating order', () => {
  it('holds each position once, and every beginning has its share of each class', async () => {
    await fc.assert(
      fc.property(labelArrays, (labels) => {
        const order = alternatingOrder(labels);
        expect([...order].sort((a, b) => a - b)).toEqual(labels.map((_, i) => i));
        for (let n = 1; n <= labels.length; n++) {
          const drawn = Array.from(order.subarray(0, n), (index) => labels[index]!);
          for (const label of new Set(labels)) {
            const fair = (n * countIn(labels, label)) / labels.length;
            expect(Math.abs(countIn(drawn, label) - fair)).toBeLessThan(5);
          }
        }
      }),
      { seed: 6, numRuns: 100 },
    );
  });
});

describe('labelsOf', () => {
  it('reads the classes of any data set', async () => {
    const x = tensor('uint8', [4, 1, 1, 1]);
    const ids = fromTensors(x, tensor('int32', [4], Int32Array.from([2, 0, 1, 1])));
    expect([...(await labelsOf(ids))]).toEqual([2, 0, 1, 1]);
    expect([...(await labelsOf(slice(ids, 1, 3)))]).toEqual([0, 1]);
    const soft = fromTensors(
      x,
      tensor('float32', [4, 2], Float32Array.from([0.2, 0.8, 1, 0, 0.6, 0.4, 0, 1])),
    );
    expect([...(await labelsOf(soft))]).toEqual([1, 0, 0, 1]);
  });
});
