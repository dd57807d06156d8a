/** `graft start`: a small real run with a result to look at, for somebody who has just installed Graft. */
import type { Command } from 'commander';
import { fail, GraftError } from '../core/errors.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import { cacheFolder, type Dataset, lengthOf } from '../data/index.ts';
import type { Model } from '../training/model.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addMirrorOption,
  type CommonOptions,
  type DeviceOptions,
  wholeNumber,
} from './arguments.ts';
import type { TrainConfig } from './config.ts';
import { dataTitle, dataWords, isPublished, parseData } from './data.ts';
import { exitCodeAfter } from './interrupt.ts';
import { colourDepth, invocation, type Output, outputFor, shellWord, table } from './output.ts';
import { drawPicture, layoutCards } from './pictures.ts';
import { describeGuess, type Guess, topGuesses } from './predict.ts';
import { reportRun } from './report.ts';
import { defaultRunPath, RunFolder } from './run_folder.ts';
import { judges } from './run_predictions.ts';
import { plain, type StartedRun, startTransfer, transferRecipe } from './start_transfer.ts';
import { runTraining, type TrainedRun } from './training_run.ts';

export interface StartOptions extends CommonOptions, DeviceOptions {
  readonly data: string;
  readonly skipBroken?: true;
  readonly limit?: number;
  readonly mirror?: string;
  readonly out?: string;
}

/** The best of several heads at this size: over 80 % on two cores in about a minute, most of it for features. */
const recipe = {
  ...plain,
  limit: 2000,
  backbone: 'resnet50',
  weights: 'imagenet',
  imageSize: 96,
  backboneOutput: 'conv4_block6_out',
  unfreezeFrom: null,
  head: 'gap,bn,dense:256,dropout:0.5',
  optimizer: 'adam',
  learningRate: 1e-3,
  momentum: 0,
  schedule: 'constant',
  warmupEpochs: 0,
  batchSize: 32,
  epochs: 8,
} as const satisfies Omit<TrainConfig, 'data' | 'validationLimit' | 'device' | 'threads'>;

/** Test pictures that are shown; the first ones, not chosen ones. */
const shown = 6;

export function defineStart(command: Command): void {
  command
    .addHelpText('after', examples)
    .optionsGroup('Run:')
    .option('--data <what>', dataWords, parseData, transferRecipe.data)
    .option('--skip-broken', 'leave out files that cannot be used')
    .option(
      '--limit <n>',
      `learn from the first n pictures only (default: ${recipe.limit}, of emoji10 all)`,
      wholeNumber(1),
    )
    .option('--out <dir>', 'folder of the run (default: runs/<time>-<backbone>-<data>)');
  addMirrorOption(command);
  addCommonOptions(addDeviceOptions(command));
  command.action(runStart);
}

const examples = `
It needs no network: pictures (emoji10) and a small network that knows photographs are part of
Graft. It trains that network twice, from scratch and from what it knows, and compares the two.
With other --data it takes ResNet50's ImageNet weights (95 MB), and CIFAR-10 (170 MB) or your
pictures, and trains a small head on frozen features. Either way it shows what the model makes of
a few test pictures.

Examples:
  $ graft start
  $ graft start --data cifar10
  $ graft start --data pets                  one folder a class
  $ graft start --data cifar10 --mirror /media/usb/mirror`;

async function runStart(options: StartOptions): Promise<void> {
  const out = outputFor(options);
  const { data } = options;
  const embedded = data === transferRecipe.data;
  const { backbone } = embedded ? transferRecipe : recipe;
  const chosen = new RunFolder(options.out ?? defaultRunPath(new Date(), backbone, dataTitle(data)));
  chosen.checkFree();
  await chosen.checkWritable();
  const { run, folder } = await (embedded ? startEmbedded : startHead)(chosen, options, out);
  try {
    if (run.record.status === 'finished') await show(run, out);
  } finally {
    await run.model.close();
  }
  reportRun('start', folder, run.record, out);
  if (run.stoppedBy !== null) process.exitCode = exitCodeAfter(run.stoppedBy);
  else out.say(`\n${next(data)}`);
}

/** What is worth doing after it. */
function next(data: string): string {
  if (data === transferRecipe.data) {
    return (
      'Your own pictures, one folder a class (this takes ResNet50 from its publisher, 95 MB, once):\n' +
      `  ${invocation()} start --data FOLDER`
    );
  }
  return (
    "The whole job trains ResNet50's last block too, at 224x224 on all pictures:\n" +
    `  ${invocation()} train --data ${shellWord(data)} --recipe last-block`
  );
}

