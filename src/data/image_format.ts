/**
 * Which format an image file has, by its first bytes and nothing else: names are often wrong, and a decoder that
 * guesses would also take formats that fetch files, run for minutes or have never been asked for.
 */

/** The formats that are read. */
export type ImageFormat = 'jpeg' | 'png' | 'webp' | 'gif' | 'avif' | 'tiff';

/** The formats that are read, as people call them. */
export const readable = 'JPEG, PNG, WebP, GIF, AVIF and TIFF';

/** So many bytes tell a format. */
export const formatBytes = 512;

/** The format of a file that starts with these bytes; null for all that is not read. */
export function imageFormatOf(start: Uint8Array): ImageFormat | null {
  const text = latin1(start);
  return signatures.find(({ is }) => is(text))?.format ?? null;
}

interface Signature {
  readonly format: ImageFormat;
  is(start: string): boolean;
}

const signatures: readonly Signature[] = [
  { format: 'jpeg', is: begins('\xff\xd8\xff') },
  { format: 'png', is: begins('\x89PNG\r\n\x1a\n') },
  { format: 'webp', is: (start) => /^RIFF.{4}WEBP/s.test(start) },
  { format: 'gif', is: begins('GIF87a', 'GIF89a') },
  // ISO 14496-12: a box "ftyp" of a brand, its version and the brands that can read the file as well.
  { format: 'avif', is: (start) => brandsOf(start).some((brand) => /^avi[fs]$/.test(brand)) },
  // Little and big endian; "+" is BigTIFF.
  { format: 'tiff', is: begins('II*\0', 'MM\0*', 'II+\0', 'MM\0+') },
];

/** What a file is that starts with these bytes, and what to do about it, as a sentence; null if nobody knows. */
export function otherFormatOf(start: Uint8Array): string | null {
  const text = latin1(start);
  const found = others.find(({ is }) => is(text));
  return found === undefined
    ? null
    : `it is ${found.name}; ${found.advice ?? `convert it to one of ${readable}`}.`;
}

/** A file of a kind that lies among images now and then. */
interface Other {
  readonly name: string;
  readonly advice?: string;
  is(start: string): boolean;
}

const others: readonly Other[] = [
  { name: 'a HEIC image', is: (start) => brandsOf(start).some((brand) => /^(he[iv]|mif1|msf1)/.test(brand)) },
  { name: 'a BMP image', is: (start) => start.startsWith('BM') && start.slice(6, 10) === '\0\0\0\0' },
  { name: 'a JPEG 2000 image', is: begins('\0\0\0\x0cjP  ', '\xff\x4f\xff\x51') },
  { name: 'a JPEG XL image', is: begins('\0\0\0\x0cJXL ', '\xff\x0a') },
  { name: 'a Photoshop file', is: begins('8BPS') },
  { name: 'an icon', is: begins('\0\0\x01\0', '\0\0\x02\0') },
  { name: 'a PDF document', is: begins('%PDF-') },
  { name: 'a DICOM image', is: (start) => start.slice(128, 132) === 'DICM' },
  {
    name: 'a Git LFS pointer',
    advice: 'git lfs pull fetches the image that it stands for',
    is: begins('version https://git-lfs.'),
  },
  {
    name: 'a web page',
    advice: 'the download went wrong: fetch the image again',
    is: (start) => /^\s*<(!doctype\s+html|html|head|body)\b/i.test(withoutMark(start)),
  },
  {
    name: 'an SVG drawing, or other XML',
    is: (start) => /^\s*<(\?xml|!doctype|!--|svg\b|[\w-]+:svg\b)/i.test(withoutMark(start)),
  },
];

function begins(...beginnings: readonly string[]): (start: string) => boolean {
  return (start) => beginnings.some((beginning) => start.startsWith(beginning));
}

/** The brands of an ISO media file, the first one first. */
function brandsOf(start: string): string[] {
  if (start.slice(4, 8) !== 'ftyp') return [];
  const length = [...start.slice(0, 4)].reduce((sum, letter) => sum * 256 + letter.charCodeAt(0), 0);
  const box = start.slice(8, Math.min(length, start.length));
  const compatible = box.slice(8).match(/.{4}/gs) ?? [];
  return [box.slice(0, 4), ...compatible];
}

/** Without a byte order mark, and without the zero bytes of UTF-16. */
function withoutMark(start: string): string {
  return start.replace(/^(\xef\xbb\xbf|\xff\xfe|\xfe\xff)/, '').replaceAll('\0', '');
}

/** A letter for each byte. */
function latin1(start: Uint8Array): string {
  return String.fromCharCode(...start.subarray(0, formatBytes));
}
