/**
 * Which picture files a folder or a CSV file names, with class and split. It opens no picture: what is in the files
 * is `image-scan.node.ts`'s to find out.
 */
import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { fail } from '../core/errors.ts';
import { readable } from './image_format.ts';

export const splitNames = ['train', 'validation', 'test'] as const;
export type SplitName = (typeof splitNames)[number];

/** What folders and CSV files call the splits. */
export const splitWords: Readonly<Record<string, SplitName>> = {
  train: 'train',
  val: 'validation',
  valid: 'validation',
  validation: 'validation',
  test: 'test',
};

/** A picture file that a listing names. */
export interface ImageEntry {
  /** Absolute. */
  readonly path: string;
  /** As people know it: relative to the folder, with slashes. */
  readonly name: string;
  /** The name of its class. */
  readonly label: string;
  /** Null where the source has no splits. */
  readonly split: SplitName | null;
}

/** A file that cannot be used. */
export interface ImageProblem {
  readonly name: string;
  /** Its class; null for what has none. */
  readonly label: string | null;
  readonly split: SplitName | null;
  readonly kind: 'broken' | 'empty' | 'enormous' | 'unsupported' | 'unlabelled' | 'missing';
  /** A sentence. */
  readonly reason: string;
}

export interface Listing {
  /** The folder, or the CSV file. */
  readonly source: string;
  readonly entries: readonly ImageEntry[];
  /** Every class of a split, also one without pictures. */
  readonly classes: readonly Pick<ImageEntry, 'label' | 'split'>[];
  readonly problems: readonly ImageProblem[];
  /** How many other files lie there, by ending. */
  readonly ignored: Readonly<Record<string, number>>;
  /** How many lines of a CSV file say again what another one says. */
  readonly repeatedRows: number;
}

export interface ListingOptions {
  /** False if a source may have test images alone. Defaults to true. */
  readonly needsTraining?: boolean;
}

const pictures = new Set([
  '.jpg',
  '.jpeg',
  '.jpe',
  '.jfif',
  '.png',
  '.webp',
  '.gif',
  '.avif',
  '.tif',
  '.tiff',
]);
/** Pictures too, but none that can be read; leaving them out in silence would be wrong. */
const foreign = new Set([
  ...['.bmp', '.dib', '.ico', '.pcx', '.tga', '.ppm', '.pgm', '.pbm', '.pnm', '.psd', '.svg', '.svgz'],
  ...['.heic', '.heif', '.hif', '.jp2', '.j2k', '.jxl', '.jxr', '.exr', '.hdr', '.dcm'],
  ...['.raw', '.cr2', '.cr3', '.nef', '.arw', '.orf', '.raf', '.rw2', '.dng'],
]);

/** Folders that systems and programs make, in lower case; nobody put images there on purpose. */
const leftovers = new Set([
  ...['@eadir', '#recycle', '@recycle', '#snapshot', '@tmp', '$recycle.bin', 'system volume information'],
  ...['__macosx', 'lost+found', '__pycache__'],
]);

/** Whether something is hidden, or a folder that a system made, and not to be looked at. */
export function isRubbish(name: string): boolean {
  return name.startsWith('.') || leftovers.has(name.toLowerCase());
}

const astral = /[\ud800-\udfff]/;