function startEmbedded(folder: RunFolder, options: StartOptions, out: Output): Promise<StartedRun> {
  const { limit = null, device, threads = null } = options;
  if (options.skipBroken || options.mirror !== undefined) {
    fail(
      'argument',
      `--skip-broken and --mirror are for other pictures than ${options.data}, which comes with Graft.`,
    );
  }
  const validationLimit = limit && Math.ceil(limit / 4);
  return startTransfer({
    folder,
    config: { ...transferRecipe, limit, validationLimit, device, threads },
    out,
  });
}

/** A head on frozen features of ResNet50. */
async function startHead(folder: RunFolder, options: StartOptions, out: Output): Promise<StartedRun> {
  const { data, mirror, limit = recipe.limit } = options;
  const validationLimit = Math.ceil(limit / 4);
  const config = {
    ...recipe,
    ...{ data, limit, skipBroken: options.skipBroken ?? false },
    validationLimit,
    device: options.device,
    threads: options.threads ?? null,
  };
  out.say(
    `Graft learns to tell ${isPublished(data) ? 'ten kinds of' : 'your'} pictures apart: ResNet50, trained on ImageNet,\n` +
      'looks at each picture once, and a small new head learns what that means.\n' +
      'It takes about a minute on two cores.',
  );
  const run = await runTraining({ folder, config, mirror, previous: null, out }).catch(explainNetwork);
  return { run, folder };
}

function explainNetwork(error: unknown): never {
  if (!(error instanceof GraftError) || error.code !== 'network') throw error;
  return fail(
    'network',
    `${error.message}\n\nThe first run needs CIFAR-10 (170 MB) and ResNet50's weights (95 MB), once; they are then ` +
      `kept in ${cacheFolder()}; graft start without --data needs no network. Without a network: on a machine that has one, run graft start with ` +
      'GRAFT_CACHE=FOLDER and bring that folder here, or bring a mirror (a folder with a manifest.json) and ' +
      'name it with --mirror or GRAFT_MIRROR.',
    error,
  );
}

async function show({ model, data }: TrainedRun, out: Output): Promise<void> {
  const { pictures, on } = judges(data);
  const { x, guesses, truths } = await predictSome(model, pictures, data.classNames);
  const what = `${on} pictures`;
  out.say(`\nThe first ${guesses.length} ${what}, which it did not learn from:\n`);
  const stream = process.stdout;
  const depth = colourDepth(stream);
  if (depth < 8) {
    out.say(
      table(
        guesses.map((guess, i) => {
          const verdict = guess[0]!.class === truths[i] ? 'right' : `wrong, it is: ${truths[i]}`;
          return [`${on} picture ${i}`, `${guess.slice(0, 2).map(describeGuess).join('  ')}  (${verdict})`];
        }),
      ),
    );
    return;
  }
  const columns = stream.columns ?? 80;
  const width = columns >= 3 * 32 + 4 ? 32 : 24;
  const cards = guesses.map(([best], i) => ({
    picture: drawPicture(imageAt(x, i), width, depth),
    captions: [describeGuess(best!), best!.class === truths[i] ? 'right' : `wrong, it is: ${truths[i]}`],
  }));
  out.say(layoutCards(cards, width, Math.min(columns, 3 * width + 4)));
}

interface SomePredictions {
  readonly x: Tensor<'uint8'>;
  readonly guesses: readonly (readonly Guess[])[];
  readonly truths: readonly string[];
}

async function predictSome(
  model: Model,
  pictures: Dataset,
  classNames: readonly string[],
): Promise<SomePredictions> {
  const indices = Array.from({ length: Math.min(shown, lengthOf(pictures)) }, (_, i) => i);
  const { x, y } = await pictures.read(indices);
  const output = await model.predict(x);
  return {
    x: x as Tensor<'uint8'>,
    guesses: indices.map((row) => topGuesses(output, row, classNames, 3)),
    truths: indices.map((row) => classNames[y.data[row]!]!),
  };
}

function imageAt({ shape, data }: Tensor<'uint8'>, index: number): Tensor<'uint8'> {
  const size = data.length / shape[0]!;
  return tensor('uint8', shape.slice(1), data.subarray(index * size, (index + 1) * size));
}
