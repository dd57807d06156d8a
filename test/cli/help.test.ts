/** The help of every command, by going through all of them: examples that work, hints, and no colours in a pipe. */
import { WriteStream } from 'node:tty';
import type { Command } from 'commander';
import { afterEach, describe, expect, it } from 'vitest';
import { colourDepth, paint } from '../../src/cli/output.ts';
import { makeProgram } from '../../src/cli/program.ts';
import { rendered } from '../../src/core/console.node.ts';

function flatten(command: Command): Command[] {
  return [command, ...command.commands.flatMap(flatten)];
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  return text;
}

/** Understands command lines and carries none out; values are taken as they are. */
async function listening(): Promise<Command> {
  const program = await makeProgram();
  for (const command of flatten(program)) {
    command.exitOverride().configureOutput({ outputError: () => undefined });
    if (command.commands.length === 0) command.action(() => undefined);
    for (const option of command.options) if (option.parseArg !== undefined) option.argParser((text) => text);
    for (const argument of command.registeredArguments)
      if (argument.parseArg !== undefined) argument.argParser((text) => text);
  }
  return program;
}

/** The command lines that a help shows; a backslash goes on in the next line, two spaces begin a remark. */
function examplesIn(help: string): string[] {
  const lines = help.replaceAll(/ *\\\n\s*/g, ' ').split('\n');
  return lines
    .filter((line) => /^\s+\$ graft /.test(line))
    .flatMap((line) => line.trim().slice(2).split(' && '))
    .map((line) => line.replace(/ {2,}.*$/, '').replace(/ > .*$/, ''));
}

describe.each(flatten(await makeProgram()).map((command) => [pathOf(command), command] as const))(
  '%s',
  (path, command) => {
    const help = helpOf(command);

    it('says in one sentence what it does', () => {
      expect(command.description()).toMatch(/^[A-Z].*\.$/);
    });

    it('has examples, which it understands', async () => {
      const examples = examplesIn(help);
      expect(examples.filter((example) => example.startsWith(path)).length).toBeGreaterThan(0);
      for (const example of examples)
        await expect(
          (await listening()).parseAsync(example.split(' ').slice(1), { from: 'user' }),
          example,
        ).resolves.toBeDefined();
    });

    it('fits into 110 columns', () => {
      expect(help.split('\n').filter((line) => line.length > 110)).toEqual([]);
    });

    it('answers each slip in an option with what was meant', async () => {
      for (const { long } of command.options) {
        if (long === undefined || command.parent === null) continue;
        // Two letters swapped, and the option once more so that nothing else is missing.
        const slip = `${long.slice(0, 3)}${long[4]}${long[3]}${long.slice(5)}`;
        const args = [...path.split(' ').slice(1), slip];
        if (slip === long) continue;
        await expect((await listening()).parseAsync(args, { from: 'user' })).rejects.toMatchObject({
          code: 'commander.unknownOption',
          message: expect.stringMatching(new RegExp(`Did you mean (one of )?.*${long}`)),
        });
      }
    });
  },
);

it('commands are words in lower case, and all are in the help of the program', async () => {
  const program = await makeProgram();
  const help = helpOf(program);
  for (const command of program.commands) {
    expect(command.name()).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(help).toContain(`\n  ${command.name()} `);
  }
  expect(help).toContain('Exit codes:\n  0    done\n  1    it went wrong\n  2    ');
  expect(help).toMatch(/\n {2}130 {2}stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP$/m);
});

describe('colours', () => {
  const terminal = { isTTY: true, getColorDepth: WriteStream.prototype.getColorDepth } as WriteStream;
  const pipe = { isTTY: false } as WriteStream;
  const before = { ...process.env };
  afterEach(() => {
    process.env = { ...before };
  });

  it('are for terminals that show some', () => {
    process.env = { TERM: 'xterm-256color' };
    expect(rendered(paint(terminal, 'red', 'no'))).toBe('\x1b[31mno\x1b[39m');
    expect(paint(pipe, 'red', 'no')).toBe('no');
    expect(colourDepth(pipe)).toBe(1);
  });

  it.each([{ NO_COLOR: '1' }, { TERM: 'dumb' }])('are off with %j', (env) => {
    process.env = { TERM: 'xterm-256color', ...env };
    expect(paint(terminal, 'red', 'no')).toBe('no');
  });
});
