/** `graft predict`: which class each picture is, by a saved model. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { fail, GraftError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import { imageDataset, imagesIn, readable } from '../data/index.ts';
import { load } from '../training/build.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addTtaOption,
  type CommonOptions,
  type DeviceOptions,
  wholeNumber,
} from './arguments.ts';
import { addAspectOptions, type PictureOptions } from './data.ts';
import { outputFor, percent, table } from './output.ts';
import { findModel } from './run_folder.ts';

export interface PredictOptions
  extends CommonOptions,
    DeviceOptions,
    Partial<Pick<PictureOptions, 'cropToAspectRatio' | 'padToAspectRatio'>> {
  readonly model?: string;
  readonly top: number;
  readonly tta?: number;
}

export interface Guess {
  /** The name, or the number where nobody said the names. */
  readonly class: string;
  readonly id: number;
  readonly probability: number;
}

export function definePredict(program: Command): void {
  const command = program
    .command('predict')
    .description('Say which class each picture is.')
    .argument('<image...>', 'images (JPEG, PNG, WebP, GIF, AVIF or TIFF), or folders of them')
    .option(
      '--model <path>',
      'a model (.keras, .h5) or the folder of a run, which knows the names of classes',
    )
    .option('--top <k>', 'how many classes to name', wholeNumber(1), 3);
  addTtaOption(addAspectOptions(command));
  addCommonOptions(addDeviceOptions(command));
  command.addHelpText('after', examples).action(runPredict);
}

const examples = `
Examples:
  $ graft predict --model runs/NAME photo.jpg
  $ graft predict --model runs/NAME holiday-pictures
  $ graft predict --model runs/NAME --top 1 --json pictures/*.png`;

/** They take no second. */
const fewPictures = 32;

async function runPredict(given: string[], options: PredictOptions): Promise<void> {
  const out = outputFor(options);
  const { path, record } = await findModel(options.model);
  const model = await load(path);
  const [height, width] = model.input.shape as [number, number, number];
  const images = (await Promise.all(given.map(picturesAt))).flat();
  // As in training, unless the command line says otherwise.
  const { cropToAspectRatio = false, padToAspectRatio = false } = { ...record?.config, ...options };
  const size = { height, width, cropToAspectRatio, padToAspectRatio };
  const files = images.map((path) => ({ path, name: path, label: 0, sha256: null }));
  const pictures = imageDataset(files, { name: 'pictures', classNames: null, size });
  model.compile({
    loss: 'categorical_crossentropy',
    device: options.device,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  });
  try {
    const { tta = 1 } = options;
    const verbose = out.verbose && images.length > fewPictures;
    const output = await model.predict(pictures, { tta, verbose }).catch((error) => unreadable(error));
    const classNames = record?.data.classNames ?? null;
    const predictions = images.map((image, row) => ({
      image,
      classes: topGuesses(output, row, classNames, options.top),
    }));
    out.result(
      table(predictions.map(({ image, classes }) => [image, classes.map(describeGuess).join('  ')] as const)),
    );
    if (classNames === null) out.say('The model lies in no run folder, so classes are numbers.');
    out.json({ command: 'predict', model: path, predictions });
  } finally {
    await model.close();
  }
}

/** A picture, or all that lie in a folder. */
async function picturesAt(path: string): Promise<string[]> {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [path];
  const found = await imagesIn(path).catch((error) => unreadable(error));
  return found.length > 0 ? found : fail('argument', `${path}: this folder holds no pictures (${readable}).`);
}

/** Throws `argument` for a picture that cannot be read. */
export function unreadable(error: unknown): never {
  if (!(error instanceof GraftError) || error.code !== 'data') throw error;
  return fail('argument', `Cannot read the picture ${error.message}`, error);
}

export function describeGuess({ class: name, probability }: Guess): string {
  return `${name} ${percent(probability)}`;
}

/** The most probable classes of one row of a model's output. */
export function topGuesses(
  { shape, data }: Tensor<'float32'>,
  row: number,
  classNames: readonly string[] | null,
  top: number,
): Guess[] {
  const classes = shape[1]!;
  const probabilities = asProbabilities(data.subarray(row * classes, (row + 1) * classes));
  const guesses = probabilities.map((probability, id) => ({
    class: classNames?.[id] ?? `class ${id}`,
    id,
    probability,
  }));
  return guesses.sort((a, b) => b.probability - a.probability || a.id - b.id).slice(0, top);
}

/** Beyond 1 by rounding. */
const slack = 1e-5;

/** A model without a last activation, as many of Keras's tutorials have, puts out logits; they get its softmax. */
function asProbabilities(values: Float32Array): number[] {
  if (values.every((value) => value >= 0 && value <= 1 + slack)) return [...values];
  const largest = Math.max(...values);
  const powers = Array.from(values, (value) => Math.exp(value - largest));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers.map((value) => value / total);
}
