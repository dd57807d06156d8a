/** A CSV file of paths and labels as a listing: a column of paths, one of labels and, if there are splits, one of those. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { CsvError } from 'csv-parse';
import { parse } from 'csv-parse/sync';
import { fail, GraftError } from '../core/errors.ts';
import { byteLimits, readRegularFile, UnreadableFileError } from '../core/regular_file.node.ts';
import { decodeText, oneLine } from '../core/text.ts';
import {
  hasImageEnding,
  type ImageEntry,
  type ImageProblem,
  isRubbish,
  type Listing,
  type ListingOptions,
  type SplitName,
  splitWords,
} from './image-listing.node.ts';
import { inLanes } from './image-scan.node.ts';

/**
 * What a header may call the columns, in lower case without spaces, hyphens and underscores. Where several fit, the
 * first word of the list wins: a file name says more than a number.
 */
const columnWords = {
  path: [
    ...['path', 'filepath', 'imagepath', 'imgpath', 'relativepath', 'filename', 'imagefilename', 'imagefile'],
    ...['file', 'image', 'img', 'picture', 'photo', 'imagename', 'imgname', 'imageid', 'imgid', 'id'],
  ],
  label: [
    ...['label', 'labels', 'class', 'classname', 'classlabel', 'labelname', 'category', 'categoryname'],
    ...['target', 'species', 'breed', 'diagnosis', 'dx', 'tag', 'y', 'classid', 'labelid', 'categoryid'],
  ],
  split: ['split', 'subset', 'set', 'partition', 'fold', 'usage', 'phase'],
} as const;

const delimiters = [',', '\t', ';', '|'] as const;

/** Columns by position, and what to call the header in messages. */
interface Columns {
  readonly path: number;
  readonly label: number;
  /** -1: none. */
  readonly split: number;
}

/**
 * Lists the images of a CSV file: RFC 4180 in UTF-8, or in UTF-16 with a byte order mark, with commas, semicolons, tabs
 * or bars between columns. A header says which columns hold paths, labels and splits; without one they are path, label
 * and perhaps split. A path is relative to the file's folder. Where no such file lies there, the one image at or below
 * that folder is meant whose path ends so, with or without its ending: data sets often list bare names or ids.
 *
 * @throws `argument` if there is no such file, `data` naming the line that cannot be read
 */
export async function listCsv(file: string, options: ListingOptions = {}): Promise<Listing> {
  const bytes = await readRegularFile(file, { limit: byteLimits.table, kind: 'a CSV file' }).catch((error) =>
    fail('argument', `${file}: ${error instanceof UnreadableFileError ? error.reason : error}`, error),
  );
  const rows = parseCsv(decodeText(bytes, file), file);
  const first = rows[0] ?? fail('data', `${file} is empty; expected lines of path,label.`);
  const images = new Images(dirname(resolve(file)));
  const header = headerOf(rows, file);
  if (header === null) await checkFirstLine(first, images, file);
  const columns = header ?? { path: 0, label: 1, split: 2 };
  const named = rows.slice(header === null ? 0 : 1).map((row) => namedBy(row, columns, file));
  if (named.length === 0) fail('data', `${file} has a header and no lines below it.`);
  checkSplits(named, file, options);
  const found = new Array<Found>(named.length);
  await inLanes(named.length, async (i) => {
    found[i] = await images.find(named[i]!.name);
  });
  const listed = new Map<string, Named>();
  const entries: ImageEntry[] = [];
  const problems: ImageProblem[] = [];
  let repeatedRows = 0;
  named.forEach((row, i) => {
    const { label, split } = row;
    const image = found[i]!;
    if ('reason' in image) {
      const reason = `${image.reason} (line ${row.line}); paths are relative to the folder of the CSV file.`;
      problems.push({ name: row.name, label, split, kind: 'missing', reason });
      return;
    }
    const before = listed.get(image.path);
    if (before === undefined) {
      listed.set(image.path, row);
      entries.push({ path: image.path, name: image.name, label, split });
      return;
    }
    if (before.label !== label || before.split !== split) {
      const [one, two] = before.label === label ? [before.split, split] : [before.label, label];
      fail(
        'data',
        `${file}, lines ${before.line} and ${row.line}: ${oneLine(image.name)} is ${one} and ${two}. Expected one of them.`,
      );
    }
    repeatedRows++;
  });
  const classes = new Map(
    named.map(({ label, split }) => [JSON.stringify([label, split]), { label, split }]),
  );
  return { source: file, entries, classes: [...classes.values()], problems, ignored: {}, repeatedRows };
}

