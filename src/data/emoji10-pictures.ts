/**
 * How a drawing becomes a small picture of `emoji10`: turned, scaled, moved and recoloured, on a background that has
 * nothing to do with it, with noise. It does not know what is drawn; `emoji10.node.ts` does.
 */
import type { Random } from '../core/random.ts';

/** Height and width of a picture, as in CIFAR-10. */
export const pictureSide = 32;

/** Height and width at which drawings are rendered: about twice what they have in a picture. */
export const glyphSide = 72;

/** Colour and opacity of a drawing, four bytes a pixel, colour multiplied by opacity: what it lets through adds up. */
export type Glyph = Uint8Array;

type Rgb = readonly [red: number, green: number, blue: number];

/** The share of the second of two colours at a place, 0 … 1. */
type Blend = (x: number, y: number) => number;

/** Samples of a pixel in each direction. */
const samples = 2;

/** Writes the 32x32 RGB bytes of one picture into `out`; all chance comes from `random`. */
export function compose(glyph: Glyph, random: Random, out: Uint8Array): void {
  const ground = background(random);
  const place = placement(random);
  const recolour = recolouring(random);
  const strength = 14 * random.uniform();
  const drawn = new Float64Array(4);
  for (let y = 0, at = 0; y < pictureSide; y++) {
    for (let x = 0; x < pictureSide; x++, at += 3) {
      samplePixel(glyph, place, x, y, drawn);
      recolour(drawn);
      const opacity = drawn[3]! / 255;
      const behind = ground(x, y);
      const noise = random.uint32();
      for (let channel = 0; channel < 3; channel++) {
        const grain = strength * (((noise >>> (8 * channel)) & 255) / 127.5 - 1);
        const value = Math.min(drawn[channel]!, drawn[3]!) + behind[channel]! * (1 - opacity) + grain;
        out[at + channel] = Math.min(255, Math.max(0, Math.round(value)));
      }
    }
  }
}

/** From places of the picture to places of the drawing: column = xx · x + xy · y + x0, row = yx · x + yy · y + y0. */
interface Placement {
  readonly xx: number;
  readonly xy: number;
  readonly x0: number;
  readonly yx: number;
  readonly yy: number;
  readonly y0: number;
}

/** The drawing takes from six tenths of the picture's side to a bit more than all of it. */
function placement(random: Random): Placement {
  const side = between(random, 0.6, 1.1) * pictureSide;
  const angle = between(random, -20, 20) * (Math.PI / 180);
  const mirrored = random.uniform() < 0.5 ? -1 : 1;
  // What is small may stand further from the middle.
  const reach = 0.08 * pictureSide + Math.max(0, pictureSide - side) / 4;
  const left = pictureSide / 2 + between(random, -reach, reach);
  const top = pictureSide / 2 + between(random, -reach, reach);
  const scale = glyphSide / side;
  const [cosine, sine] = [scale * Math.cos(angle), scale * Math.sin(angle)];
  const [xx, xy, yx, yy] = [mirrored * cosine, mirrored * sine, -sine, cosine];
  const middle = glyphSide / 2;
  return { xx, xy, x0: middle - xx * left - xy * top, yx, yy, y0: middle - yx * left - yy * top };
}

/** The mean of some samples of the drawing within a pixel. */
function samplePixel(glyph: Glyph, place: Placement, x: number, y: number, mean: Float64Array): void {
  mean.fill(0);
  for (let i = 0; i < samples ** 2; i++) {
    const u = x + ((i % samples) + 0.5) / samples;
    const v = y + (Math.floor(i / samples) + 0.5) / samples;
    const column = place.xx * u + place.xy * v + place.x0;
    addSample(glyph, column, place.yx * u + place.yy * v + place.y0, mean);
  }
}

/** Adds the bilinear interpolation of four pixels, for the mean; beyond the drawing there is nothing. */
function addSample(glyph: Glyph, column: number, row: number, mean: Float64Array): void {
  const left = Math.floor(column - 0.5);
  const top = Math.floor(row - 0.5);
  const right = column - 0.5 - left;
  const bottom = row - 0.5 - top;
  for (let corner = 0; corner < 4; corner++) {
    const x = left + (corner & 1);
    const y = top + (corner >> 1);
    if (x < 0 || y < 0 || x >= glyphSide || y >= glyphSide) continue;
    const share = ((corner & 1 ? right : 1 - right) * (corner >> 1 ? bottom : 1 - bottom)) / samples ** 2;
    const at = 4 * (y * glyphSide + x);
    for (let channel = 0; channel < 4; channel++) mean[channel]! += share * glyph[at + channel]!;
  }
}

