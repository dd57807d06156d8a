/** The report of one training: what came out, how it went, which pictures it gets wrong, what was done. */
import type { Dataset } from '../data/index.ts';
import { atTemperature, type Calibration, calibrationOf, fitTemperature } from './calibration.ts';
import { drawConfidences, drawReliability } from './charts.ts';
import { type Beside, describeBeside, describeCurves } from './curves.ts';
import { type DataSummary, describeData } from './data_summary.ts';
import type { Saliency } from './heatmap.node.ts';
import { type Content, type Html, html, htmlTable, percent, section } from './html.ts';
import { figures, type Gallery, mostShade, renderPage } from './page.node.ts';
import {
  isRight,
  type Judged,
  judge,
  leastSure,
  type Predictions,
  shownMistakes,
  worstMistakes,
} from './predictions.ts';
import { accuracyOf, classScores, confusionMatrix, type Share, shareOf } from './scores.ts';
import { heatMaps, thumbnails } from './thumbnails.node.ts';

export interface RunReport {
  readonly title: string;
  /** Null where there is nothing to compare with. */
  readonly beside: Beside | null;
  readonly predictions: Predictions;
  /** The pictures of the predictions; null shows their numbers only. */
  readonly pictures: Dataset | null;
  /** Why it takes its worst mistakes for what it does; null if nothing is known. */
  readonly saliency: Saliency | null;
  /** What the pictures are called; their numbers where nobody said. */
  readonly names: readonly string[] | null;
  readonly classNames: readonly string[];
  /** `test pictures` */
  readonly what: string;
  /** Accuracy and loss on every part of the data: `test`, `validation`, `training`. */
  readonly numbers: readonly Measured[];
  /** True if the epoch that is kept was chosen by these pictures: then they flatter it. */
  readonly choseEpoch: boolean;
  readonly bestEpoch: number;
  /** The numbers of each epoch by the names of `history.csv`. */
  readonly history: readonly Readonly<Record<string, number>>[];
  /** Null for runs from before it was kept. */
  readonly data: DataSummary | null;
  /** What was trained on which data, line by line. */
  readonly plan: readonly (readonly [string, string])[];
  readonly phases: readonly { readonly name: string; readonly seconds: number; readonly memory: number }[];
  readonly seconds: number;
  /** What a shell takes. */
  readonly command: string;
  readonly versions: Readonly<Record<string, string>>;
}

export interface Measured {
  readonly what: string;
  readonly accuracy: number;
  readonly loss: number;
  readonly pictures: number;
}

/** Pictures that a cell of the confusion matrix shows. */
const perCell = 12;
/** Bytes of all thumbnails. */
const thumbnailLimit = 2_000_000;
/** Classes up to which the confusion matrix is drawn; of more, the most frequent confusions are listed. */
const mostClasses = 25;
const mostConfusions = 40;

export async function renderRunReport(report: RunReport): Promise<string> {
  const judged = judge(report.predictions);
  const worst = worstMistakes(judged).slice(0, shownMistakes);
  const unsure = leastSure(judged).slice(0, shownMistakes);
  const cells = cellsOf(judged);
  const gallery = await galleryOf(report, judged, [...worst, ...unsure], cells);
  const body = html`${[
    describeResult(report, accuracyOf(judged)),
    ...(report.beside === null
      ? []
      : [section('Side by side', describeBeside(report, report.beside, accuracyOf(judged).value))]),
    section('Learning curves', describeCurves(report.history)),
    section('Confusion', describeConfusion(report, judged, cells)),
    section('Classes', describeClasses(report, judged)),
    section(
      'Worst mistakes',
      describeList(worst, `Wrong, the highest loss first.${describeSaliency(report)}`, 'heat'),
    ),
    section(
      'Least sure',
      describeList(unsure, 'The two most probable classes are closest here, right or wrong.'),
    ),
    section('Calibration', describeCalibration(report)),
    ...(report.data === null ? [] : [section('Data', describeData(report.data, report.classNames))]),
    section('What was trained, and on what', words(report.plan)),
    section('Time and memory', describePhases(report)),
    section('Again', describeCommand(report)),
  ]}`;
  return renderPage({ title: report.title, body, gallery });
}

