/** `graft evaluate`: a saved model on the test pictures of a data set, or on a person's own. */
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import { type Dataset, lengthOf } from '../data/index.ts';
import { load } from '../training/build.ts';
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
import { count, type Output, outputFor, percent, plural } from './output.ts';
import { findModel, type RunRecord } from './run_folder.ts';
import { measure, scoreViews } from './run_predictions.ts';

export interface EvaluateOptions extends CommonOptions, DeviceOptions, Partial<PictureOptions> {
  readonly model?: string;
  readonly data?: string;
  readonly limit?: number;
  readonly batchSize: number;
  readonly tta?: number;
  readonly mirror?: string;
}

export function defineEvaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('Measure a saved model on the test pictures of a data set, or on your own.')
    .option('--model <path>', 'a model (.keras, .h5) or the folder of a run')
    .option('--data <what>', `${dataWords} (default: those of the run)`, parseData)
    .option('--limit <n>', 'use only the first n test pictures', wholeNumber(1))
    .option('--batch-size <n>', 'pictures at a time', wholeNumber(1, 65_536), 32);
  addTtaOption(command);
  addPictureOptions(command);
  addCommonOptions(addMirrorOption(addDeviceOptions(command)));
  command.addHelpText('after', examples).action(runEvaluate);
}

const examples = `
Of a folder with test/ those pictures are taken, else those of val/, else all in it; of the folder
that the run was trained on, those that were held back.

Examples:
  $ graft evaluate --model runs/NAME
  $ graft evaluate --model runs/NAME --data more-pets
  $ graft evaluate --model cifar10.h5 --data cifar10 --limit 1000`;

async function runEvaluate(options: EvaluateOptions): Promise<void> {
  const out = outputFor(options);
  const { path, record } = await findModel(options.model);
  const source =
    options.data ??
    record?.config.data ??
    fail(
      'argument',
      `--model ${options.model} lies in no run folder; say which pictures with --data ${dataNames[0]}.`,
    );
  const model = await load(path);
  const classes = model.result.shape.at(-1)!;
  const imageSize = model.input.shape.slice(0, 2) as [number, number];
  const { pictures: all, what } = isPublished(source)
    ? await publishedPictures(source, { path, classes }, options, out)
    : await ownPictures(source, { path, classes, imageSize, record }, options, out);
  const pictures = limitTo(all, options.limit ?? null, '--limit', out);
  model.compile({
    loss: model.isCompiled ? model.compiled.loss : 'sparseCategoricalCrossentropy',
    metrics: ['accuracy'],
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
      tta > 1
        ? await scoreViews(model, pictures, { ...passing, tta })
        : ((await measure(model, pictures, what, passing)) as {
            accuracy: number;
            loss: number;
          });
    const images = lengthOf(pictures);
    const seconds = (performance.now() - start) / 1000;
    out.result(
      `${percent(accuracy)} of ${plural(images, what)} of ${dataTitle(source)} (loss ${loss.toFixed(4)}` +
        `${tta > 1 ? `, ${tta} views of each` : ''})`,
    );
    out.json({ command: 'evaluate', model: path, data: source, images, tta, accuracy, loss, seconds });
  } finally {
    await model.close();
  }
}

interface Evaluated {
  readonly pictures: Dataset;
  /** `test picture` */
  readonly what: string;
}

async function publishedPictures(
  source: Parameters<typeof loadSplits>[0],
  { path, classes }: { readonly path: string; readonly classes: number },
  { mirror }: EvaluateOptions,
  out: Output,
): Promise<Evaluated> {
  const expected = await classCountOf(source);
  if (classes !== expected) {
    fail('argument', `${path} knows ${classes} classes, ${source} has ${expected}. Choose another --data.`);
  }
  return { pictures: (await loadSplits(source, mirror, out)).test, what: 'test picture' };
}

interface Trained {
  readonly path: string;
  readonly classes: number;
  readonly imageSize: readonly [height: number, width: number];
  readonly record: RunRecord | null;
}

async function ownPictures(
  source: string,
  { path, classes, imageSize, record }: Trained,
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
  const names = record?.data.classNames ?? null;
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
      `${path} knows ${classes} classes, ${source} has ${found.length}, and the model does not say which: it lies in ` +
        'no run folder. Choose another --data.',
    );
  }
  if (names === null || names.every((name, id) => found[id] === name)) return;
  fail('argument', `${source} has other classes than when ${path} was trained on it: ${found.join(', ')}.`);
}
