/** What a sweep says at its end: the table of its trials, the best of them, what to do next. */
import { shareOf } from '../report/scores.ts';
import { ranking, remaining } from '../search/trials.ts';
import { duration } from '../training/progress.ts';
import { columns, count, invocation, type Output, percent, plural, shellWord, table } from './output.ts';
import type { FinishedRecord } from './run_folder.ts';
import type { SearchFolder, SearchRecord } from './search_folder.ts';

export async function reportSweep(folder: SearchFolder, record: SearchRecord, out: Output): Promise<void> {
  const { trials, best } = record;
  const run = best === null ? null : await folder.trial(best).readFinished();
  out.result(`\n${trialTable(record)}`);
  if (run !== null) out.result(`\n${describeBest(folder, record, run)}`);
  const left = remaining(trials);
  const resume = `${invocation()} sweep --resume ${shellWord(folder.path)}`;
  if (left.length > 0) out.result(`\n${plural(left.length, 'trial')} to go. Continue with: ${resume}`);
  out.json({
    command: 'sweep',
    status: left.length === 0 ? 'finished' : 'unfinished',
    sweep: folder.path,
    best: best === null ? null : folder.trial(best).path,
    testAccuracy: run?.metrics.testAccuracy ?? null,
    trials: trials.map(({ config, ...trial }) => ({ ...trial, run: folder.trial(trial.name).path })),
  });
}

/** The finished trials, best first, and then the others. */
export function trialTable({ trials, best }: SearchRecord): string {
  const names = Object.keys(trials[0]!.options);
  const values = (options: Readonly<Record<string, string>>) => names.map((name) => options[name]!);
  const finished = ranking(trials).map(({ name, options, result }) => [
    ...[name, percent(result.valAccuracy), result.valLoss.toFixed(4), duration(result.seconds)],
    ...[`${result.bestEpoch} of ${result.epochs}`, ...values(options), name === best ? 'best' : ''],
  ]);
  const others = trials
    .filter(({ status }) => status !== 'finished')
    .map(({ name, options, status, problem }) => [
      ...[name, '-', '-', '-', '-', ...values(options)],
      problem === null ? status : `${status}: ${problem.split('\n')[0]}`,
    ]);
  return columns([['Trial', 'Accuracy', 'Loss', 'Time', 'Epoch', ...names, ''], ...finished, ...others]);
}

/** Of the best trials, for curves that can be told apart. */
const compared = 3;

function describeBest(folder: SearchFolder, { trials, best }: SearchRecord, run: FinishedRecord): string {
  const { metrics, data } = run;
  const { valAccuracy, testAccuracy } = metrics;
  const { validationImages: images } = data;
  const { low, high } = shareOf(Math.round(valAccuracy * images), images);
  const rivals = ranking(trials).filter(
    ({ name, result }) => name !== best && result.valAccuracy >= low,
  ).length;
  const path = folder.trial(best!).path;
  const first = ranking(trials)
    .slice(0, compared)
    .map(({ name }) => shellWord(folder.trial(name).path));
  const graft = invocation();
  return table([
    ['Best', `${path}: ${percent(valAccuracy)} of ${count(images)} validation pictures`],
    [
      '',
      `95 % interval ${percent(low)} to ${percent(high)}` +
        (rivals === 0 ? '' : `; ${plural(rivals, 'other trial')} within it, so that the order may be chance`),
    ],
    ...(testAccuracy === undefined
      ? []
      : [
          [
            'Test',
            `${percent(testAccuracy)} of ${plural(data.testImages ?? 0, 'test picture')}, which took no part in the choice`,
          ] as const,
        ]),
    ['Next', `${graft} predict --model ${shellWord(path)} picture.jpg`],
    ['', `${graft} report ${shellWord(path)}`],
    ...(first.length < 2 ? [] : [['', `${graft} compare ${first.join(' ')}`] as const]),
  ]);
}
