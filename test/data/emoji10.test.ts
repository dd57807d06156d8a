/** The embedded data set: what is promised of its pictures, and the arithmetic that makes them. */
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { labelsOf } from '../../src/data/batches.ts';
import { emoji10, emojiSets } from '../../src/data/emoji10.node.ts';
import { compose, glyphSide, pictureSide } from '../../src/data/emoji10-pictures.ts';
import { datasets } from '../../src/data/index.ts';
import { datasetContract } from './support.ts';

type Loaded = Awaited<ReturnType<typeof emoji10.load>>;

let loaded: Loaded;
beforeAll(async () => {
  loaded = await datasets.emoji10.load();
}, 60_000);

const parts = ['train', 'validation', 'test'] as const;

describe.each(parts)('the %s pictures', (part) => {
  datasetContract(async () => loaded[part]);
});

describe('emoji10', () => {
  it('has as many pictures of each class of CIFAR-10', async () => {
    expect(parts.map((part) => loaded[part].shape)).toEqual([
      [3200, 32, 32, 3],
      [800, 32, 32, 3],
      [1000, 32, 32, 3],
    ]);
    for (const part of parts) {
      const counts = new Array<number>(10).fill(0);
      for (const label of await labelsOf(loaded[part])) counts[label]!++;
      expect(counts).toEqual(new Array(10).fill(loaded[part].shape[0]! / 10));
    }
    expect(loaded.test.classNames!.join(' ')).toBe(
      'airplane automobile bird cat deer dog frog horse ship truck',
    );
  });

  it('makes the same pictures of a seed, and other ones of another', async () => {
    const again = await emoji10.load({ seed: 0 });
    const other = await emoji10.load({ seed: 1 });
    for (const part of parts) {
      expect(again[part].fingerprint).toBe(loaded[part].fingerprint);
      expect(other[part].fingerprint).not.toBe(loaded[part].fingerprint);
    }
  });

  it('holds each designer in one part alone, and every class is drawn in every part', async () => {
    const sets = await emojiSets();
    const partsOf = new Map<string, Set<string>>();
    for (const { designer, part } of sets) {
      partsOf.set(designer, (partsOf.get(designer) ?? new Set()).add(part));
    }
    expect([...partsOf.values()].map(({ size }) => size)).toEqual([1, 1, 1, 1, 1, 1, 1]);
    for (const part of parts) {
      const own = sets.filter((set) => set.part === part).flatMap(({ glyphs }) => glyphs);
      expect(new Set(own.map(({ label }) => label)).size).toBe(10);
    }
  });

  it('names each set, its licence and its version in LICENSES.md', async () => {
    const text = await readFile(new URL('../../assets/LICENSES.md', import.meta.url), 'utf8');
    for (const { name, author, version, licence, url, ...set } of await emojiSets()) {
      expect(text).toContain(`| ${name} | ${author} | ${set.package}@${version} | ${licence} | ${url} |`);
    }
  });
});

describe('composing a picture', () => {
  const pictureOf = (glyph: Uint8Array, index: number) => {
    const out = new Uint8Array(3 * pictureSide ** 2);
    compose(glyph, new Random(0, 'test', index), out);
    return out;
  };
  const filled = (pixel: readonly number[]) =>
    Uint8Array.from({ length: 4 * glyphSide ** 2 }, (_, i) => pixel[i % 4]!);
  const mean = (values: Uint8Array) => values.reduce((sum, value) => sum + value, 0) / values.length;

  it('shows nothing of a drawing that is not there, and covers the ground with one that is', () => {
    for (let index = 0; index < 20; index++) {
      const ground = pictureOf(filled([0, 0, 0, 0]), index);
      const black = pictureOf(filled([0, 0, 0, 255]), index);
      const white = pictureOf(filled([255, 255, 255, 255]), index);
      const at = 3 * (16 * pictureSide + 16);
      // The middle is covered: only noise, at most 14, is left of black; white keeps 0.7 · 0.85 at least.
      expect(Math.max(...black.subarray(at, at + 3))).toBeLessThanOrEqual(14);
      expect(Math.min(...white.subarray(at, at + 3))).toBeGreaterThanOrEqual(
        Math.floor(0.7 * 0.85 * 255) - 14,
      );
      expect(mean(black)).toBeLessThan(mean(ground));
    }
  });

  it('covers as much as the side of the square says, whatever its place', () => {
    // A square of side 0.6 … 1.1 · 32, turned by 20° at most: of the 1024 pixels at least 0.36 less what is cut off.
    for (let index = 0; index < 20; index++) {
      const clear = pictureOf(filled([0, 0, 0, 0]), index);
      const covered = pictureOf(filled([0, 0, 0, 255]), index);
      let changed = 0;
      for (let i = 0; i < clear.length; i += 3) {
        if ([0, 1, 2].some((channel) => covered[i + channel] !== clear[i + channel])) changed++;
      }
      expect(changed).toBeGreaterThan(0.33 * 1024);
    }
  });
});
