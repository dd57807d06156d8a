/** `graft export`: a saved model as ONNX for other programs, or in another of the formats that Graft writes. */
import { stat } from 'node:fs/promises';
import { basename, extname, resolve } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import { modelEndings } from '../saving/index.ts';
import { weightEndings } from '../saving/weights.ts';
import { addCommonOptions, type CommonOptions } from './arguments.ts';
import {
  addImportedModelOptions,
  type ImportedModelOptions,
  loadSaved,
  modelWords,
  openModel,
  sayNumbers,
} from './open_model.ts';
import { megabytes, outputFor } from './output.ts';
import { findModel } from './run_folder.ts';

const endings = ['.onnx', ...modelEndings, ...weightEndings];
const described = '.onnx, .keras, .h5, .weights.h5 or .safetensors';

export interface ExportCommandOptions extends CommonOptions, ImportedModelOptions {
  readonly model?: string;
  readonly out?: string;
  readonly float?: true;
}

export function defineExport(command: Command): void {
  command
    .option('--model <path>', modelWords)
    .option('--out <file>', `what to write: ${described} (default: the model with .onnx)`)
    .option('--float', 'ONNX takes float32 pictures (default: uint8)');
  addImportedModelOptions(command);
  addCommonOptions(command);
  command.addHelpText('after', examples).action(runExport);
}

const examples = `
Examples:
  $ graft export --model runs/NAME                      runs/NAME/cifar10.onnx, with the names of the classes
  $ graft export --model keras_model.h5 --preprocessing tf --class-names labels.txt
  $ graft export --model model.h5 --out model.keras
  $ graft export --model model.h5 --out model.safetensors`;

async function runExport(options: ExportCommandOptions): Promise<void> {
  const out = outputFor(options);
  const { path } = await findModel(options.model);
  const file = options.out ?? `${path.slice(0, path.length - extname(path).length)}.onnx`;
  if (!endings.some((ending) => file.toLowerCase().endsWith(ending))) {
    fail('argument', `--out ${file}: expected a file that ends in ${described}.`);
  }
  const toOnnx = file.toLowerCase().endsWith('.onnx');
  if (resolve(file) === resolve(path))
    fail('argument', `--out ${file} is the model itself; name another file.`);
  if (!toOnnx) checkConversion(options);
  const opened = toOnnx ? await openModel(options.model, options, out) : null;
  const model = opened?.model ?? (await loadSaved(path, options.imageSize, out));
  const classNames = opened?.classNames ?? null;
  if (opened !== null) {
    if (classNames !== null && classNames.length !== model.result.shape.at(-1)) {
      fail('argument', `--class-names: the model has one output for two classes, so ONNX cannot name them.`);
    }
    await model.export(file, { classNames, input: options.float ? 'float32' : 'uint8' });
    sayNumbers(opened, out);
  } else if (/\.(weights\.h5|safetensors)$/.test(file)) await model.saveWeights(file);
  else await model.save(file);
  const bytes = (await stat(file)).size;
  out.result(`Wrote ${file} (${megabytes(bytes)}) from ${basename(path)}.`);
  const preprocessing = opened?.preprocessing ?? null;
  out.json({ command: 'export', model: path, file, bytes, preprocessing, classNames });
}

/** Keras's files and weights are written as the model is: nothing of these options would be in them. */
function checkConversion({ preprocessing, classNames, out }: ExportCommandOptions): void {
  const useless =
    preprocessing !== undefined ? '--preprocessing' : classNames !== undefined ? '--class-names' : null;
  if (useless !== null) fail('argument', `${useless} goes into ONNX files only, got --out ${out}.`);
}
