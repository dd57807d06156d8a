/**
 * The start that needs nothing but the package: a small network that has learned photographs learns drawings, beside
 * the same network that starts from nothing.
 */
import { type Dataset, emojiSets, lengthOf } from '../data/index.ts';
import type { Beside } from '../report/curves.ts';
import { earlierChoices, type TrainConfig } from './config.ts';
import { count, invocation, type Output, percent } from './output.ts';
import { RunFolder } from './run_folder.ts';
import { readHistory } from './run_report.ts';
import { runTraining, type TrainedRun } from './training_run.ts';

/** What every start does without. */
export const plain = {
  ...earlierChoices,
  validationSplit: null,
  preprocessing: null,
  augment: 'none',
  weightDecay: null,
  labelSmoothing: 0,
  accumulate: 1,
  clipNorm: null,
  seed: 0,
  cache: 'auto',
  cachePrecision: null,
  cacheLimit: null,
  cachedViews: null,
  precision: 'float32',
} as const satisfies Partial<TrainConfig>;

type Chosen = 'limit' | 'validationLimit' | 'device' | 'threads';

/** Chosen on the validation designer's drawings, for both trainings: see docs/results.md. */
export const transferRecipe = {
  ...plain,
  data: 'emoji10',
  backbone: 'cifar_resnet',
  weights: 'cifar10',
  imageSize: 32,
  backboneOutput: null,
  unfreezeFrom: 'all',
  head: 'gap',
  optimizer: 'sgd',
  learningRate: 0.05,
  momentum: 0.9,
  schedule: 'cosine',
  warmupEpochs: 0.5,
  batchSize: 64,
  epochs: 3,
} as const satisfies Omit<TrainConfig, Chosen>;

const names = ['from scratch', 'transfer'] as const;

const welcome = `Graft shows what transfer learning is good for. A small network learns to tell
ten kinds of things apart in small pictures: airplanes, cars, birds, cats, deer,
dogs, frogs, horses, ships and trucks, as emoji designers draw them. It learns
twice, from the same pictures:

  1  from scratch: it begins with random weights
  2  transfer: it has learned photographs of such things before (CIFAR-10) and
     goes on from there

Both are then asked about pictures by designers whom they have never seen. It
takes a minute or two on two cores, and no network: pictures and weights are
part of Graft.`;

export interface TransferStart {
  readonly folder: RunFolder;
  readonly config: TrainConfig;
  readonly out: Output;
}

export interface StartedRun {
  readonly run: TrainedRun;
  readonly folder: RunFolder;
}

/** Both trainings; gives the second one, or the first if it was interrupted, and its folder. */
export async function startTransfer({ folder, config, out }: TransferStart): Promise<StartedRun> {
  out.say(welcome);
  out.say(`\n${await credits()}`);
  // What each of them would say of itself is for its report.
  const quiet = { ...out, say: () => undefined };
  const scratchFolder = new RunFolder(folder.file('from-scratch'));
  out.say('\n1  From scratch\n');
  const scratch = await runTraining({
    ...{ folder: scratchFolder, config: { ...config, weights: 'none' } },
    ...{ mirror: undefined, previous: null, out: quiet },
  });
  if (scratch.record.status !== 'finished') return { run: scratch, folder: scratchFolder };
  await scratch.model.close();
  const { testAccuracy, seconds } = scratch.record.metrics!;
  const beside = { names, history: await readHistory(scratchFolder), accuracy: testAccuracy!, seconds };
  out.say('\n2  Transfer\n');
  const run = await runTraining({ folder, config, mirror: undefined, previous: null, beside, out: quiet });
  if (run.record.status === 'finished') out.say(`\n${await sideBySide(run, beside, folder)}`);
  return { run, folder };
}

async function credits(): Promise<string> {
  const sets = await emojiSets();
  const designers = [...new Set(sets.map(({ designer }) => designer))];
  const licences = [...new Set(sets.map(({ licence }) => licence))].sort();
  return (
    `Drawings: ${designers.join(', ')}\n(${licences.join(', ')}).\n` +
    `Whose is what: ${invocation()} data emoji10`
  );
}

/** Who drew the pictures of a part: `Twitter and OpenMoji`. */
async function designersOf(part: 'validation' | 'test'): Promise<string> {
  const sets = (await emojiSets()).filter((set) => set.part === part);
  return [...new Set(sets.map(({ designer }) => designer))].join(' and ');
}

async function sideBySide({ record, data }: TrainedRun, beside: Beside, folder: RunFolder): Promise<string> {
  const histories = [beside.history, await readHistory(folder)];
  const pictures = (dataset: Dataset) => count(lengthOf(dataset));
  const epochs = histories[0]!.map((_, epoch) => [
    `  epoch ${epoch + 1}`,
    ...histories.map((history) => bar(history[epoch]!['valAccuracy']!)),
  ]);
  const rows = [
    ['Right answers', ...names],
    [`${pictures(data.validation)} pictures drawn by ${await designersOf('validation')}, after each epoch`],
    ...epochs,
    [`${pictures(data.test!)} pictures drawn by ${await designersOf('test')}, at the end`],
    ['', bar(beside.accuracy), bar(record.metrics!.testAccuracy!)],
  ];
  const line = ([label, ...cells]: readonly string[]) =>
    [label!.padEnd(15), ...cells.map((cell) => cell.padEnd(barWidth + 12))].join('').trimEnd();
  return rows.map(line).join('\n');
}

const barWidth = 20;

/** `━━━━━━━━━━━━━━━───── 75.0 %` */
function bar(share: number): string {
  const filled = Math.round(barWidth * share);
  return `${'━'.repeat(filled)}${'─'.repeat(barWidth - filled)} ${percent(share).padStart(7)}`;
}