/** What a row says. */
interface Named extends Pick<ImageEntry, 'label' | 'split'> {
  /** With slashes. */
  readonly name: string;
  readonly line: number;
}

function namedBy({ cells, line }: Row, columns: Columns, file: string): Named {
  const [name = '', label = '', word = ''] = [columns.path, columns.label, columns.split].map(
    (at) => cells[at] ?? '',
  );
  if (name === '' || label === '') {
    const missing = name === '' ? 'path' : 'label';
    const way = 'expected path,label or path,label,split';
    fail('data', `${file}, line ${line}: the ${missing} is missing; ${way}, got "${shown(cells)}".`);
  }
  const split = word === '' ? null : csvSplits[word.toLowerCase()];
  if (split === undefined) {
    fail(
      'data',
      `${file}, line ${line}: split "${oneLine(word)}"; expected train, val (valid, validation) or test.`,
    );
  }
  return { name, label: label.normalize('NFC'), split, line };
}

const csvSplits: Readonly<Record<string, SplitName>> = { ...splitWords, training: 'train', testing: 'test' };

/** Columns if the first line names them; null if it may be a row. Throws `data` for a header that names only some. */
function headerOf(rows: readonly Row[], file: string): Columns | null {
  const { cells, line } = rows[0]!;
  const words = cells.map((cell) => cell.toLowerCase().replace(/[\s_-]/g, ''));
  const found = (names: readonly string[]) =>
    names.flatMap((name) => words.flatMap((word, at) => (word === name ? [at] : [])));
  const paths = found(columnWords.path);
  const labels = found(columnWords.label);
  const split = found(columnWords.split)[0] ?? -1;
  if (paths.length === 0 && labels.length === 0) return null;
  // Of two columns, of which one is known, the other one is what is missing.
  const rest = cells.map((_, at) => at).filter((at) => at !== split && cells[at] !== '');
  const other = (known: number | undefined) =>
    rest.length === 2 ? rest.find((at) => at !== known) : undefined;
  const path = paths[0] ?? other(labels[0]);
  const label = labels[0] ?? other(paths[0]);
  if (path === undefined || label === undefined) {
    const missing = path === undefined ? 'the paths of images' : 'their classes';
    fail(
      'data',
      `${file}, line ${line}: no column of ${shown(cells)} is known to hold ${missing}. ${expected}`,
    );
  }
  for (const rival of labels.slice(1)) checkAgree(rows, label, rival, file);
  return { path, label, split };
}

const expected =
  'Expected a header with a column of paths (path, filename, image, image_id, id) and one of classes (label, class, ' +
  'category, species, target), or lines of path,label.';

/** Two columns that could be the classes have to mean the same, such as names and their numbers. */
function checkAgree(rows: readonly Row[], label: number, rival: number, file: string): void {
  const [header, ...others] = rows;
  const partners = new Map<string, string>();
  const back = new Map<string, string>();
  for (const { cells, line } of others) {
    const [one = '', two = ''] = [cells[label], cells[rival]];
    if ((partners.get(one) ?? two) === two && (back.get(two) ?? one) === one) {
      partners.set(one, two);
      back.set(two, one);
      continue;
    }
    const names = `${header!.cells[label]} and ${header!.cells[rival]}`;
    fail(
      'data',
      `${file}: the columns ${names} could both be the classes, and they differ (line ${line}). Leave one of them, or ` +
        'rename the other.',
    );
  }
}

