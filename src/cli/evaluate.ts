/** `graft evaluate`: a saved model on the test pictures of a data set, or on a person's own. */
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import { type Dataset, lengthOf } from '../data/index.ts';
import { unscored } from '../losses/index.ts';
import { someOf } from '../models/network.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addMirrorOption,
  addTtaOption,
  type CommonOptions,
  type DeviceOptions,
  wholeNumber,
} from './arguments.ts';
import {
  addPictureOptions,
  classCountOf,
  dataNames,
  dataTitle,
  dataWords,
  isPublished,
  limitTo,
  loadSplits,
  openPictures,
  type PictureOptions,
  parseData,
  usualPictures,
} from './data.ts';
import { addImportedModelOptions, type ImportedModelOptions, modelWords, openModel } from './open_model.ts';
import { count, type Output, outputFor, percent, plural } from './output.ts';
import { findModel, type RunRecord } from './run_folder.ts';
import { measure, scoreViews } from './run_predictions.ts';

export interface EvaluateOptions
  extends CommonOptions,
    DeviceOptions,
    ImportedModelOptions,
    Partial<PictureOptions> {
  readonly model?: string;
  readonly data?: string;
  readonly limit?: number;
  readonly batchSize: number;
  readonly tta?: number;
  readonly mirror?: string;
}

export function defineEvaluate(command: Command): void {
  command
    .option('--model <path>', modelWords)
    .option('--data <what>', `${dataWords} (default: those of the run)`, parseData)
    .option('--limit <n>', 'use only the first n test pictures', wholeNumber(1))
    .option('--batch-size <n>', 'pictures at a time', wholeNumber(1, 65_536), 32);
  addTtaOption(command);
  addPictureOptions(command);
  addImportedModelOptions(command);
  addCommonOptions(addMirrorOption(addDeviceOptions(command)));
  command.addHelpText('after', examples).action(runEvaluate);
}

const examples = `
Of a folder with test/ those pictures are taken, else those of val/, else all in it; of the folder
that the run was trained on, those that were held back.

Examples:
  $ graft evaluate --model runs/NAME
  $ graft evaluate --model runs/NAME --data more-pets
  $ graft evaluate --model cifar10.h5 --data cifar10 --limit 1000
  $ graft evaluate --model keras_model.h5 --preprocessing tf --class-names labels.txt --data pets`;

async function runEvaluate(options: EvaluateOptions): Promise<void> {
  const out = outputFor(options);
  const { record: run } = await findModel(options.model);
  const source =
    options.data ??
    run?.config.data ??
    fail(
      'argument',
      `--model ${options.model} lies in no run folder; say which pictures with --data ${dataNames[0]}.`,
    );
  const {
    path,
    record,
    model,
    loss: trainedWith,
    classNames,
    preprocessing,
  } = await openModel(options.model, options, out);
  const outputs = model.result.shape.at(-1)!;
  const classes = outputs === 1 ? 2 : outputs;
  const imageSize = model.input.shape.slice(0, 2) as [number, number];
  const { pictures: all, what } = isPublished(source)
    ? await publishedPictures(source, { path, classes, classNames }, options, out)
    : await ownPictures(source, { path, classes, classNames, imageSize, record }, options, out);
  const pictures = limitTo(all, options.limit ?? null, '--limit', out);
  // Another loss, or none, says nothing of classes that could be compared: the crossentropy is told instead.
  const hasLoss = trainedWith !== null && outputs > 1 && crossentropies.includes(trainedWith.name);
  model.compile({
    ...(hasLoss ? { loss: trainedWith, metrics: ['accuracy'] } : { loss: unscored }),
    device: options.device,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    // Each picture passes once: nothing to keep.
    cache: 'off',
  });
  const start = performance.now();
  try {
    const { batchSize, tta = 1 } = options;
    const passing = { batchSize, verbose: out.verbose };
    const { accuracy, loss } =
      tta > 1 || !hasLoss
        ? await scoreViews(model, pictures, { ...passing, tta })
        : ((await measure(model, pictures, what, passing)) as {
            accuracy: number;
            loss: number;
          });
    const images = lengthOf(pictures);
    const seconds = (performance.now() - start) / 1000;
    out.result(
      `${percent(accuracy)} of ${plural(images, what)} of ${dataTitle(source)} (${hasLoss ? 'loss' : 'crossentropy'} ${loss.toFixed(4)}` +
        `${tta > 1 ? `, ${tta} views of each` : ''})`,
    );
    const found = { images, tta, accuracy, loss, seconds };
    out.json({ command: 'evaluate', model: path, data: source, preprocessing, ...found });
  } finally {
    await model.close();
  }
}

