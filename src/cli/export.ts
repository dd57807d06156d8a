/** `graft export`: a saved model as ONNX for other programs, or in another of the formats that Graft writes. */
import { stat } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import { modelEndings } from '../saving/index.ts';
import { weightEndings } from '../saving/weights.ts';
import { load } from '../training/build.ts';
import { addCommonOptions, type CommonOptions } from './arguments.ts';
import { megabytes, outputFor } from './output.ts';
import { findModel } from './run_folder.ts';

const endings = ['.onnx', ...modelEndings, ...weightEndings];
const described = '.onnx, .keras, .h5, .weights.h5 or .safetensors';

export interface ExportCommandOptions extends CommonOptions {
  readonly model?: string;
  readonly out?: string;
  readonly float?: true;
}

export function defineExport(program: Command): void {
  const command = program
    .command('export')
    .description('Write a model for other programs: ONNX, Keras, or weights alone.')
    .option('--model <path>', 'a model (.keras, .h5) or the folder of a run')
    .option('--out <file>', `what to write: ${described} (default: the model with .onnx)`)
    .option('--float', 'ONNX takes float32 pictures (default: uint8)');
  addCommonOptions(command);
  command.addHelpText('after', examples).action(runExport);
}

const examples = `
Examples:
  $ graft export --model runs/NAME                      runs/NAME/cifar10.onnx, with the names of the classes
  $ graft export --model model.h5 --out model.keras
  $ graft export --model model.h5 --out model.safetensors`;

async function runExport(options: ExportCommandOptions): Promise<void> {
  const out = outputFor(options);
  const { path, record } = await findModel(options.model);
  const file = options.out ?? `${path.slice(0, path.length - extname(path).length)}.onnx`;
  if (!endings.some((ending) => file.toLowerCase().endsWith(ending))) {
    fail('argument', `--out ${file}: expected a file that ends in ${described}.`);
  }
  const model = await load(path, { compile: !file.endsWith('.onnx') });
  const classNames = record?.data.classNames ?? null;
  if (file.endsWith('.onnx')) {
    await model.export(file, { classNames, input: options.float ? 'float32' : 'uint8' });
    if (classNames === null) out.say('The model lies in no run folder, so the classes have no names.');
  } else if (/\.(weights\.h5|safetensors)$/.test(file)) await model.saveWeights(file);
  else await model.save(file);
  const bytes = (await stat(file)).size;
  out.result(`Wrote ${file} (${megabytes(bytes)}) from ${basename(path)}.`);
  out.json({ command: 'export', model: path, file, bytes, classNames });
}
