/** Small pictures for a page, within a number of bytes. */
import sharp, { type Sharp } from 'sharp';
import type { Dataset } from '../data/index.ts';
import { drawHeatMap, type HeatMap } from './heatmap.node.ts';

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

/** The pictures of these positions with their heat maps over them, as data URIs. */
export async function heatMaps(
  pictures: Dataset,
  maps: ReadonlyMap<number, HeatMap>,
): Promise<Map<number, string>> {
  const made = new Map<number, string>();
  for (const [position, map] of maps) {
    const { data, width, height, channels } = await pixelsOf(pictures, position);
    const scale = Math.max(1, Math.ceil(side / Math.max(width, height)));
    const large = { width: width * scale, height: height * scale };
    const enlarged = await sharp(data, { raw: { width, height, channels } })
      .resize({ ...large, kernel: 'nearest' })
      .toColourspace('srgb')
      .raw()
      .toBuffer();
    made.set(position, await uriOf(drawHeatMap({ ...large, data: enlarged }, map)));
  }
  return made;
}

async function thumbnail(pictures: Dataset, position: number): Promise<string> {
  const { data, ...raw } = await pixelsOf(pictures, position);
  return uriOf(sharp(data, { raw }));
}

async function pixelsOf(pictures: Dataset, position: number) {
  const { x } = await pictures.read([position]);
  const [, height, width, channels] = x.shape as [number, number, number, 1 | 3];
  // Data sets of the command line have values from 0 to 255 whatever their type.
  return { data: Uint8Array.from(x.data), width, height, channels };
}

async function uriOf(picture: Sharp): Promise<string> {
  const bytes = await picture
    .resize(side, side, { fit: 'inside', withoutEnlargement: true })
    .webp({ quality: 80 })
    .toBuffer();
  return `data:image/webp;base64,${bytes.toString('base64')}`;
}
