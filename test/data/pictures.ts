/** Pictures for tests: written by sharp, of colours that are known. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import sharp, { type Sharp } from 'sharp';

export type Colour = readonly [red: number, green: number, blue: number];

export interface Drawing {
  readonly width?: number;
  readonly height?: number;
  /** Default: by the file's ending. */
  readonly finish?: (image: Sharp) => Sharp;
}

/** Writes a picture of one colour, and the folders above. */
export async function solid(
  path: string,
  colour: Colour,
  { width = 4, height = 4, finish }: Drawing = {},
): Promise<void> {
  await pixels(path, Array.from({ length: width * height }, () => colour).flat(), width, finish);
}

/** Writes a picture of these values, row by row. */
export async function pixels(
  path: string,
  values: readonly number[],
  width: number,
  finish: (image: Sharp) => Sharp = (image) => image,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const raw = { width, height: values.length / width / 3, channels: 3 } as const;
  await finish(sharp(Uint8Array.from(values), { raw })).toFile(path);
}

/** Writes a text, and the folders above. */
export async function text(path: string, content = 'no picture'): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

/** A PNG of a few hundred bytes that claims to be 50,000 x 50,000: 7.5 GB of pixels. */
export async function bomb(path: string): Promise<void> {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(50_000, 0);
  header.writeUInt32BE(50_000, 4);
  header.set([8, 2], 8);
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  const chunks = [chunk('IHDR', header), chunk('IDAT', Buffer.alloc(200)), chunk('IEND', Buffer.alloc(0))];
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, Buffer.concat([signature, ...chunks]));
}

/** A TIFF of one grey row. `format` is TIFF's SampleFormat: 1 unsigned, 2 signed, 3 floating point. */
export function grayTiff(values: Buffer, bits: number, format: 1 | 2 | 3): Buffer {
  const [short, long, count] = [3, 4, 10];
  const start = 8 + 2 + count * 12 + 4;
  const entries = [
    [256, long, values.length / (bits / 8)], // ImageWidth
    [257, long, 1], // ImageLength
    [258, short, bits], // BitsPerSample
    [259, short, 1], // Compression: none
    [262, short, 1], // PhotometricInterpretation: black is 0
    [273, long, start], // StripOffsets
    [277, short, 1], // SamplesPerPixel
    [278, long, 1], // RowsPerStrip
    [279, long, values.length], // StripByteCounts
    [339, short, format], // SampleFormat
  ] as const;
  const head = Buffer.alloc(start);
  head.write('II*');
  head.writeUInt32LE(8, 4);
  head.writeUInt16LE(count, 8);
  entries.forEach(([tag, type, value], i) => {
    head.writeUInt16LE(tag, 10 + 12 * i);
    head.writeUInt16LE(type, 12 + 12 * i);
    head.writeUInt32LE(1, 14 + 12 * i);
    head.writeUInt32LE(value, 18 + 12 * i);
  });
  return Buffer.concat([head, values]);
}
