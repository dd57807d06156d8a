/** `graft predict`: which class each picture is, by a saved model. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { fail, GraftError } from '../core/errors.ts';
import { float32, type Tensor } from '../core/tensor.ts';
import { oneLine } from '../core/text.ts';
import { imageDataset, imagesIn, readable } from '../data/index.ts';
import { unscored } from '../losses/index.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addTtaOption,
  type CommonOptions,
  type DeviceOptions,
  wholeNumber,
} from './arguments.ts';
import { addAspectOptions, type PictureOptions } from './data.ts';
import {
  addImportedModelOptions,
  type ImportedModelOptions,
  modelWords,
  openModel,
  sayNumbers,
} from './open_model.ts';
import { outputFor, percent, table } from './output.ts';

export interface PredictOptions
  extends CommonOptions,
    DeviceOptions,
    ImportedModelOptions,
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

export function definePredict(command: Command): void {
  command
    .argument('<image...>', 'images (JPEG, PNG, WebP, GIF, AVIF or TIFF), or folders of them')
    .option('--model <path>', `${modelWords}, which knows the names of classes`)
    .option('--top <k>', 'how many classes to name', wholeNumber(1), 3);
  addImportedModelOptions(addTtaOption(addAspectOptions(command)));
  addCommonOptions(addDeviceOptions(command));
  command.addHelpText('after', examples).action(runPredict);
}

const examples = `
Examples:
  $ graft predict --model runs/NAME photo.jpg
  $ graft predict --model runs/NAME holiday-pictures
  $ graft predict --model runs/NAME --top 1 --json pictures/*.png
  $ graft predict --model keras_model.h5 --preprocessing tf --class-names labels.txt photo.jpg`;

/** They take no second. */
const fewPictures = 32;

async function runPredict(given: string[], options: PredictOptions): Promise<void> {
  const out = outputFor(options);
  const opened = await openModel(options.model, options, out);
  const { path, record, model, classNames } = opened;
  const [height, width] = model.input.shape as [number, number, number];
  const images = (await Promise.all(given.map(picturesAt))).flat();
  // As in training, unless the command line says otherwise.
  const { cropToAspectRatio = false, padToAspectRatio = false } = { ...record?.config, ...options };
  const size = { height, width, cropToAspectRatio, padToAspectRatio };
  const files = images.map((path) => ({ path, name: path, label: 0, sha256: null }));
  const pictures = imageDataset(files, { name: 'pictures', classNames: null, size });
  model.compile({
    loss: unscored,
    device: options.device,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  });
  try {
    const { tta = 1 } = options;
    const verbose = out.verbose && images.length > fewPictures;
    const predicted = await model.predict(pictures, { tta, verbose }).catch((error) => unreadable(error));
    const output = probabilitiesOf(predicted);
    const predictions = images.map((image, row) => ({
      image,
      classes: topGuesses(output, row, classNames, options.top),
    }));
    out.result(
      table(predictions.map(({ image, classes }) => [image, classes.map(describeGuess).join('  ')] as const)),
    );
    sayNumbers(opened, out);
    out.json({ command: 'predict', model: path, preprocessing: opened.preprocessing, predictions });
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
  return `${oneLine(name)} ${percent(probability)}`;
}

/** The most probable classes of one row of `probabilitiesOf` a model's output. */
export function topGuesses(
  { shape, data }: Tensor<'float32'>,
  row: number,
  classNames: readonly string[] | null,
  top: number,
): Guess[] {
  const classes = shape[1]!;
  const probabilities = [...data.subarray(row * classes, (row + 1) * classes)];
  const guesses = probabilities.map((probability, id) => ({
    class: classNames?.[id] ?? `class ${id}`,
    id,
    probability,
  }));
  return guesses.sort((a, b) => b.probability - a.probability || a.id - b.id).slice(0, top);
}

/** Beyond 1 by rounding. */
const slack = 1e-5;

/**
 * What a model puts out, as the probabilities of its classes. A model without a last activation, as many of Keras's
 * tutorials have, puts out logits; they get its softmax. One output alone is the probability of class 1, or its logit:
 * two classes come of it.
 *
 * @param output (n, outputs)
 */
export function probabilitiesOf({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const [count, outputs] = shape as [number, number];
  const logits = data.some((value) => value < 0 || value > 1 + slack);
  if (outputs === 1) {
    const ones = logits ? data.map((value) => 1 / (1 + Math.exp(-value))) : data;
    return float32(
      [count, 2],
      Float32Array.from({ length: 2 * count }, (_, i) =>
        i % 2 === 1 ? ones[(i - 1) / 2]! : 1 - ones[i / 2]!,
      ),
    );
  }
  if (!logits) return float32(shape, data);
  const probabilities = new Float32Array(data.length);
  for (let row = 0; row < count; row++) {
    const values = data.subarray(row * outputs, (row + 1) * outputs);
    const largest = Math.max(...values);
    const powers = values.map((value) => Math.exp(value - largest));
    const total = powers.reduce((sum, value) => sum + value, 0);
    probabilities.set(
      powers.map((value) => value / total),
      row * outputs,
    );
  }
  return float32(shape, probabilities);
}
