/**
 * A saved model made ready for images, wherever it comes from: `predict`, `evaluate`, `explain` and `export` open it
 * here. A run knows how its images are prepared and what its classes are called; of a file from elsewhere both are
 * read, asked for or said, never guessed without a word.
 */
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import * as applications from '../applications/index.ts';
import { fail, GraftError } from '../core/errors.ts';
import { kindOf } from '../core/file_kind.node.ts';
import { formatShape } from '../core/tensor.ts';
import * as layers from '../layers/index.ts';
import type { Loss } from '../losses/index.ts';
import { inputScaling } from '../models/input_scaling.ts';
import { Network } from '../models/network.ts';
import { load, sequential } from '../training/build.ts';
import type { Model } from '../training/model.ts';
import { wholeNumber } from './arguments.ts';
import { readClassNames } from './class_names.ts';
import type { Output } from './output.ts';
import { type FoundModel, findModel, type RunRecord } from './run_folder.ts';

export const modelWords = 'a model (.keras, .h5, .onnx) or the folder of a run';

/** What a command line says of a model that Graft did not train. */
export interface ImportedModelOptions {
  readonly imageSize?: number;
  readonly preprocessing?: string;
  readonly classNames?: string;
}

export function addImportedModelOptions(command: Command): Command {
  return command
    .optionsGroup('A model from elsewhere:')
    .option(
      '--preprocessing <how>',
      `what its images become, where the file does not say it: ${applications.normalizationWords}`,
    )
    .option('--class-names <file>', 'the names of its classes, one a line, or "0 name" (labels.txt)')
    .option(
      '--image-size <pixels>',
      'height and width of its images, where the file leaves them open',
      wholeNumber(1, 2048),
    );
}

export interface OpenedModel {
  readonly path: string;
  /** Of the run that made it; null for a model from elsewhere. */
  readonly record: RunRecord | null;
  /** Takes RGB images of 0 … 255, (height, width, 3), whatever the file takes. */
  readonly model: Model;
  readonly classNames: readonly string[] | null;
  /** The loss that its file says; null if there is none, or one that Graft lacks. */
  readonly loss: Loss | null;
  /** What becomes of 0 … 255 before the file's own layers; null for a run, which knows it. */
  readonly preprocessing: string | null;
}

/**
 * Opens what `--model` names. Says what images become and what was left out.
 *
 * @throws `argument` if nobody says how the images of a model are prepared, and for options that do not fit it
 */
export async function openModel(
  given: string | undefined,
  options: ImportedModelOptions,
  out: Output,
): Promise<OpenedModel> {
  const found = await findModel(given);
  const { path, record } = found;
  if (record !== null) return openRun(found, record, options, out);
  const { model, loss, normalization, preprocessing, classNames } =
    (await kindOf(path)) === 'onnx' ? await openOnnx(path, options) : await openKeras(path, options, out);
  out.say(`Images: ${preprocessing}.`);
  const outputs = model.result.shape.at(-1)!;
  const names =
    options.classNames === undefined
      ? classNames
      : await readClassNames(options.classNames, outputs === 1 ? 2 : outputs);
  return { path, record, model, loss, classNames: names, preprocessing: normalization };
}

async function openRun(
  { path }: FoundModel,
  record: RunRecord,
  options: ImportedModelOptions,
  out: Output,
): Promise<OpenedModel> {
  const flags = { preprocessing: '--preprocessing', classNames: '--class-names', imageSize: '--image-size' };
  const useless = (Object.keys(flags) as (keyof typeof flags)[]).find((name) => options[name] !== undefined);
  if (useless !== undefined) {
    fail('argument', `${flags[useless]} is for models from elsewhere; the run of ${path} knows its own.`);
  }
  const model = await loadSaved(path, undefined, out);
  return {
    path,
    record,
    model,
    loss: lossOf(model),
    classNames: record.data.classNames,
    preprocessing: null,
  };
}

/** A file's model, before its classes are named. */
interface Imported {
  readonly model: Model;
  readonly loss: Loss | null;
  /** As `--preprocessing` names it; `none` where the file does it. */
  readonly normalization: string;
  /** The same and why, in words. */
  readonly preprocessing: string;
  readonly classNames: readonly string[] | null;
}

