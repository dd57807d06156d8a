/** Completion scripts for bash, zsh and fish, from one description of the commands. They start no program. */

/** What may stand in a place: words, and files or folders. */
export interface Value {
  readonly words: readonly string[];
  readonly paths: 'none' | 'files' | 'folders';
}

export interface Words {
  /** `['cache', 'list']`; the program itself has none. */
  readonly path: readonly string[];
  readonly description: string;
  readonly commands: readonly Words[];
  readonly options: readonly {
    /** `--quiet`, `-q` */
    readonly flags: readonly string[];
    readonly description: string;
    /** Null for one that takes none. */
    readonly value: Value | null;
  }[];
  /** What its arguments are, if it takes some. */
  readonly argument: Value | null;
}

export const renderers = { bash, zsh, fish } as const;

function flatten(words: Words): Words[] {
  return [words, ...words.commands.flatMap(flatten)];
}

/** A word in single quotes, as all three shells read it. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function list(words: readonly string[]): string {
  return words.join(' ');
}

function namesOf({ commands }: Words): string[] {
  return commands.map(({ path }) => path.at(-1)!);
}

/** For bash 3.2, which macOS has, and newer. */
function bash(program: Words): string {
  const all = flatten(program);
  const places = all.filter(({ path }) => path.length > 0).map(({ path }) => quoted(path.join(' ')));
  const values = all.flatMap(({ path, options }) =>
    options.flatMap(({ flags, value }) =>
      value === null
        ? []
        : [
            `    ${flags.map((flag) => quoted(`${path.join(' ')}:${flag}`)).join('|')}) ${bashValue(value)}; return ;;`,
          ],
    ),
  );
  const ends = all.map((words) => {
    const flags = words.options.flatMap((option) => option.flags);
    const value = words.argument ?? { words: namesOf(words), paths: 'none' as const };
    return `    ${quoted(words.path.join(' '))}) if [[ $cur == -* ]]; then ${bashValue({ words: flags, paths: 'none' })}; else ${bashValue(value)}; fi ;;`;
  });
  return `# Completion of graft for bash. Made by: graft completion bash
_graft_words() { COMPREPLY+=($(compgen -W "$1" -- "$cur")); }
_graft_paths() {
  local IFS=$'\\n'
  compopt -o filenames 2> /dev/null
  COMPREPLY+=($(compgen "$1" -- "$cur"))
}
_graft() {
  local cur=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} command='' next i
  COMPREPLY=()
  # --option=value comes as three words.
  if [[ $before == = ]]; then before=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  if [[ $cur == = ]]; then cur=''; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    next=\${command:+$command }\${COMP_WORDS[i]}
    case $next in
      ${places.join('|')}) command=$next ;;
      *) break ;;
    esac
  done
  case "$command:$before" in
${values.join('\n')}
  esac
  case $command in
${ends.join('\n')}
  esac
}
complete -F _graft graft`;
}

function bashValue({ words, paths }: Value): string {
  const commands = [
    ...(words.length > 0 ? [`_graft_words ${quoted(list(words))}`] : []),
    ...(paths === 'none' ? [] : [`_graft_paths ${paths === 'files' ? '-f' : '-d'}`]),
  ];
  return commands.join('; ') || ':';
}

function zsh(program: Words): string {
  const functions = flatten(program).map((words) =>
    words.commands.length > 0 ? zshGroup(words) : zshLeaf(words),
  );
  return `#compdef graft
# Completion of graft for zsh. Made by: graft completion zsh
_graft_mixed() {
  local paths=$1 expl
  shift
  _description words expl word
  (( $# )) && compadd "\${expl[@]}" -- "$@"
  case $paths in
    files) _files ;;
    folders) _files -/ ;;
  esac
}
${functions.join('\n')}
if [ "$funcstack[1]" = _graft ]; then _graft "$@"; else compdef _graft graft; fi`;
}

function zshName({ path }: Words): string {
  return ['_graft', ...path].join('_');
}

function zshLeaf(words: Words): string {
  const rest = words.argument === null ? [] : [quoted(`*:${words.path.at(-1)}:${zshAction(words.argument)}`)];
  return `${zshName(words)}() {\n  _arguments -s ${[...zshOptions(words), ...rest].join(' \\\n    ')}\n}`;
}

function zshGroup(words: Words): string {
  const commands = words.commands.map(({ path, description }) =>
    quoted(`${path.at(-1)}:${description.replaceAll(':', '\\:')}`),
  );
  const cases = words.commands.map((inner) => `        ${inner.path.at(-1)}) ${zshName(inner)} ;;`);
  return `${zshName(words)}() {
  local curcontext=$curcontext state line
  local -a commands
  _arguments -C ${[...zshOptions(words), quoted('1:command:->command'), quoted('*::argument:->argument')].join(' \\\n    ')}
  case $state in
    command)
      commands=(
        ${commands.join('\n        ')}
      )
      _describe command commands ;;
    argument)
      case $words[1] in
${cases.join('\n')}
      esac ;;
  esac
}`;
}

function zshOptions({ options }: Words): string[] {
  return options.flatMap(({ flags, description, value }) =>
    flags.map((flag) => {
      const text = description.replaceAll(/[[\]:\\]/g, (letter) => `\\${letter}`);
      const others = flags.length > 1 ? `(${list(flags)})` : '';
      return quoted(`${others}${flag}[${text}]${value === null ? '' : `:value:${zshAction(value)}`}`);
    }),
  );
}

/** A leading space: the function is called as it stands. */
function zshAction({ words, paths }: Value): string {
  return ` _graft_mixed ${[paths, ...words].join(' ')}`;
}

function fish(program: Words): string {
  const rules = flatten(program).flatMap((words) => {
    const at = `complete -c graft -n ${quoted(['__graft_at', ...words.path].join(' '))}`;
    const here = `complete -c graft -n ${quoted(['__graft_just', ...words.path].join(' '))}`;
    return [
      ...words.commands.map(({ path, description }) => `${here} -a ${path.at(-1)} -d ${quoted(description)}`),
      ...words.options.map(({ flags, description, value }) => {
        const names = flags.map((flag) =>
          flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
        );
        return `${at} ${names.join(' ')}${value === null ? '' : fishValue(value, '-x', '-r')} -d ${quoted(description)}`;
      }),
      ...(words.argument === null ? [] : [`${at}${fishValue(words.argument, '-f', '')}`]),
    ];
  });
  return `# Completion of graft for fish. Made by: graft completion fish
# The command line begins with these words.
function __graft_at
    set -l words (commandline -opc)
    set -l end (math (count $argv) + 1)
    test $end -eq 1; and return
    test (count $words) -ge $end; and test "$words[2..$end]" = "$argv"
end
# It has no others.
function __graft_just
    set -l words (commandline -opc)
    test (count $words) -eq (math (count $argv) + 1); and __graft_at $argv
end
complete -c graft -f
${rules.join('\n')}`;
}

/** `exclusive` and `mixed` say whether files may be a value as well. */
function fishValue({ words, paths }: Value, exclusive: string, mixed: string): string {
  const flag = paths === 'files' ? `${mixed} -F` : exclusive;
  const all = paths === 'folders' ? [...words, '(__fish_complete_directories)'] : words;
  return `${flag === '' ? '' : ` ${flag}`}${all.length > 0 ? ` -a ${quoted(list(all))}` : ''}`;
}