/** By Unicode code points, as Python sorts and so Keras does. */
export function byCodePoint(a: string, b: string): number {
  if (astral.test(a) || astral.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Lists a folder that holds one folder a class, or `train/`, `val/` (`valid/`, `validation/`) and `test/` with one
 * folder a class each. Folders inside a class belong to it, links are followed; hidden files and what systems leave in
 * folders (`@eaDir`, `__MACOSX`, ...) are not seen.
 *
 * @throws `argument` if there is no such folder, `data` if it has another structure
 */
export async function listFolder(folder: string, options: ListingOptions = {}): Promise<Listing> {
  const root = resolve(folder);
  const stats = await stat(root).catch((error) =>
    fail('argument', `${folder}: there is no such folder.`, error),
  );
  if (!stats.isDirectory())
    fail('argument', `${folder} is a file; expected a folder with one folder a class.`);
  const walk = new Walk(folder);
  const splits = await splitFolders(root, folder, options);
  if (splits === null) await walk.classes(root, '', null);
  else for (const { name, split } of splits) await walk.classes(join(root, name), `${name}/`, split);
  if (walk.found.length === 0) fail('data', await noClasses(walk, root, folder));
  return {
    source: folder,
    entries: walk.entries.sort((a, b) => byCodePoint(a.name, b.name)),
    classes: walk.found,
    problems: walk.problems,
    ignored: walk.ignored,
    repeatedRows: 0,
  };
}

/** All pictures in a folder and the folders inside, by name, for pictures without classes. */
export async function imagesIn(folder: string): Promise<string[]> {
  const walk = new Walk(folder);
  await walk.pictures(resolve(folder), '', { label: '', split: null }, new Set());
  const [problem] = walk.problems;
  if (problem !== undefined) fail('data', `${join(folder, problem.name)}: ${problem.reason}`);
  return walk.entries.map(({ name }) => join(folder, name));
}

/** Folders in folders that are gone through; paths of more are soon longer than a system allows. */
const deepest = 64;

/** Goes through class folders and collects what lies there. */
class Walk {
  readonly entries: ImageEntry[] = [];
  readonly found: Pick<ImageEntry, 'label' | 'split'>[] = [];
  readonly problems: ImageProblem[] = [];
  readonly ignored: Record<string, number> = {};
  readonly #source: string;

  constructor(source: string) {
    this.#source = source;
  }

  /** Folders are classes; pictures beside them have none. */
  async classes(path: string, prefix: string, split: SplitName | null): Promise<void> {
    for (const { name, folder } of await this.#contents(path, prefix, { label: null, split })) {
      if (folder) {
        // The same letters may be encoded in two ways: macOS and others disagree.
        const label = name.normalize('NFC');
        this.found.push({ label, split });
        await this.pictures(join(path, name), `${prefix}${name}/`, { label, split }, new Set());
      } else if (isPicture(name)) {
        const reason = 'it lies beside the folders of the classes, so it has no class.';
        this.problems.push({ name: `${prefix}${name}`, label: null, split, kind: 'unlabelled', reason });
      } else this.#ignore(name);
    }
  }

  /** All pictures at and below a folder are of one class. */
  async pictures(
    path: string,
    prefix: string,
    about: Pick<ImageEntry, 'label' | 'split'>,
    above: ReadonlySet<string>,
  ): Promise<void> {
    if (above.size > deepest) {
      const start = prefix.split('/').slice(0, 3).join('/');
      fail('data', `${this.#source}: below ${start}/ folders lie more than ${deepest} deep in one another.`);
    }
    const real = await realpath(path);
    if (above.has(real)) {
      fail('data', `${this.#source}: ${prefix} is a link to a folder that it lies in. Remove the link.`);
    }
    for (const { name, folder } of await this.#contents(path, prefix, about)) {
      const shown = `${prefix}${name}`;
      if (folder) await this.pictures(join(path, name), `${shown}/`, about, new Set([...above, real]));
      else if (isPicture(name)) this.entries.push({ path: join(path, name), name: shown, ...about });
      else if (foreign.has(endingOf(name))) {
        const reason = `${endingOf(name)} cannot be read; convert it to one of ${readable}.`;
        this.problems.push({ name: shown, ...about, kind: 'unsupported', reason });
      } else this.#ignore(name);
    }
  }

  /** What is not hidden, links resolved. */
  async #contents(
    path: string,
    prefix: string,
    about: Pick<ImageProblem, 'label' | 'split'>,
  ): Promise<{ name: string; folder: boolean }[]> {
    const contents: { name: string; folder: boolean }[] = [];
    const listed = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) =>
      fail('file', `${this.#source}: the folder ${prefix || '.'} cannot be read (${error.code}).`, error),
    );
    for (const item of listed) {
      if (isRubbish(item.name)) continue;
      if (await isMisnamed(path, item.name)) {
        const reason = 'its name is not valid UTF-8; rename it.';
        this.problems.push({ name: `${prefix}${item.name}`, ...about, kind: 'broken', reason });
      } else if (!item.isSymbolicLink()) contents.push({ name: item.name, folder: item.isDirectory() });
      else {
        const target = await stat(join(path, item.name)).catch(() => null);
        if (target !== null) contents.push({ name: item.name, folder: target.isDirectory() });
        else {
          const reason = 'a link to something that is not there.';
          this.problems.push({ name: `${prefix}${item.name}`, ...about, kind: 'missing', reason });
        }
      }
    }
    return contents.sort((a, b) => byCodePoint(a.name, b.name));
  }

  #ignore(name: string): void {
    const ending = endingOf(name) || 'no ending';
    this.ignored[ending] = (this.ignored[ending] ?? 0) + 1;
  }
}

