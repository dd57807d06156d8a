/** `graft completion`: a script with which a shell completes commands, options and their values. */
import { Argument, type Command, type Option } from 'commander';
import { all } from '../applications/index.ts';
import { augmentPresets } from './augment.ts';
import { renderers, type Value, type Words } from './completion_scripts.ts';
import { dataNames } from './data.ts';
import { headPresets } from './heads.ts';
import { output } from './output.ts';

export function defineCompletion(command: Command): void {
  const shells = Object.keys(renderers);
  command
    .addArgument(new Argument('<shell>', 'which shell').choices(shells))
    .addHelpText('after', examples)
    .action((shell: keyof typeof renderers) => {
      output({}).result(renderers[shell](wordsOf(command.parent!, [])));
    });
}

const examples = `
Examples:
  $ graft completion bash > ~/.local/share/bash-completion/completions/graft
  $ graft completion zsh > "\${fpath[1]}/_graft"
  $ graft completion fish > ~/.config/fish/completions/graft.fish
  $ source <(graft completion bash)        for this shell only`;

/** Words that an option takes beside files and lists, which have no end. */
const known: Readonly<Record<string, readonly string[]>> = {
  '--data': dataNames,
  '--backbone': all.map(({ record }) => record.name),
  '--weights': ['imagenet', 'none'],
  '--head': Object.keys(headPresets),
  '--augment': Object.keys(augmentPresets),
  '--preprocessing': ['torch', 'tf', 'caffe', 'unit', 'none'],
  '--unfreeze-from': ['all'],
};

/** A command and those inside, as completion sees them. */
export function wordsOf(command: Command, path: readonly string[]): Words {
  const helper = command.createHelp();
  const argument = command.registeredArguments[0];
  return {
    path,
    description: command.description(),
    commands: helper.visibleCommands(command).map((inner) => wordsOf(inner, [...path, inner.name()])),
    options: helper.visibleOptions(command).map((option) => ({
      flags: [option.long, option.short].filter((flag) => flag !== undefined),
      description: option.description,
      value: option.required || option.optional ? takes(option) : null,
    })),
    argument: argument === undefined ? null : positional(argument),
  };
}

function positional(argument: Argument): Value {
  const name = argument.name();
  return { words: argument.argChoices ?? known[`--${name}`] ?? [], paths: pathsOf(name) };
}

function takes(option: Option): Value {
  const name = /[<[]([^\]>]+)[\]>]/.exec(option.flags)?.[1] ?? '';
  if (option.argChoices !== undefined) return { words: option.argChoices, paths: 'none' };
  return {
    words: known[option.long ?? ''] ?? [],
    paths: option.long === '--backbone' ? 'files' : pathsOf(name),
  };
}

/** What the name in `--out <dir>` says of a value. */
function pathsOf(name: string): Value['paths'] {
  if (/^(dir|run)$/.test(name)) return 'folders';
  return /^(file|path|what|data|image|picture)/.test(name) ? 'files' : 'none';
}
