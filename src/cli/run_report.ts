/** `report.html` of a run: written when a training is finished, and again by `graft report`. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { shown } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { readText, writeAtomically } from '../core/files.node.ts';
import { type Dataset, lengthOf } from '../data/index.ts';
import type { Predictions } from '../report/predictions.ts';
import type { Measured } from '../report/run_report.ts';
import { addCommonOptions, addMirrorOption, type CommonOptions } from './arguments.ts';
import { dataTitle, type LoadedData, loadData } from './data.ts';
import { type Output, outputFor, shellWord, withoutOptions } from './output.ts';
import { type Phase, RunFolder, type RunRecord } from './run_folder.ts';
import { judges, readPredictions, readSaliency } from './run_predictions.ts';

export interface ReportOptions extends CommonOptions {
  readonly mirror?: string;
  readonly pictures: boolean;
}

export function defineReport(command: Command): void {
  command
    .argument('<run>', 'the folder of a run')
    .option('--no-pictures', 'without thumbnails, for where the pictures are gone');
  addCommonOptions(addMirrorOption(command));
  command.addHelpText('after', examples).action(runReport);
}

const examples = `
Examples:
  $ graft report runs/NAME
  $ graft report runs/NAME --no-pictures`;

async function runReport(path: string, options: ReportOptions): Promise<void> {
  const out = outputFor(options);
  const folder = new RunFolder(path);
  const record = await folder.read();
  const pictures = options.pictures ? await picturesOf(record, options.mirror, out) : null;
  await writeReport(folder, record, pictures);
  out.result(folder.reportPath);
  out.json({ command: 'report', run: path, report: folder.reportPath });
}

/** The pictures that a run was judged by. Throws `data` if they are no longer the same. */
export async function picturesOf(
  record: RunRecord,
  mirror: string | undefined,
  out: Output,
): Promise<Dataset> {
  const { pictures } = judges(await loadData(record.config, mirror, out));
  if (record.predictions !== undefined && pictures.fingerprint !== record.predictions.fingerprint) {
    fail(
      'data',
      `${record.config.data} holds other pictures than those the run was judged by. ` +
        'Bring them back, or leave the pictures out with --no-pictures.',
    );
  }
  return pictures;
}

/** Throws `file` if a run has predictions of another number of pictures than it was judged by. */
export function checkCount(pictures: number, { labels }: Predictions, folder: RunFolder): void {
  if (pictures === labels.length) return;
  fail(
    'file',
    `${folder.path} has predictions of ${labels.length} pictures, but was judged by ${pictures}: ` +
      'its files are damaged, or belong to different runs.',
  );
}

/** Writes the report of a run that has just been finished. */
export async function reportFinished(folder: RunFolder, record: RunRecord, data: LoadedData): Promise<void> {
  await writeReport(folder, record, judges(data).pictures);
}

export async function writeReport(
  folder: RunFolder,
  record: RunRecord,
  pictures: Dataset | null,
): Promise<void> {
  const { config, data, metrics, versions } = record;
  const predictions = await readPredictions(folder, record);
  if (pictures !== null) checkCount(lengthOf(pictures), predictions, folder);
  const { on } = record.predictions!;
  // What draws takes a fifth of a second to load, and most commands draw nothing.
  const { renderRunReport } = await import('../report/run_report.ts');
  const page = await renderRunReport({
    title: `${basename(config.backbone)} on ${dataTitle(config.data)}`,
    ...{ predictions, pictures, names: pictures?.names ?? null, classNames: data.classNames },
    saliency: await readSaliency(folder, record, predictions),
    what: `${on} pictures`,
    numbers: numbersOf(record),
    // Other pictures chose the epoch only where test pictures were kept for the end.
    choseEpoch: data.testImages === null,
    bestEpoch: metrics!.bestEpoch,
    beside: record.beside ?? null,
    history: await readHistory(folder),
    data: data.summary ?? null,
    plan: record.plan ?? [],
    phases: phasesOf(record),
    seconds: metrics!.seconds,
    command: commandOf(record),
    versions,
  });
  await writeAtomically(folder.reportPath, page);
}

/** Training pictures are measured while weights change, the others with the kept model. */
function numbersOf({ metrics, data, config }: RunRecord): Measured[] {
  const { accuracy, loss, valAccuracy, valLoss, testAccuracy, testLoss } = metrics!;
  const { trainingImages, validationImages, testImages } = data;
  const validatesOn = data.validatesOn ?? (config.validationSplit === null ? 'test' : 'validation');
  const tested = testAccuracy !== undefined && testLoss !== undefined && testImages !== null;
  return [
    ...(tested ? [{ what: 'test', accuracy: testAccuracy, loss: testLoss, pictures: testImages }] : []),
    {
      what: `${validatesOn}, which chose the epoch`,
      ...{ accuracy: valAccuracy, loss: valLoss, pictures: validationImages },
    },
    { what: 'training, during the kept epoch', accuracy, loss, pictures: trainingImages },
  ];
}

/**
 * The rows of `history.csv`: a number under each name, NaN for what was not measured in an epoch. Throws `file` for
 * anything else.
 */
export async function readHistory({ historyPath }: RunFolder): Promise<Record<string, number>[]> {
  const [header = '', ...rows] = (await readText(historyPath)).trimEnd().split('\n');
  const keys = header.split(',');
  if (
    !keys.every((key) => /^\w{1,64}$/.test(key)) ||
    new Set(keys).size < keys.length ||
    keys[0] !== 'epoch'
  ) {
    fail(
      'file',
      `${historyPath}: the first line has to name its columns, epoch first; got ${shown(header)}.`,
    );
  }
  if (rows.length === 0) fail('file', `${historyPath} has no epoch.`);
  return rows.map((row, i) => {
    const cells = row.split(',');
    const values = cells.map((cell) => (/^(NA|NaN|-?Infinity)$/.test(cell) ? Number.NaN : numberIn(cell)));
    if (cells.length !== keys.length || values.includes(null)) {
      fail('file', `${historyPath}, line ${i + 2}: expected ${keys.length} numbers, got ${shown(row)}.`);
    }
    return Object.fromEntries(keys.map((key, column) => [key, values[column]!]));
  });
}

function numberIn(cell: string): number | null {
  return cell.trim() !== '' && Number.isFinite(Number(cell)) ? Number(cell) : null;
}

/** Time of all sessions together, and the most memory of any. */
export function phasesOf({ sessions }: RunRecord): Phase[] {
  const total = new Map<string, Phase>();
  for (const phase of sessions.flatMap(({ phases = [] }) => phases)) {
    const before = total.get(phase.name) ?? { seconds: 0, memory: 0 };
    total.set(phase.name, {
      name: phase.name,
      seconds: before.seconds + phase.seconds,
      memory: Math.max(before.memory, phase.memory),
    });
  }
  return [...total.values()];
}

/** The command that trains the same again, into another folder. */
function commandOf({ command = [] }: RunRecord): string {
  return ['graft', ...withoutOptions(command, ['--out']).map(shellWord)].join(' ');
}
