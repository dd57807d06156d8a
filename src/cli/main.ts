#!/usr/bin/env node
/** The `graft` program: its commands, its errors and its exit codes. */
import { Command, CommanderError } from 'commander';
import { GraftError, messageOf } from '../core/errors.ts';
import { graftVersion } from '../core/version.node.ts';
import { defineCache } from './cache.ts';
import { defineData } from './data_command.ts';
import { defineEvaluate } from './evaluate.ts';
import { defineExport } from './export.ts';
import { defineInspect } from './inspect.ts';
import { defineModels } from './models.ts';
import { invocation } from './output.ts';
import { definePredict } from './predict.ts';
import { defineReport } from './run_report.ts';
import { defineStart } from './start.ts';
import { defineSummary } from './summary.ts';
import { defineTrain } from './train.ts';

const help = `
First steps:
  $ graft start                              a small real run, in a minute or two
  $ graft train --data cifar10 --unfreeze-from conv5_block1_1_conv
  $ graft data pets && graft train --data pets      your own pictures, one folder a class
  $ graft predict --model runs/NAME photo.jpg

Environment:
  GRAFT_MIRROR  folder or address with data and weights    GRAFT_CACHE  where downloads are kept
  NO_COLOR      no colours                                 GRAFT_DEBUG  1 shows where an error came from

Exit codes:
  0  done    1  it went wrong    2  the command line or a picture cannot be used    130  stopped by Ctrl-C`;

const commands = [
  ...[defineStart, defineData, defineTrain, defineEvaluate, definePredict, defineExport],
  ...[defineReport, defineSummary, defineModels, defineInspect, defineCache],
];

async function makeProgram(): Promise<Command> {
  const program = new Command('graft')
    .description('Transfer learning for image classification.')
    .version(graftVersion, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', help)
    .exitOverride()
    // Commander writes errors itself; with --json they are an object too, so they all go one way.
    .configureOutput({ outputError: () => undefined });
  for (const define of commands) define(program);
  return program;
}

/** Usage errors are the caller's to mend: 2. Everything else that goes wrong: 1. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof GraftError && ['argument', 'shape', 'data'].includes(error.code)) return 2;
  return 1;
}

/** Where an error came from, without its text. */
function stackOf(error: unknown): string {
  const lines = error instanceof Error ? (error.stack ?? '').split('\n') : [];
  return lines.filter((line) => /^\s+at /.test(line)).join('\n');
}

function report(error: unknown, commandNames: readonly string[]): void {
  const exitCode = exitCodeOf(error);
  process.exitCode = exitCode;
  // Commander has shown the help of a command that needs another word.
  if (exitCode === 0 || (error instanceof CommanderError && error.code === 'commander.help')) return;
  const message = messageOf(error).replace(/^error: /, '');
  const unexpected = !(error instanceof GraftError || error instanceof CommanderError);
  process.stderr.write(`error: ${message}\n`);
  if (process.env['GRAFT_DEBUG'] === '1') process.stderr.write(`${stackOf(error)}\n`);
  else if (unexpected) process.stderr.write('This is a bug in Graft; GRAFT_DEBUG=1 shows where.\n');
  const code = error instanceof GraftError ? error.code : unexpected ? 'unexpected' : 'argument';
  if (exitCode === 2 && code !== 'data')
    process.stderr.write(
      `Help: ${[invocation(), ...commandNames.filter((name) => name === process.argv[2])].join(' ')} --help\n`,
    );
  if (process.argv.includes('--json'))
    process.stdout.write(`${JSON.stringify({ error: { code, message }, exitCode })}\n`);
}

// `graft summary | head` closes the pipe early; that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

const program = await makeProgram();
try {
  if (process.argv.length > 2) await program.parseAsync();
  else program.outputHelp();
} catch (error) {
  report(
    error,
    program.commands.map((command) => command.name()),
  );
}
