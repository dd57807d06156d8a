#!/usr/bin/env node
/** The `graft` program: its errors and its exit codes. */
import { CommanderError } from 'commander';
import { guard, outliveTerminal, tell, tellJson } from '../core/console.node.ts';
import { explained, GraftError, messageOf } from '../core/errors.ts';
import { leaveStatusLine } from '../training/status_line.ts';
import { ConfigFile } from './config_file.ts';
import { keepThroughHangup } from './interrupt.ts';
import { fitted, invocation, paint, shellWord } from './output.ts';
import { commandNames, makeProgram } from './program.ts';

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

function report(error: unknown, config: ConfigFile | null): void {
  const exitCode = exitCodeOf(error);
  process.exitCode = exitCode;
  leaveStatusLine();
  // Commander has shown the help of a command that needs another word.
  if (exitCode === 0 || (error instanceof CommanderError && error.code === 'commander.help')) return;
  const message = messageOf(error).replace(/^error: /, '');
  const unexpected = !(error instanceof GraftError || error instanceof CommanderError);
  const text = fitted(process.stderr, `error: ${message}`).slice('error:'.length);
  tell(process.stderr, `${paint(process.stderr, 'red', 'error:')}${text}\n`);
  if (process.env['GRAFT_DEBUG'] === '1') tell(process.stderr, `${stackOf(error)}\n`);
  else if (unexpected) tell(process.stderr, 'This is a bug in Graft; GRAFT_DEBUG=1 shows where.\n');
  if (exitCode === 2 && config !== null && config.words.length > 0)
    tell(process.stderr, `${config.name} adds: ${config.words.map(shellWord).join(' ')}\n`);
  const code = error instanceof GraftError ? error.code : unexpected ? 'unexpected' : 'argument';
  if (exitCode === 2 && code !== 'data')
    tell(
      process.stderr,
      `Help: ${[invocation(), ...commandNames.filter((name) => name === process.argv[2])].join(' ')} --help\n`,
    );
  if (process.argv.includes('--json')) tellJson(process.stdout, { error: { code, message }, exitCode });
}

// `graft models | head` closes the pipe early; that is no error.
guard(process.stdout, process.stderr);
outliveTerminal();
keepThroughHangup();

const args = process.argv.slice(2);
let config: ConfigFile | null = null;
try {
  // It may have been removed; paths are said relative to it.
  process.cwd();
  // What a config file says is held against all commands.
  const program = await makeProgram(ConfigFile.isThere() ? undefined : args);
  config = await ConfigFile.apply(program, args);
  program.hook('preAction', () => {
    // A run records the command that trains the same without the file.
    if (config !== null) process.argv.splice(2, args.length, ...config.complete(args));
  });
  if (args.length > 0) await program.parseAsync();
  else program.outputHelp();
} catch (error) {
  report(explained(error), config);
}
