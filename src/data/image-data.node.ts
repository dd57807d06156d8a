/** A person's own pictures as data sets: listed, looked into, split. */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  flag,
  functionOf,
  optional,
  seed as seedSchema,
  text,
} from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { oneLine } from '../core/text.ts';
import { classNamesSchema } from './dataset.ts';
import { checkSize, type ImageSize } from './image.node.ts';
import { readable } from './image_format.ts';
import { listCsv } from './image-csv.node.ts';
import { type ImageDataset, imageDataset } from './image-dataset.node.ts';
import {
  byCodePoint,
  type ImageEntry,
  type ImageProblem,
  type Listing,
  type ListingOptions,
  listFolder,
  type SplitName,
  splitNames,
  titleOf,
} from './image-listing.node.ts';
import { type ImageFacts, type ScanOptions, scanImages } from './image-scan.node.ts';
import { alternatingOrder, checkShare, stratifiedSplit } from './sampling.ts';

/** Options of `data.imageFolder` and `data.imageCsv`. */
export interface ImageOptions extends ScanOptions {
  /** [height, width] in pixels that every picture is brought to. Defaults to [256, 256], as in Keras. */
  readonly imageSize?: readonly [height: number, width: number];
  /** Cut pictures to these proportions instead of stretching them. Defaults to false. */
  readonly cropToAspectRatio?: boolean;
  /** Pad them with black instead. Defaults to false. */
  readonly padToAspectRatio?: boolean;
  /**
   * Share of each class of the training pictures to validate on, chosen by `seed`. Defaults to 0.2 where there is
   * neither a validation nor a test split, else to none.
   */
  readonly validationSplit?: number;
  /** Defaults to 0. */
  readonly seed?: number;
  /** The classes to use, in the order of their ids. Defaults to all of them, sorted by code points as in Keras. */
  readonly classNames?: readonly string[];
  /**
   * Names of all classes of a model, in the order of their ids, for images to evaluate it on. The source may lack some
   * of them, and training images; a class that is not among them is an error. Nothing is split off. Instead of
   * `classNames`.
   */
  readonly modelClassNames?: readonly string[];
  /** Leave out files that cannot be used, rather than throwing. Defaults to false. */
  readonly skipBroken?: boolean;
}

const pixels = v.custom<number>(
  (value) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 0x3fff,
  `a whole number from 1 to ${0x3fff}`,
);

const imageOptions = v.pipe(
  fields({
    imageSize: optional(v.strictTuple([pixels, pixels], 'two numbers: height and width')),
    cropToAspectRatio: optional(flag),
    padToAspectRatio: optional(flag),
    validationSplit: optional(
      v.custom<number>(
        (value) => Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1,
        'a share from 0 up to, not including, 1',
      ),
    ),
    seed: optional(seedSchema),
    classNames: optional(classNamesSchema),
    modelClassNames: optional(classNamesSchema),
    skipBroken: optional(flag),
    onProgress: optional(functionOf<NonNullable<ScanOptions['onProgress']>>()),
    cacheDir: optional(text),
  } satisfies Entries<ImageOptions>),
  v.check(
    ({ cropToAspectRatio, padToAspectRatio }) => !(cropToAspectRatio && padToAspectRatio),
    'takes cropToAspectRatio or padToAspectRatio, not both',
  ),
  v.check(
    ({ classNames, modelClassNames }) => classNames === undefined || modelClassNames === undefined,
    'takes classNames or modelClassNames, not both',
  ),
);

/** A picture that can be used. */
export interface Picture extends ImageEntry, ImageFacts {
  /** Where it went. */
  readonly split: SplitName;
}

/** Labelled pictures in data sets that share their classes. */
export interface ImageData {
  readonly name: string;
  readonly classNames: readonly string[];
  /** Empty only where `modelClassNames` is given, or in a review. */
  readonly train: ImageDataset;
  readonly validation: ImageDataset | null;
  readonly test: ImageDataset | null;
  /** The share that was split off the training pictures; null if the source has its own validation or none is. */
  readonly validationSplit: number | null;
  /** All pictures, by name. */
  readonly pictures: readonly Picture[];
  /** Files that were left out. */
  readonly skipped: readonly ImageProblem[];
  /** How many files that are no pictures lie beside them, by ending. */
  readonly ignored: Readonly<Record<string, number>>;
  /** How many lines of a CSV file say again what another one says. */
  readonly repeatedRows: number;
}

const defaultShare = 0.2;