async function openOnnx(path: string, { imageSize, preprocessing }: ImportedModelOptions): Promise<Imported> {
  const shape = imageSize === undefined ? undefined : ([imageSize, imageSize, 3] as const);
  const inspection = await applications.inspectOnnx(resolve(path), shape);
  const { notes, classNames, output } = inspection;
  const asked = preprocessing === undefined ? null : applications.parseNormalization(preprocessing);
  const normalization =
    asked ?? notes.normalization ?? fail('argument', unsaid(path, null, inspection.input.channels));
  const model = await applications.fromOnnx(inspection, {
    output,
    preprocessing: normalization,
    name: 'onnx',
  });
  if (model.result.shape.length !== 1) {
    fail(
      'unsupported',
      `${path} puts out ${formatShape(model.result.shape)} for an image; expected one number for each class.`,
    );
  }
  const text = applications.normalizationText(normalization);
  const source = asked === null ? notes.source! : '--preprocessing';
  return {
    model,
    loss: null,
    normalization: text,
    preprocessing: `${inspection.input.channels === 1 ? 'made grey; ' : ''}${describeNormalization(text, source)}`,
    classNames,
  };
}

async function openKeras(path: string, options: ImportedModelOptions, out: Output): Promise<Imported> {
  const loaded = await loadSaved(path, options.imageSize, out);
  const { height, width, channels } = imageShape(path, loaded);
  const scaling = inputScaling(loaded);
  const asked =
    options.preprocessing === undefined ? null : applications.parseNormalization(options.preprocessing);
  if (asked === null && scaling.kind !== 'own') fail('argument', unsaid(path, loaded, channels));
  const normalization = asked ?? 'none';
  const layer = applications.normalizationLayer(normalization, channels);
  const before = [...(channels === 1 ? [applications.grey()] : []), ...(layer === null ? [] : [layer])];
  const model =
    before.length === 0
      ? loaded
      : sequential([layers.input({ shape: [height, width, 3] }), ...before, loaded], { name: loaded.name });
  const own = scaling.kind === 'none' ? null : `${scaling.layer.className} "${scaling.layer.name}"`;
  const text = applications.normalizationText(normalization);
  const how =
    asked === null
      ? `0 … 255 go in, since the model scales them itself (${own})`
      : `${describeNormalization(text, '--preprocessing')}${own === null ? '' : `; then the model's own ${own}`}`;
  const preprocessing = channels === 1 ? `made grey; ${how}` : how;
  return { model, loss: lossOf(loaded), normalization: text, preprocessing, classNames: null };
}

function lossOf(model: Model): Loss | null {
  return model.isCompiled ? model.compiled.loss : null;
}

/** A model from its file, without how it was trained if that is something that Graft lacks. */
export async function loadSaved(path: string, imageSize: number | undefined, out: Output): Promise<Model> {
  const read = (compile: boolean) => loadSized(path, imageSize, compile);
  try {
    return await read(true);
  } catch (error) {
    if (!(error instanceof GraftError)) throw error;
    const model = await read(false);
    const reason = error.cause instanceof GraftError ? error.cause : error;
    out.say(`Loaded without how it was trained: ${reason.message}`);
    return model;
  }
}

/** `imageSize` fills what the file leaves open; whether it is of colours or grey, the file says. */
async function loadSized(path: string, imageSize: number | undefined, compile: boolean): Promise<Model> {
  if (imageSize === undefined) {
    return load(path, { compile }).catch((error: unknown) => {
      if (!(error instanceof GraftError) || !error.message.includes('inputShape')) throw error;
      return fail(
        'argument',
        `${path} leaves the size of its images open; say it with --image-size PIXELS (224, or what it was trained with).`,
        error,
      );
    });
  }
  const sized = (channels: number) => load(path, { compile, inputShape: [imageSize, imageSize, channels] });
  try {
    return await sized(3);
  } catch (error) {
    const misfit = error instanceof GraftError && error.message.includes('inputShape');
    if (!misfit) throw error;
    return sized(1).catch((second: unknown) => {
      const still = second instanceof GraftError && second.message.includes('inputShape');
      if (still) fail('argument', `--image-size ${imageSize}: ${error.message}`, error);
      throw second;
    });
  }
}

interface ImageShape {
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
}

