/** What a report says of the data: pictures of each class and split, what was found among them, what was left out. */
import { escapeHtml, htmlTable } from './html.ts';

export interface DataSummary extends Findings {
  /** Pictures that were used, of each class. */
  readonly splits: readonly { readonly name: string; readonly counts: readonly number[] }[];
}

/** What looking into a person's own pictures brought to light. */
export interface Findings {
  /** Sizes and formats, line by line. */
  readonly facts: readonly (readonly [label: string, text: string])[];
  /** What may spoil a training: `1 picture in more than one class`. */
  readonly notes: readonly string[];
  /** Files that were left out, as was asked for. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

export const nothingFound: Findings = { facts: [], notes: [], skipped: [] };

/** Classes up to which the table is open. */
const mostOpen = 25;
const mostFiles = 20;

export function describeData(summary: DataSummary, classNames: readonly string[]): string {
  const { facts, notes, skipped } = summary;
  const rows = facts.map(([label, text]) => [escapeHtml(label), escapeHtml(text)]);
  return [
    describeCounts(summary, classNames),
    ...(rows.length === 0 ? [] : [`<div class="words">${htmlTable([], rows)}</div>`]),
    ...notes.map((note) => `<p>Note: ${escapeHtml(note)}.</p>`),
    ...(skipped.length === 0 ? [] : [describeSkipped(skipped)]),
  ].join('\n');
}

function describeCounts({ splits }: DataSummary, classNames: readonly string[]): string {
  const total = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);
  const cells = (of: (counts: readonly number[]) => number) =>
    splits.map(({ counts }) => of(counts).toLocaleString('en'));
  const table = htmlTable(
    ['class', ...splits.map(({ name }) => escapeHtml(name))],
    [
      ...classNames.map((name, id) => [escapeHtml(name), ...cells((counts) => counts[id]!)]),
      ['in all', ...cells(total)],
    ],
  );
  if (classNames.length <= mostOpen) return table;
  return `<details><summary>${classNames.length} classes</summary>${table}</details>`;
}

function describeSkipped(skipped: Findings['skipped']): string {
  const more = skipped.length - mostFiles;
  const lines = skipped
    .slice(0, mostFiles)
    .map(({ name, reason }) => `<li>${escapeHtml(name)}: ${escapeHtml(reason)}</li>`);
  if (more > 0) lines.push(`<li>and ${more.toLocaleString('en')} more</li>`);
  const files = skipped.length === 1 ? 'One file was' : `${skipped.length.toLocaleString('en')} files were`;
  return `<p>${files} left out:</p><ul>${lines.join('')}</ul>`;
}
