/** What comes back, in each precision. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import type { ColumnSpec } from '../../src/features/index.ts';
import { computedRows, keep, plainColumns, range, temporaryFolder } from './support.ts';

const eightBit = (channels: number): ColumnSpec[] => [
  { name: 'f', shape: [1, channels], dtype: 'float32', encoding: 'uint8' },
];

/** Rows of a table, kept in eight bits in one shard and read back. */
async function throughEightBits(table: readonly (readonly number[])[]): Promise<number[]> {
  const channels = table[0]!.length;
  const { features } = await keep('', {
    mode: 'memory',
    rows: table.length,
    columns: eightBit(channels),
    shardBytes: 2 ** 20,
    compute: async (indices) => {
      const values = Float32Array.from([...indices].flatMap((row) => [...table[row]!]));
      return { f: tensor('float32', [indices.length, 1, channels], values) };
    },
  });
  const read = await features.read(range(0, table.length));
  return [...(read.features['f']!.data as Float32Array)];
}

describe.each(['memory', 'disk'] as const)('features in %s', (mode) => {
  it.each([1, 15, 16, 17, 31, 32, 33, 64, 100])(
    'as float16, float32 and int32 come back bit for bit: %i rows in shards of 32',
    async (rows) => {
      const { features } = await keep(await temporaryFolder(), { mode, rows });
      const all = range(0, rows);
      expect((await features.read(all)).features).toEqual(computedRows(plainColumns, all));
    },
  );

  it('in rows too wide for a shard have a shard each', async () => {
    const { features, plan } = await keep(await temporaryFolder(), { mode, rows: 5, shardBytes: 10 });
    expect(plan.shards).toBe(5);
    expect((await features.read([4, 0])).features).toEqual(computedRows(plainColumns, [4, 0]));
  });
});

describe('eight bits', () => {
  const value = fc.float({ min: 0, noNaN: true, noDefaultInfinity: true });
  const tables = fc.integer({ min: 1, max: 4 }).chain((channels) =>
    fc.array(fc.array(value, { minLength: channels, maxLength: channels }), {
      minLength: 1,
      maxLength: 40,
    }),
  );

  it('are wrong by at most half a step of the scale of their channel', async () => {
    await fc.assert(
      fc.asyncProperty(tables, async (table) => {
        const channels = table[0]!.length;
        const got = await throughEightBits(table);
        for (let c = 0; c < channels; c++) {
          const largest = Math.max(...table.map((row) => row[c]!));
          // The scale is largest/255 rounded up to float32; the product is rounded to float32 once more.
          const scale = (largest / 255) * (1 + 2 ** -23) + 2 ** -149;
          const bound = scale / 2 + largest * 2 ** -24;
          table.forEach((row, i) => {
            expect(Math.abs(got[i * channels + c]! - row[c]!)).toBeLessThanOrEqual(bound);
          });
        }
      }),
      { numRuns: 200 },
    );
  });

  it('use all 255 steps: a ramp comes back in as many values', async () => {
    const got = await throughEightBits(range(0, 2000).map((i) => [i, i / 1000]));
    expect(new Set(got.filter((_, i) => i % 2 === 0)).size).toBe(256);
    expect(new Set(got.filter((_, i) => i % 2 === 1)).size).toBe(256);
  });

  it('keep zeros exactly, also in a channel that has nothing else', async () => {
    expect(
      await throughEightBits([
        [0, 0],
        [255, 0],
        [0, 0],
      ]),
    ).toEqual([0, 0, 255, 0, 0, 0]);
  });

  it.each([
    [-1e-8, '-1e-8'],
    [Number.NaN, 'NaN'],
    [Number.POSITIVE_INFINITY, 'Infinity'],
  ])('refuse %d, saying which precision to choose', async (bad, shown) => {
    await expect(throughEightBits([[1], [bad]])).rejects.toMatchObject({
      code: 'data',
      message: expect.stringMatching(
        new RegExp(
          `^Features of things: got ${shown.replace('e-8', '(\\.\\d+)?(\\d)*e-[89]').replace('-1', '-\\d')}, but precision uint8 keeps finite features of at ` +
            'least 0, as after ReLU. Choose float16 or float32\\.$',
        ),
      ),
    });
  });
});
