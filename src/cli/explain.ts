/** `graft explain`: the parts of a picture that speak for a class, as a heat map over it. */
import { parse } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { sizeOf, type Tensor, tensor } from '../core/tensor.ts';
import { decodeImage } from '../data/index.ts';
import { drawHeatMap } from '../report/heatmap.node.ts';
import type { Model } from '../training/model.ts';
import { type GradCamOptions, gradCam } from '../training/saliency.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  type CommonOptions,
  type DeviceOptions,
  didYouMean,
} from './arguments.ts';
import { addAspectOptions, type PictureOptions } from './data.ts';
import { addImportedModelOptions, type ImportedModelOptions, modelWords, openModel } from './open_model.ts';
import { outputFor, table } from './output.ts';
import { describeGuess, probabilitiesOf, topGuesses, unreadable } from './predict.ts';

type Aspect = Pick<PictureOptions, 'cropToAspectRatio' | 'padToAspectRatio'>;

export interface ExplainOptions extends CommonOptions, DeviceOptions, ImportedModelOptions, Partial<Aspect> {
  readonly class?: string;
  readonly layer?: string;
  readonly output?: string;
}

export function defineExplain(command: Command): void {
  command
    .argument('<model>', modelWords)
    .argument('<image>', 'a picture')
    .option('--class <name>', 'a class by its name or number (default: the most probable one)')
    .option('--layer <name>', 'whose feature map is looked at (default: the last one that puts out one)')
    .option('--output <file>', 'the picture that is written, a .png (default: IMAGE-gradcam.png, here)');
  addImportedModelOptions(addAspectOptions(command));
  addCommonOptions(addDeviceOptions(command));
  command.addHelpText('after', examples).action(runExplain);
}

const examples = `
Bright is what raises the class's logit (Selvaraju et al. 2017). The last layers know what, earlier ones
know where.

Examples:
  $ graft explain runs/NAME photo.jpg
  $ graft explain runs/NAME photo.jpg --class cat --output why-cat.png
  $ graft explain runs/NAME photo.jpg --layer conv3_block4_out`;

async function runExplain(given: string, image: string, options: ExplainOptions): Promise<void> {
  const out = outputFor(options);
  const path = options.output ?? `${parse(image).name}-gradcam.png`;
  if (!/\.png$/i.test(path)) fail('argument', `--output ${path}: expected a name that ends in .png.`);
  const { path: file, record, model, classNames, preprocessing } = await openModel(given, options, out);
  if (record === null && model.leaves().some(({ className }) => className === 'OnnxBackbone')) {
    fail(
      'unsupported',
      `${file}: Grad-CAM follows gradients through layers, which a whole ONNX model does not have. Explain the .keras or ` +
        '.h5 file that it was exported from, or a run of graft train --backbone FILE.onnx.',
    );
  }
  const { cropToAspectRatio = false, padToAspectRatio = false } = { ...record?.config, ...options };
  const aspect = { cropToAspectRatio, padToAspectRatio };
  try {
    const explained = await explain(model, await picturesOf(model, image, aspect), {
      ...(options.class === undefined ? {} : { classId: classOf(options.class, model, classNames) }),
      ...(options.layer === undefined ? {} : { layer: options.layer }),
      ...{ device: options.device, ...(options.threads === undefined ? {} : { threads: options.threads }) },
    });
    await writeAtomically(path, explained.png);
    const guesses = topGuesses(explained.output, 0, classNames, explained.output.shape[1]!);
    const wanted = guesses.find(({ id }) => id === explained.classId)!;
    const [height, width] = explained.size;
    out.result(
      table([
        ['Picture', `${image}: ${guesses.slice(0, 3).map(describeGuess).join('  ')}`],
        ['Explained', `${describeGuess(wanted)}, by ${explained.layer} (${height}x${width})`],
        ['Written', path],
      ]),
    );
    const { layer } = explained;
    out.json({ command: 'explain', model: file, preprocessing, image, layer, ...wanted, output: path });
  } finally {
    await model.close();
  }
}

/** The number of a class that a name or number names. */
function classOf(text: string, model: Model, classNames: readonly string[] | null): number {
  const outputs = model.result.shape[0]!;
  const id = classIn(text, outputs === 1 ? 2 : outputs, classNames);
  if (outputs === 1 && id === 0)
    fail(
      'argument',
      `--class ${text}: a model with one output says what speaks for class 1; that is explained.`,
    );
  return id;
}

function classIn(text: string, classes: number, classNames: readonly string[] | null): number {
  const named = classNames?.indexOf(text) ?? -1;
  if (named >= 0) return named;
  if (/^\d+$/.test(text) && Number(text) < classes) return Number(text);
  const names =
    classNames === null ? '' : ` or ${classNames.slice(0, 12).join(', ')}${classes > 12 ? ', …' : ''}`;
  return fail(
    'argument',
    `--class ${text}: expected a number from 0 to ${classes - 1}${names}.${didYouMean(text, classNames ?? [])}`,
  );
}

interface Pictures {
  /** As the model takes it, (height, width, 3). */
  readonly seen: Tensor<'uint8'>;
  /** As it is drawn: the same part of the picture, larger. */
  readonly shown: Tensor<'uint8'>;
}

/** Pixels of the longer side of what is written, at most; at least those of the model's input. */
const longest = 1024;

async function picturesOf(model: Model, image: string, aspect: Aspect): Promise<Pictures> {
  const [height, width] = model.input.shape as [number, number, number];
  const read = (size?: Parameters<typeof decodeImage>[1]) => decodeImage(image, size).catch(unreadable);
  const seen = await read({ height, width, ...aspect });
  const whole = await read();
  const [rows, columns] = whole.shape as [number, number, number];
  // A stretched picture is shown in its own proportions, any other in those of the model.
  const stretched = !aspect.cropToAspectRatio && !aspect.padToAspectRatio;
  const proportions = stretched ? { height: rows, width: columns } : { height, width };
  const side = Math.min(Math.max(rows, columns, 256), longest);
  const scale = side / Math.max(proportions.height, proportions.width);
  const size = {
    height: Math.max(1, Math.round(proportions.height * scale)),
    width: Math.max(1, Math.round(proportions.width * scale)),
  };
  return { seen, shown: await read({ ...size, ...aspect }) };
}

async function explain(model: Model, { seen, shown }: Pictures, options: GradCamOptions) {
  const images = tensor('uint8', [1, ...seen.shape], seen.data);
  const single = model.result.shape[0] === 1;
  const asked = options.classId as number | undefined;
  const { classId: _, ...rest } = options;
  const { maps, output: put, layer } = await gradCam(model, images, single ? rest : options);
  const output = probabilitiesOf(put);
  const [, height, width] = maps.shape as [number, number, number];
  const [rows, columns] = shown.shape as [number, number, number];
  const drawn = drawHeatMap(
    { height: rows, width: columns, data: shown.data },
    { height, width, data: maps.data.subarray(0, sizeOf([height, width])) },
  );
  const classId = single ? 1 : (asked ?? topGuesses(output, 0, null, 1)[0]!.id);
  return { png: await drawn.png().toBuffer(), output, layer, classId, size: [height, width] as const };
}
