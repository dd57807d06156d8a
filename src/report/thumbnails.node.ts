/** Small pictures for a page, within a number of bytes. */
import sharp from 'sharp';
import type { Dataset } from '../data/index.ts';

/** Pixels of the longer side; smaller pictures stay as they are. */
const side = 96;

/**
 * Data URIs of the pictures at these positions, the first ones first, until together they would exceed `limit` bytes.
 * A position that comes twice is kept once.
 */
export async function thumbnails(
  pictures: Dataset,
  positions: readonly number[],
  limit: number,
): Promise<Map<number, string>> {
  const made = new Map<number, string>();
  let bytes = 0;
  for (const position of new Set(positions)) {
    const uri = await thumbnail(pictures, position);
    bytes += uri.length;
    if (bytes > limit) break;
    made.set(position, uri);
  }
  return made;
}

async function thumbnail(pictures: Dataset, position: number): Promise<string> {
  const { x } = await pictures.read([position]);
  const [, height, width, channels] = x.shape as [number, number, number, 1 | 3];
  // Data sets of the command line have values from 0 to 255 whatever their type.
  const pixels = Uint8Array.from(x.data);
  const bytes = await sharp(pixels, { raw: { width, height, channels } })
    .resize(side, side, { fit: 'inside', withoutEnlargement: true })
    .webp({ quality: 80 })
    .toBuffer();
  return `data:image/webp;base64,${bytes.toString('base64')}`;
}
