import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { control, overwrite, rendered, tell, tellJson } from '../../src/core/console.node.ts';

function written(write: (stream: PassThrough) => void): string {
  const stream = new PassThrough();
  write(stream);
  return stream.read().toString();
}

describe('the console', () => {
  it('shows the control characters of strangers and obeys our own', () => {
    const name = 'cat\x1b[31m\x1b]0;title\x07\r\x9b2J\u202egnp.exe\x7f';
    const shown = 'cat\\x1b[31m\\x1b]0;title\\x07\\x0d\\x9b2J\\u202egnp.exe\\x7f';
    expect(written((stream) => tell(stream, `${control('[31m')}${name}${control('[39m')}\n\tend\n`))).toBe(
      `\x1b[31m${shown}\x1b[39m\n\tend\n`,
    );
    expect(written((stream) => overwrite(stream, `${name}\nb`))).toBe(`\r${shown}\x1b[K\nb\x1b[K`);
  });

  it('leaves letters of all languages, and emoji, as they are', () => {
    const text = 'Kätzchen 小猫 قطة חתול 👩‍💻 می‌خواهم';
    expect(rendered(text)).toBe(text);
  });

  it('sends no control character but line ends and tabs, whatever the text', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0x2100 })), (codes) => {
        const sent = rendered(String.fromCharCode(...codes));
        expect(sent).toMatch(/^[\t\n\x20-\x7e\xa0-\uffff]*$/);
        expect(sent).not.toMatch(/[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/);
      }),
      { seed: 1 },
    );
  });

  it('cuts a line that is longer than any that people read, and no other one', () => {
    const sent = rendered(`a\n${'x'.repeat(1_000_000)}\nb`);
    expect(sent).toBe(`a\n${'x'.repeat(4096)}... (995,904 more characters)\nb`);
  });

  it('writes JSON that says the same and is obeyed by no terminal', () => {
    const value = { name: 'a\x1b[2J\x9b2J\u202e\x7f\u2028', 'k\x85': 1 };
    const line = written((stream) => tellJson(stream, value));
    expect(line).toMatch(/^[\x20-\x7e]*\n$/);
    expect(JSON.parse(line)).toEqual(value);
  });
});
