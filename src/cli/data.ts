/**
 * What `--data` names: a published data set, a folder of pictures or a CSV file of them. How many classes there are is
 * known before any picture is read.
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { fail } from '../core/errors.ts';
import {
  classNamesIn,
  type Dataset,
  data,
  datasets,
  type ImageData,
  isTable,
  lengthOf,
  limit,
  reviewImages,
  type Splits,
  splitValidation,
  titleOf,
} from '../data/index.ts';
import { type Findings, nothingFound } from '../report/data_summary.ts';
import { type Progress, progressFor } from '../training/progress.ts';
import { didYouMean, wholeNumber } from './arguments.ts';
import { findingsOf } from './data_findings.ts';
import { invocation, type Output, plural, shellWord } from './output.ts';
import { showTransfers } from './transfers.ts';

export const dataNames = ['cifar10', 'cifar100', 'emoji10'] as const;
export type DataName = (typeof dataNames)[number];

interface Published {
  readonly classes: number;
  readonly trainingPictures: number;
  /** True if it has validation pictures of its own. */
  readonly validates: boolean;
}

/** What is known before anything is fetched. */
const published: Readonly<Record<DataName, Published>> = {
  cifar10: { classes: 10, trainingPictures: 50_000, validates: false },
  cifar100: { classes: 100, trainingPictures: 50_000, validates: false },
  emoji10: { classes: 10, trainingPictures: 3200, validates: true },
};

export const dataWords = `${dataNames.join(', ')}, or a folder or CSV file of your own pictures`;

/** Reads `--data`: a name, or the absolute path of what is there. */
export function parseData(text: string): string {
  if (isPublished(text)) return text;
  const stats = statSync(text, { throwIfNoEntry: false });
  if (stats?.isDirectory() || (stats?.isFile() && isTable(text))) return resolve(text);
  const came = stats === undefined ? 'There is no such file or folder.' : 'This is a file of another kind.';
  throw new InvalidArgumentError(`${came} Expected ${dataWords}.${didYouMean(text, dataNames)}`);
}

export function isPublished(source: string): source is DataName {
  return (dataNames as readonly string[]).includes(source);
}

/** A name for files and folders: `cifar10`, `my-pets` for `data/my pets/`. */
export function dataTitle(source: string): string {
  if (isPublished(source)) return source;
  return titleOf(source).replace(/[^\p{L}\p{M}\p{N}._-]+/gu, '-');
}

/** How many classes there are; reads no picture. */
export async function classCountOf(source: string): Promise<number> {
  return isPublished(source) ? published[source].classes : (await classNamesIn(source)).length;
}

/** How a person's own pictures are read. */
export interface PictureOptions {
  readonly cropToAspectRatio: boolean;
  readonly padToAspectRatio: boolean;
  readonly skipBroken: boolean;
  /** Decides which pictures are split off to validate. */
  readonly splitSeed: number;
}

export const usualPictures: PictureOptions = {
  cropToAspectRatio: false,
  padToAspectRatio: false,
  skipBroken: false,
  splitSeed: 0,
};

/** How pictures of other proportions come to the model's. */
export function addAspectOptions(command: Command): Command {
  return command
    .option('--crop-to-aspect-ratio', 'cut your pictures to a square instead of stretching them')
    .option('--pad-to-aspect-ratio', 'pad your pictures with black instead of stretching them');
}

/** Options for a person's own pictures. */
export function addPictureOptions(command: Command): Command {
  return addAspectOptions(command)
    .option('--skip-broken', 'leave out files that cannot be used')
    .option('--split-seed <n>', 'decides which of your pictures validate', wholeNumber(0, 0xffff_ffff));
}

export interface Selection extends PictureOptions {
  /** A name, or an absolute path. */
  readonly data: string;
  readonly limit: number | null;
  readonly validationLimit: number | null;
  readonly validationSplit: number | null;
}

type WholeData = Pick<ImageData, 'classNames'> & {
  readonly train: Dataset;
  readonly validation: Dataset | null;
  readonly test: Dataset | null;
};

export interface LoadedData {
  readonly title: string;
  /** What was there before limits. */
  readonly whole: WholeData;
  readonly train: Dataset;
  /** Decides which epoch is the best. */
  readonly validation: Dataset;
  /** Where those come from. */
  readonly validatesOn: 'test' | 'validation';
  /** The share of each class that was split off a person's own pictures to validate, if it was. */
  readonly share: number | null;
  /** The test pictures, if they are not the validation already. */
  readonly test: Dataset | null;
  readonly classNames: readonly string[];
  readonly findings: Findings;
}

export async function loadSplits(name: DataName, mirror: string | undefined, out: Output): Promise<Splits> {
  if (name === 'emoji10') {
    return showingPictures('Drawing the pictures of emoji10', out, (onProgress) =>
      datasets.emoji10.load({ onProgress }),
    );
  }
  const transfers = showTransfers(out.verbose);
  try {
    return await datasets[name].load({ mirror, onProgress: transfers.onProgress });
  } finally {
    transfers.end();
  }
}

