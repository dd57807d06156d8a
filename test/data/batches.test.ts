import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { tensor } from '../../src/core/tensor.ts';
import { type Batch, type BatchOptions, batches } from '../../src/data/batches.ts';
import type { Dataset } from '../../src/data/dataset.ts';

/** Label i at position i. Records what is read, and can fail or wait. */
function traced(length: number, before: (indices: number[]) => Promise<void> = async () => {}) {
  const log = { reads: [] as number[][], inFlight: 0, mostInFlight: 0 };
  const dataset: Dataset = {
    name: 'traced',
    shape: [length, 1, 1, 1],
    dtype: 'uint8',
    classNames: null,
    fingerprint: 'traced',
    async read(given) {
      const indices = Array.from(given);
      log.reads.push(indices);
      log.inFlight++;
      log.mostInFlight = Math.max(log.mostInFlight, log.inFlight);
      try {
        await before(indices);
      } finally {
        log.inFlight--;
      }
      const y = tensor('int32', [indices.length], Int32Array.from(indices));
      return { x: tensor('uint8', [indices.length, 1, 1, 1]), y };
    },
  };
  return { dataset, log };
}

async function collect(dataset: Dataset, options: BatchOptions): Promise<Batch[]> {
  const all: Batch[] = [];
  for await (const batch of batches(dataset, options)) all.push(batch);
  return all;
}

const labels = (all: readonly Batch[]) => all.map(({ y }) => [...y.data]);

describe('batches', () => {
  it('goes through the data set in its own order, the last batch short', async () => {
    expect(labels(await collect(traced(7).dataset, { batchSize: 3 }))).toEqual([[0, 1, 2], [3, 4, 5], [6]]);
  });

  it('makes batches of 32 when nothing is said', async () => {
    expect((await collect(traced(70).dataset, {})).map(({ indices }) => indices.length)).toEqual([32, 32, 6]);
  });

  it('says with each batch where its examples lie', async () => {
    for (const { indices, y } of await collect(traced(9).dataset, { batchSize: 4, shuffle: true })) {
      expect([...indices]).toEqual([...y.data]);
    }
  });

  it('shuffles by the permutation that seed and epoch name', async () => {
    const order = [...new Random(7, 'shuffle', 3).permutation(10)];
    const all = await collect(traced(10).dataset, { batchSize: 4, shuffle: true, seed: 7, epoch: 3 });
    expect(labels(all)).toEqual([order.slice(0, 4), order.slice(4, 8), order.slice(8)]);
    expect(order).not.toEqual([...new Random(7, 'shuffle', 4).permutation(10)]);
  });

  it('gives every example exactly once, whatever the sizes', async () => {
    const sizes = { length: fc.integer({ min: 1, max: 60 }), batchSize: fc.integer({ min: 1, max: 70 }) };
    const rest = {
      seed: fc.nat(),
      epoch: fc.nat(9),
      prefetch: fc.integer({ min: 0, max: 5 }),
      shuffle: fc.boolean(),
    };
    await fc.assert(
      fc.asyncProperty(fc.record({ ...sizes, ...rest }), async ({ length, ...options }) => {
        const seen = labels(await collect(traced(length).dataset, options)).flat();
        expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length }, (_, i) => i));
      }),
    );
  });

  it('resumed at a batch gives the tail of the whole epoch and reads nothing before it', async () => {
    const sizes = { length: fc.integer({ min: 1, max: 60 }), batchSize: fc.integer({ min: 1, max: 20 }) };
    await fc.assert(
      fc.asyncProperty(fc.record({ ...sizes, seed: fc.nat(), start: fc.nat(70) }), async (drawn) => {
        const { length, batchSize, seed, start } = drawn;
        const startBatch = start % (Math.ceil(length / batchSize) + 1);
        const options = { batchSize, seed, shuffle: true };
        const whole = await collect(traced(length).dataset, options);
        const { dataset, log } = traced(length);
        expect(labels(await collect(dataset, { ...options, startBatch }))).toEqual(
          labels(whole).slice(startBatch),
        );
        expect(log.reads.length).toBe(whole.length - startBatch);
      }),
    );
  });

  it('keeps the asked number of reads in flight while the caller works, and never more', async () => {
    for (const [prefetch, ahead] of [
      [0, 0],
      [1, 1],
      [3, 3],
    ] as const) {
      const { dataset, log } = traced(20, () => delay(1));
      for await (const batch of batches(dataset, { batchSize: 2, prefetch })) {
        await setImmediate();
        const done = batch.indices[0]! / 2 + 1;
        expect(log.reads.length).toBe(Math.min(10, done + ahead));
      }
      expect(log.mostInFlight).toBeLessThanOrEqual(Math.max(1, prefetch));
    }
  });

  it('gives batches in order even when later reads finish first', async () => {
    const { dataset } = traced(6, ([first]) => delay(first === 0 ? 20 : 0));
    expect(labels(await collect(dataset, { batchSize: 2, prefetch: 3 }))).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ]);
  });

  it('rejects at the batch whose read failed, with nothing left unhandled', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    onTestFinished(() => void process.off('unhandledRejection', note));
    const { dataset, log } = traced(12, async ([first]) => {
      if (first! >= 4) throw new Error(`broken at ${first}`);
    });
    const seen: number[] = [];
    const run = async () => {
      for await (const { indices } of batches(dataset, { batchSize: 2, prefetch: 3 })) {
        seen.push(indices[0]!);
        await delay(5); // The failed reads wait for their turn meanwhile.
      }
    };
    await expect(run()).rejects.toThrow('broken at 4');
    expect(seen).toEqual([0, 2]);
    expect(log.inFlight).toBe(0);
    await delay(5);
    expect(unhandled).toEqual([]);
  });

  it('left early waits for the reads in flight and starts no more', async () => {
    const { dataset, log } = traced(100, ([first]) => delay(first === 0 ? 0 : 20));
    for await (const _ of batches(dataset, { batchSize: 2, prefetch: 4 })) break;
    expect(log.inFlight).toBe(0);
    expect(log.reads.length).toBe(5);
    await delay(30);
    expect(log.reads.length).toBe(5);
  });

  it.each([
    [{ batchSize: 0 }, 'batches: batchSize must be a whole number of at least 1, got 0.'],
    [{ batchSize: 2, startBatch: 6 }, 'batches: startBatch must be a whole number from 0 to 5, got 6.'],
    [{ seed: -1 }, 'batches: seed must be a whole number from 0 to 4294967295, got -1.'],
    [{ epoch: 0.5 }, 'batches: epoch must be a whole number of at least 0, got 0.5.'],
    [{ prefetch: -1 }, 'batches: prefetch must be a whole number of at least 0, got -1.'],
  ])('refuses %j at the call, not at the first batch', (options, message) => {
    expect(() => batches(traced(10).dataset, options)).toThrow(message);
  });
});
