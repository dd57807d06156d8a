/**
 * What commands say and where: words for people on stdout, or on stderr when `--json` keeps stdout for one object.
 * Progress bars are `training/progress.ts`, always on stderr.
 */
import { basename, relative, sep } from 'node:path';
import type { WriteStream } from 'node:tty';
import { control, tell, tellJson } from '../core/console.node.ts';
import { oneLine } from '../core/text.ts';
import type { CommonOptions } from './arguments.ts';

export interface Output {
  /** False under `--quiet`: then only results are printed. */
  readonly verbose: boolean;
  /** Tells what happens. */
  say(text: string): void;
  /** Tells what came out; printed under `--quiet` too. */
  result(text: string): void;
  /** The object of `--json`; nothing otherwise. */
  json(value: object): void;
}

export function output({ json = false, quiet = false }: { json?: boolean; quiet?: boolean }): Output {
  const stream = json ? process.stderr : process.stdout;
  const write = (text: string) => {
    tell(stream, `${fitted(stream, text)}\n`);
  };
  return {
    verbose: !quiet,
    say: (text) => {
      if (!quiet) write(text);
    },
    result: write,
    json: (value) => {
      if (json) tellJson(process.stdout, value);
    },
  };
}

export function outputFor(options: CommonOptions): Output {
  return output({ json: options.json === true, quiet: options.quiet === true });
}

/** Bits of colour that a terminal shows: 24, 8, 4. A pipe, `NO_COLOR` and `TERM=dumb` make it 1. */
export function colourDepth(stream: WriteStream): number {
  return stream.isTTY ? stream.getColorDepth() : 1;
}

/** What a terminal is told to change its colour. */
const colourCodes = { red: 31, green: 32, yellow: 33 } as const;

/** A text in colour, where the stream shows colours. */
export function paint(stream: WriteStream, colour: keyof typeof colourCodes, text: string): string {
  return colourDepth(stream) > 1 ? `${control(`[${colourCodes[colour]}m`)}${text}${control('[39m')}` : text;
}

/** A line of a table. */
export type Row = readonly [label: string, text: string];

/** Lines of `label  text`, texts in one column, broken between words to fit into a terminal. */
export function table(given: readonly Row[]): string {
  const rows = given.map(([label, text]): Row => [oneLine(label), text]);
  const indent = Math.max(...rows.map(([label]) => label.length)) + 2;
  const columns = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY;
  const width = Math.max(columns - indent, 40);
  const line = ([label, text]: Row) =>
    label.padEnd(indent) + wrap(text, width).join(`\n${' '.repeat(indent)}`);
  return rows.map(line).join('\n');
}

/** Rows of cells under each other, each column as wide as its widest cell. */
export function columns(given: readonly (readonly string[])[]): string {
  const rows = given.map((row) => row.map(cellOf));
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => columnsOf(row[column]!))));
  const padded = (cell: string, column: number) => cell + ' '.repeat(widths[column]! - columnsOf(cell));
  return rows.map((row) => row.map(padded).join('  ').trimEnd()).join('\n');
}

/**
 * A text whose lines a terminal need not break within words. What follows of an indented line is indented more, what
 * follows of `label  text` stands below the text.
 */
export function fitted(stream: WriteStream, text: string): string {
  if (!stream.isTTY) return text;
  return text
    .split('\n')
    .map((line) => (columnsOf(line) <= stream.columns ? line : broken(line, stream.columns)))
    .join('\n');
}

function broken(line: string, width: number): string {
  const [, begin, rest] = /^(\s*(?:\S+(?: \S+)* {2,})?)(.*)$/.exec(line)!;
  // Coloured pictures, rows of more columns, and commands, which are there to be copied.
  if (line.includes('\x1b') || /\S {2,}\S/.test(rest!) || rest!.startsWith('$ ')) return line;
  const isLabelled = begin!.trim() !== '';
  const indent = isLabelled || begin === '' ? begin!.length : begin!.length + 2;
  return begin! + wrap(rest!, width - indent).join(`\n${' '.repeat(indent)}`);
}

/** Lines of whole words. A command, which ends its text, stays in one piece: it is there to be copied. */
export function wrap(text: string, width: number): string[] {
  const command = text.indexOf(`${invocation()} `);
  const before = (command < 0 ? text : text.slice(0, command)).trimEnd();
  const words = before === '' ? [] : before.split(' ');
  if (command >= 0) words.push(text.slice(command));
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last === undefined || columnsOf(last) + 1 + columnsOf(word) > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/** `graft` as it can be typed here: what is printed as a next command has to work when pasted. */
export function invocation(): string {
  const script = process.argv[1] ?? 'graft';
  if (/^graft(\.m?js)?$/.test(basename(script))) {
    if (process.env['npm_command'] !== 'exec') return 'graft';
    // Fetched by npx for this once; there `npx graft` would fetch another package, which has that name.
    return script.split(sep).includes('_npx') ? 'npx graft-ml' : 'npx graft';
  }
  return `node ${shellWord(relative(process.cwd(), script) || script)}`;
}

/** Quotes what a shell would take apart. */
export function shellWord(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A command line without options that take a value. */
export function withoutOptions(args: readonly string[], flags: readonly string[]): string[] {
  return args.filter(
    (word, i) =>
      !flags.includes(word) &&
      !flags.includes(args[i - 1] ?? '') &&
      !flags.some((flag) => word.startsWith(`${flag}=`)),
  );
}

export function count(value: number): string {
  return value.toLocaleString('en');
}

/** `1 epoch`, `2,000 pictures` */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`;
}

export function percent(value: number): string {
  return `${(100 * value).toFixed(1)} %`;
}

/** Two columns wide in a terminal: East Asian letters and emoji. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

/** The columns that a text takes in a terminal. */
export function columnsOf(text: string): number {
  const marks = /\p{M}|\u200d|\ufe0f/u;
  return [...text].reduce((sum, letter) => sum + (marks.test(letter) ? 0 : wide.test(letter) ? 2 : 1), 0);
}

/** A cell is one line; JSON has all of what is left out of a long one. */
function cellOf(text: string): string {
  return oneLine(text, 500);
}

/** Cells in columns two spaces apart; numbers, which are all but the first, stand at the right of theirs. */
export function columnsTable(
  given: readonly (readonly string[])[],
  isNumber: (column: number) => boolean = (column) => column > 0,
): string {
  const rows = given.map((row) => row.map(cellOf));
  const width = (column: number) => Math.max(...rows.map((row) => columnsOf(row[column] ?? '')));
  const widths = rows[0]!.map((_, column) => width(column));
  const padded = (cell: string, column: number) => {
    const space = ' '.repeat(widths[column]! - columnsOf(cell));
    return isNumber(column) ? space + cell : cell + space;
  };
  return rows.map((row) => row.map(padded).join('  ').trimEnd()).join('\n');
}

/** `34 MB`, decimal as disks and downloads are counted. */
export function megabytes(bytes: number): string {
  if (bytes < 1e5) return `${(bytes / 1e3).toFixed(1)} kB`;
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return `${(bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0)} MB`;
}
