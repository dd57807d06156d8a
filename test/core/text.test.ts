import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeText, oneLine } from '../../src/core/text.ts';

const utf16be = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le').swap16();

describe('text that is data', () => {
  it('is UTF-8, or has a byte order mark that says what it is', () => {
    for (const text of ['bär,🐻', '', 'a\r\nb']) {
      expect(decodeText(Buffer.from(text), 'x')).toBe(text);
      expect(decodeText(Buffer.from(`\ufeff${text}`), 'x')).toBe(text);
      expect(decodeText(Buffer.from(`\ufeff${text}`, 'utf16le'), 'x')).toBe(text);
      expect(decodeText(utf16be(text), 'x')).toBe(text);
    }
  });

  it('keeps every letter', () => {
    const letter = fc.integer({ min: 1, max: 0x10ffff }).filter((code) => code < 0xd800 || code > 0xdfff);
    fc.assert(
      fc.property(fc.array(letter), (codes) => {
        const text = codes.map((code) => String.fromCodePoint(code)).join('');
        fc.pre(text[0] !== '\ufeff');
        expect(decodeText(Buffer.from(text), 'x')).toBe(text);
      }),
      { seed: 1 },
    );
  });

  const wayOut = 'Save it as UTF-8 (a spreadsheet calls it "CSV UTF-8", an editor "Save with encoding").';
  it.each([
    [
      'in Latin-1',
      Buffer.from('path,label\n1.jpg,cat\r\n2.jpg,bär', 'latin1'),
      'line 3: byte 0xe4 is not UTF-8; the file seems to be in another encoding, such as Latin-1 (ISO 8859-1).',
    ],
    [
      'in Windows-1252',
      Buffer.from('a\r\n\x80 b\xe4r', 'latin1'),
      'line 2: byte 0x80 is not UTF-8; the file seems to be in another encoding, such as Windows-1252.',
    ],
    [
      'in UTF-16 without a mark',
      Buffer.from('a,b\n', 'utf16le'),
      'line 1: a zero byte; the file seems to be UTF-16 without a byte order mark.',
    ],
    [
      'in UTF-32',
      Buffer.from('\xff\xfe\0\0a\0\0\0', 'latin1'),
      'line 1: a zero byte; the file seems to be no text.',
    ],
    [
      'with the letter for lost ones',
      Buffer.from('\xef\xbf\xbd\n\xef', 'latin1'),
      'line 2: byte 0xef is not UTF-8',
    ],
    ['cut off', Buffer.from('a\nb🐻').subarray(0, 5), 'line 2: byte 0xf0 is not UTF-8; the file seems'],
    [
      'in UTF-16 with half a letter',
      Buffer.from('\ufeffa\n\ud800b', 'utf16le'),
      "line 2: this is not UTF-16, as the file's beginning says.",
    ],
  ])('%s is an error that names the line and the way out', (_, bytes, message) => {
    let error: unknown;
    try {
      decodeText(bytes, 'my.csv');
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ code: 'data' });
    expect(String(error)).toContain(`my.csv, ${message}`);
    expect(String(error)).toContain(wayOut);
  });
});

describe('a name in a text', () => {
  it('is on one line', () => {
    expect(oneLine('two\nlines\tand\x1b[0m\u2066more')).toBe('two\\nlines\\tand\\x1b[0m\\u2066more');
  });

  it('is cut in the middle if it is long', () => {
    const name = `${'a'.repeat(300)}.png`;
    expect(oneLine(name)).toBe(`${'a'.repeat(98)}...${'a'.repeat(94)}.png`);
    expect(oneLine('a'.repeat(200))).toBe('a'.repeat(200));
  });
});
