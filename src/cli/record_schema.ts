/**
 * What `run.json` and `sweep.json` may hold. They may come from elsewhere, or be damaged: whatever is read out of them
 * has passed these schemas. The types with their meanings are in `run_folder.ts`, `search_folder.ts` and `config.ts`.
 */
import * as v from 'valibot';
import {
  between,
  type Entries,
  flag,
  notNegative,
  number,
  oneOf,
  text,
  wholeNumber,
} from '../core/checked.ts';
import { cacheChoices } from '../features/index.ts';
import { optimizerNames } from '../optimizers/index.ts';
import type { Beside } from '../report/curves.ts';
import type { DataSummary } from '../report/data_summary.ts';
import { mostViews } from '../training/tta.ts';
import { deviceNames } from './arguments.ts';
import type { WeightsFile } from './backbone.ts';
import { balanceNames, earlierChoices, scheduleNames, type TrainConfig } from './config.ts';
import { recipeNames } from './recipes.ts';
import type { Memory, Metrics, Phase, PredictionsRecord, RunRecord, Session } from './run_folder.ts';
import type { PlannedTrial, SearchRecord } from './search_folder.ts';

/** A number that was measured. JSON has no NaN and no infinity: such a number was written as null. */
const measured = v.pipe(
  v.nullable(number),
  v.transform((value) => value ?? Number.NaN),
);

const count = wholeNumber(0);
const orNull = <S extends v.GenericSchema>(schema: S) => v.nullable(schema);
const list = <S extends v.GenericSchema>(item: S) => v.array(item, 'a list');
const anyText = v.string('text');
const below1 = v.custom<number>(
  (value) => typeof value === 'number' && value >= 0 && value < 1,
  'a number from 0 up to, not including, 1',
);

/** The name of a file in the record's own folder, with this ending. */
function fileIn(ending: string) {
  const isName = (value: unknown) =>
    // biome-ignore lint/suspicious/noControlCharactersInRegex: names with control characters are not Graft's.
    typeof value === 'string' && value.endsWith(ending) && /^[^/\\\x00-\x1f\x7f]{1,255}$/.test(value);
  return v.custom<string>(isName, `the name of a ${ending} file in this folder`);
}

const config = v.object({
  data: text,
  limit: orNull(wholeNumber(1)),
  validationLimit: orNull(wholeNumber(1)),
  validationSplit: orNull(between(0, 1)),
  cropToAspectRatio: v.optional(flag, earlierChoices.cropToAspectRatio),
  padToAspectRatio: v.optional(flag, earlierChoices.padToAspectRatio),
  skipBroken: v.optional(flag, earlierChoices.skipBroken),
  splitSeed: v.optional(count, earlierChoices.splitSeed),
  backbone: text,
  weights: text,
  imageSize: wholeNumber(1),
  preprocessing: orNull(text),
  backboneOutput: orNull(text),
  unfreezeFrom: orNull(text),
  head: text,
  augment: text,
  recipe: v.optional(orNull(oneOf(...recipeNames)), earlierChoices.recipe),
  optimizer: oneOf(...optimizerNames),
  learningRate: notNegative,
  momentum: below1,
  weightDecay: orNull(notNegative),
  schedule: oneOf(...scheduleNames),
  warmupEpochs: notNegative,
  labelSmoothing: below1,
  batchSize: wholeNumber(1),
  accumulate: wholeNumber(1),
  clipNorm: orNull(notNegative),
  epochs: wholeNumber(1),
  freezeEpochs: v.optional(count, earlierChoices.freezeEpochs),
  ema: v.optional(orNull(below1), earlierChoices.ema),
  earlyStopping: v.optional(orNull(wholeNumber(1)), earlierChoices.earlyStopping),
  seed: count,
  balance: v.optional(oneOf(...balanceNames), earlierChoices.balance),
  cache: oneOf(...cacheChoices.modes),
  cachePrecision: v.optional(orNull(oneOf(...cacheChoices.precisions)), null),
  cacheLimit: v.optional(orNull(notNegative), null),
  cachedViews: v.optional(orNull(wholeNumber(1)), null),
  tta: v.optional(v.pipe(wholeNumber(1), v.maxValue(mostViews, `at most ${mostViews}`)), earlierChoices.tta),
  precision: oneOf('float32', 'int8'),
  device: oneOf(...deviceNames),
  threads: orNull(v.pipe(wholeNumber(1), v.maxValue(1024, 'at most 1024'))),
  tensorboard: v.optional(flag, earlierChoices.tensorboard),
  checkpointEvery: v.optional(notNegative, earlierChoices.checkpointEvery),
} satisfies Entries<TrainConfig>);

const phase = v.object({
  name: oneOf('loading', 'features', 'training', 'validation', 'saving', 'evaluation'),
  seconds: notNegative,
  memory: notNegative,
} satisfies Entries<Phase>);

const session = v.object({
  seconds: notNegative,
  preparationSeconds: notNegative,
  trainingSeconds: notNegative,
  images: count,
  phases: v.exactOptional(list(phase)),
} satisfies Entries<Session>);

