/**
 * emoji10: the ten classes of CIFAR-10 as many designers of emoji drew them. The drawings come with the package
 * (`assets/emoji10.json.gz`, written by `scripts/make-emoji10.mjs`); pictures are made of them when asked for, the
 * same ones for the same seed. It owns the drawings, who made them, and which designers are learned from.
 */
import { readFile } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { checked, type Entries, fields, functionOf, optional, seed as seedSchema } from '../core/checked.ts';
import { Random } from '../core/random.ts';
import { tensor } from '../core/tensor.ts';
import type { Splits } from './cifar.node.ts';
import { type Dataset, fromTensors } from './dataset.ts';
import { compose, type Glyph, glyphSide, pictureSide } from './emoji10-pictures.ts';

const classNames = [
  ...['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'],
] as const;

type Part = 'train' | 'validation' | 'test';

/** Pictures of each part. */
const lengths: Readonly<Record<Part, number>> = { train: 3200, validation: 800, test: 1000 };

/** One set of emoji: who drew it, under which licence, and what it is used for. */
export interface EmojiSet {
  /** `Noto Emoji` */
  readonly name: string;
  /** Sets of one designer serve the same part. */
  readonly designer: string;
  readonly part: Part;
  /** The npm package that the drawings were taken from, unchanged, and its version. */
  readonly package: string;
  readonly version: string;
  readonly author: string;
  readonly url: string;
  /** As an SPDX identifier. */
  readonly licence: string;
  readonly licenceUrl: string;
  readonly glyphs: readonly EmojiGlyph[];
}

/** A drawing as SVG. */
export interface EmojiGlyph {
  /** Its class. */
  readonly label: string;
  /** Its name in the set: `small-airplane`. */
  readonly name: string;
  readonly viewBox: string;
  readonly body: string;
}

export interface Emoji10Options {
  readonly seed?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

const emoji10Options = fields({
  seed: optional(seedSchema, 0),
  onProgress: optional(functionOf<NonNullable<Emoji10Options['onProgress']>>()),
} satisfies Entries<Emoji10Options>);

/** emoji10: ten classes (airplane … truck) in 3,200 training, 800 validation and 1,000 test
 * pictures, as many of each class.
 */
export const emoji10 = {
  /**
   * All three: x uint8 [n, 32, 32, 3], y int32 [n], classes and their order as in CIFAR-10. Nothing is downloaded
   * and nothing is kept on disk; it takes a few seconds.
   *
   * Validation and test pictures are of designers whose drawings are in no training picture, nor in each other's.
   *
   * @param options.seed decides everything that is random in the pictures; default 0
   * @param options.onProgress hears how many of all pictures are drawn
   */
  async load(options: Emoji10Options = {}): Promise<Required<Splits>> {
    const { seed, onProgress } = checked(emoji10Options, options, 'datasets.emoji10.load');
    const total = Object.values(lengths).reduce((sum, length) => sum + length, 0);
    let done = 0;
    const onDrawn = () => onProgress?.(++done, total);
    const sets = await emojiSets();
    const drawings = await Promise.all(
      sets.map(async ({ part, glyphs }) => {
        const rendered = glyphs.map(async (glyph) => ({ ...glyph, pixels: await render(glyph) }));
        return { part, glyphs: await Promise.all(rendered) };
      }),
    );
    const split = (name: Part) => {
      const own = drawings.filter(({ part }) => part === name);
      return drawPictures(name, own, seed, onDrawn);
    };
    return {
      train: await split('train'),
      validation: await split('validation'),
      test: await split('test'),
    };
  },
};

let sets: Promise<readonly EmojiSet[]> | null = null;

/** Where the drawings come from: designers, versions and licences, and the drawings themselves. */
export function emojiSets(): Promise<readonly EmojiSet[]> {
  sets ??= readSets();
  return sets;
}

async function readSets(): Promise<readonly EmojiSet[]> {
  const file = await readFile(new URL('../../assets/emoji10.json.gz', import.meta.url));
  return JSON.parse((await promisify(gunzip)(file)).toString('utf8'));
}

/** Renders a drawing into a square. */
async function render({ viewBox, body }: EmojiGlyph): Promise<Glyph> {
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ` +
    `width="${glyphSide}" height="${glyphSide}" viewBox="${viewBox}">${body}</svg>`;
  const { default: sharp } = await import('sharp');
  const pixels = await sharp(Buffer.from(svg)).ensureAlpha().raw().toBuffer();
  for (let i = 0; i < pixels.length; i += 4) {
    for (let channel = 0; channel < 3; channel++) {
      pixels[i + channel] = Math.round((pixels[i + channel]! * pixels[i + 3]!) / 255);
    }
  }
  return pixels;
}

interface RenderedSet {
  readonly glyphs: readonly (Pick<EmojiGlyph, 'label'> & { readonly pixels: Glyph })[];
}

/** As many pictures of each class, in random order; each of a set drawn from those that have the class. */
async function drawPictures(
  part: Part,
  sets: readonly RenderedSet[],
  seed: number,
  onDrawn: () => void,
): Promise<Dataset> {
  const length = lengths[part];
  const x = tensor('uint8', [length, pictureSide, pictureSide, 3]);
  const y = tensor('int32', [length]);
  const order = new Random(seed, `emoji10/${part}/order`).permutation(length);
  const drawings = classNames.map((name) =>
    sets
      .map(({ glyphs }) => glyphs.filter(({ label }) => label === name))
      .filter((glyphs) => glyphs.length > 0),
  );
  const bytes = 3 * pictureSide ** 2;
  for (let i = 0; i < length; i++) {
    const label = order[i]! % classNames.length;
    const random = new Random(seed, `emoji10/${part}`, i);
    const glyphs = drawings[label]![random.below(drawings[label]!.length)]!;
    const { pixels } = glyphs[random.below(glyphs.length)]!;
    compose(pixels, random, x.data.subarray(i * bytes, (i + 1) * bytes));
    y.data[i] = label;
    onDrawn();
    // Whoever waits can be told so meanwhile.
    if (i % 100 === 99) await nextTurn();
  }
  return fromTensors(x, y, { name: `emoji10/${part}`, classNames });
}
