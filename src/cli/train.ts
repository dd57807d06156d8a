/** `graft train`: a new run, or on with an earlier one. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import { isGiven } from './arguments.ts';
import { augmentHelp } from './augment.ts';
import { checkLayers } from './backbone.ts';
import { dataTitle } from './data.ts';
import { ownFile, resolveModel } from './foreign.ts';
import { exitCodeAfter } from './interrupt.ts';
import { type Output, outputFor } from './output.ts';
import { recipeHelp } from './recipes.ts';
import { reportRun } from './report.ts';
import { defaultRunPath, RunFolder, type RunRecord } from './run_folder.ts';
import { picturesOf, writeReport } from './run_report.ts';
import { configOf } from './train_config.ts';
import { addTrainOptions, type TrainOptions } from './train_options.ts';
import { runTraining, type TrainingRequest } from './training_run.ts';

export function defineTrain(command: Command): void {
  command.addHelpText('after', examples);
  addTrainOptions(command);
  command.action(async (options: TrainOptions) => {
    await runTrain(command, options);
  });
}

const examples = `${recipeHelp}${augmentHelp}
Examples:
  Your own pictures, one folder a class: ResNet50, and what suits their number.
    $ graft train --data pets
  The same, all of it, slower: the head first, then the whole network.
    $ graft train --data pets --recipe fine-tune --epochs 8
  The reference job: ResNet50's last block and a dense head, on CIFAR-10 at 224x224.
    $ graft train --data cifar10 --recipe reference
  A linear classifier on frozen features, small and quick.
    $ graft train --data cifar10 --backbone-output conv4_block6_out --image-size 96 \\
        --recipe probe --limit 5000 --validation-limit 1000
  Against overfitting: other pictures in every step.
    $ graft train --data cifar10 --recipe last-block --augment light
    $ graft train --data cifar10 --augment flip,translation:0.1,rotation:0.05,cutmix
  From the weights of a run, at another size, with other layers or another head.
    $ graft train --data cifar10 --recipe last-block --weights runs/NAME/cifar10.h5 --image-size 128
  On after Ctrl-C.
    $ graft train --resume runs/NAME

Exit codes: 0 done, 1 it went wrong, 2 the options cannot be used, 130 stopped by Ctrl-C, 143 by SIGTERM, 129
by SIGHUP.`;

async function runTrain(command: Command, options: TrainOptions): Promise<void> {
  const out = outputFor(options);
  const request =
    options.resume === undefined ? await newRun(options, out) : await continuedRun(command, options, out);
  const { folder, previous } = request;
  if (previous?.status === 'finished') {
    await folder.tidy();
    if (!folder.hasReport && previous.predictions !== undefined) {
      await writeReport(folder, previous, await picturesOf(previous, options.mirror, out));
    }
    out.result(`${folder.path} is finished: nothing to continue.`);
    reportRun('train', folder, previous, out);
    return;
  }
  // A new run takes its folder when it begins to write into it.
  await using _lock = previous && (await folder.lock());
  if (previous) await checkUntouched(folder, previous);
  const { record, model, stoppedBy } = await runTraining(request);
  await model.close();
  reportRun('train', folder, record, out);
  if (stoppedBy !== null) process.exitCode = exitCodeAfter(stoppedBy);
}

async function newRun(options: TrainOptions, out: Output): Promise<TrainingRequest> {
  // Before pictures are looked into.
  if (options.out !== undefined) {
    const asked = new RunFolder(options.out);
    asked.checkFree();
    await asked.checkWritable();
  }
  const { config: asked, choice } = await configOf(options, out);
  const name = basename(asked.backbone, '.onnx');
  const folder = new RunFolder(options.out ?? defaultRunPath(new Date(), name, dataTitle(asked.data)));
  folder.checkFree();
  // Before anything is downloaded.
  await folder.checkWritable();
  const config = await resolveModel(asked);
  await checkLayers(config);
  if (choice !== null) out.say(choice);
  return { folder, config, mirror: options.mirror, previous: null, out };
}

/** Throws `state` if another process has worked on the run since its record was read. */
async function checkUntouched(folder: RunFolder, previous: RunRecord): Promise<void> {
  if (JSON.stringify(await folder.read()) === JSON.stringify(previous)) return;
  fail('state', `Another process has just worked on ${folder.path}; run the same command again.`);
}

/** Options that do not change what a run computes. */
const allowedWithResume = new Set(['resume', 'mirror', 'json', 'quiet']);

async function continuedRun(command: Command, options: TrainOptions, out: Output): Promise<TrainingRequest> {
  const others = command.options.filter((option) => {
    const name = option.attributeName();
    return isGiven(command, name) && !allowedWithResume.has(name);
  });
  if (others.length > 0) {
    const flags = others.map(({ long }) => long).join(', ');
    fail('argument', `--resume goes on with the run's own options; leave out ${flags}.`);
  }
  const folder = new RunFolder(options.resume!);
  const previous = await folder.read();
  if (previous.status === 'failed' && previous.problem === undefined) {
    await folder.tidy();
    fail('argument', `${folder.path} failed, its loss is no number; start a new run with other options.`);
  }
  return {
    folder,
    config: ownFile(previous.config, folder, previous.weights),
    mirror: options.mirror,
    previous,
    out,
  };
}