/**
 * Pictures in folders: one folder a class, with or without `train/`, `val/` (`valid/`, `validation/`) and `test/`
 * above. JPEG, PNG, WebP, GIF, AVIF and TIFF, read as `decodeImage` says.
 *
 * All files are read once to see that they can be used, and what was seen is remembered in the cache.
 *
 * @throws `argument` if there is no such folder, `data` if it has another structure, if a class has no pictures, or
 *   naming the first ten files that cannot be used
 */
export async function imageFolder(folder: string, options: ImageOptions = {}): Promise<ImageData> {
  checked(text, folder, 'data.imageFolder(folder)');
  const given = checked(imageOptions, options, 'data.imageFolder');
  return open(await listFolder(folder, listingOf(given)), given);
}

/** Pictures that a CSV file lists: `path,label` or `path,label,split`; see `imageFolder` and `listCsv`. */
export async function imageCsv(file: string, options: ImageOptions = {}): Promise<ImageData> {
  checked(text, file, 'data.imageCsv(file)');
  const given = checked(imageOptions, options, 'data.imageCsv');
  return open(await listCsv(file, listingOf(given)), given);
}

/**
 * A folder or a table to be looked at, not trained on: files that cannot be used are left out, also where no other
 * ones of their class are there.
 *
 * @throws as `imageFolder`, and `data` if no image at all can be used
 */
export async function reviewImages(source: string, options: ImageOptions = {}): Promise<ImageData> {
  return open(await list(source), { ...options, skipBroken: true }, 'review');
}

/** Whether a path is that of a table of images, by its ending. */
export function isTable(path: string): boolean {
  return /\.(csv|tsv)$/i.test(path);
}

/** The classes of a folder or a table; opens no picture. */
export async function classNamesIn(source: string): Promise<readonly string[]> {
  return classesOf(await list(source), {});
}

function list(source: string): Promise<Listing> {
  return isTable(source) ? listCsv(source) : listFolder(source);
}

function listingOf({ modelClassNames }: ImageOptions): ListingOptions {
  return { needsTraining: modelClassNames === undefined };
}

async function open(
  listing: Listing,
  options: ImageOptions,
  purpose: 'use' | 'review' = 'use',
): Promise<ImageData> {
  const { imageSize = [256, 256], cropToAspectRatio = false, padToAspectRatio = false } = options;
  const size = { height: imageSize[0], width: imageSize[1], cropToAspectRatio, padToAspectRatio };
  checkSize(size);
  if (options.validationSplit !== undefined) checkShare('validationSplit', options.validationSplit);
  const classNames = classesOf(listing, options);
  const entries = listing.entries.filter(({ label }) => classNames.includes(label));
  const examined = await scanImages(listing.source, entries, options);
  const usable: (ImageEntry & ImageFacts)[] = [];
  const skipped = [...listing.problems];
  entries.forEach((entry, i) => {
    const result = examined[i]!;
    const { name, label, split } = entry;
    if ('kind' in result) skipped.push({ name, label, split, ...result });
    else usable.push({ ...entry, ...result });
  });
  const files = entries.length + listing.problems.length;
  if (skipped.length > 0 && (!options.skipBroken || usable.length === 0))
    refuse(skipped, files, listing.source);
  if (usable.length === 0) fail('data', `${listing.source} holds no images (${readable}).`);
  if (purpose === 'use') checkFilled(listing, classNames, usable, skipped);
  const { pictures, validationSplit } = split(usable, classNames, listing.source, options);
  const name = titleOf(listing.source);
  const { train, validation, test } = datasetsOf(pictures, { name, classNames, size });
  return {
    name,
    classNames,
    train,
    validation,
    test,
    validationSplit,
    pictures,
    skipped,
    ignored: listing.ignored,
    repeatedRows: listing.repeatedRows,
  };
}

/** Checked names of classes, in the order of their ids. */
function classesOf(
  { classes, source }: Listing,
  { classNames: wanted, modelClassNames }: Pick<ImageOptions, 'classNames' | 'modelClassNames'>,
): readonly string[] {
  if (modelClassNames !== undefined) {
    if (wanted !== undefined) fail('argument', 'Give classNames or modelClassNames, not both.');
    const unknown = [...new Set(classes.map(({ label }) => label))].filter(
      (label) => !modelClassNames.includes(label),
    );
    if (unknown.length === 0) return modelClassNames;
    const names = `${listed(unknown.sort(byCodePoint))}; it knows ${listed(modelClassNames)}`;
    fail('data', `${source}: the model does not know ${names}.`);
  }
  const training = classes
    .filter(({ split }) => split === null || split === 'train')
    .map(({ label }) => label);
  const found = [...new Set(training)].sort(byCodePoint);
  const missing = wanted?.filter((name) => !classes.some(({ label }) => label === name)) ?? [];
  if (missing.length > 0) {
    fail('data', `${source} has no class ${listed(missing)}; its classes are ${listed(found)}.`);
  }
  const strange = classes.find(({ label }) => !(wanted ?? found).includes(label));
  if (strange !== undefined && wanted === undefined) {
    fail('data', `${source}: the class ${strange.label} of ${strange.split} has no training pictures.`);
  }
  if (wanted === undefined && found.length < 2) {
    fail(
      'data',
      `${source} has a single class, ${found[0]}, and nothing to tell it from. Expected one folder a class; if the ` +
        `classes lie deeper, name the folder that they lie in.`,
    );
  }
  return wanted ?? found;
}

