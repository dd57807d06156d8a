/** Several runs beside each other: numbers, options that differ, curves, and the pictures that changed sides. */
import type { Dataset } from '../data/index.ts';
import { type Curve, drawCurves, legend, mostColours } from './charts.ts';
import { type Html, html, htmlTable, percent, section } from './html.ts';
import { figures, type Gallery, renderPage } from './page.node.ts';
import { isRight, type Judged, judge, type Predictions } from './predictions.ts';
import { accuracyOf, type Share } from './scores.ts';
import { thumbnails } from './thumbnails.node.ts';

/** As many as there are colours. */
export const mostRuns = mostColours;

export interface ComparedRun {
  readonly name: string;
  readonly predictions: Predictions;
  /** The numbers of each epoch by the names of `history.csv`. */
  readonly history: readonly Readonly<Record<string, number>>[];
  /** Options by name. */
  readonly options: Readonly<Record<string, string>>;
  readonly bestEpoch: number;
  readonly seconds: number;
  readonly trainable: number;
}

export interface Comparison {
  /** Two or more; the others are compared with the first. */
  readonly runs: readonly ComparedRun[];
  /** False if they were judged by different pictures or classes: then no picture is compared. */
  readonly samePictures: boolean;
  /** The pictures of the predictions; null shows no thumbnails. */
  readonly pictures: Dataset | null;
  readonly names: readonly string[] | null;
  readonly classNames: readonly string[];
}

/** One picture as every run sees it, in the order of runs. */
export type Views = readonly Judged[];

export interface Change {
  /** Wrong in the first run and right in the other, or the other way; the surest wrong answers first. */
  readonly mended: readonly Views[];
  readonly broken: readonly Views[];
}

/** What changed from the first run to the one at `other`. */
export function changesTo(judged: readonly (readonly Judged[])[], other: number): Change {
  const views = judged[0]!.map((_, index) => judged.map((run) => run[index]!));
  const pick = (wrong: number, right: number) =>
    views
      .filter((view) => !isRight(view[wrong]!) && isRight(view[right]!))
      .sort((a, b) => b[wrong]!.loss - a[wrong]!.loss || a[0]!.index - b[0]!.index);
  return { mended: pick(0, other), broken: pick(other, 0) };
}

/** The options that are not the same in all runs: name and the value in each, a dash where a run has none. */
export function differingOptions(
  runs: readonly Pick<ComparedRun, 'options'>[],
): (readonly [string, ...string[]])[] {
  const keys = [...new Set(runs.flatMap(({ options }) => Object.keys(options)))];
  return keys
    .map((key) => [key, ...runs.map(({ options }) => options[key] ?? '–')] as const)
    .filter(([, first, ...others]) => others.some((value) => value !== first));
}

export function describeShare({ value, low, high }: Share): string {
  return `${percent(value)} (${(100 * low).toFixed(1)} … ${percent(high)})`;
}

/** Pictures of a list that are shown. */
const perList = 24;
/** Bytes of all thumbnails. */
const thumbnailLimit = 2_000_000;

export async function renderComparison(comparison: Comparison): Promise<string> {
  const { runs, samePictures } = comparison;
  const judged = runs.map(({ predictions }) => judge(predictions));
  const changes = samePictures ? runs.slice(1).map((_, i) => changesTo(judged, i + 1)) : [];
  const title = `${runs.length} runs compared`;
  const body = html`${[
    section('Final numbers', describeNumbers(runs, judged)),
    section('Options that differ', describeOptions(runs)),
    section('Learning curves', describeCurves(runs)),
    ...changes.map((change, i) => describeChange(runs[0]!.name, runs[i + 1]!.name, change)),
    ...(samePictures ? [] : [section('Pictures', html`<p>${otherPictures}</p>`)]),
  ]}`;
  return renderPage({ title, body, gallery: await galleryOf(comparison, changes) });
}

export const otherPictures =
  'The runs were judged by different pictures or classes, so no picture is compared and accuracies are only roughly ' +
  'comparable.';

function describeNumbers(runs: readonly ComparedRun[], judged: readonly (readonly Judged[])[]): Html {
  const loss = (all: readonly Judged[]) => all.reduce((sum, { loss }) => sum + loss, 0) / all.length;
  const rows = runs.map(({ name, history, bestEpoch, seconds, trainable }, i) => [
    name,
    describeShare(accuracyOf(judged[i]!)),
    loss(judged[i]!).toFixed(4),
    judged[i]!.length.toLocaleString('en'),
    `${bestEpoch} of ${history.length}`,
    `${seconds.toFixed(1)} s`,
    trainable.toLocaleString('en'),
  ]);
  const head = [
    'run',
    'accuracy (95 % interval)',
    'loss',
    'pictures',
    'epoch kept',
    'time',
    'trained parameters',
  ];
  return htmlTable(head, rows);
}

function describeOptions(runs: readonly ComparedRun[]): Html {
  const rows = differingOptions(runs);
  if (rows.length === 0) return html`<p>None: the runs have the same options.</p>`;
  const head = ['option', ...runs.map(({ name }) => name)];
  return html`<div class="words">${htmlTable(head, rows)}</div>`;
}

function describeCurves(runs: readonly ComparedRun[]): Html {
  const charts = [
    ['Validation accuracy', 'valAccuracy'],
    ['Validation loss', 'valLoss'],
    ['Training accuracy', 'accuracy'],
    ['Training loss', 'loss'],
    ['Learning rate', 'learningRate'],
  ] as const;
  const drawn = charts.map(([title, key]) => {
    const curves = runs.map(
      ({ name, history }): Curve => ({ name, values: history.map((logs) => logs[key] ?? Number.NaN) }),
    );
    return html`<div><h3>${title}</h3>${drawCurves(title, curves)}</div>\n`;
  });
  return html`${legend(runs.map(({ name }) => name))}<div class="charts">${drawn}</div>`;
}

function describeChange(first: string, other: string, { mended, broken }: Change): Html {
  const list = (views: readonly Views[], text: string) => {
    const shown = views.slice(0, perList);
    const rest = shown.length < views.length ? `, ${shown.length} of them shown` : '';
    return html`<h3>${text}: ${views.length}${rest}</h3>${figures(shown.map(([one]) => one!.index))}`;
  };
  return section(`Changed sides: ${first} and ${other}`, [
    list(mended, `Wrong in ${first}, right in ${other}`),
    list(broken, `Right in ${first}, wrong in ${other}`),
  ]);
}

async function galleryOf(
  { runs, pictures, names, classNames }: Comparison,
  changes: readonly Change[],
): Promise<Gallery> {
  const lists = changes.flatMap(({ mended, broken }) => [mended.slice(0, perList), broken.slice(0, perList)]);
  // Where room runs out, every list has had its turn.
  const turns = Array.from({ length: perList }, (_, turn) =>
    lists.flatMap((list) => list.slice(turn, turn + 1)),
  );
  const shown = turns.flat();
  const positions = shown.map(([one]) => one!.index);
  const uris =
    pictures === null ? new Map<number, string>() : await thumbnails(pictures, positions, thumbnailLimit);
  const captions = shown.map((views) => {
    const [{ index, label }] = views as readonly [Judged];
    const guesses = views.map(
      ({ predicted, confidence }, i) => `${runs[i]!.name}: ${classNames[predicted]!} ${percent(confidence)}`,
    );
    const caption = `${names?.[index] ?? `picture ${index}`}, ${classNames[label]!}. ${guesses.join('; ')}`;
    return [index, { uri: uris.get(index) ?? '', caption }] as const;
  });
  return { pictures: Object.fromEntries(captions), groups: {} };
}
