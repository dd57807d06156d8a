/** `graft data`: a look at one's own pictures before training on them. */
import { type Command, InvalidArgumentError } from 'commander';
import { duplicatesOf, lonelyClasses, nearDuplicatesOf } from '../data/index.ts';
import { addCommonOptions, type CommonOptions, fraction, wholeNumber } from './arguments.ts';
import { writeContactSheet } from './contact_sheet.ts';
import { openPictures, parseOwnData, usualPictures } from './data.ts';
import { describeData, describeNext, jsonOfData } from './data_report.ts';
import { outputFor } from './output.ts';

export interface DataOptions extends CommonOptions {
  readonly validationSplit?: number;
  readonly splitSeed: number;
  readonly contactSheet?: string;
}

export function defineData(program: Command): void {
  const command = program
    .command('data')
    .description(
      'Look at your own pictures: how many of which class, what is broken, double, or in two splits.',
    )
    .argument('<data>', 'a folder with one folder a class, or a CSV file of path,label', parseOwnData)
    .option('--validation-split <share>', 'the share that train would split off', fraction)
    .option('--split-seed <n>', 'decides which pictures validate', wholeNumber(0, 0xffff_ffff), 0)
    .option(
      '--contact-sheet <file>',
      'some pictures of each class, as a page (.html) or a picture (.png)',
      sheet,
    );
  addCommonOptions(command);
  command.addHelpText('after', examples).action(runData);
}

const examples = `
Examples:
  $ graft data pets
  $ graft data pets --contact-sheet pets.html
  $ graft data labels.csv --json`;

function sheet(text: string): string {
  if (/\.(html|png)$/i.test(text)) return text;
  throw new InvalidArgumentError('Expected a file that ends in .html or .png.');
}

async function runData(source: string, options: DataOptions): Promise<void> {
  const out = outputFor(options);
  const { validationSplit = null, splitSeed } = options;
  const reading = { ...usualPictures, skipBroken: true, splitSeed, validationSplit };
  // The size does not matter: no picture is read for its pixels.
  const data = await openPictures(source, { ...reading, imageSize: [224, 224] }, out);
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
    await writeContactSheet(options.contactSheet, review);
    out.say(`\nContact sheet: ${options.contactSheet}`);
  }
  out.json(jsonOfData(review));
}
