/** Options as they were typed, for the commands that run others with them. */
import type { Command } from 'commander';

export type TypedWords = () => string[];

/** They say where a run goes and what is printed, not what it is. */
export const notOfTrials: readonly string[] = ['--out', '--resume', '--mirror', '--json', '--quiet'];

/**
 * Remembers how options are given, from now on; those in `own` are the command's own business. The words come in the
 * order in which the command has its options.
 */
export function typedWords(command: Command, own: ReadonlySet<string>): TypedWords {
  const texts = new Map<string, string>();
  const options = command.options.filter(({ long }) => !own.has(long!));
  for (const option of options) {
    const { parseArg, long } = option;
    if (option.isBoolean()) continue;
    option.argParser((text: string, previous: unknown) => {
      texts.set(long!, text);
      return parseArg === undefined ? text : parseArg(text, previous);
    });
  }
  return () =>
    options.flatMap((option) => {
      const long = option.long!;
      if (command.getOptionValue(option.attributeName()) === true) return [long];
      return texts.has(long) ? [long, texts.get(long)!] : [];
    });
}