/** Pictures by `label-predicted`; of mistakes the highest loss first, of the right ones the surest first. */
function cellsOf(judged: readonly Judged[]): Map<string, Judged[]> {
  const cells = new Map<string, Judged[]>();
  for (const one of judged) {
    const key = `${one.label}-${one.predicted}`;
    const cell = cells.get(key);
    if (cell === undefined) cells.set(key, [one]);
    else cell.push(one);
  }
  for (const cell of cells.values()) {
    cell.sort((a, b) => (isRight(a) ? a.loss - b.loss : b.loss - a.loss) || a.index - b.index);
  }
  return cells;
}

async function galleryOf(
  { pictures, saliency, names, classNames }: RunReport,
  judged: readonly Judged[],
  listed: readonly Judged[],
  cells: ReadonlyMap<string, readonly Judged[]>,
): Promise<Gallery> {
  // Where room runs out, every cell has had its turn.
  const turns = Array.from({ length: perCell }, (_, turn) =>
    [...cells.values()].flatMap((cell) => cell[turn] ?? []),
  );
  const positions = [...listed, ...turns.flat()].map(({ index }) => index);
  const uris =
    pictures === null ? new Map<number, string>() : await thumbnails(pictures, positions, thumbnailLimit);
  const heat =
    pictures === null || saliency === null
      ? new Map<number, string>()
      : await heatMaps(pictures, saliency.maps);
  const captionOf = ({ index, label, predicted, confidence }: Judged) => {
    const answer = `${classNames[predicted]!} ${percent(confidence)}`;
    const truth = label === predicted ? 'right' : `it is: ${classNames[label]!}`;
    return `${names?.[index] ?? `picture ${index}`}: ${answer}, ${truth}`;
  };
  const groups = [...cells].map(([key, cell]) => {
    const { label, predicted } = cell[0]!;
    const shown = cell.slice(0, perCell).filter(({ index }) => pictures === null || uris.has(index));
    const title =
      `${classNames[label]!} taken for ${classNames[predicted]!}: ${cell.length}` +
      (shown.length < cell.length ? `, ${shown.length} of them shown` : '');
    return [key, { title, pictures: shown.map(({ index }) => index) }] as const;
  });
  const known = [...new Set(positions)].map((index) => {
    const caption = captionOf(judged[index]!);
    return [index, { uri: uris.get(index) ?? '', heat: heat.get(index) ?? '', caption }] as const;
  });
  return { pictures: Object.fromEntries(known), groups: Object.fromEntries(groups) };
}

function describeResult({ what, numbers, choseEpoch, bestEpoch, history }: RunReport, accuracy: Share): Html {
  const { right, count, value, low, high } = accuracy;
  const note = choseEpoch
    ? ` These pictures also chose the epoch that is kept, so expect a little less on new ones.`
    : '';
  return html`<p class="big">${percent(value)}</p>
<p>${right.toLocaleString('en')} of ${count.toLocaleString('en')} ${what} are right;
95 % interval ${percent(low)} … ${percent(high)} (Wilson). Epoch ${bestEpoch} of ${history.length} is kept.${note}</p>
${htmlTable(['pictures', 'accuracy', '95 % interval', 'loss', 'number'], numbers.map(numberRow))}`;
}

function numberRow({ what, accuracy, loss, pictures }: Measured): string[] {
  const { low, high } = shareOf(Math.round(accuracy * pictures), pictures);
  const interval = `${(100 * low).toFixed(1)} … ${percent(high)}`;
  return [what, percent(accuracy), interval, loss.toFixed(4), pictures.toLocaleString('en')];
}

