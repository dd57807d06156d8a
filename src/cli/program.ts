/** All commands of `graft`: the tree that is parsed, completed, configured and described. */
import { Command } from 'commander';
import { graftVersion } from '../core/version.node.ts';
import { defineAdvise } from './advise.ts';
import { defineCache } from './cache.ts';
import { defineCompare } from './compare.ts';
import { defineCompletion } from './completion.ts';
import { defineData } from './data_command.ts';
import { defineDoctor } from './doctor.ts';
import { defineEvaluate } from './evaluate.ts';
import { defineExplain } from './explain.ts';
import { defineExport } from './export.ts';
import { defineInspect } from './inspect.ts';
import { defineLrFind } from './lr_find.ts';
import { defineModels } from './models.ts';
import { fitted } from './output.ts';
import { definePredict } from './predict.ts';
import { defineReport } from './run_report.ts';
import { defineStart } from './start.ts';
import { defineSummary } from './summary.ts';
import { defineSweep } from './sweep.ts';
import { defineTrain } from './train.ts';

const help = `
First steps:
  $ graft start                        a small real run, in a minute or two
  $ graft data pets                    a look at your own pictures, one folder a class
  $ graft train --data pets            a model of them, with a report
  $ graft advise --data pets           which way to train is worth its time
  $ graft predict --model runs/NAME photo.jpg
  $ graft train --data cifar10 --recipe reference

Environment:
  GRAFT_MIRROR  folder or address with data and weights
  GRAFT_CACHE   where downloads and kept features go
  NO_COLOR      no colours
  CI            progress in plain lines, as without a terminal
  GRAFT_DEBUG   1 shows where an error came from

Defaults of options: graft.config.ts, .mts, .js, .mjs or .json in the current folder, such as
  { "train": { "optimizer": "adam", "imageSize": 96 }, "predict": { "top": 1 } }

Exit codes:
  0    done
  1    it went wrong
  2    the command line or a picture cannot be used
  130  stopped by Ctrl-C`;

const commands = [
  ...[
    defineStart,
    defineData,
    defineTrain,
    defineLrFind,
    defineEvaluate,
    definePredict,
    defineExplain,
    defineExport,
  ],
  ...[
    defineReport,
    defineCompare,
    defineSweep,
    defineAdvise,
    defineSummary,
    defineModels,
    defineInspect,
    defineCache,
  ],
  ...[defineDoctor, defineCompletion],
];

export function makeProgram(): Command {
  const program = new Command('graft')
    .description('Transfer learning for image classification.')
    .version(graftVersion, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', help)
    .exitOverride()
    // Commander writes errors itself; with --json they are an object too, so they all go one way.
    .configureOutput({
      outputError: () => undefined,
      writeOut: (text) => process.stdout.write(fitted(process.stdout, text)),
    });
  for (const define of commands) define(program);
  return program;
}
