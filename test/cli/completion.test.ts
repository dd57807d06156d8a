/** Completion scripts, run by the shells that are here. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { wordsOf } from '../../src/cli/completion.ts';
import { renderers } from '../../src/cli/completion_scripts.ts';
import { makeProgram } from '../../src/cli/program.ts';
import { repository } from './support.ts';

const program = wordsOf(await makeProgram(), []);
const folder = mkdtempSync(join(tmpdir(), 'graft-completion-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function isThere(shell: string): boolean {
  try {
    execFileSync(shell, ['-c', 'true']);
    return true;
  } catch {
    return false;
  }
}

/** What completion offers for the last of some words; an empty one asks for anything. */
type Complete = (...words: string[]) => string[];

const completions: Readonly<Record<'bash' | 'fish', { readonly script: string; readonly ask: string }>> = {
  bash: {
    script: renderers.bash(program),
    // As readline does: the function that `complete` has registered, called with the words.
    ask:
      'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); $(complete -p graft | sed "s/.*-F \\([^ ]*\\).*/\\1/"); ' +
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's.
      'printf "%s\\n" "${COMPREPLY[@]}"',
  },
  fish: {
    script: renderers.fish(program),
    ask: 'source $argv[1]; complete -C "$argv[2..]" | string split -f 1 \\t; or true',
  },
};

function completeWith(shell: keyof typeof completions): Complete {
  const { script, ask } = completions[shell];
  const path = join(folder, shell);
  writeFileSync(path, script);
  return (...words) =>
    execFileSync(shell, ['-c', ask, path, ...words], { cwd: repository, encoding: 'utf8' })
      .split('\n')
      .filter((word) => word !== '')
      .sort();
}

describe.each(['bash', 'fish'] as const)('in %s', (shell) => {
  const here = isThere(shell);
  if (!here) console.log(`${shell} is not installed: its completion is not run.`);
  const complete = here ? completeWith(shell) : () => [];

  it.skipIf(!here)('commands are completed, also those inside', () => {
    expect(complete('graft', 'tr')).toEqual(['train']);
    expect(complete('graft', '')).toEqual(expect.arrayContaining(['start', 'train', 'doctor', 'completion']));
    expect(complete('graft', 'cache', 'p')).toEqual(['prune']);
    expect(complete('graft', 'train', 'pr')).toEqual([]);
  });

  it.skipIf(!here)('options are those of the command', () => {
    expect(complete('graft', 'train', '--opt')).toEqual(['--optimizer']);
    expect(complete('graft', 'cache', 'prune', '--old')).toEqual(['--older-than']);
    expect(complete('graft', 'evaluate', '--opt')).toEqual([]);
  });

  it.skipIf(!here)('values are words, files or folders, as the option says', () => {
    expect(complete('graft', 'train', '--optimizer', '')).toEqual(['adam', 'adamw', 'rmsprop', 'sgd']);
    expect(complete('graft', 'train', '--backbone', 'mobil')).toEqual(['mobilenet_v2']);
    expect(complete('graft', 'train', '--data', 'cifar')).toEqual(['cifar10', 'cifar100']);
    expect(complete('graft', 'data', 'emo')).toEqual(['emoji10']);
    expect(complete('graft', 'predict', 'LICEN')).toEqual(['LICENSE']);
    expect(complete('graft', 'completion', 'z')).toEqual(['zsh']);
    expect(complete('graft', 'train', '--epochs', '')).toEqual([]);
  });
});

it.skipIf(!isThere('bash'))(
  'in bash --option=value comes in three words, and folders are told from files',
  () => {
    const complete = completeWith('bash');
    expect(complete('graft', 'train', '--optimizer', '=', 'ad')).toEqual(['adam', 'adamw']);
    expect(complete('graft', 'train', '--optimizer', '=')).toContain('sgd');
    expect(complete('graft', 'train', '--out', 'test')).toEqual(['test']);
    expect(complete('graft', 'train', '--out', 'README')).toEqual([]);
  },
);

it.skipIf(!isThere('zsh'))('in zsh the script is one that zsh reads', () => {
  const path = join(folder, '_graft');
  writeFileSync(path, renderers.zsh(program));
  execFileSync('zsh', ['-n', path]);
});

it('every option of every command is in each script', () => {
  const zsh = renderers.zsh(program);
  for (const command of program.commands) {
    for (const { flags } of command.options) {
      expect(completions.bash.script).toContain(flags[0]);
      expect(completions.fish.script).toContain(`-l ${flags[0]!.slice(2)} `);
      expect(zsh).toContain(`${flags[0]}[`);
    }
  }
});