/** Whether a folder has no entry of this name, though it was read from there: its bytes are no UTF-8. */
async function isMisnamed(folder: string, name: string): Promise<boolean> {
  return name.includes('\ufffd') && (await lstat(join(folder, name)).catch(() => null)) === null;
}

function endingOf(name: string): string {
  return extname(name).toLowerCase();
}

/** Whether a name ends as those of images do, also of such that cannot be read. */
export function hasImageEnding(name: string): boolean {
  return isPicture(name) || foreign.has(endingOf(name));
}

function isPicture(name: string): boolean {
  return pictures.has(endingOf(name));
}

interface Contents {
  readonly folders: readonly string[];
  readonly pictures: number;
}

/** What lies directly in a folder. */
async function look(path: string): Promise<Contents> {
  const folders: string[] = [];
  let count = 0;
  for (const name of await readdir(path)) {
    if (isRubbish(name)) continue;
    if ((await stat(join(path, name)).catch(() => null))?.isDirectory()) folders.push(name);
    else if (isPicture(name)) count++;
  }
  return { folders: folders.sort(byCodePoint), pictures: count };
}

/** The folders of the splits; null if there are none, and folders are classes. */
async function splitFolders(
  root: string,
  shown: string,
  { needsTraining = true }: ListingOptions,
): Promise<{ name: string; split: SplitName }[] | null> {
  const { folders } = await look(root);
  const splits: { name: string; split: SplitName }[] = [];
  for (const name of folders) {
    const split = splitWords[name.toLowerCase()];
    // A class may be called "train" as well; a split has folders inside.
    if (split !== undefined && (await look(join(root, name))).folders.length > 0)
      splits.push({ name, split });
  }
  if (splits.length === 0) return null;
  const names = splits.map(({ name }) => `${name}/`).join(', ');
  const others = folders.filter((folder) => !splits.some(({ name }) => name === folder));
  for (const other of others) {
    const { pictures: count, folders: inside } = await look(join(root, other));
    if (count === 0 && inside.length === 0) continue;
    fail(
      'data',
      `${shown} has ${names} which look like splits, and ${other}/ beside them. Expected either folders of splits ` +
        `(train/, val/, test/) or folders of classes. Move ${other}/ elsewhere, or rename it.`,
    );
  }
  for (const split of splitNames) {
    const same = splits.filter((one) => one.split === split).map(({ name }) => `${name}/`);
    if (same.length > 1) fail('data', `${shown} has ${same.join(' and ')}: keep one of them.`);
  }
  if (needsTraining && !splits.some(({ split }) => split === 'train')) {
    const first = join(shown, splits[0]!.name);
    fail(
      'data',
      `${shown} has ${names} but no train/. Add it, or name the folder with the classes: ${first}`,
    );
  }
  return splits;
}

async function noClasses({ problems }: Walk, root: string, shown: string): Promise<string> {
  const expected = 'Expected one folder a class with its pictures inside, such as cat/1.jpg and dog/2.jpg';
  const loose = problems.filter(({ kind }) => kind === 'unlabelled').length;
  const tables = (await readdir(root)).filter((name) => endingOf(name) === '.csv');
  const hint = tables.length === 0 ? '' : `, or name the file with the labels: ${join(shown, tables[0]!)}`;
  if (loose > 0) return `${shown} has ${loose} pictures, but no folders of classes. ${expected}${hint}.`;
  return `${shown} has no folders of classes. ${expected}${hint}.`;
}

/** `pets` for `data/pets/` and `data/pets.csv`. */
export function titleOf(source: string): string {
  const name = basename(resolve(source));
  return name.replace(/\.(csv|tsv)$/i, '') || 'pictures';
}
