/** `graft evaluate`: a saved model on the test pictures of a data set. */
import { type Command, Option } from 'commander';
import { fail } from '../core/errors.ts';
import { lengthOf } from '../data/index.ts';
import { load } from '../training/build.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addMirrorOption,
  type CommonOptions,
  type DeviceOptions,
  wholeNumber,
} from './arguments.ts';
import { classCounts, type DataName, dataNames, limitTo, loadSplits } from './data.ts';
import { count, outputFor, percent } from './output.ts';
import { findModel } from './run_folder.ts';

interface EvaluateOptions extends CommonOptions, DeviceOptions {
  readonly model: string;
  readonly data?: DataName;
  readonly limit?: number;
  readonly batchSize: number;
  readonly mirror?: string;
}

export function defineEvaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('Measure a saved model on the test pictures of a data set.')
    .requiredOption('--model <path>', 'a model (.keras, .h5) or the folder of a run')
    .addOption(
      new Option('--data <name>', 'the pictures (default: those of the run)').choices([...dataNames]),
    )
    .option('--limit <n>', 'use only the first n test pictures', wholeNumber(1))
    .option('--batch-size <n>', 'pictures at a time', wholeNumber(1, 65_536), 32);
  addCommonOptions(addMirrorOption(addDeviceOptions(command)));
  command.addHelpText('after', examples).action(runEvaluate);
}

const examples = `
Examples:
  $ graft evaluate --model runs/NAME
  $ graft evaluate --model cifar10.h5 --data cifar10 --limit 1000`;

async function runEvaluate(options: EvaluateOptions): Promise<void> {
  const out = outputFor(options);
  const { path, record } = await findModel(options.model);
  const name =
    options.data ??
    record?.config.data ??
    fail(
      'argument',
      `--model ${options.model} lies in no run folder; say which pictures with --data ${dataNames[0]}.`,
    );
  const model = await load(path);
  const classes = model.result.shape.at(-1);
  if (classes !== classCounts[name]) {
    fail(
      'argument',
      `${path} knows ${classes} classes, ${name} has ${classCounts[name]}. Choose another --data.`,
    );
  }
  const { test } = await loadSplits(name, options.mirror, out);
  const pictures = limitTo(test, options.limit ?? null, '--limit', out);
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
    const logs = await model.evaluate(pictures, { batchSize: options.batchSize, verbose: out.verbose });
    const { accuracy, loss } = logs as { accuracy: number; loss: number };
    const images = lengthOf(pictures);
    const seconds = (performance.now() - start) / 1000;
    out.result(`${percent(accuracy)} of ${count(images)} test pictures of ${name} (loss ${loss.toFixed(4)})`);
    out.json({ command: 'evaluate', model: path, data: name, images, accuracy, loss, seconds });
  } finally {
    await model.close();
  }
}
