/** Options of the command line: how their text becomes values, and those that several commands share. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { editDistance } from '../core/nearest.ts';
import { checkAddress } from '../data/download.node.ts';
import { mostViews } from '../training/tta.ts';

/** How the text of an option becomes a number. Commander reports what came; the text says what was expected. */
type NumberParser = (text: string) => number;

function parser(expected: string, accepts: (value: number) => boolean): NumberParser {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (accepts(value)) return value;
    throw new InvalidArgumentError(`Expected ${expected}.`);
  };
}

export function wholeNumber(low: number, high = Number.MAX_SAFE_INTEGER): NumberParser {
  const expected =
    high === Number.MAX_SAFE_INTEGER
      ? `a whole number of at least ${low}`
      : `a whole number from ${low} to ${high}`;
  return parser(expected, (value) => Number.isInteger(value) && value >= low && value <= high);
}

export const positive = parser('a number above 0', (value) => value > 0 && Number.isFinite(value));
export const notNegative = parser('a number of at least 0', (value) => value >= 0 && Number.isFinite(value));
/** At least 0 and below 1. */
export const share = parser('a number from 0 up to, not including, 1', (value) => value >= 0 && value < 1);
export const fraction = parser('a number between 0 and 1', (value) => value > 0 && value < 1);

/** A size as `20GB` or `1.5 TB`, in powers of ten as disks are sold; in bytes. */
export function byteSize(text: string): number {
  const [, digits, unit] = /^\s*(\d+(?:\.\d+)?)\s*([kMGT]B)\s*$/i.exec(text) ?? [];
  if (digits === undefined || unit === undefined)
    throw new InvalidArgumentError('Expected a size such as 500MB or 20GB.');
  return Number(digits) * 1000 ** (1 + 'KMGT'.indexOf(unit[0]!.toUpperCase()));
}

/** An option whose value is one of a few words; a slip of the pen is told apart. */
export function choice(flags: string, description: string, choices: readonly string[]): Option {
  const option = new Option(flags, description).choices(choices);
  return option.argParser((text: string) => {
    if (choices.includes(text)) return text;
    const allowed =
      choices.length > 10 ? '--help lists what is allowed' : `Allowed choices are ${choices.join(', ')}`;
    throw new InvalidArgumentError(`${allowed}.${didYouMean(text, choices)}`);
  });
}

/** `(Did you mean cifar10?)`, on a line of its own, if words are at most two letters away; else nothing. */
export function didYouMean(word: string, choices: readonly string[]): string {
  const distances = choices.map((other) => editDistance(word.toLowerCase(), other));
  const least = Math.min(...distances);
  const near = choices.filter((other, i) => distances[i] === least && least <= Math.min(2, other.length / 2));
  if (near.length === 0) return '';
  return `\n(Did you mean ${near.length > 1 ? 'one of ' : ''}${near.join(', ')}?)`;
}

/** What every command understands. */
export interface CommonOptions {
  readonly json?: true;
  readonly quiet?: true;
}

export const deviceNames = ['cpu', 'webgpu', 'cuda'] as const;

export interface DeviceOptions {
  readonly device: (typeof deviceNames)[number];
  readonly threads?: number;
}

export function addCommonOptions(command: Command): Command {
  return command
    .optionsGroup('Output:')
    .option('--json', 'print one JSON object last on stdout; everything else goes to stderr')
    .option('-q, --quiet', 'print the result only');
}

export function addDeviceOptions(command: Command): Command {
  return command
    .optionsGroup('Machine:')
    .addOption(choice('--device <name>', 'where to compute', deviceNames).default('cpu'))
    .option('--threads <n>', 'CPU threads (default: all cores)', wholeNumber(1, 1024));
}

export function addMirrorOption(command: Command): Command {
  return command.option(
    '--mirror <dir>',
    'folder or address with a manifest.json to take data and weights from (default: GRAFT_MIRROR, ' +
      'else the publishers)',
    (text: string) => {
      if (/^https?:/i.test(text)) {
        // Before it comes into a record or a message.
        checkAddress(text);
        return text;
      }
      if (existsSync(join(text, 'manifest.json'))) return text;
      throw new InvalidArgumentError('Expected a folder or an http(s) address with a manifest.json.');
    },
  );
}

/** `--tta N`: test-time augmentation. */
export function addTtaOption(command: Command): Command {
  return command.option(
    '--tta <n>',
    'average what the model says of n views of each picture: as it is, mirrored, then shifted a little',
    wholeNumber(1, mostViews),
  );
}

/** True if the option stands on the command line, rather than being a default. */
export function isGiven(command: Command, name: string): boolean {
  return command.getOptionValueSource(name) === 'cli';
}