/** A first line that is no header has to be a row. */
async function checkFirstLine({ cells, line }: Row, images: Images, file: string): Promise<void> {
  const name = cells[0] ?? '';
  if (hasImageEnding(name) || 'path' in (await images.find(name))) return;
  fail(
    'data',
    `${file}, line ${line}: "${shown(cells)}" is no header with known columns, and ${oneLine(name, 60) || 'its first cell'} is no ` +
      `image that is there. ${expected}`,
  );
}

/** The first cells of a line. */
function shown(cells: readonly string[]): string {
  const more = cells.length - 8;
  const first = cells.slice(0, 8).map((cell) => oneLine(cell, 60));
  return more > 0 ? `${first.join(',')} and ${more} more` : first.join(',');
}

/** Either all lines have a split or none; one of them is train where there is something to train. */
function checkSplits(rows: readonly Named[], file: string, { needsTraining = true }: ListingOptions): void {
  const splits = new Set<SplitName | null>(rows.map(({ split }) => split));
  if (splits.has(null) && splits.size > 1) {
    const without = rows.find(({ split }) => split === null)!;
    fail(
      'data',
      `${file}: some lines have a split and ${without.name} has none. Give all of them one, or none.`,
    );
  }
  if (needsTraining && !splits.has(null) && !splits.has('train')) {
    fail('data', `${file}: no line has the split train.`);
  }
}

interface Row {
  /** Without the spaces around them. */
  readonly cells: readonly string[];
  /** Where it begins, from 1. */
  readonly line: number;
}

/** No row of a table of paths is longer; a quotation mark that is not closed would take all the rest. */
const longestRow = 1 << 20;

/** The rows, by the delimiter that makes the most sense of the first ones. Empty lines are left out. */
function parseCsv(text: string, file: string): Row[] {
  const beginning = text.slice(0, longestRow).split('\n').slice(0, 20).join('\n');
  const delimiter = bestBy(delimiters, (each) => plausibility(beginning, each));
  const rows = parseRows(text, delimiter, file);
  const width = rows[0]?.cells.length ?? 0;
  for (const { cells, line } of rows) {
    if (cells.slice(width).every((cell) => cell === '')) continue;
    fail(
      'data',
      `${file}, line ${line}: ${cells.length} columns where the first line has ${width}. Quote a cell that holds ` +
        `"${delimiter}": "a${delimiter}b".`,
    );
  }
  return rows;
}

/** How much rows look like paths and labels: as many columns in each, names of images in one. */
function plausibility(text: string, delimiter: string): number {
  let rows: readonly Row[];
  try {
    rows = parseRows(text, delimiter, '');
  } catch (error) {
    // What is wrong is said when the whole file is read.
    if (error instanceof GraftError) return 0;
    throw error;
  }
  const widths = new Set(rows.map(({ cells }) => cells.length));
  if (widths.size === 1 && !widths.has(1)) {
    return 2 + rows.filter(({ cells }) => cells.some(hasImageEnding)).length / rows.length;
  }
  return rows.length > 0 && rows[0]!.cells.length > 1 ? 1 : 0;
}

/** The first item with the highest score. */
function bestBy<Item>(items: readonly Item[], scoreOf: (item: Item) => number): Item {
  const scores = items.map(scoreOf);
  return items[scores.indexOf(Math.max(...scores))]!;
}

