/** `graft advise`: tries a few ways to train on a sample of the pictures, and says which is worth its time. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import * as v from 'valibot';
import { checked, type Entries, notNegative, positive } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { checkWritable, readJson, writeJson } from '../core/files.node.ts';
import type { Point } from '../search/space.ts';
import { newTrials, remaining } from '../search/trials.ts';
import {
  type Amounts,
  amountsOf,
  type Cost,
  costOf,
  type FrozenCost,
  measureFrozen,
} from './advise_costs.ts';
import { loadWarning, reportAdvice, titleOf } from './advise_report.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addMirrorOption,
  type CommonOptions,
  type DeviceOptions,
  wholeNumber,
} from './arguments.ts';
import { backboneOption, checkLayers, findBackbone } from './backbone.ts';
import type { TrainConfig } from './config.ts';
import { addPictureOptions, dataTitle, dataWords, isPublished, loadData, parseData } from './data.ts';
import { isOnnx } from './foreign.ts';
import { exitCodeAfter } from './interrupt.ts';
import { invocation, type Output, outputFor, plural, type Row, shellWord, table } from './output.ts';
import { usesOf, withModel } from './prepare_features.ts';
import { runTrials } from './run_trials.ts';
import { type PlannedTrial, SearchFolder, type SearchRecord } from './search_folder.ts';
import { configFor, wordsOf } from './search_space.ts';
import { notOfTrials, type TypedWords, typedWords } from './typed_words.ts';

export interface AdviseOptions extends CommonOptions, DeviceOptions {
  readonly data?: string;
  readonly backbone: string;
  readonly backboneOutput?: string;
  readonly images: number;
  readonly sizes?: readonly number[];
  readonly time?: number;
  readonly out?: string;
  readonly mirror?: string;
}

export function defineAdvise(command: Command): void {
  command
    .addHelpText('after', examples)
    .optionsGroup('Advice:')
    .option('--data <what>', dataWords, parseData)
    .option(
      '--images <n>',
      'pictures of the sample: four fifths to train, one to validate',
      wholeNumber(20),
      1000,
    )
    .option(
      '--sizes <list>',
      'image sizes to try (default: 96,160,224 as far as the backbone takes them)',
      parseSizes,
    )
    .option('--time <duration>', 'what the whole training may take, such as 90s, 30m or 2h', parseDuration)
    .option('--out <dir>', 'folder of the trials (default: runs/advise-<data>-<digest of the command>)')
    .option('--seed <n>', 'decides initial weights and order', wholeNumber(0, 0xffff_ffff), 0)
    .optionsGroup('Model:')
    .addOption(backboneOption('the pretrained part').default('resnet50'))
    .option('--weights <what>', 'imagenet, none (random), or a file (.h5, .keras, .safetensors)', 'imagenet')
    .option('--backbone-output <layer>', 'end the backbone at this layer (conv4_block6_out) or ONNX tensor')
    .optionsGroup('Pictures:');
  addMirrorOption(addPictureOptions(command));
  addCommonOptions(addDeviceOptions(command));
  const own = ['--images', '--sizes', '--time', ...notOfTrials];
  const typed = typedWords(command, new Set(own));
  command.action(async (options: AdviseOptions) => {
    await runAdvise(options, typed);
  });
}

const examples = `
It trains a linear head on the frozen backbone (the probe) and the backbone's last stage with a new head,
at some image sizes, measures them and works out what they cost with all pictures. The same command goes
on after Ctrl-C or a kill, and a second time it answers at once.

Examples:
  $ graft advise --data pets
  $ graft advise --data pets --backbone mobilenet_v2 --time 10m
  $ graft advise --data cifar10 --images 2000 --sizes 64,96,128`;

function parseSizes(text: string): number[] {
  const sizes = text.split(',').map(Number);
  if (sizes.every((size) => Number.isInteger(size) && size >= 32 && size <= 2048)) {
    return [...new Set(sizes)].sort((a, b) => a - b);
  }
  throw new InvalidArgumentError('Expected whole numbers from 32 to 2048, separated by commas.');
}

/** `30m` in seconds. */
function parseDuration(text: string): number {
  const [, digits, unit] = /^\s*(\d+(?:\.\d+)?)\s*([smh])\s*$/.exec(text) ?? [];
  const seconds = Number(digits) * { s: 1, m: 60, h: 3600 }[unit as 's' | 'm' | 'h']!;
  if (seconds > 0) return seconds;
  throw new InvalidArgumentError('Expected a duration such as 90s, 30m or 2h.');
}

const usualSizes = [96, 160, 224];

/** What is tried, quick ones first. */
function pointsOf({ backbone, sizes }: AdviseOptions): Point[] {
  // A file says its size itself, and stays frozen.
  if (isOnnx(backbone)) {
    return sizes?.map((size) => ({ recipe: 'probe', 'image-size': String(size) })) ?? [{ recipe: 'probe' }];
  }
  const { minimumSize, inputSize } = findBackbone(backbone).record;
  const usual = usualSizes.filter((size) => size >= minimumSize && size < inputSize);
  return (sizes ?? [...usual, inputSize]).flatMap((size) =>
    ['probe', 'last-block'].map((recipe) => ({ recipe, 'image-size': String(size) })),
  );
}

function titleOfTrial({ config: { imageSize, unfreezeFrom } }: PlannedTrial): string {
  return titleOf({ imageSize, trainsBackbone: unfreezeFrom !== null });
}

