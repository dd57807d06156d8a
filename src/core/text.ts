/**
 * Strangers' text. As data it is decoded strictly, because a letter that is lost may be what tells two classes apart;
 * for people it is written so that all of it can be seen.
 */
import { fail } from './errors.ts';

interface Encoding {
  readonly label: 'utf-8' | 'utf-16le' | 'utf-16be';
  readonly name: string;
  /** The byte order mark that says so. */
  readonly mark: readonly number[];
}

const utf8: Encoding = { label: 'utf-8', name: 'UTF-8', mark: [0xef, 0xbb, 0xbf] };
const marked: readonly Encoding[] = [
  utf8,
  { label: 'utf-16le', name: 'UTF-16', mark: [0xff, 0xfe] },
  { label: 'utf-16be', name: 'UTF-16', mark: [0xfe, 0xff] },
];

/**
 * The text of a file in UTF-8, or in UTF-16 with a byte order mark. The mark is no part of it.
 *
 * @param shownAs what errors call the file
 * @throws `data` naming encoding and line, for bytes that are neither
 */
export function decodeText(bytes: Uint8Array, shownAs: string): string {
  const encoding = marked.find(({ mark }) => mark.every((byte, i) => bytes[i] === byte)) ?? utf8;
  let text: string;
  try {
    text = new TextDecoder(encoding.label, { fatal: true }).decode(bytes);
  } catch (error) {
    return refuse(bytes, shownAs, encoding, error);
  }
  // No text has this letter; UTF-16 without a mark, UTF-32 and binary files have its bytes.
  const zero = text.indexOf('\0');
  if (zero >= 0) {
    const found = bytes[0] === 0 || bytes[1] === 0 ? 'UTF-16 without a byte order mark' : 'no text';
    fail(
      'data',
      `${shownAs}, line ${lineAt(text, zero)}: a zero byte; the file seems to be ${found}. ${wayOut}`,
    );
  }
  return text;
}

const wayOut = 'Save it as UTF-8 (a spreadsheet calls it "CSV UTF-8", an editor "Save with encoding").';

function refuse(bytes: Uint8Array, shownAs: string, encoding: Encoding, cause: unknown): never {
  const { text, position, offset } = firstWrong(bytes, encoding);
  const where = `${shownAs}, line ${lineAt(text, position)}`;
  if (encoding !== utf8) {
    fail('data', `${where}: this is not ${encoding.name}, as the file's beginning says. ${wayOut}`, cause);
  }
  const byte = bytes[offset]!.toString(16);
  // Bytes of 0x80 to 0x9f are letters in Windows-1252 only; other old encodings cannot be told apart by looking.
  const guess = bytes.some((each) => each >= 0x80 && each < 0xa0) ? 'Windows-1252' : 'Latin-1 (ISO 8859-1)';
  fail(
    'data',
    `${where}: byte 0x${byte} is not UTF-8; the file seems to be in another encoding, such as ${guess}. ${wayOut}`,
    cause,
  );
}

/** Where the first byte is that cannot be decoded. Text may hold the letter that stands for such bytes, too. */
function firstWrong(bytes: Uint8Array, encoding: Encoding) {
  const text = new TextDecoder(encoding.label, { ignoreBOM: true }).decode(bytes);
  const size = (part: string) =>
    encoding === utf8 ? new TextEncoder().encode(part).length : 2 * part.length;
  let [position, offset] = [0, 0];
  for (;;) {
    const next = text.indexOf(replacement, position);
    offset += size(text.slice(position, next));
    position = next;
    const letter = bytes.subarray(offset, offset + size(replacement));
    if (!isWhole(letter, encoding)) return { text, position, offset };
    offset += letter.length;
    position++;
  }
}

const replacement = '\ufffd';

function isWhole(letter: Uint8Array, { label }: Encoding): boolean {
  try {
    new TextDecoder(label, { fatal: true }).decode(letter);
    return true;
  } catch {
    return false;
  }
}

/** The line of a position, from 1. */
function lineAt(text: string, position: number): number {
  return (text.slice(0, position).match(/\r\n|\n|\r/g)?.length ?? 0) + 1;
}

/**
 * What a terminal, or whoever lays out a text, would obey instead of showing it: control characters but for line ends
 * and tabs, letters that turn the direction of writing, breaks that are no line ends, and what XML cannot hold.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]/g;

/** No text for people has longer lines. */
const longestLine = 4096;

/** A text whose control characters can be read (`\x1b`, `\u202e`); what is over 4,096 letters of a line is cut off. */
export function visible(text: string): string {
  const shown = text.replace(controls, escaped);
  if (shown.length <= longestLine) return shown;
  return shown
    .split('\n')
    .map((line) => {
      const more = line.length - longestLine;
      return more > 0
        ? `${line.slice(0, longestLine)}... (${more.toLocaleString('en')} more characters)`
        : line;
    })
    .join('\n');
}

/** A name for the cell of a table or the middle of a sentence: on one line, the middle of a long one left out. */
export function oneLine(name: string, longest = 200): string {
  const shown = name.replace(controls, escaped).replaceAll('\n', '\\n').replaceAll('\t', '\\t');
  if (shown.length <= longest) return shown;
  const half = Math.floor((longest - 3) / 2);
  return `${shown.slice(0, half)}...${shown.slice(-half)}`;
}

/** A value as JSON of which a terminal obeys nothing. */
export function visibleJson(value: object): string {
  return JSON.stringify(value).replace(
    controls,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function escaped(letter: string): string {
  const code = letter.charCodeAt(0).toString(16);
  return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
}

/**
 * A text without the letters at its end that are this one. `/x+$/` looks for the end anew at each letter of a long run,
 * and texts from outside may have any length.
 */
export function withoutTrailing(text: string, letter: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === letter) end--;
  return text.slice(0, end);
}