/** Paler or richer, darker or lighter, and a cast of colour: in place. */
function recolouring(random: Random): (drawn: Float64Array) => void {
  const saturation = between(random, 0.3, 1.2);
  const brightness = between(random, 0.7, 1.15);
  const gains = [0, 1, 2].map(() => brightness * between(random, 0.85, 1.15));
  return (drawn) => {
    const grey = 0.299 * drawn[0]! + 0.587 * drawn[1]! + 0.114 * drawn[2]!;
    for (let channel = 0; channel < 3; channel++) {
      drawn[channel] = gains[channel]! * (grey + saturation * (drawn[channel]! - grey));
    }
  };
}

/** Two colours and how they share the picture. */
function background(random: Random): (x: number, y: number) => Rgb {
  const [first, second] = [colour(random), colour(random)];
  const blend = blends[random.below(blends.length)]!(random);
  return (x, y) => {
    const share = blend(x, y);
    const mixed = (channel: 0 | 1 | 2) => first[channel] * (1 - share) + second[channel] * share;
    return [mixed(0), mixed(1), mixed(2)];
  };
}

const blends: readonly ((random: Random) => Blend)[] = [plain, gradient, horizon, stripes, clouds];

function plain(): Blend {
  return () => 0;
}

function gradient(random: Random): Blend {
  const along = direction(random, Math.PI);
  return (x, y) => clip(0.5 + along(x, y) / (1.4 * pictureSide));
}

/** Sky and ground, with a soft or a sharp edge that lies almost level. */
function horizon(random: Random): Blend {
  const along = direction(random, 0.2);
  const height = between(random, -8, 8);
  const softness = between(random, 0.5, 6);
  return (x, y) => clip(0.5 + (along(x, y) - height) / softness);
}

function stripes(random: Random): Blend {
  const along = direction(random, Math.PI);
  const period = between(random, 4, 16);
  const contrast = between(random, 0.3, 1);
  return (x, y) => contrast * (0.5 + 0.5 * Math.sin((2 * Math.PI * along(x, y)) / period));
}

/** Values on a coarse lattice, smoothly joined. */
function clouds(random: Random): Blend {
  const cells = 3 + random.below(5);
  const values = Float64Array.from({ length: (cells + 1) ** 2 }, () => random.uniform());
  const smooth = (t: number) => t * t * (3 - 2 * t);
  return (x, y) => {
    const [u, v] = [(x * cells) / pictureSide, (y * cells) / pictureSide];
    const [i, j] = [Math.floor(u), Math.floor(v)];
    const [right, bottom] = [smooth(u - i), smooth(v - j)];
    const at = j * (cells + 1) + i;
    const upper = values[at]! * (1 - right) + values[at + 1]! * right;
    const lower = values[at + cells + 1]! * (1 - right) + values[at + cells + 2]! * right;
    return upper * (1 - bottom) + lower * bottom;
  };
}

/** Distance from the middle along a direction, downwards give or take `spread`. */
function direction(random: Random, spread: number): Blend {
  const angle = between(random, -spread, spread);
  const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  const middle = (pictureSide - 1) / 2;
  return (x, y) => (x - middle) * sine + (y - middle) * cosine;
}

/** Any hue, from grey to rich, from dark to bright (HSV to RGB). */
function colour(random: Random): Rgb {
  const hue = 6 * random.uniform();
  const saturation = between(random, 0, 0.8);
  const value = 255 * between(random, 0.15, 1);
  const channel = (offset: number) => {
    const k = (offset + hue) % 6;
    return value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1)));
  };
  return [channel(5), channel(3), channel(1)];
}

function between(random: Random, low: number, high: number): number {
  return low + (high - low) * random.uniform();
}

function clip(share: number): number {
  return Math.min(1, Math.max(0, share));
}
