/** Picture files to tensors. It owns decoding; enlarging and normalising for a backbone are layers' work. */
import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { fail, messageOf } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';

/** A picture that unpacks to more pixels than this (16383 x 16383) is refused before it fills the memory. */
const mostPixels = 0x3fff ** 2;

/**
 * Reads a picture (JPEG, PNG, WebP, GIF, AVIF, TIFF, SVG; of an animation the first frame) as 8-bit sRGB,
 * upright: the EXIF orientation is applied, grey, CMYK and 16-bit pictures are converted, embedded colour
 * profiles are honoured, transparency lies on white.
 *
 * With a size, the picture is stretched to exactly that, whatever its proportions, with a linear kernel and
 * half-pixel centres. When shrinking, all pixels count, by box and then linear averages (`tf.image.resize` does
 * the like only with `antialias=True`), and large JPEGs may be decoded at a fraction of their size, which is
 * many times faster and differs by a few grey levels.
 *
 * @returns uint8 [height, width, 3]
 * @throws `data` naming the file, if it is not there, no picture, damaged or too large
 */
export async function decodeImage(
  path: string,
  size?: { readonly height: number; readonly width: number },
): Promise<Tensor<'uint8'>> {
  if (size !== undefined) checkSize(size);
  // Read here rather than by sharp, whose cache would not notice that the file changed.
  const file = await readFile(path).catch((error) => fail('data', `${path}: ${reasonOf(error)}`, error));
  if (file.length === 0) fail('data', `${path}: the file is empty.`);
  const limits = { failOn: 'error', limitInputPixels: mostPixels } as const;
  try {
    // Sharp's output is sRGB unless told otherwise, of grey and CMYK pictures too.
    let picture = sharp(file, limits).autoOrient().flatten({ background: '#ffffff' });
    if (size !== undefined) {
      // Sharp shrinks only: where it enlarges, it is off by half a pixel of the result.
      const { width, height } = (await sharp(file, limits).metadata()).autoOrient;
      const shrunk = { width: Math.min(width, size.width), height: Math.min(height, size.height) };
      picture = picture.resize({ ...shrunk, fit: 'fill', kernel: 'linear' });
    }
    const { data, info } = await picture.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const image = tensor('uint8', [info.height, info.width, 3], bytes);
    return size === undefined ? image : enlarge(image, size.height, size.width);
  } catch (error) {
    fail('data', `${path}: ${reasonOf(error)}`, error);
  }
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

function checkSize({ height, width }: { readonly height: number; readonly width: number }): void {
  for (const pixels of [height, width]) {
    if (!Number.isInteger(pixels) || pixels < 1 || pixels > 0x3fff) {
      const expected = `whole numbers from 1 to ${0x3fff}`;
      fail('argument', `decodeImage: height and width are ${expected}, got ${height} and ${width}.`);
    }
  }
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file.';
  if (code === 'EISDIR') return 'this is a folder, not a picture.';
  const message = messageOf(error);
  if (/unsupported image format/i.test(message)) {
    return 'not a picture in a known format (JPEG, PNG, WebP, GIF, AVIF, TIFF, SVG).';
  }
  if (/exceeds pixel limit/i.test(message)) return `the picture has more than ${mostPixels} pixels.`;
  return `the picture cannot be decoded: ${message}. Replace or remove it.`;
}