function describeConfusion(
  { classNames }: RunReport,
  judged: readonly Judged[],
  cells: ReadonlyMap<string, readonly Judged[]>,
): Html {
  const shown = html`<div id="shown" hidden aria-live="polite"></div>`;
  if (classNames.length <= mostClasses) {
    const matrix = confusionMatrix(judged, classNames.length);
    const rows = matrix.map((row, label) => [
      classNames[label]!,
      ...row.map((count, predicted) => matrixCell(count, label, predicted, row)),
    ]);
    return html`<p>Rows are what pictures are, columns what they were taken for. A cell shows its pictures.</p>
<div class="confusion">${htmlTable(['', ...classNames], rows)}</div>${shown}`;
  }
  const confusions = [...cells.entries()]
    .filter(([, cell]) => !isRight(cell[0]!))
    .sort(([, a], [, b]) => b.length - a.length)
    .slice(0, mostConfusions);
  const rows = confusions.map(([key, cell]) => [
    classNames[cell[0]!.label]!,
    classNames[cell[0]!.predicted]!,
    html`<button type="button" data-group="${key}">${cell.length}</button>`,
  ]);
  return html`<p>The most frequent confusions of ${classNames.length} classes. A number shows its pictures.</p>
${htmlTable(['is', 'taken for', 'pictures'], rows)}${shown}`;
}

function matrixCell(count: number, label: number, predicted: number, row: readonly number[]): Content {
  if (count === 0) return '';
  const share = count / row.reduce((sum, value) => sum + value, 0);
  const colour = label === predicted ? 'right' : 'wrong';
  const shade = Math.round(mostShade * share);
  return html`<button type="button" data-group="${label}-${predicted}" class="${colour} shade-${shade}">${count}</button>`;
}

function describeClasses({ classNames }: RunReport, judged: readonly Judged[]): Html {
  const scores = classScores(confusionMatrix(judged, classNames.length));
  const rows = scores.map(({ precision, recall, f1, support }, id) => [
    classNames[id]!,
    percent(precision),
    percent(recall),
    percent(f1),
    support.toLocaleString('en'),
  ]);
  return html`${htmlTable(['class', 'precision', 'recall', 'F1', 'pictures'], rows)}
<p class="soft">Precision: of those taken for the class, the share that is. Recall: of those of the class, the share recognised.</p>`;
}

function describeList(judged: readonly Judged[], text: string, shows?: Parameters<typeof figures>[1]): Html {
  if (judged.length === 0) return html`<p>None.</p>`;
  return html`<p>${text}</p>${figures(
    judged.map(({ index }) => index),
    shows,
  )}`;
}

/** What the second picture of a figure is. */
function describeSaliency({ saliency, pictures }: RunReport): string {
  if (pictures === null || saliency === null || saliency.maps.size === 0) return '';
  return ` Below the first ${saliency.maps.size}: what spoke for the class they were taken for (Grad-CAM of ${saliency.layer}).`;
}

function describeCalibration({ predictions }: RunReport): Html {
  const before = calibrationOf(predictions);
  const temperature = fitTemperature(predictions);
  const after = temperature === null ? null : calibrationOf(atTemperature(predictions, temperature));
  const row = (name: string, { error, loss }: Calibration) => [name, percent(error), loss.toFixed(4)];
  const rows = [row('as it is', before)];
  if (after !== null) rows.push(row(`at temperature ${temperature!.toFixed(3)}`, after));
  const meaning =
    temperature === null
      ? 'No temperature between 0.01 and 100 has the least loss.'
      : `A temperature ${temperature > 1 ? 'above 1 means that the model is surer' : 'below 1 means that the model is less sure'}
than it is right. It is fitted to these very pictures, so that its gain is the most that can be hoped for.`;
  return html`<div class="charts"><div><h3>Accuracy by confidence</h3>${drawReliability('Accuracy by confidence', before.bins)}</div>
<div><h3>Confidence</h3>${drawConfidences('Share of pictures by confidence', before.bins)}</div></div>
${htmlTable(['', 'expected calibration error', 'crossentropy'], rows)}
<p class="soft">${meaning} 15 bins, as in Guo et al. 2017.</p>`;
}

function words(rows: readonly (readonly [string, string])[]): Html {
  return html`<div class="words">${htmlTable([], rows)}</div>`;
}

function describePhases({ phases, seconds }: RunReport): Html {
  const rows = phases.map(({ name, seconds, memory }) => [
    name,
    `${seconds.toFixed(1)} s`,
    `${(memory / 1e6).toFixed(0)} MB`,
  ]);
  return htmlTable(['', 'time', 'memory'], [...rows, ['in all', `${seconds.toFixed(1)} s`, '']]);
}

function describeCommand({ command, versions }: RunReport): Html {
  const made = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return html`<pre>${command}</pre><p class="soft">${made.join(', ')}</p>`;
}