async function runAdvise(options: AdviseOptions, typed: TypedWords): Promise<void> {
  const out = outputFor(options);
  const { data, mirror, images } = options;
  if (data === undefined)
    fail('argument', 'No pictures named: give --data FOLDER, --data cifar10 or --data cifar100.');
  const words = typed();
  const { folder, record: planned } = await newAdvice(options, words, out);
  await using _lock = await folder.lock();
  const record = await noteLoad(folder, planned);
  const loaded = await loadData(record.trials[0]!.config, mirror, out);
  const amounts = amountsOf(loaded);
  out.say(
    table([
      [
        'Advice',
        `${plural(record.trials.length, 'way')} to train, on ${images} of ${plural(amounts.all, 'picture')} of ${dataTitle(data)}`,
      ],
      ['Folder', folder.path],
      ...loadRows(record),
    ]),
  );
  const frozen = await measureAll(folder, record, mirror, out);
  // One at a time, so that times are those of a training alone.
  const end = await runTrials({ folder, record, mirror, most: 1, need: null, titleOf: titleOfTrial, out });
  if (end.stoppedBy !== null) {
    process.exitCode = exitCodeAfter(end.stoppedBy);
    return out.result('Stopped. The same command goes on from here.');
  }
  const costs = await costsOf(folder, end.record, frozen, amounts);
  const commandOf = ({ name }: Cost) => {
    const { options } = end.record.trials.find((trial) => trial.name === name)!;
    return [invocation(), 'train', ...words.map(shellWord), ...wordsOf(options)].join(' ');
  };
  const { load = 0 } = end.record;
  reportAdvice(costs, { folder: folder.path, amounts, seconds: options.time, load, commandOf }, out);
}

/** Looks at the load before anything of this command runs; later it would be its own. */
async function noteLoad(folder: SearchFolder, record: SearchRecord): Promise<SearchRecord> {
  if (remaining(record.trials).length === 0) return record;
  const noted = { ...record, load: Math.max(record.load ?? 0, loadavg()[0]!) };
  await folder.write(noted);
  return noted;
}

function loadRows({ load = 0 }: SearchRecord): Row[] {
  const warning = loadWarning(load);
  return warning === null ? [] : [['Load', warning]];
}

async function newAdvice(options: AdviseOptions, words: readonly string[], out: Output) {
  if (options.out !== undefined) await checkWritable(options.out);
  const fixed = [...words, ...(await sampleWords(options, words, out))];
  const points = pointsOf(options);
  const configs: TrainConfig[] = [];
  for (const point of points) configs.push(await configFor([...fixed, ...wordsOf(point)]));
  for (const config of configs) await checkLayers(config);
  const digest = createHash('sha256').update(JSON.stringify(configs)).digest('hex').slice(0, 8);
  const folder = new SearchFolder(
    options.out ?? join('runs', `advise-${dataTitle(options.data!)}-${digest}`),
  );
  const trials = newTrials(points).map((trial, i) => ({ ...trial, config: configs[i]! }));
  if (!folder.exists) {
    const record: SearchRecord = { format: 1, fixed, keepAll: false, trials, best: null };
    return { folder, record };
  }
  const record = await folder.read();
  if (JSON.stringify(record.fixed) !== JSON.stringify(fixed) || record.trials.length !== trials.length) {
    fail(
      'argument',
      `--out ${folder.path}: this folder holds another search (${record.fixed.join(' ')}). Name another one.`,
    );
  }
  return { folder, record };
}

/** The sample: the first pictures, which are of all classes in turn, and some that they are judged by; no test pictures. */
async function sampleWords({ data, images, mirror }: AdviseOptions, words: readonly string[], out: Output) {
  const judged = Math.round(images / 5);
  const limits = ['--limit', String(images - judged), '--validation-limit', String(judged)];
  const { validatesOn } = await loadData(await configFor(words), mirror, out);
  if (validatesOn === 'validation') return limits;
  // Of published pictures the split comes out of the limit; the other limit is that of test pictures.
  return isPublished(data!)
    ? ['--limit', String(images), '--validation-split', '0.2', '--validation-limit', '1']
    : [...limits, '--validation-split', '0.2'];
}

const frozenCosts = v.record(
  v.string(),
  v.object({ imagesPerSecond: positive, bytesPerImage: notNegative } satisfies Entries<FrozenCost>),
);

/** Measured once and kept beside the trials, whose features are computed on the way. */
async function measureAll(
  folder: SearchFolder,
  { trials }: SearchRecord,
  mirror: string | undefined,
  out: Output,
): Promise<Readonly<Record<string, FrozenCost>>> {
  const path = join(folder.path, 'frozen.json');
  const measured = existsSync(path) ? checked(frozenCosts, await readJson(path), path, 'file') : {};
  for (const { name, config } of trials) {
    if (measured[name] !== undefined) continue;
    measured[name] = await withModel(config, mirror, out, async (model, data) => {
      const cost = await measureFrozen(model, data, config);
      await model.prepare(usesOf(data), out.verbose);
      return cost;
    });
    await writeJson(path, measured);
  }
  return measured;
}

async function costsOf(
  folder: SearchFolder,
  { trials }: SearchRecord,
  frozen: Readonly<Record<string, FrozenCost>>,
  amounts: Amounts,
): Promise<Cost[]> {
  const finished = trials.filter(({ status }) => status === 'finished');
  if (finished.length === 0)
    fail('state', `No trial came to an end: ${trials.map(({ problem }) => problem).join(' ')}`);
  return Promise.all(
    finished.map(async ({ name }) =>
      costOf(name, await folder.trial(name).readFinished(), frozen[name]!, amounts),
    ),
  );
}
