/**
 * `graft.config.{ts,mts,js,mjs,json}` in the current folder: defaults of options, a section for each command. The
 * command line wins over them. What the values of options may be is the commands' business: texts go through the same
 * parsers as on the command line.
 */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Command, InvalidArgumentError, type Option } from 'commander';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import { readJson } from '../core/files.node.ts';
import { expectedName } from '../core/nearest.ts';
import { isRecord } from '../core/records.ts';
import { invocation } from './output.ts';

const endings = ['ts', 'mts', 'js', 'mjs', 'json'];

/** An option that the file sets. */
interface Entry {
  readonly attribute: string;
  /** As it would be typed: `['--head', 'linear']`. */
  readonly words: readonly string[];
}

export class ConfigFile {
  readonly name: string;
  readonly #command: Command;
  readonly #depth: number;
  readonly #entries: readonly Entry[];

  private constructor(name: string, command: Command, depth: number, entries: readonly Entry[]) {
    this.name = name;
    this.#command = command;
    this.#depth = depth;
    this.#entries = entries;
  }

  /** Whether the folder has one, in whatever form. */
  static isThere(folder: string = process.cwd()): boolean {
    return endings.some((ending) => existsSync(join(folder, `graft.config.${ending}`)));
  }

  /**
   * Reads the file, if there is one, and sets what it says of the command that is called.
   *
   * @param args the command line without the program
   * @throws `argument` naming the file, for what no command has, values that do not fit, and files that cannot be read
   */
  static async apply(
    program: Command,
    args: readonly string[],
    folder: string = process.cwd(),
  ): Promise<ConfigFile | null> {
    const path = find(folder);
    const { command, depth } = called(program, args);
    // Help and completion must not depend on it.
    if (path === null || depth === 0 || args.some((word) => word === '--help' || word === '-h')) return null;
    const name = basename(path);
    const config = await load(path);
    checkNames(config, program, name);
    let section: unknown = config;
    for (const word of args.slice(0, depth)) section = isRecord(section) ? section[word] : undefined;
    const entries = Object.entries(isRecord(section) ? section : {})
      .filter(([key]) => !command.commands.some((inner) => inner.name() === key))
      .map(([key, value]) => set(command, key, value, `${name}: ${args.slice(0, depth).join('.')}.${key}`));
    return new ConfigFile(name, command, depth, entries);
  }

  /** What the file adds to the command line, once that is parsed. */
  get words(): readonly string[] {
    return this.#entries
      .filter(({ attribute }) => this.#command.getOptionValueSource(attribute) === 'config')
      .flatMap(({ words }) => words);
  }

  /** The command line that does the same without the file. */
  complete(args: readonly string[]): string[] {
    return [...args.slice(0, this.#depth), ...this.words, ...args.slice(this.#depth)];
  }
}

function find(folder: string): string | null {
  const found = endings
    .map((ending) => join(folder, `graft.config.${ending}`))
    .filter((path) => existsSync(path));
  if (found.length > 1) {
    fail(
      'argument',
      `There are ${found.map((path) => basename(path)).join(' and ')} here: keep one of them.`,
    );
  }
  return found[0] ?? null;
}

/** The command that words call, and how many of them name it. */
function called(program: Command, args: readonly string[]): { command: Command; depth: number } {
  let command = program;
  for (const [depth, word] of args.entries()) {
    const inner = command.commands.find((one) => one.name() === word);
    if (inner === undefined) return { command, depth };
    command = inner;
  }
  return { command, depth: args.length };
}

async function load(path: string): Promise<Record<string, unknown>> {
  const name = basename(path);
  const config = path.endsWith('.json') ? await readJson(path) : await importDefault(path);
  if (isRecord(config)) return config;
  const expected = path.endsWith('.json')
    ? 'an object'
    : 'a default export: export default defineConfig({ … })';
  return fail('argument', `${name}: expected ${expected} with a section for each command.`);
}

/** Node reads TypeScript from 22.18 on; for Node 20, jiti takes the types away. */
async function importDefault(path: string): Promise<unknown> {
  const { createJiti } = await import('jiti');
  const jiti = createJiti(import.meta.url, { tryNative: true, interopDefault: false, fsCache: false });
  try {
    return ((await jiti.import(path)) as { readonly default?: unknown }).default;
  } catch (error) {
    return fail('argument', `${basename(path)} cannot be loaded: ${messageOf(error)}`, error);
  }
}

/** Throws `argument` for a name that is neither a command nor an option of the command it stands in. */
function checkNames(section: Record<string, unknown>, command: Command, where: string): void {
  const inner = new Map(command.commands.map((one) => [one.name(), one]));
  const options = optionNames(command);
  for (const [key, value] of Object.entries(section)) {
    const next = inner.get(key);
    if (next !== undefined) {
      if (!isRecord(value))
        fail('argument', `${where}: ${key} has to be an object with the options of ${key}.`);
      checkNames(value, next, `${where}: ${key}`);
    } else if (!options.includes(key)) {
      const known = [...inner.keys(), ...options];
      const path = command.parent === null ? '' : ` ${command.name()}`;
      const hint = expectedName(key, known, `${invocation()}${path} --help lists them.`);
      fail('argument', `${where}: there is no ${inner.size > 0 ? 'command' : 'option'} "${key}". ${hint}`);
    }
  }
}

function optionNames(command: Command): string[] {
  if (command.parent === null) return [];
  return command.options.map((option) => option.attributeName()).filter((name) => name !== 'resume');
}

function set(command: Command, attribute: string, value: unknown, where: string): Entry {
  const option = command.options.find((one) => one.attributeName() === attribute)!;
  if (option.isBoolean() || option.negate) {
    if (typeof value !== 'boolean')
      fail('argument', `${where}: expected true or false, got ${shown(value)}.`);
    command.setOptionValueWithSource(attribute, value, 'config');
    return { attribute, words: value === option.negate ? [] : [option.long!] };
  }
  if (typeof value !== 'string' && typeof value !== 'number')
    fail('argument', `${where}: expected a text or a number, got ${shown(value)}.`);
  const text = String(value);
  command.setOptionValueWithSource(attribute, parse(option, text, where), 'config');
  return { attribute, words: [option.long!, text] };
}

function parse(option: Option, text: string, where: string): unknown {
  try {
    return option.parseArg === undefined ? text : option.parseArg(text, undefined);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError || error instanceof GraftError)) throw error;
    return fail('argument', `${where}: "${text}" is invalid. ${error.message}`, error);
  }
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
