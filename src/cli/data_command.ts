/** `graft data`: a look at one's own pictures before training on them. */
import { type Command, InvalidArgumentError } from 'commander';
import { fail } from '../core/errors.ts';
import { type Dataset, duplicatesOf, lonelyClasses, nearDuplicatesOf } from '../data/index.ts';
import { whileWaiting } from '../training/status_line.ts';
import { addCommonOptions, addMirrorOption, type CommonOptions, fraction, wholeNumber } from './arguments.ts';
import { augmentWords, parseAugment } from './augment.ts';
import { writeAugmentSheet } from './augment_sheet.ts';
import {
  type DataName,
  dataNames,
  isPublished,
  loadSplits,
  openPictures,
  parseData,
  usualPictures,
} from './data.ts';
import { canTrain, describeData, describeNext, jsonOfData } from './data_report.ts';
import { type Output, outputFor } from './output.ts';
import {
  datasetsOf,
  describePublished,
  jsonOfPublished,
  nextOfPublished,
  reviewPublished,
} from './published_report.ts';
import { writeDatasetSheet, writeReviewSheet } from './review_sheet.ts';

export interface DataOptions extends CommonOptions {
  readonly validationSplit?: number;
  readonly splitSeed?: number;
  readonly contactSheet?: string;
  readonly preview?: string;
  readonly augment: string;
  readonly imageSize: number;
  readonly seed: number;
  readonly mirror?: string;
}

export function defineData(command: Command): void {
  command
    .argument(
      '<data>',
      `a folder with one folder a class, a CSV file of path,label, ${dataNames.join(', ')}`,
      parseData,
    )
    .option('--validation-split <share>', 'the share that train would split off', fraction)
    .option('--split-seed <n>', 'decides which pictures validate (default: 0)', wholeNumber(0, 0xffff_ffff))
    .option(
      '--contact-sheet <file>',
      'some pictures of each class, as a page (.html) or a picture (.png)',
      sheet,
    )
    .optionsGroup('Augmentation:')
    .option('--preview <file>', 'pictures beside what --augment makes of them, as .html or .png', sheet)
    .option('--augment <list>', `what train would be given: ${augmentWords}; see train --help`, 'light')
    .option('--image-size <pixels>', 'of your own pictures when they are changed', wholeNumber(32, 2048), 224)
    .option('--seed <n>', 'decides what is drawn', wholeNumber(0, 0xffff_ffff), 0);
  addCommonOptions(addMirrorOption(command));
  command.addHelpText('after', examples).action(runData);
}

const examples = `
Examples:
  $ graft data pets
  $ graft data pets --contact-sheet pets.html
  $ graft data labels.csv --json
  $ graft data pets --preview pets.png --augment medium
  $ graft data cifar10 --preview cifar10.png --augment flip,rotation:0.1,cutmix
  $ graft data emoji10                       whose drawings they are, and their licences`;

function sheet(text: string): string {
  if (/\.(html|png)$/i.test(text)) return text;
  throw new InvalidArgumentError('Expected a file that ends in .html or .png.');
}

async function runData(source: string, options: DataOptions): Promise<void> {
  const out = outputFor(options);
  if (options.preview !== undefined && parseAugment(options.augment).description === '')
    fail('argument', `--augment ${options.augment} changes nothing, so there is nothing to preview.`);
  if (isPublished(source)) return lookAtPublished(source, options, out);
  const { validationSplit = null, splitSeed = 0, imageSize } = options;
  const reading = { ...usualPictures, review: true, splitSeed, validationSplit };
  const data = await openPictures(source, { ...reading, imageSize: [imageSize, imageSize] }, out);
  const review = {
    source,
    data,
    splitSeed,
    duplicates: duplicatesOf(data.pictures),
    nearDuplicates: nearDuplicatesOf(data.pictures),
    lonely: lonelyClasses(data),
  };
  out.result(describeData(review));
  out.say(`\n${describeNext(review)}`);
  if (options.contactSheet !== undefined) {
    await writeReviewSheet(options.contactSheet, review, out);
    out.say(`\nContact sheet: ${options.contactSheet}`);
  }
  await showAugmented(data.train, options, out);
  out.json({ ...jsonOfData(review), preview: options.preview ?? null });
  // Scripts ask with this command whether a training can begin.
  if (!canTrain(data)) process.exitCode = 2;
}

/** Draws what `--preview` asks for, if it does. */
async function showAugmented(dataset: Dataset, options: DataOptions, out: Output): Promise<void> {
  const { preview: path, augment } = options;
  if (path === undefined) return;
  await whileWaiting(`Drawing ${path}`, out.verbose, () => writeAugmentSheet(path, dataset, options));
  out.result(`\nPreview of --augment ${augment} (${parseAugment(augment).description}): ${path}`);
}

async function lookAtPublished(name: DataName, options: DataOptions, out: Output): Promise<void> {
  const { validationSplit, splitSeed, contactSheet, mirror } = options;
  if (validationSplit !== undefined || splitSeed !== undefined) {
    fail('argument', `--validation-split and --split-seed are for your own pictures, got ${name}.`);
  }
  const splits = await loadSplits(name, mirror, out);
  const review = await reviewPublished(name, splits);
  out.result(describePublished(review));
  out.say(`\n${nextOfPublished(name)}`);
  if (contactSheet !== undefined) {
    await writeDatasetSheet(
      contactSheet,
      name,
      datasetsOf(splits).map(([, dataset]) => dataset),
      out,
    );
    out.say(`\nContact sheet: ${contactSheet}`);
  }
  await showAugmented(splits.train, options, out);
  out.json({ ...jsonOfPublished(review), preview: options.preview ?? null });
}
