/** A heat map over a picture: the map is enlarged to the picture's size, warm and opaque where it is high. */
import sharp, { type Sharp } from 'sharp';

/** 8-bit RGB pixels, row by row. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Values from 0 to 1, row by row. */
export interface HeatMap {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
}

/** Colours from 0 to 1, mixed between their neighbours: black, purple, red, orange, pale yellow. */
const colours = [
  [0, 0, 4],
  [87, 16, 110],
  [188, 55, 84],
  [249, 142, 9],
  [252, 255, 164],
] as const;

/** Share of the colour where the map is 0 and where it is 1. */
const opacity = [0.45, 0.7] as const;

/** As sharp has it, to be written in any format. */
export function drawHeatMap(picture: Pixels, map: HeatMap): Sharp {
  const { width, height } = picture;
  const columns = Array.from({ length: width }, (_, x) => neighbours(x, map.width, width));
  const pixels = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const row = neighbours(y, map.height, height);
    for (let x = 0; x < width; x++) {
      const heat = valueAt(map, row, columns[x]!);
      const share = opacity[0] + (opacity[1] - opacity[0]) * heat;
      const at = 3 * (y * width + x);
      const colour = colourOf(heat);
      for (let channel = 0; channel < 3; channel++) {
        pixels[at + channel] = Math.round(
          (1 - share) * picture.data[at + channel]! + share * colour[channel]!,
        );
      }
    }
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

/** Two places of the map and the share of the second: bilinear, between the centres of pixels. */
type Between = readonly [low: number, high: number, share: number];

function neighbours(index: number, from: number, to: number): Between {
  const place = Math.min(Math.max(((index + 0.5) * from) / to - 0.5, 0), from - 1);
  const low = Math.floor(place);
  return [low, Math.min(low + 1, from - 1), place - low];
}

function valueAt({ width, data }: HeatMap, row: Between, column: Between): number {
  const along = (line: number) =>
    mix(data[line * width + column[0]]!, data[line * width + column[1]]!, column[2]);
  return mix(along(row[0]), along(row[1]), row[2]);
}

function colourOf(heat: number): readonly [number, number, number] {
  const place = heat * (colours.length - 1);
  const low = Math.min(Math.floor(place), colours.length - 2);
  const [from, to] = [colours[low]!, colours[low + 1]!];
  const channel = (i: 0 | 1 | 2) => mix(from[i], to[i], place - low);
  return [channel(0), channel(1), channel(2)];
}

function mix(a: number, b: number, share: number): number {
  return a + (b - a) * share;
}

/** What speaks for the predicted class in some pictures. */
export interface Saliency {
  /** The layer whose feature map was looked at. */
  readonly layer: string;
  /** By the position of the picture. */
  readonly maps: ReadonlyMap<number, HeatMap>;
}
