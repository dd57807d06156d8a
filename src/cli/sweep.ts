/** `graft sweep`: many trainings that differ in a few options, and which of them is the best. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Command } from 'commander';
import { usableCores } from '../core/cores.node.ts';
import { fail } from '../core/errors.ts';
import { checkWritable } from '../core/files.node.ts';
import { type Point, type Space, sizeOfSpace } from '../search/space.ts';
import { newTrials, remaining } from '../search/trials.ts';
import { isGiven, wholeNumber } from './arguments.ts';
import { checkLayers } from './backbone.ts';
import { dataTitle, loadData } from './data.ts';
import { exitCodeAfter } from './interrupt.ts';
import { count, type Output, outputFor, plural, table } from './output.ts';
import { prepareFeatures, trainsOnFeatures } from './prepare_features.ts';
import { runTrials } from './run_trials.ts';
import { type PlannedTrial, SearchFolder, type SearchRecord } from './search_folder.ts';
import { type Candidate, candidatesOf, configFor, parseSpace } from './search_space.ts';
import { reportSweep } from './sweep_report.ts';
import { addTrainOptions, type TrainOptions } from './train_options.ts';
import { notOfTrials, type TypedWords, typedWords } from './typed_words.ts';

export interface SweepOptions extends TrainOptions {
  readonly grid?: readonly string[];
  readonly random?: number;
  readonly images?: number;
  readonly jobs?: number;
  readonly keepAll?: true;
}

export function defineSweep(command: Command): void {
  command
    .addHelpText('after', examples)
    .optionsGroup('Search:')
    .option(
      '--grid <option=values>',
      'an option of train and what it may be: values separated by commas (by | if they contain commas), or with --random a range low..high, drawn log-uniformly; repeat it for more options',
      (text: string, earlier: readonly string[] = []) => [...earlier, text],
    )
    .option(
      '--random <n>',
      'draw n trials by --seed, instead of trying all combinations',
      wholeNumber(1, 100_000),
    )
    .option('--images <n>', 'the first n training pictures only, as --limit', wholeNumber(1))
    .option('--jobs <n>', 'trials at a time (default: as cores and memory allow)', wholeNumber(1, 1024))
    .option('--keep-all', "keep the weights of all trials, not the best one's only");
  const own = [...command.options.map(({ long }) => long!), ...notOfTrials];
  addTrainOptions(command);
  describe(command, '--out', 'folder of the sweep (default: runs/sweep-<data>-<digest of the command>)');
  describe(command, '--resume', 'go on with a sweep; the same command does that too');
  describe(command, '--threads', 'CPU threads of each trial (default: the cores, divided among the jobs)');
  const typed = typedWords(command, new Set(own));
  command.action(async (options: SweepOptions) => {
    await runSweep(command, options, typed);
  });
}

const examples = `
Each trial is a run of train in a folder of its own: report works on all of them, evaluate and predict
on the best one, whose weights are kept. Features of the frozen part are computed once, before the
trials begin. Trials are judged by validation pictures, split off the training pictures where the data
has none; test pictures take no part in the choice.

Examples:
  All combinations.
    $ graft sweep --data pets --head linear --grid learning-rate=1e-3,1e-2 --grid optimizer=adam,sgd
  Twelve trials drawn at random, two at a time.
    $ graft sweep --data cifar10 --images 5000 --random 12 --jobs 2 \\
        --grid learning-rate=1e-4..1e-1 --grid batch-size=16..128 --grid 'head=linear|gap,bn,dropout:0.3'
  On after Ctrl-C, a kill or a power cut: the same command again, or
    $ graft sweep --resume runs/NAME`;

function describe(command: Command, flag: string, description: string): void {
  command.options.find(({ long }) => long === flag)!.description = description;
}

async function runSweep(command: Command, options: SweepOptions, typed: TypedWords): Promise<void> {
  const out = outputFor(options);
  const { folder, record } =
    options.resume === undefined ? await newSweep(options, typed(), out) : await continued(command, options);
  await using _lock = await folder.lock();
  const most = options.jobs ?? usualJobs(record.trials);
  const { mirror } = options;
  const left = remaining(record.trials);
  out.say(table(planRows(folder, record, left)));
  // Awaited: its errors belong to this function, which still holds the lock.
  if (left.length === 0) return await reportSweep(folder, record, out);
  const needs = await prepareFeatures(
    left.map(({ config }) => config),
    mirror,
    out,
  );
  const ready = { ...record, trials: record.trials.map((trial) => withThreads(trial, most)) };
  out.say(`\nUp to ${plural(Math.min(most, left.length), 'trial')} at a time.`);
  const end = await runTrials({ folder, record: ready, mirror, most, need: needs.memory, out });
  await reportSweep(folder, end.record, out);
  if (end.stoppedBy !== null) process.exitCode = exitCodeAfter(end.stoppedBy);
  else if (end.record.trials.some(({ status }) => status === 'broken')) process.exitCode = 1;
}

/**
 * Steps of a head on kept features are too small for two threads, so two of them run beside each other; steps through
 * layers of the backbone use all cores one after the other.
 */
function usualJobs(trials: readonly PlannedTrial[]): number {
  return trials.every(({ config }) => trainsOnFeatures(config)) ? usableCores() : 1;
}

function withThreads(trial: PlannedTrial, most: number): PlannedTrial {
  const threads = trial.config.threads ?? Math.max(1, Math.floor(usableCores() / most));
  return { ...trial, config: { ...trial.config, threads } };
}

