/**
 * What `--grid` says, read with train's own options: which are searched, over what, and the training that each point
 * of the search means.
 */
import { Command, CommanderError, type Option } from 'commander';
import { fail, GraftError } from '../core/errors.ts';
import { expectedName } from '../core/nearest.ts';
import { type Domain, grid, type Point, random, type Space, sizeOfSpace } from '../search/space.ts';
import { parseAugment } from './augment.ts';
import type { TrainConfig } from './config.ts';
import { resolveModel } from './foreign.ts';
import { parseHead } from './heads.ts';
import { invocation, output } from './output.ts';
import { configOf } from './train_config.ts';
import { addTrainOptions, type TrainOptions } from './train_options.ts';

/** They decide which pictures are compared on, or nothing that a model is. */
const notSearched = new Set([
  ...['--data', '--limit', '--validation-limit', '--validation-split', '--split-seed', '--skip-broken'],
  ...[
    '--mirror',
    '--cache',
    '--cache-limit',
    '--out',
    '--resume',
    '--device',
    '--threads',
    '--json',
    '--quiet',
  ],
]);

function trainCommand(): Command {
  const command = new Command('train').exitOverride().configureOutput({ writeErr: () => undefined });
  addTrainOptions(command);
  return command;
}

/** Options of `train` from words as they are typed. Throws `argument`. */
function parseTrain(words: readonly string[]): TrainOptions {
  try {
    return trainCommand()
      .parse([...words], { from: 'user' })
      .opts();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return fail('argument', error.message.replace(/^error: /, ''), error);
  }
}

/** One word of progress a search is enough. */
const hushed = output({ quiet: true });

/** The training that words mean. Throws `argument` for what `train` would refuse. */
export async function configFor(words: readonly string[]): Promise<TrainConfig> {
  const { config } = await configOf(parseTrain(words), hushed);
  return resolveModel(config);
}

/** A point as words: `--learning-rate 0.001`. A switch has the values yes and no. */
export function wordsOf(point: Point): string[] {
  const options = new Map(trainCommand().options.map((option) => [option.long, option]));
  return Object.entries(point).flatMap(([name, value]) => {
    const option = options.get(`--${name}`) ?? fail('argument', `train has no option --${name}.`);
    if (!option.isBoolean()) return [`--${name}`, value];
    return value === 'yes' ? [`--${name}`] : [];
  });
}

/**
 * Reads `learning-rate=1e-3,1e-2`, `batch-size=16..128`, `head=linear|gap,dropout:0.3`: values are separated by commas,
 * or by `|` where they contain commas themselves; one option may be given several times.
 *
 * @throws `argument` naming what cannot be read, with an option that comes near an unknown one
 */
export function parseSpace(specs: readonly string[]): Space {
  const space: Record<string, Domain> = {};
  for (const spec of specs) {
    const [, name, text] = /^-{0,2}([^=]+)=(.+)$/s.exec(spec) ?? [];
    if (name === undefined || text === undefined) {
      fail('argument', `--grid ${spec}: expected OPTION=VALUE,VALUE,… or OPTION=LOW..HIGH.`);
    }
    const option = findOption(name);
    const earlier = space[name];
    const domain = parseRange(text, option, spec) ?? parseValues(text, option, spec);
    if (earlier !== undefined && !(Array.isArray(earlier) && Array.isArray(domain))) {
      fail('argument', `--grid ${spec}: ${name} is given twice; a range stands alone.`);
    }
    space[name] = Array.isArray(earlier) ? [...new Set([...earlier, ...(domain as string[])])] : domain;
  }
  return space;
}

function findOption(name: string): Option {
  const options = trainCommand().options.filter(({ long }) => !notSearched.has(long!));
  const found = options.find(({ long }) => long === `--${name}`);
  if (found !== undefined) return found;
  if (notSearched.has(`--${name}`)) {
    fail(
      'argument',
      `--grid ${name}: this is the same in all trials, so that they can be compared; give --${name} once.`,
    );
  }
  const names = options.map(({ long }) => long!.slice(2));
  const hint = expectedName(name, names, `${invocation()} train --help lists them.`);
  return fail('argument', `--grid ${name}: train has no such option. ${hint}`);
}