export async function loadData(
  selection: Selection & { readonly imageSize: number },
  mirror: string | undefined,
  out: Output,
): Promise<LoadedData> {
  const { data: source, validationSplit } = selection;
  const title = dataTitle(source);
  if (!isPublished(source)) {
    const { imageSize } = selection;
    const whole = await openPictures(source, { ...selection, imageSize: [imageSize, imageSize] }, out);
    const findings = findingsOf(whole, selection.splitSeed);
    const left = findings.skipped.length;
    const notes = [
      ...(left > 0 ? [`${plural(left, 'file')} that cannot be used left out`] : []),
      ...findings.notes,
    ];
    if (notes.length > 0) {
      const look = `See which: ${invocation()} data ${shellWord(source)}`;
      out.say(`Note: ${notes.join('; ')}. ${look}`);
    }
    const { validation, test } = whole;
    // What will be used is said before training begins: no further word of limits that are not reached.
    const pick = (dataset: Dataset) => first(dataset, selection.validationLimit);
    return {
      ...{ title, whole, findings, classNames: whole.classNames },
      train: first(whole.train, selection.limit),
      validation: pick(validation ?? test ?? nothingToValidate(source)),
      validatesOn: validation === null ? 'test' : 'validation',
      share: whole.validationSplit,
      test: validation && test && pick(test),
    };
  }
  checkValidationSplit(source, validationSplit);
  const { train, validation = null, test } = await loadSplits(source, mirror, out);
  const pick = (dataset: Dataset) => limitTo(dataset, selection.validationLimit, '--validation-limit', out);
  const whole = { train, test, validation, classNames: train.classNames! };
  const common = { title, whole, findings: nothingFound, share: null, classNames: whole.classNames };
  const limited = limitTo(train, selection.limit, '--limit', out);
  if (validation !== null) {
    return {
      ...common,
      train: limited,
      validation: pick(validation),
      validatesOn: 'validation',
      test: pick(test),
    };
  }
  if (validationSplit === null) {
    return { ...common, train: limited, validation: pick(test), validatesOn: 'test', test: null };
  }
  const split = splitValidation(limited, validationSplit);
  return { ...common, ...split, validatesOn: 'validation', test: pick(test) };
}

/** How many pictures `loadData` will train on; fetches nothing, looks into a person's own. */
export async function countTraining(selection: Selection, out: Output): Promise<number> {
  const { data: source, limit: wanted, validationSplit } = selection;
  const most = wanted ?? Number.POSITIVE_INFINITY;
  if (!isPublished(source)) {
    // The size of pictures changes nothing about their number.
    const { train } = await openPictures(source, { ...selection, imageSize: [32, 32] }, out);
    return Math.min(lengthOf(train), most);
  }
  checkValidationSplit(source, validationSplit);
  const used = Math.min(published[source].trainingPictures, most);
  return used - Math.round(used * (validationSplit ?? 0));
}

function checkValidationSplit(source: DataName, validationSplit: number | null): void {
  if (validationSplit === null || !published[source].validates) return;
  fail('argument', `${source} has validation pictures of its own; leave out --validation-split.`);
}

function nothingToValidate(source: string): never {
  return fail(
    'data',
    `${source}: nothing to validate on. Expected at least two different pictures in a class, or a folder val/ or test/.`,
  );
}

export type OpenOptions = PictureOptions & {
  readonly validationSplit: number | null;
  readonly imageSize: readonly [height: number, width: number];
  /** See `data.imageFolder`. */
  readonly modelClassNames?: readonly string[];
  /** Only to look at: a class may have no image that can be used. Defaults to false. */
  readonly review?: boolean;
};

/** Opens a folder or a CSV file; shows how far it is where that takes time. */
export async function openPictures(source: string, options: OpenOptions, out: Output): Promise<ImageData> {
  const { imageSize, cropToAspectRatio, padToAspectRatio, skipBroken } = options;
  const openSource = options.review ? reviewImages : isTable(source) ? data.imageCsv : data.imageFolder;
  return showingPictures(`Looking into ${source}`, out, (onProgress) =>
    openSource(source, {
      imageSize,
      cropToAspectRatio,
      padToAspectRatio,
      skipBroken,
      seed: options.splitSeed,
      ...(options.validationSplit === null ? {} : { validationSplit: options.validationSplit }),
      ...(options.modelClassNames === undefined ? {} : { modelClassNames: options.modelClassNames }),
      onProgress,
    }),
  );
}

/** Shows how many pictures are done, unless all are before anybody would read of it. */
async function showingPictures<T>(
  title: string,
  out: Output,
  work: (onProgress: (done: number, total: number) => void) => Promise<T>,
): Promise<T> {
  let progress: Progress | null = null;
  const start = performance.now();
  const result = await work((done, total) => {
    if (performance.now() - start < 500) return;
    progress ??= progressFor(out.verbose, { title, total, unit: 'image' });
    progress.update(done, {});
  });
  (progress as Progress | null)?.end({});
  return result;
}

function first(dataset: Dataset, wanted: number | null): Dataset {
  return wanted === null ? dataset : limit(dataset, wanted);
}

/** The first `wanted` pictures; says so if there are fewer. */
export function limitTo(dataset: Dataset, wanted: number | null, flag: string, out: Output): Dataset {
  if (wanted === null) return dataset;
  const length = lengthOf(dataset);
  if (wanted > length)
    out.say(`${dataset.name} has ${plural(length, 'picture')}, fewer than ${flag} ${wanted}.`);
  return first(dataset, wanted);
}
