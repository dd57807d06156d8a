/** Pictures that look alike: the same one saved again, resized or retouched. By their looks alone, not their bytes. */

import type { Tensor } from '../core/tensor.ts';
import { areaSampler, type Colour } from './area.ts';

/** The looks of a picture. */
export interface Look {
  /** 16 hexadecimal digits. */
  readonly look: string;
  /** Mean colour, 0 … 255. */
  readonly colour: Colour;
}

/** Levels of brightness: in a flat area, what saving it as JPEG does would otherwise decide each bit. */
const clearly = 3;

/**
 * The difference hash (dHash, Krawetz 2013, http://www.hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html)
 * of a picture shrunk to 9x8 by area: bit i of a row is 1 where pixel i is clearly brighter than its right neighbour.
 *
 * @param image [height, width, 3]
 */
export function differenceHash(image: Tensor<'uint8'>): Look {
  const sample = areaSampler(image, 8, 9);
  const sums = [0, 0, 0];
  let look = '';
  for (let row = 0; row < 8; row++) {
    const colours = Array.from({ length: 9 }, (_, column) => sample(row, column));
    for (const colour of colours)
      colour.forEach((level, channel) => {
        sums[channel]! += level;
      });
    const levels = colours.map(([red, green, blue]) => 299 * red + 587 * green + 114 * blue);
    let byte = 0;
    for (let i = 0; i < 8; i++) byte = 2 * byte + (levels[i]! > levels[i + 1]! + 1000 * clearly ? 1 : 0);
    look += byte.toString(16).padStart(2, '0');
  }
  return { look, colour: sums.map((sum) => Math.round(sum / 72)) as unknown as Colour };
}

/** Two pictures that look alike, by their positions. */
export interface LookAlike {
  readonly left: number;
  readonly right: number;
  /** Bits in which they differ. */
  readonly distance: number;
}

/** Bits that may differ. */
export const mostBits = 3;
/** Levels that the mean colour may differ in each channel: flat pictures all have the same hash. */
const mostLevels = 12;

/**
 * For each picture on the right the one on the left that it resembles most, if there is one.
 *
 * Of four bands of 16 bits, at least one is the same in two hashes that differ in at most three bits (pigeonholes), so
 * only pictures that share a band are compared: 40,000 beside 10,000 take less than a second.
 */
export function lookAlikes(left: readonly Look[], right: readonly Look[]): LookAlike[] {
  const words = left.map(({ look }) => wordsOf(look));
  const bands = [0, 1, 2, 3].map((band) => {
    const buckets = new Map<number, number[]>();
    words.forEach((word, i) => {
      const key = bandOf(word, band);
      const bucket = buckets.get(key);
      if (bucket === undefined) buckets.set(key, [i]);
      else bucket.push(i);
    });
    return buckets;
  });
  return right.flatMap((picture, i) => {
    const word = wordsOf(picture.look);
    let best: LookAlike | null = null;
    for (const [band, buckets] of bands.entries()) {
      for (const candidate of buckets.get(bandOf(word, band)) ?? []) {
        const distance = differing(words[candidate]!, word);
        if (distance > mostBits || distance >= (best?.distance ?? Number.POSITIVE_INFINITY)) continue;
        if (sameColour(left[candidate]!, picture)) best = { left: candidate, right: i, distance };
      }
    }
    return best === null ? [] : [best];
  });
}

type Words = readonly [high: number, low: number];

function wordsOf(look: string): Words {
  return [Number.parseInt(look.slice(0, 8), 16), Number.parseInt(look.slice(8), 16)];
}

function bandOf(words: Words, band: number): number {
  return (words[band >> 1]! >>> (band % 2 === 0 ? 16 : 0)) & 0xffff;
}

function differing([high, low]: Words, [otherHigh, otherLow]: Words): number {
  return bitsOf(high ^ otherHigh) + bitsOf(low ^ otherLow);
}

/** Bits that are 1, added up in parallel (Warren, Hacker's Delight, 5-1). */
function bitsOf(word: number): number {
  let x = word - ((word >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

function sameColour(a: Look, b: Look): boolean {
  return a.colour.every((level, channel) => Math.abs(level - b.colour[channel]!) <= mostLevels);
}
