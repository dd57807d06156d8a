/** A CSV file of paths and labels as a listing: columns `path`, `label` and, if there are splits, `split`. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fail } from '../core/errors.ts';
import {
  type ImageEntry,
  type ImageProblem,
  type Listing,
  type SplitName,
  splitWords,
} from './image-listing.node.ts';

/** What a header may call the columns, in lower case. */
const columnWords = {
  path: ['path', 'file', 'filename', 'filepath', 'image'],
  label: ['label', 'class', 'target'],
  split: ['split', 'subset', 'set'],
} as const;

type Columns = Readonly<Record<keyof typeof columnWords, number>>;

/**
 * Lists the pictures of a CSV file (RFC 4180, UTF-8). Without a header the columns are path, label and perhaps
 * split. Paths are relative to the file's folder; a split is train, val (valid, validation) or test.
 *
 * @throws `argument` if there is no such file, `data` naming the line that cannot be read
 */
export async function listCsv(file: string): Promise<Listing> {
  const text = await readFile(file, 'utf8').catch((error) =>
    fail('argument', `${file}: there is no such file, or it cannot be read.`, error),
  );
  const [first, ...others] = parseCsv(text.replace(/^\ufeff/, ''), file);
  if (first === undefined) fail('data', `${file} is empty; expected lines of path,label.`);
  const header = headerOf(first.cells);
  const columns = header ?? { path: 0, label: 1, split: 2 };
  const rows = header === null ? [first, ...others] : others;
  const all = rows.map((row) => ({ ...entryOf(row, columns, file), line: row.line }));
  checkSplits(all, file);
  const entries: ImageEntry[] = [];
  const problems: ImageProblem[] = [];
  for (const { line, ...entry } of all) {
    if ((await stat(entry.path).catch(() => null))?.isFile()) entries.push(entry);
    else {
      const reason = `there is no such file (line ${line}); paths are relative to the folder of the CSV file.`;
      problems.push({ name: entry.name, kind: 'missing', reason });
    }
  }
  const classes = new Map(all.map(({ label, split }) => [JSON.stringify([label, split]), { label, split }]));
  return { source: file, entries, classes: [...classes.values()], problems, ignored: {} };
}

function entryOf({ cells, line }: Row, columns: Columns, file: string): ImageEntry {
  const [name, label, word] = [columns.path, columns.label, columns.split].map(
    (at) => cells[at]?.trim() ?? '',
  );
  if (!name || !label) {
    fail('data', `${file}, line ${line}: expected path,label or path,label,split, got "${cells.join(',')}".`);
  }
  const split = word ? splitWords[word.toLowerCase()] : null;
  if (split === undefined) {
    fail('data', `${file}, line ${line}: split "${word}"; expected train, val (valid, validation) or test.`);
  }
  return { path: resolve(dirname(file), name), name, label: label.normalize('NFC'), split };
}

/** Positions of the columns if the first line names them. */
function headerOf(cells: readonly string[]): Columns | null {
  const words = cells.map((cell) => cell.trim().toLowerCase());
  const find = (names: readonly string[]) => words.findIndex((word) => names.includes(word));
  const { path, label, split } = columnWords;
  const found = { path: find(path), label: find(label), split: find(split) };
  return found.path >= 0 && found.label >= 0 ? found : null;
}

/** Either all lines have a split or none, and one of them is train. */
function checkSplits(entries: readonly ImageEntry[], file: string): void {
  const splits = new Set<SplitName | null>(entries.map(({ split }) => split));
  if (splits.has(null) && splits.size > 1) {
    const without = entries.find(({ split }) => split === null)!;
    fail(
      'data',
      `${file}: some lines have a split and ${without.name} has none. Give all of them one, or none.`,
    );
  }
  if (entries.length > 0 && !splits.has(null) && !splits.has('train')) {
    fail('data', `${file}: no line has the split train.`);
  }
}

interface Row {
  readonly cells: readonly string[];
  /** From 1. */
  readonly line: number;
}

/** RFC 4180: cells in quotes may hold commas, line ends and doubled quotes. Empty lines are left out. */
function parseCsv(text: string, file: string): Row[] {
  const rows: Row[] = [];
  let cells: string[] = [];
  let [line, start, at] = [1, 1, 0];
  const token = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/y;
  while (at < text.length) {
    token.lastIndex = at;
    const match = token.exec(text);
    if (match === null) {
      fail(
        'data',
        `${file}, line ${line}: a quotation mark stands where none can be. Quote the whole cell: "a ""b"" c".`,
      );
    }
    const [whole, quoted, plain, end] = match;
    cells.push(quoted?.replaceAll('""', '"') ?? plain!);
    at += whole.length;
    line += whole.match(/\r\n|\n|\r/g)?.length ?? 0;
    if (end === ',') {
      if (at < text.length) continue;
      cells.push('');
    }
    if (cells.some((cell) => cell !== '')) rows.push({ cells, line: start });
    [cells, start] = [[], line];
  }
  return rows;
}
