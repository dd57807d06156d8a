/** Image files to tensors. It owns decoding; enlarging and normalising for a backbone are layers' work. */
import type { Sharp } from 'sharp';
import { fail, messageOf } from '../core/errors.ts';
import { byteLimits, isMissing, UnreadableFileError, withRegularFile } from '../core/regular_file.node.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import { oneLine } from '../core/text.ts';
import { formatBytes, type ImageFormat, imageFormatOf, otherFormatOf, readable } from './image_format.ts';

/** An image that unpacks to more pixels than this (16383 x 16383) is refused before it fills the memory. */
const mostPixels = 0x3fff ** 2;

/** How sharp reads every image: damaged and enormous ones are errors. */
const limits = { failOn: 'error', limitInputPixels: mostPixels } as const;

/** What transparent pixels lie on. */
export const backdrop = '#ffffff';

/** A size in pixels, and how a picture of other proportions comes to it; by default it is stretched. */
export interface ImageSize {
  readonly height: number;
  readonly width: number;
  /** Take the largest window of these proportions from the middle (Keras's crop_to_aspect_ratio). */
  readonly cropToAspectRatio?: boolean;
  /** Put the whole picture into the middle, with black bars (Keras's pad_to_aspect_ratio). */
  readonly padToAspectRatio?: boolean;
}

/**
 * Reads an image (JPEG, PNG, WebP, GIF, AVIF, TIFF; of an animation the first frame) as 8-bit sRGB, upright: the EXIF orientation is applied, grey, CMYK and 16-bit pictures are converted, embedded colour
 * profiles are honoured, transparency lies on white.
 *
 * With a size, the picture is stretched to exactly that, whatever its proportions, with a linear kernel and
 * half-pixel centres. When shrinking, all pixels count, by box and then linear averages (`tf.image.resize` does
 * the like only with `antialias=True`), and large JPEGs may be decoded at a fraction of their size, which is
 * many times faster and differs by a few grey levels. `cropToAspectRatio` cuts before that, by the arithmetic of
 * `keras.utils.image_dataset_from_directory`; `padToAspectRatio` puts black around after it, to whole pixels.
 *
 * @returns uint8 [height, width, 3]
 * @throws `data` naming the file, if it is not there, no image in one of these formats, damaged or too large
 */
export async function decodeImage(path: string, size?: ImageSize): Promise<Tensor<'uint8'>> {
  if (size !== undefined) checkSize(size);
  const file = await readImage(path).catch((error) =>
    fail('data', `${oneLine(path, 1000)}: ${troubleOf(error).reason}`, error),
  );
  return decodeBytes(file, path, size);
}

/**
 * The bytes of an image file; their beginning is that of a format which is read. Read here rather than by sharp,
 * whose cache would not notice that the file changed. What it throws is for `troubleOf`.
 */
export function readImage(path: string): Promise<Buffer> {
  return withRegularFile(path, { limit: byteLimits.image, kind: 'an image' }, async (file) => {
    const start = await file.read(0, Math.min(formatBytes, file.bytes));
    checkStart(start);
    return Buffer.concat([start, await file.read(start.length, file.bytes - start.length)]);
  });
}

/** An image that can be decoded, upright. What it throws is for `troubleOf`. */
export interface OpenImage {
  readonly format: ImageFormat;
  /** Upright, in pixels. */
  readonly whole: { readonly width: number; readonly height: number };
  /** To be resized and written in any format, by sharp's means. */
  image(): Sharp;
}

/** Looks at what the bytes of a file say of the image in them. */
export async function openImage(file: Buffer): Promise<OpenImage> {
  const format = checkStart(file);
  const { default: sharp } = await import('sharp');
  const { autoOrient: whole, depth } = await sharp(file, limits).metadata();
  if (depth !== 'uchar' && depth !== 'ushort') {
    // Such a file does not say which value is white: 1, 255, 65,535 or what a sensor counts to.
    const values = depth === 'float' || depth === 'double' ? 'floating-point numbers' : `of type ${depth}`;
    throw new UnusableImage(
      'unsupported',
      `its values are ${values}, of which nobody knows the range; save it with 8 or 16 bits a channel.`,
    );
  }
  return { format, whole, image: () => sharp(file, limits).autoOrient() };
}

function checkStart(start: Buffer): ImageFormat {
  if (start.length === 0) throw new UnusableImage('empty', 'the file is empty.');
  const format = imageFormatOf(start);
  if (format !== null) return format;
  const other = otherFormatOf(start);
  if (other !== null) throw new UnusableImage('unsupported', other);
  throw new UnusableImage('broken', `not an image in a known format (${readable}).`);
}

/** `decodeImage` of a file that has been read; `path` is for messages. */
export async function decodeBytes(file: Buffer, path: string, size?: ImageSize): Promise<Tensor<'uint8'>> {
  try {
    const { whole, image } = await openImage(file);
    // Sharp's output is sRGB unless told otherwise, of grey and CMYK pictures too.
    const picture = image().flatten({ background: backdrop });
    if (size === undefined) return await pixelsOf(picture);
    if (size.cropToAspectRatio) {
      const window = middle(whole, size);
      return await pixelsAt(picture.extract(window), window, size);
    }
    if (!size.padToAspectRatio) return await pixelsAt(picture, whole, size);
    const inside = middle(size, whole);
    return placed(await pixelsAt(picture, whole, inside), inside, size);
  } catch (error) {
    fail('data', `${oneLine(path, 1000)}: ${troubleOf(error).reason}`, error);
  }
}