/** Throws `unsupported` for a model that takes no images, with a sentence on what it takes. */
function imageShape(path: string, model: Model): ImageShape {
  const { shape } = model.input;
  const [height, width, channels] = shape as [number, number, number];
  if (shape.length === 3 && (channels === 1 || channels === 3)) return { height, width, channels };
  const takes = `${path} takes ${formatShape(shape)}`;
  const expected = 'Graft feeds images, (height, width, 3) or (height, width, 1)';
  if (shape.length === 3 && (shape[0] === 1 || shape[0] === 3))
    fail('unsupported', `${takes}, channels first; ${expected}. Save it with data_format "channels_last".`);
  if (shape.length === 3) fail('unsupported', `${takes}, images of ${channels} channels; ${expected}.`);
  if (shape.length !== 1) fail('unsupported', `${takes}; ${expected}.`);
  const [length] = shape as [number];
  const [grey, colour] = [Math.sqrt(length), Math.sqrt(length / 3)];
  const image = Number.isInteger(grey) ? [grey, 1] : Number.isInteger(colour) ? [colour, 3] : null;
  const what = `${takes}: vectors of ${length} numbers`;
  if (image === null) fail('unsupported', `${what}; ${expected}.`);
  const [side, depth] = image;
  return fail(
    'unsupported',
    `${what}, perhaps ${depth === 1 ? 'grey' : 'colour'} images of ${side}x${side} as one row each; ${expected}. Put a Flatten in ` +
      `front of it in Keras: keras.Sequential([keras.Input((${side}, ${side}, ${depth})), keras.layers.Flatten(), model]).`,
  );
}

/** What a preprocessing does, for people. */
const meanings: Readonly<Record<string, string>> = {
  tf: 'x / 127.5 − 1',
  torch: '(x / 255 − mean) / deviation of ImageNet',
  caffe: 'blue, green, red without the means of ImageNet',
  unit: 'x / 255',
  none: '0 … 255 as they are',
};

function describeNormalization(text: string, source: string): string {
  return `${text}${text in meanings ? `, ${meanings[text]}` : ''} (${source})`;
}

/** Networks of keras.applications by a layer's name, and the preprocessing that Keras has for each. */
const known: readonly (readonly [RegExp, string, string])[] = [
  [/^bn_Conv1$|^mobilenetv?2/i, 'MobileNetV2', 'tf'],
  [/^conv_dw_1$|^mobilenet_1/i, 'MobileNet', 'tf'],
  [/^block14_sepconv2$|^xception$/, 'Xception', 'tf'],
  [/^mixed10$|^inception_v3$/, 'InceptionV3', 'tf'],
  [/^post_relu$|^resnet\d+v2$/, 'ResNetV2', 'tf'],
  [/^normal_conv_1|^nasnet/i, 'NASNet', 'tf'],
  [/^conv5_block16_concat$|^densenet\d+$/, 'DenseNet', 'torch'],
  [/^block5_conv3$|^vgg1[69]$/, 'VGG', 'caffe'],
  [/^conv5_block3_out$|^resnet\d+$/, 'ResNet', 'caffe'],
];

/** Nobody says how images are prepared. */
function unsaid(path: string, model: Model | null, channels: 1 | 3): string {
  const words =
    channels === 1
      ? 'unit (0 … 1: x / 255, as most tutorials), tf (−1 … 1), none (0 … 255 as they are), or MEAN/STD (0.1307/0.3081)'
      : 'tf (−1 … 1: Teachable Machine, MobileNet, Xception), unit (0 … 1: x / 255, as many tutorials), torch (mean and ' +
        'deviation of ImageNet: PyTorch, timm), caffe (VGG and ResNet of Keras), none (0 … 255 as they are), or ' +
        'MEAN/STD (0.5,0.5,0.5/0.25,0.25,0.25)';
  const scaling = model && inputScaling(model);
  const why =
    scaling?.kind === 'other range'
      ? `its ${scaling.layer.className} "${scaling.layer.name}" was made for other values than 0 … 255`
      : model === null
        ? 'neither it nor a file beside it says how its images are prepared'
        : 'it has no layer that scales images of 0 … 255';
  const names = model === null ? [] : namesIn(model);
  const alike = known.find(([pattern]) => names.some((name) => pattern.test(name)));
  const hint =
    scaling?.kind === 'other range'
      ? ' Perhaps it is unit.'
      : alike === undefined
        ? ' Look for preprocess_input or "/ 255" where it was trained.'
        : ` It looks like ${alike[1]}, for which Keras has ${alike[2]}: --preprocessing ${alike[2]}`;
  return `${path}: ${why}, and a wrong guess gives wrong classes without a word. Say it with --preprocessing: ${words}.${hint}`;
}

/** Of layers, nested ones included. */
function namesIn(network: Network): string[] {
  return network.layers.flatMap((layer) => [layer.name, ...(layer instanceof Network ? namesIn(layer) : [])]);
}

/** Says that classes have no names, and where they may be. */
export function sayNumbers({ path, classNames, record }: OpenedModel, out: Output): void {
  if (classNames !== null || record !== null) return;
  const labels = join(dirname(path), 'labels.txt');
  const beside = existsSync(labels)
    ? ` ${basename(labels)} beside it may have them: --class-names ${labels}`
    : '';
  out.say(`The file does not name its classes, so they are numbers; --class-names FILE names them.${beside}`);
}
