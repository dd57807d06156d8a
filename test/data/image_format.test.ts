import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { imageFormatOf, otherFormatOf } from '../../src/data/image_format.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');
const ftyp = (...brands: string[]) => {
  const body = `ftyp${brands[0]}\0\0\0\0${brands.slice(1).join('')}`;
  const size = Buffer.alloc(4);
  size.writeUInt32BE(body.length + 4);
  return Buffer.concat([size, bytes(`${body}\0\0\0\x08mdat`)]);
};
const convert = 'convert it to one of JPEG, PNG, WebP, GIF, AVIF and TIFF.';

describe('the format of an image', () => {
  it.each([
    ['jpeg', bytes('\xff\xd8\xff\xe0\0\x10JFIF')],
    ['png', bytes('\x89PNG\r\n\x1a\n\0\0\0\rIHDR')],
    ['webp', bytes('RIFF\n\0\0\0WEBPVP8 ')],
    ['gif', bytes('GIF87a')],
    ['gif', bytes('GIF89a')],
    ['tiff', bytes('II*\0')],
    ['tiff', bytes('MM\0*')],
    ['tiff', bytes('II+\0')],
    ['tiff', bytes('MM\0+')],
    ['avif', ftyp('avif')],
    ['avif', ftyp('avis', 'msf1')],
    // libavif writes such files for sequences, and some cameras for stills.
    ['avif', ftyp('mif1', 'miaf', 'avif')],
  ])('%s is told by the first bytes', (format, start) => {
    expect(imageFormatOf(start)).toBe(format);
  });

  it.each([
    ['a HEIC image', convert, ftyp('heic', 'mif1')],
    ['a HEIC image', convert, ftyp('mif1', 'heix')],
    ['a BMP image', convert, bytes('BM\x36\0\x0c\0\0\0\0\0\x36')],
    ['a JPEG 2000 image', convert, bytes('\0\0\0\x0cjP  \r\n\x87\n')],
    ['a JPEG XL image', convert, bytes('\xff\x0a')],
    ['a Photoshop file', convert, bytes('8BPS\0\x01')],
    ['an icon', convert, bytes('\0\0\x01\0\x01\0')],
    ['a PDF document', convert, bytes('%PDF-1.7')],
    ['a DICOM image', convert, Buffer.concat([Buffer.alloc(128), bytes('DICM')])],
    ['an SVG drawing, or other XML', convert, bytes('<!-- drawn by hand --><svg/>')],
    [
      'a web page',
      'the download went wrong: fetch the image again.',
      bytes('\n<!DOCTYPE html><title>404</title>'),
    ],
    [
      'a Git LFS pointer',
      'git lfs pull fetches the image that it stands for.',
      bytes('version https://git-lfs.github.com/spec/v1\noid sha256:1'),
    ],
  ])('%s is none, and the sentence says what to do', (name, advice, start) => {
    expect(imageFormatOf(start)).toBeNull();
    expect(otherFormatOf(start)).toBe(`it is ${name}; ${advice}`);
  });

  it('is none for what begins as a format does and goes on otherwise', () => {
    for (const start of [
      'RIFF\n\0\0\0WAVE',
      'GIF88a',
      '\x89PNG\n',
      'ftypavif',
      '\0\0\0\x10ftypisom\0\0\0\0avif',
    ])
      expect(imageFormatOf(bytes(start))).toBeNull();
  });

  it('is never guessed of bytes that begin otherwise', () => {
    const first = new Set([0xff, 0x89, 0x52, 0x47, 0x49, 0x4d, 0x00]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (start) => {
        fc.pre(!first.has(start[0] ?? 0));
        expect(imageFormatOf(start)).toBeNull();
      }),
      { seed: 1 },
    );
  });
});
