/** `graft compare`: runs beside each other, as a table in the terminal and as a page. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { fail } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { lengthOf } from '../data/index.ts';
import type { Change, ComparedRun } from '../report/compare.ts';
import { judge } from '../report/predictions.ts';
import { accuracyOf } from '../report/scores.ts';
import { addCommonOptions, addMirrorOption, type CommonOptions } from './arguments.ts';
import type { TrainConfig } from './config.ts';
import { columns, columnsOf, outputFor } from './output.ts';
import { RunFolder, type RunRecord } from './run_folder.ts';
import { readPredictions } from './run_predictions.ts';
import { checkCount, picturesOf, readHistory } from './run_report.ts';

export interface CompareOptions extends CommonOptions {
  readonly mirror?: string;
  readonly pictures: boolean;
  readonly output: string;
}

export function defineCompare(command: Command): void {
  command
    .argument('<run...>', 'folders of runs; the others are compared with the first')
    .option('--output <file>', 'the page that is written', 'compare.html')
    .option('--no-pictures', 'without thumbnails, for where the pictures are gone');
  addCommonOptions(addMirrorOption(command));
  command.addHelpText('after', examples).action(runCompare);
}

const examples = `
Examples:
  $ graft compare runs/BEFORE runs/AFTER
  $ graft compare runs/* --output all.html`;

async function runCompare(paths: string[], options: CompareOptions): Promise<void> {
  const out = outputFor(options);
  // What draws is loaded by the commands that draw.
  const { changesTo, describeShare, differingOptions, mostRuns, otherPictures, renderComparison } =
    await import('../report/compare.ts');
  if (paths.length < 2 || paths.length > mostRuns) {
    fail('argument', `compare takes 2 to ${mostRuns} runs, got ${paths.length}.`);
  }
  const records = await Promise.all(paths.map((path) => new RunFolder(path).read()));
  const names = namesOfRuns(paths);
  const runs = await Promise.all(records.map((record, i) => compared(paths[i]!, names[i]!, record)));
  const samePictures = judgedAlike(records);
  if (samePictures) {
    const [first] = runs;
    runs.forEach(({ predictions }, i) => {
      checkCount(first!.predictions.labels.length, predictions, new RunFolder(paths[i]!));
    });
  }
  const pictures =
    options.pictures && samePictures ? await picturesOf(records[0]!, options.mirror, out) : null;
  if (pictures !== null) checkCount(lengthOf(pictures), runs[0]!.predictions, new RunFolder(paths[0]!));
  const page = await renderComparison({
    ...{ runs, samePictures, pictures, names: pictures?.names ?? null },
    classNames: records[0]!.data.classNames,
  });
  await writeAtomically(options.output, page);

  const judged = runs.map(({ predictions }) => judge(predictions));
  const changes = samePictures ? runs.slice(1).map((_, i) => changesTo(judged, i + 1)) : null;
  const rows = [
    ['', ...names],
    ['accuracy', ...judged.map((all) => describeShare(accuracyOf(all)))],
    ['mended', '', ...countsOf(changes, 'mended')],
    ['broken', '', ...countsOf(changes, 'broken')],
    ['epoch kept', ...runs.map(({ bestEpoch, history }) => `${bestEpoch} of ${history.length}`)],
    ['time', ...runs.map(({ seconds }) => `${seconds.toFixed(1)} s`)],
    ...differingOptions(runs),
  ];
  out.result(columns(narrowed(rows.filter((row) => row.length === names.length + 1))));
  out.say(
    changes === null
      ? `\n${otherPictures}`
      : `\nMended and broken: pictures that were wrong in ${names[0]!} and are right, and the other way.`,
  );
  out.result(`\n${options.output}`);
  out.json({
    ...{ command: 'compare', output: options.output, samePictures },
    runs: runs.map(({ bestEpoch, seconds, options: chosen }, i) => ({
      ...{ run: paths[i]!, accuracy: accuracyOf(judged[i]!), bestEpoch, seconds, options: chosen },
      mended: changes?.[i - 1]?.mended.length ?? null,
      broken: changes?.[i - 1]?.broken.length ?? null,
    })),
  });
}

async function compared(path: string, name: string, record: RunRecord): Promise<ComparedRun> {
  const folder = new RunFolder(path);
  const predictions = await readPredictions(folder, record);
  const { bestEpoch, seconds } = record.metrics!;
  const history = await readHistory(folder);
  const { trainable } = record.model;
  return { name, predictions, history, options: optionsOf(record.config), bestEpoch, seconds, trainable };
}

/** The last part of each path, or the paths where those are not told apart by it. */
function namesOfRuns(paths: readonly string[]): string[] {
  const names = paths.map((path) => basename(path));
  return new Set(names).size === names.length ? names : [...paths];
}

function optionsOf(config: TrainConfig): Record<string, string> {
  return Object.fromEntries(
    Object.entries(config).map(([name, value]) => [name, value === null ? '–' : String(value)]),
  );
}

function judgedAlike([first, ...others]: readonly RunRecord[]): boolean {
  const key = ({ predictions, data }: RunRecord) =>
    JSON.stringify([predictions?.sources ?? predictions?.fingerprint, data.classNames]);
  return others.every((other) => key(other) === key(first!));
}

function countsOf(changes: readonly Change[] | null, what: keyof Change): string[] {
  return changes?.map((change) => String(change[what].length)) ?? [];
}

/** Rows that fit into a terminal: long values lose their middle there; the page has them whole. */
function narrowed(rows: readonly (readonly string[])[]): (readonly string[])[] {
  const { isTTY, columns: width } = process.stdout;
  const labels = Math.max(...rows.map(([label]) => columnsOf(label!)));
  // An accuracy with its interval has to fit.
  const most = Math.max(22, Math.floor((width - labels) / (rows[0]!.length - 1)) - 2);
  if (!isTTY) return [...rows];
  const cut = (text: string) => {
    if (columnsOf(text) <= most) return text;
    const kept = most - 1;
    return `${text.slice(0, Math.floor(kept / 2))}…${text.slice(-Math.ceil(kept / 2))}`;
  };
  return rows.map(([label, ...cells]) => [label!, ...cells.map(cut)]);
}