const metrics = v.pipe(
  v.object({
    accuracy: measured,
    loss: measured,
    valAccuracy: measured,
    valLoss: measured,
    testAccuracy: v.exactOptional(measured),
    testLoss: v.exactOptional(measured),
    ttaAccuracy: v.exactOptional(measured),
    seconds: notNegative,
    preparationSeconds: notNegative,
    imagesPerSecond: measured,
    epochs: wholeNumber(1),
    bestEpoch: wholeNumber(1),
  } satisfies Entries<Metrics>),
  v.check(({ bestEpoch, epochs }) => bestEpoch <= epochs, 'has a bestEpoch after the last of its epochs'),
);

const resident = v.object({ main: notNegative, engine: orNull(notNegative) });

const memory = v.object({
  mainPeak: notNegative,
  enginePeak: orNull(notNegative),
  epochs: list(resident),
} satisfies Entries<Memory>);

const weights = v.object({
  path: text,
  sha256: v.custom<string>(
    (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value),
    '64 hexadecimal digits',
  ),
} satisfies Entries<WeightsFile>);

const row = v.strictTuple([anyText, anyText], 'two texts');

const summary = v.object({
  splits: list(v.object({ name: anyText, counts: list(count) })),
  facts: list(row),
  notes: list(anyText),
  skipped: list(v.object({ name: anyText, reason: anyText })),
} satisfies Entries<DataSummary>);

const beside = v.object({
  names: row,
  history: list(v.record(anyText, measured)),
  accuracy: measured,
  seconds: notNegative,
} satisfies Entries<Beside>);

const predictions = v.object({
  file: fileIn('.safetensors'),
  on: oneOf('test', 'validation'),
  fingerprint: text,
  sources: v.exactOptional(text),
  saliencyLayer: v.exactOptional(orNull(text)),
} satisfies Entries<PredictionsRecord>);

const data = v.pipe(
  v.object({
    fingerprint: text,
    trainingImages: count,
    validationImages: count,
    testImages: orNull(count),
    validatesOn: v.exactOptional(oneOf('test', 'validation')),
    classNames: v.pipe(list(anyText), v.minLength(1, 'a list that is not empty')),
    summary: v.exactOptional(summary),
  } satisfies Entries<RunRecord['data']>),
  v.check(
    ({ classNames, summary }) =>
      summary === undefined || summary.splits.every(({ counts }) => counts.length === classNames.length),
    'has a summary of another number of classes',
  ),
);

/** A record of a training. */
export const runRecord: v.GenericSchema<unknown, RunRecord> = v.pipe(
  v.object({
    format: v.literal(1, '1, the format that this version of Graft reads'),
    status: oneOf('running', 'stopped', 'failed', 'finished'),
    problem: v.exactOptional(anyText),
    config,
    versions: v.object({ graft: text, node: text, onnxruntime: text, platform: text } satisfies Entries<
      RunRecord['versions']
    >),
    data,
    weights: orNull(weights),
    model: v.object({ file: fileIn('.h5'), parameters: count, trainable: count } satisfies Entries<
      RunRecord['model']
    >),
    command: v.exactOptional(list(anyText)),
    plan: v.exactOptional(list(row)),
    predictions: v.exactOptional(predictions),
    beside: v.exactOptional(beside),
    sessions: list(session),
    metrics: orNull(metrics),
    memory: orNull(memory),
  } satisfies Entries<RunRecord>),
  v.check(
    ({ status, metrics }) => status !== 'finished' || metrics !== null,
    'says that the run is finished, but has no metrics',
  ),
);

const trial = v.pipe(
  v.object({
    name: v.pipe(anyText, v.regex(/^\d{3,9}$/, 'the number of a trial, such as 001')),
    options: v.record(anyText, anyText),
    status: oneOf('waiting', 'finished', 'failed', 'broken'),
    result: orNull(
      v.object({
        valAccuracy: measured,
        valLoss: measured,
        seconds: notNegative,
        epochs: wholeNumber(1),
        bestEpoch: wholeNumber(1),
      } satisfies Entries<NonNullable<PlannedTrial['result']>>),
    ),
    problem: orNull(anyText),
    config,
  } satisfies Entries<PlannedTrial>),
  v.check(({ status, result }) => status !== 'finished' || result !== null, 'is finished, but has no result'),
);

/** A record of a search and its trials. */
export const searchRecord: v.GenericSchema<unknown, SearchRecord> = v.pipe(
  v.object({
    format: v.literal(1, '1, the format that this version of Graft reads'),
    fixed: list(anyText),
    keepAll: flag,
    trials: v.pipe(list(trial), v.minLength(1, 'a list of at least one trial')),
    best: orNull(anyText),
    load: v.exactOptional(notNegative),
  } satisfies Entries<SearchRecord>),
  v.check(
    ({ best, trials }) => best === null || trials.some(({ name }) => name === best),
    'names a best trial that it does not list',
  ),
  v.check(
    ({ trials }) => new Set(trials.map(({ name }) => name)).size === trials.length,
    'lists a trial twice',
  ),
  v.check(({ trials }) => {
    const optionsOf = ({ options }: PlannedTrial) => Object.keys(options).sort().join();
    return trials.every((trial) => optionsOf(trial) === optionsOf(trials[0]!));
  }, 'has trials that differ in the options that they try'),
);