/** The 8-bit RGB values of a picture. */
export async function pixelsOf(picture: Sharp): Promise<Tensor<'uint8'>> {
  const { data, info } = await picture.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return tensor('uint8', [info.height, info.width, 3], bytes);
}

interface Extent {
  readonly height: number;
  readonly width: number;
}

async function pixelsAt(picture: Sharp, from: Extent, { height, width }: Extent): Promise<Tensor<'uint8'>> {
  // Sharp shrinks only: where it enlarges, it is off by half a pixel of the result.
  const shrunk = { width: Math.min(from.width, width), height: Math.min(from.height, height) };
  const image = await pixelsOf(picture.resize({ ...shrunk, fit: 'fill', kernel: 'linear' }));
  return enlarge(image, height, width);
}

/** The largest window of some proportions in the middle; rounded down as Keras's smart_resize does. */
function middle(
  whole: Extent,
  proportions: Extent,
): Extent & { readonly top: number; readonly left: number } {
  const fitted = (side: number, other: number) => Math.max(1, Math.min(side, Math.floor(other)));
  const height = fitted(whole.height, (whole.width * proportions.height) / proportions.width);
  const width = fitted(whole.width, (whole.height * proportions.width) / proportions.height);
  const start = (outer: number, inner: number) => Math.floor((outer - inner) / 2);
  return { height, width, top: start(whole.height, height), left: start(whole.width, width) };
}

/** A picture on black. */
function placed(
  image: Tensor<'uint8'>,
  at: { readonly top: number; readonly left: number },
  { height, width }: Extent,
): Tensor<'uint8'> {
  const [rows, columns] = image.shape as [number, number, number];
  const result = tensor('uint8', [height, width, 3]);
  for (let row = 0; row < rows; row++) {
    const line = image.data.subarray(row * columns * 3, (row + 1) * columns * 3);
    result.data.set(line, ((at.top + row) * width + at.left) * 3);
  }
  return result;
}

/** Bilinear interpolation between pixel centres; beyond the outermost ones, their colour goes on. */
function enlarge(image: Tensor<'uint8'>, height: number, width: number): Tensor<'uint8'> {
  const [fromHeight, fromWidth] = image.shape as [number, number, number];
  if (fromHeight === height && fromWidth === width) return image;
  const columns = Array.from({ length: width }, (_, i) => neighbours(i, fromWidth, width));
  const result = tensor('uint8', [height, width, 3]);
  let to = 0;
  for (let i = 0; i < height; i++) {
    const row = neighbours(i, fromHeight, height);
    const above = row.low * fromWidth;
    const below = row.high * fromWidth;
    for (const { low, high, share } of columns) {
      for (let channel = 0; channel < 3; channel++) {
        const at = (pixel: number) => image.data[pixel * 3 + channel]!;
        const top = at(above + low) * (1 - share) + at(above + high) * share;
        const bottom = at(below + low) * (1 - share) + at(below + high) * share;
        result.data[to++] = Math.round(top * (1 - row.share) + bottom * row.share);
      }
    }
  }
  return result;
}

/** The two old positions around a new one, and the share of the higher. */
function neighbours(index: number, from: number, to: number) {
  const place = Math.min(Math.max(((index + 0.5) * from) / to - 0.5, 0), from - 1);
  const low = Math.floor(place);
  return { low, high: Math.min(low + 1, from - 1), share: place - low };
}

/** Throws `argument` for a size that is none. */
export function checkSize({ height, width, cropToAspectRatio, padToAspectRatio }: ImageSize): void {
  if (cropToAspectRatio && padToAspectRatio) {
    fail('argument', 'A picture is cropped or padded: give cropToAspectRatio or padToAspectRatio, not both.');
  }
  for (const pixels of [height, width]) {
    if (!Number.isInteger(pixels) || pixels < 1 || pixels > 0x3fff) {
      const expected = `whole numbers from 1 to ${0x3fff}`;
      fail('argument', `decodeImage: height and width are ${expected}, got ${height} and ${width}.`);
    }
  }
}

/** Why a file cannot be used as an image. */
export interface ImageTrouble {
  readonly kind: 'missing' | 'empty' | 'broken' | 'enormous' | 'unsupported';
  /** A sentence. */
  readonly reason: string;
}

/** What was found wrong before a decoder saw the file. */
class UnusableImage extends Error implements ImageTrouble {
  readonly kind: ImageTrouble['kind'];
  readonly reason: string;

  constructor(kind: ImageTrouble['kind'], reason: string) {
    super(reason);
    this.kind = kind;
    this.reason = reason;
  }
}

/** What is wrong with an image, given what reading or decoding it threw. */
export function troubleOf(error: unknown): ImageTrouble {
  if (error instanceof UnusableImage) return { kind: error.kind, reason: error.reason };
  if (error instanceof UnreadableFileError) {
    return { kind: isMissing(error) ? 'missing' : 'broken', reason: error.reason };
  }
  const message = messageOf(error);
  if (/exceeds pixel limit/i.test(message)) {
    return {
      kind: 'enormous',
      reason: `the image has more than ${mostPixels.toLocaleString('en')} pixels.`,
    };
  }
  const first = message.split('\n')[0]!.replace(/[\s.:]+$/, '');
  return { kind: 'broken', reason: `the image cannot be decoded: ${first}. Replace or remove it.` };
}