function parseRows(text: string, delimiter: string, file: string): Row[] {
  const starts: number[] = [];
  let ended = 0;
  try {
    const rows = parse(text, {
      delimiter,
      record_delimiter: ['\r\n', '\n', '\r'],
      relax_column_count: true,
      skip_empty_lines: true,
      trim: true,
      max_record_size: longestRow,
      on_record: (cells: string[], { lines }) => {
        ended = lines;
        if (cells.every((cell) => cell === '')) return null;
        // The library counts to the end of a row, whose cells may hold line ends.
        const inside = cells.reduce((sum, cell) => sum + (cell.match(/\r\n|\n|\r/g)?.length ?? 0), 0);
        starts.push(lines - inside);
        return cells;
      },
    });
    return rows.map((cells, i) => ({ cells, line: starts[i]! }));
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    // The library names the line where it gave up; a quotation mark that opens too much is where the row begins.
    const begins = nextLine(text, ended);
    if (error.code === 'CSV_MAX_RECORD_SIZE' || error.code === 'CSV_QUOTE_NOT_CLOSED') {
      fail(
        'data',
        `${file}, line ${begins}: a quotation mark is opened and not closed. Close it, or write "" for a mark that ` +
          'belongs to the text: "a ""b"" c".',
        error,
      );
    }
    const { lines: line = begins } = error as { readonly lines?: number };
    const row = line > begins ? `, in a row that begins in line ${begins}` : '';
    fail(
      'data',
      `${file}, line ${line}: a quotation mark stands where none can be${row}. Quote the whole cell: "a ""b"" c".`,
      error,
    );
  }
}

/** The number of the first line after `line`, from 1, that is not blank. */
function nextLine(text: string, line: number): number {
  const lines = text.split(/\r\n|\n|\r/);
  const next = lines.findIndex((content, at) => at >= line && content.trim() !== '');
  return next === -1 ? line : next + 1;
}

type Found = { readonly path: string; readonly name: string } | { readonly reason: string };

/** Folders below the table's are searched so deep, and up to so many images. */
const deepest = 6;
const mostImages = 2_000_000;

/** The images that the cells of a table may mean. */
class Images {
  readonly #folder: string;
  #below: Promise<ReadonlyMap<string, readonly string[]>> | null = null;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The file of this name, else the only one at or below the folder whose path ends so. */
  async find(cell: string): Promise<Found> {
    const slashed = cell.replaceAll('\\', '/');
    for (const name of new Set([cell, slashed])) {
      const path = resolve(this.#folder, name);
      if ((await stat(path).catch(() => null))?.isFile()) return { path, name };
    }
    if (/^\w+:\/\//.test(cell)) return { reason: 'this is an address; fetch the images first' };
    const wanted = keyOf(slashed.replace(/^(\.\/)+/, ''));
    this.#below ??= this.#list();
    const same = (await this.#below).get(stemOf(wanted)) ?? [];
    const ends = (path: string, end: string) => path === end || path.endsWith(`/${end}`);
    const matches = same.filter(
      (path) => ends(keyOf(path), wanted) || ends(withoutEnding(keyOf(path)), wanted),
    );
    const [match, other] = matches;
    if (match === undefined) return { reason: 'there is no such file' };
    if (other !== undefined) return { reason: `${match} and ${other} are both called so` };
    return { path: join(this.#folder, match), name: match };
  }

  /** Paths of images by the names of their files, without endings. */
  async #list(): Promise<ReadonlyMap<string, readonly string[]>> {
    const paths = new Map<string, string[]>();
    let count = 0;
    const walk = async (folder: string, depth: number): Promise<void> => {
      const contents = await readdir(folder, { withFileTypes: true }).catch(() => []);
      for (const item of contents) {
        if (isRubbish(item.name) || count > mostImages) continue;
        const path = join(folder, item.name);
        if (item.isDirectory() && depth < deepest) await walk(path, depth + 1);
        else if (!item.isDirectory() && hasImageEnding(item.name)) {
          const name = relative(this.#folder, path).replaceAll('\\', '/');
          const stem = stemOf(keyOf(name));
          const same = paths.get(stem);
          if (same === undefined) paths.set(stem, [name]);
          else same.push(name);
          count++;
        }
      }
    };
    await walk(this.#folder, 0);
    return paths;
  }
}

/** The same letters may be encoded in two ways, and Windows does not tell capitals apart. */
function keyOf(path: string): string {
  return path.normalize('NFC').toLowerCase();
}

function withoutEnding(path: string): string {
  return hasImageEnding(path) ? path.slice(0, -extname(path).length) : path;
}

function stemOf(path: string): string {
  return withoutEnding(basename(path));
}