function refuse(problems: readonly ImageProblem[], pictures: number, source: string): never {
  const [shown, more] = [problems.slice(0, 10), problems.length - 10];
  const lines = shown.map(({ name, reason }) => `  ${oneLine(name)}: ${reason}`);
  if (more > 0) lines.push(`  and ${more} more`);
  return fail(
    'data',
    `${source}: ${problems.length} of ${pictures} files cannot be used.\n${lines.join('\n')}\n` +
      'Mend or remove them, or leave them out with skipBroken (--skip-broken).',
  );
}

/** The first names of a list. */
function listed(names: readonly string[]): string {
  const more = names.length - 10;
  const shown = names.slice(0, 10).map((name) => oneLine(name));
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}

/** Every class that a split names has pictures there. */
function checkFilled(
  listing: Listing,
  classNames: readonly string[],
  usable: readonly ImageEntry[],
  skipped: readonly ImageProblem[],
): void {
  const key = ({ split, label }: Pick<ImageEntry, 'split' | 'label'>) => JSON.stringify([split, label]);
  const filled = new Set(usable.map(key));
  const empty = listing.classes.filter((one) => classNames.includes(one.label) && !filled.has(key(one)));
  if (empty.length === 0) return;
  const shown = empty.map(({ label, split }) => (split === null ? label : `${label} (${split})`));
  const reasons = empty.slice(0, 10).flatMap(({ label, split }, i) => {
    const files = skipped.filter((problem) => problem.label === label && problem.split === split);
    const [first] = files;
    if (first === undefined) return [];
    const number = files.length === 1 ? 'its one file' : `its ${files.length} files`;
    return [`  ${oneLine(shown[i]!)}: ${number} cannot be used. ${oneLine(first.name)}: ${first.reason}`];
  });
  fail(
    'data',
    [
      `${listing.source}: there are no images of ${listed(shown)} that can be used.`,
      ...reasons,
      'Mend the files, add others, or remove the class.',
    ].join('\n'),
  );
}

function split(
  usable: readonly (ImageEntry & ImageFacts)[],
  classNames: readonly string[],
  source: string,
  options: ImageOptions,
): Pick<ImageData, 'pictures' | 'validationSplit'> {
  const has = (name: SplitName) => usable.some((picture) => picture.split === name);
  const ready = has('validation');
  if (ready && options.validationSplit) {
    fail('argument', `${source} has validation pictures of its own; leave out validationSplit.`);
  }
  const isTest = options.modelClassNames !== undefined;
  const share = options.validationSplit ?? (ready || isTest || has('test') ? 0 : defaultShare);
  const placed = usable.map((picture) => ({ ...picture, split: picture.split ?? ('train' as const) }));
  if (ready || share === 0) return { pictures: placed, validationSplit: null };
  const training = placed.filter((picture) => picture.split === 'train');
  const labels = training.map(({ label }) => classNames.indexOf(label));
  const groups = training.map(({ sha256 }) => sha256);
  const aside = stratifiedSplit(labels, groups, share, options.seed ?? 0);
  const chosen = new Set(training.filter((_, i) => aside[i]));
  const pictures = placed.map((picture) =>
    chosen.has(picture) ? { ...picture, split: 'validation' as const } : picture,
  );
  return { pictures, validationSplit: share };
}

function datasetsOf(
  pictures: readonly Picture[],
  { name, classNames, size }: { name: string; classNames: readonly string[]; size: ImageSize },
) {
  const datasets = splitNames.map((wanted) => {
    const files = pictures
      .filter(({ split }) => split === wanted)
      .map(({ path, name, label, sha256 }) => ({ path, name, sha256, label: classNames.indexOf(label) }));
    if (files.length === 0 && wanted !== 'train') return null;
    const order = alternatingOrder(files.map(({ label }) => label));
    const inOrder = Array.from(order, (i) => files[i]!);
    return imageDataset(inOrder, { name: `${name}/${wanted}`, classNames, size });
  });
  return { train: datasets[0]!, validation: datasets[1]!, test: datasets[2]! };
}
