/** All commands of `graft`: the tree that is parsed, completed, configured and described. */
import { Command } from 'commander';
import { tell } from '../core/console.node.ts';
import { graftVersion } from '../core/version.node.ts';
import { fitted } from './output.ts';

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
  130  stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP`;

interface Entry {
  readonly description: string;
  /** What adds its arguments, options and action. */
  readonly define: () => Promise<(command: Command) => void>;
  /** It describes all of them. */
  readonly all?: boolean;
}

const commands: Readonly<Record<string, Entry>> = {
  start: {
    description: 'See it work: a small real run with a result to look at, in a minute or two.',
    define: async () => (await import('./start.ts')).defineStart,
  },
  data: {
    description:
      'Look at your own pictures: how many of which class, what is broken, double, or in two splits; ' +
      'or at a published data set: whose pictures they are.',
    define: async () => (await import('./data_command.ts')).defineData,
  },
  train: {
    description: 'Train a classifier: a pretrained backbone, a new head, the best epoch kept.',
    define: async () => (await import('./train.ts')).defineTrain,
  },
  'lr-find': {
    description: 'Suggest a learning rate: a short mock training at growing rates.',
    define: async () => (await import('./lr_find.ts')).defineLrFind,
  },
  evaluate: {
    description: 'Measure a saved model on the test pictures of a data set, or on your own.',
    define: async () => (await import('./evaluate.ts')).defineEvaluate,
  },
  predict: {
    description: 'Say which class each picture is.',
    define: async () => (await import('./predict.ts')).definePredict,
  },
  explain: {
    description: 'Show which parts of a picture speak for a class (Grad-CAM).',
    define: async () => (await import('./explain.ts')).defineExplain,
  },
  export: {
    description: 'Write a model for other programs: ONNX, Keras, or weights alone.',
    define: async () => (await import('./export.ts')).defineExport,
  },
  report: {
    description: 'Write the report of a finished run again.',
    define: async () => (await import('./run_report.ts')).defineReport,
  },
  compare: {
    description: 'Compare finished runs: numbers, options, curves, and the pictures that changed sides.',
    define: async () => (await import('./compare.ts')).defineCompare,
  },
  sweep: {
    description: 'Try many trainings on the same features: a grid of options, or points drawn from it.',
    define: async () => (await import('./sweep.ts')).defineSweep,
  },
  advise: {
    description: 'Try a few ways to train on a sample of your pictures, and say which is worth its time.',
    define: async () => (await import('./advise.ts')).defineAdvise,
  },
  summary: {
    description: 'Show the layers of a model: a saved one, or what train would build.',
    define: async () => (await import('./summary.ts')).defineSummary,
  },
  models: {
    description: 'List the pretrained backbones: size, work, licence, accuracy.',
    define: async () => (await import('./models.ts')).defineModels,
  },
  inspect: {
    description: 'Show what an ONNX file takes, and where it can be cut to be a backbone.',
    define: async () => (await import('./inspect.ts')).defineInspect,
  },
  cache: {
    description: 'Look after the features that trainings have kept.',
    define: async () => (await import('./cache.ts')).defineCache,
  },
  doctor: {
    description: 'Check this machine: Node, runtime, devices, cores, memory, cache, network.',
    define: async () => (await import('./doctor.ts')).defineDoctor,
  },
  completion: {
    description: 'Print a script with which your shell completes commands, options and values.',
    define: async () => (await import('./completion.ts')).defineCompletion,
    all: true,
  },
};

export const commandNames: readonly string[] = Object.keys(commands);

/**
 * The program. Each command has its name and description; all that a command line mentions, and all of them without
 * one, have their options and actions too: what a command needs is loaded for it alone.
 */
export async function makeProgram(args?: readonly string[]): Promise<Command> {
  const program = new Command('graft')
    .description('Transfer learning for image classification.')
    .version(graftVersion, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', help)
    .exitOverride()
    // Commander writes errors itself; with --json they are an object too, so they all go one way.
    .configureOutput({
      outputError: () => undefined,
      writeOut: (text) => tell(process.stdout, fitted(process.stdout, text)),
    });
  const all = args === undefined || args.some((word) => commands[word]?.all);
  for (const [name, { description, define }] of Object.entries(commands)) {
    const command = program.command(name).description(description);
    if (all || args.includes(name)) (await define())(command);
  }
  return program;
}