/** Losses of classes, by their names in Keras. */
const crossentropies = ['categorical_crossentropy', 'sparse_categorical_crossentropy'];

interface Evaluated {
  readonly pictures: Dataset;
  /** `test picture` */
  readonly what: string;
}

async function publishedPictures(
  source: Parameters<typeof loadSplits>[0],
  { path, classes, classNames }: Pick<Trained, 'path' | 'classes' | 'classNames'>,
  { mirror }: EvaluateOptions,
  out: Output,
): Promise<Evaluated> {
  const expected = await classCountOf(source);
  if (classes !== expected) {
    fail('argument', `${path} knows ${classes} classes, ${source} has ${expected}. Choose another --data.`);
  }
  const { test } = await loadSplits(source, mirror, out);
  const other = classNames?.findIndex((name, id) => name !== test.classNames![id]) ?? -1;
  if (other >= 0) {
    fail(
      'argument',
      `Class ${other} of ${path} is "${classNames![other]}", that of ${source} is "${test.classNames![other]}"; expected ` +
        `the classes of ${source} in its order. Choose another --data${classNames === null ? '' : ' or --class-names'}.`,
    );
  }
  return { pictures: test, what: 'test picture' };
}

interface Trained {
  readonly path: string;
  readonly classes: number;
  readonly classNames: readonly string[] | null;
  readonly imageSize: readonly [height: number, width: number];
  readonly record: RunRecord | null;
}

async function ownPictures(
  source: string,
  { path, classes, classNames, imageSize, record }: Trained,
  options: EvaluateOptions,
  out: Output,
): Promise<Evaluated> {
  const trainedHere = record?.config.data === source;
  const { cropToAspectRatio, padToAspectRatio, skipBroken, splitSeed } = {
    ...usualPictures,
    ...record?.config,
    ...options,
  };
  const reading = { cropToAspectRatio, padToAspectRatio, skipBroken, splitSeed, imageSize };
  // Pictures that a run was not trained on are all new to it: none are split off.
  const validationSplit = trainedHere ? record.config.validationSplit : 0;
  const names = classNames;
  // Its own images are split as they were for the training; other ones may be of some of the classes only.
  const modelClassNames = trainedHere ? null : names;
  const opened = await openPictures(
    source,
    { ...reading, validationSplit, ...(modelClassNames === null ? {} : { modelClassNames }) },
    out,
  );
  checkClasses(opened.classNames, { path, classes, names }, source);
  const present = new Set(opened.pictures.map(({ label }) => label));
  const absent = opened.classNames.filter((name) => !present.has(name));
  if (absent.length > 0) {
    const shown = absent.length > 10 ? `${absent.slice(0, 10).join(', ')}, ...` : absent.join(', ');
    out.say(
      `Note: no images of ${count(absent.length)} of the ${count(classes)} classes are there: ${shown}`,
    );
  }
  if (names === null) {
    const first = opened.classNames.slice(0, 10).join(', ');
    out.say(
      `The file does not name its classes; taken as ${first}${classes > 10 ? ', …' : ''}, in the order of names, as ` +
        'Keras does. --class-names FILE says another order.',
    );
  }
  if (opened.test !== null) return { pictures: opened.test, what: 'test picture' };
  if (opened.validation !== null) return { pictures: opened.validation, what: 'validation picture' };
  return { pictures: opened.train, what: 'picture' };
}

/** Class ids are positions in the list of classes, so the lists have to agree. */
function checkClasses(
  found: readonly string[],
  { path, classes, names }: { path: string; classes: number; names: readonly string[] | null },
  source: string,
): void {
  if (names === null && found.length !== classes) {
    fail(
      'argument',
      `${path} knows ${classes} classes, ${source} has ${found.length}, and the file does not name them: name ` +
        'them with --class-names FILE, or choose another --data.',
    );
  }
  if (names === null || names.every((name, id) => found[id] === name)) return;
  fail('argument', `${source} has other classes than when ${path} was trained on it: ${someOf(found, 10)}.`);
}