function parseValues(text: string, option: Option, spec: string): string[] {
  const values = text
    .split(text.includes('|') ? '|' : ',')
    .map((value) => value.trim())
    .filter((value) => value !== '');
  for (const value of values) checkValue(value, option, spec);
  return [...new Set(values)];
}

/** Throws `argument` for a value that `train` would not take. */
function checkValue(value: string, option: Option, spec: string): void {
  if (option.isBoolean()) {
    if (value === 'yes' || value === 'no') return;
    fail('argument', `--grid ${spec}: ${option.long} is a switch; expected yes, no.`);
  }
  const problem = problemOf(value, option);
  if (problem === null) return;
  const commas = spec.includes('|')
    ? ''
    : " Values that contain commas are separated by |: 'head=linear|gap,bn'.";
  fail('argument', `--grid ${spec}: ${problem}${spec.includes(':') ? commas : ''}`);
}

/** Why `train` would not take a value of an option alone; null if it would. */
function problemOf(value: string, option: Option): string | null {
  try {
    parseTrain([option.long!, value]);
    if (option.long === '--head') parseHead(value);
    if (option.long === '--augment') parseAugment(value);
    return null;
  } catch (error) {
    if (!(error instanceof GraftError)) throw error;
    return error.message;
  }
}

const number = '[+-]?(?:\\d+\\.?\\d*|\\.\\d+)(?:e[+-]?\\d+)?';

/** Null for text that is no `LOW..HIGH`. */
function parseRange(text: string, option: Option, spec: string): Domain | null {
  const [, first, last] = new RegExp(`^(${number})\\.\\.(${number})$`, 'i').exec(text.trim()) ?? [];
  if (first === undefined || last === undefined) return null;
  const [low, high] = [Number(first), Number(last)];
  if (!(low < high)) fail('argument', `--grid ${spec}: a range goes up, got ${first}..${last}.`);
  for (const end of [first, last]) checkValue(String(Number(end)), option, spec);
  // An option that takes both ends but no fraction between them counts something.
  const between = Math.floor(low) + 0.5;
  const whole =
    Number.isInteger(low) && Number.isInteger(high) && problemOf(String(between), option) !== null;
  return { low, high, whole };
}

/** A point that means a training. */
export interface Candidate {
  readonly options: Point;
  readonly config: TrainConfig;
}

export interface Candidates {
  readonly candidates: readonly Candidate[];
  /** Combinations that cannot be, and why. */
  readonly refused: readonly { readonly options: Point; readonly reason: string }[];
}

/** So many combinations in a row that cannot be mean that there are no others. */
const patience = 1000;

/**
 * The trainings of a search: of the whole grid, or of `count` points drawn from it. Combinations that `train` would
 * refuse (momentum with Adam) are left out.
 *
 * @throws `argument` if none remains
 */
export async function candidatesOf(
  space: Space,
  fixed: readonly string[],
  { count, seed }: { readonly count: number | null; readonly seed: number },
): Promise<Candidates> {
  if (count === null) checkListed(space);
  const points = count === null || sizeOfSpace(space) <= count ? allPoints(space) : random(space, seed);
  const candidates: Candidate[] = [];
  const refused: { options: Point; reason: string }[] = [];
  let inVain = 0;
  for (const options of points) {
    try {
      candidates.push({ options, config: await configFor([...fixed, ...wordsOf(options)]) });
      inVain = 0;
    } catch (error) {
      if (!(error instanceof GraftError)) throw error;
      refused.push({ options, reason: error.message });
      inVain++;
    }
    if (candidates.length === count || inVain === patience) break;
  }
  if (candidates.length === 0) fail('argument', refused[0]!.reason);
  return { candidates, refused };
}

function checkListed(space: Space): void {
  const range = Object.entries(space).find(([, domain]) => !Array.isArray(domain));
  if (range === undefined) return;
  const { low, high } = range[1] as { low: number; high: number };
  fail(
    'argument',
    `--grid ${range[0]}=${low}..${high}: a range has no end of values; list some, or draw from it with --random 12.`,
  );
}

/** The grid of a space with few values, those of whole ranges included. */
function allPoints(space: Space): Point[] {
  const listed = Object.entries(space).map(([name, domain]) => {
    if (!('low' in domain)) return [name, domain] as const;
    const { low, high } = domain;
    return [name, Array.from({ length: high - low + 1 }, (_, i) => String(low + i))] as const;
  });
  return grid(Object.fromEntries(listed));
}
