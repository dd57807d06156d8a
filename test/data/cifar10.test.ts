import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { batches } from '../../src/data/batches.ts';
import { cifar10 } from '../../src/data/cifar.node.ts';
import { temporaryFolder } from './support.ts';

// The archive is 170 MB, so it is not part of the repository: a mirror has to be at hand.
const mirror =
  process.env['GRAFT_MIRROR'] || resolve(import.meta.dirname, '..', '..', '..', 'shared', 'mirror');
const isThere = /^https?:/.test(mirror) || existsSync(join(mirror, 'manifest.json'));

describe('the real CIFAR-10', () => {
  it('has 5,000 and 1,000 pictures a class, in the publisher order, and loads at once when unpacked', async (context) => {
    if (!isThere) context.skip('no mirror: set GRAFT_MIRROR to a folder or address with CIFAR-10');
    const options = { mirror, cacheDir: await temporaryFolder() };
    const { train, test } = await cifar10.load(options);
    expect(train.shape).toEqual([50_000, 32, 32, 3]);
    expect(test.shape).toEqual([10_000, 32, 32, 3]);
    expect(train.classNames).toEqual([
      'airplane',
      'automobile',
      'bird',
      'cat',
      'deer',
      'dog',
      'frog',
      'horse',
      'ship',
      'truck',
    ]);
    expect([...(await train.read([0, 1, 2, 3, 4])).y.data]).toEqual([6, 9, 9, 4, 1]);
    expect([...(await test.read([0, 1, 2, 3, 4])).y.data]).toEqual([3, 8, 8, 0, 6]);
    for (const [dataset, each] of [
      [train, 5000],
      [test, 1000],
    ] as const) {
      const counts = new Array<number>(10).fill(0);
      for await (const { y } of batches(dataset, { batchSize: 1000 })) {
        for (const label of y.data) counts[label]!++;
      }
      expect(counts).toEqual(new Array<number>(10).fill(each));
    }
    // The first training picture, a frog: its first pixel, and the last one of its last row.
    const { x } = await train.read([0]);
    expect([...x.data.subarray(0, 3)]).toEqual([59, 62, 63]);
    expect([...x.data.subarray(3069)]).toEqual([123, 92, 72]);

    const start = performance.now();
    await cifar10.load(options);
    expect(performance.now() - start).toBeLessThan(100);
  }, 120_000);
});