function planRows(folder: SearchFolder, { fixed, trials }: SearchRecord, left: readonly PlannedTrial[]) {
  const done = trials.length - left.length;
  const { data } = trials[0]!.config;
  return [
    [
      'Sweep',
      `${plural(trials.length, 'trial')} on ${dataTitle(data)}${done > 0 ? `, ${count(done)} done already` : ''}`,
    ],
    ['Fixed', fixed.join(' ')],
    ['Judge', 'validation pictures; test pictures take no part in the choice'],
    ['Folder', folder.path],
  ] as const;
}

async function newSweep(options: SweepOptions, typed: readonly string[], out: Output) {
  const { grid = [], random = null, seed, keepAll = false } = options;
  if (grid.length === 0) {
    fail(
      'argument',
      'Nothing to try: give --grid OPTION=VALUE,VALUE at least once, such as --grid learning-rate=1e-3,1e-2.',
    );
  }
  if (options.out !== undefined) await checkWritable(options.out);
  const space = parseSpace(grid);
  const fixed = await completed(options, space, typed, out);
  const repeated = fixed.find((word) => Object.keys(space).some((name) => word === `--${name}`));
  if (repeated !== undefined)
    fail('argument', `${repeated} is given both with --grid and alone; leave one of them out.`);
  const found = await candidatesOf(space, fixed, { count: random, seed });
  tell(found.refused, sizeOfSpace(space), random, out);
  const { candidates } = found;
  await checkAll(candidates);
  const name = `sweep-${dataTitle(candidates[0]!.config.data)}-${digestOf(candidates)}`;
  const folder = new SearchFolder(options.out ?? join('runs', name));
  if (!folder.exists) {
    const trials = newTrials(candidates.map((candidate) => candidate.options));
    const planned = trials.map((trial, i) => ({ ...trial, config: candidates[i]!.config }));
    const record: SearchRecord = { format: 1, fixed, keepAll, trials: planned, best: null };
    return { folder, record };
  }
  const record = await folder.read();
  if (digestOf(record.trials) !== digestOf(candidates)) {
    fail(
      'argument',
      `--out ${folder.path}: this folder holds another sweep (${record.fixed.join(' ')}). Name another one, or go on with it: --resume.`,
    );
  }
  return { folder, record: { ...record, keepAll } };
}

/** Options that decide which recipe `train` takes if none is named. */
const decidesRecipe = ['recipe', 'backbone', 'weights', 'unfreeze-from', 'freeze-epochs'];

/** The words of all trials: what was typed, the recipe, and a split to validate on that is not the test pictures. */
async function completed(
  { images, limit, cache, recipe, mirror }: SweepOptions,
  space: Space,
  typed: readonly string[],
  out: Output,
): Promise<string[]> {
  if (cache === 'memory') {
    fail(
      'argument',
      '--cache memory would compute the features anew in each trial; leave it out: they are kept on disk.',
    );
  }
  if (images !== undefined && limit !== undefined) {
    fail('argument', '--images and --limit are the same; give one of them.');
  }
  const words = [...typed, ...(images === undefined ? [] : ['--limit', String(images)])];
  const config = await configFor(words);
  if (recipe === undefined && !decidesRecipe.some((name) => name in space)) {
    words.push('--recipe', config.recipe!);
  }
  if (config.validationSplit !== null) return words;
  const { validatesOn } = await loadData(config, mirror, out);
  return validatesOn === 'test' ? [...words, '--validation-split', usualSplit] : words;
}

/** As where a folder has neither val/ nor test/. */
const usualSplit = '0.2';

function tell(
  refused: readonly { readonly options: Point; readonly reason: string }[],
  size: number,
  random: number | null,
  out: Output,
): void {
  if (random !== null && size <= random)
    out.say(`There are ${plural(size, 'combination')} only; all of them are tried.`);
  if (refused.length === 0) return;
  const reasons = [...new Set(refused.map(({ reason }) => reason))];
  out.say(`Left out: ${plural(refused.length, 'combination')} that cannot be. ${reasons.join(' ')}`);
}

/** Throws `argument` for names of layers that there are not, before anything is downloaded. */
async function checkAll(candidates: readonly Candidate[]): Promise<void> {
  const parts = candidates.map(({ config }) => {
    const { backbone, weights, imageSize, backboneOutput, unfreezeFrom } = config;
    return [JSON.stringify([backbone, weights, imageSize, backboneOutput, unfreezeFrom]), config] as const;
  });
  for (const config of new Map(parts).values()) await checkLayers(config);
}

/** Of what is tried; threads do not count, as they are decided later. */
function digestOf(candidates: readonly Candidate[]): string {
  const plain = candidates.map(({ options, config }) => {
    const decided = Object.entries(config).filter(([name]) => name !== 'threads');
    return [options, decided.sort(([a], [b]) => (a < b ? -1 : 1))];
  });
  return createHash('sha256').update(JSON.stringify(plain)).digest('hex').slice(0, 8);
}

const allowedWithResume = new Set(['resume', 'mirror', 'jobs', 'keepAll', 'json', 'quiet']);

async function continued(command: Command, { resume, keepAll }: SweepOptions) {
  const others = command.options.filter((option) => {
    const name = option.attributeName();
    return isGiven(command, name) && !allowedWithResume.has(name);
  });
  if (others.length > 0) {
    const flags = others.map(({ long }) => long).join(', ');
    fail('argument', `--resume goes on with the sweep's own options; leave out ${flags}.`);
  }
  const folder = new SearchFolder(resume!);
  const record = await folder.read();
  return { folder, record: { ...record, keepAll: keepAll ?? record.keepAll } };
}
