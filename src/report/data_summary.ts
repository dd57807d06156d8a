/** What a report says of the data: pictures of each class and split, what was found among them, what was left out. */
import { type Html, html, htmlTable } from './html.ts';

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

export function describeData(summary: DataSummary, classNames: readonly string[]): Html {
  const { facts, notes, skipped } = summary;
  return html`${describeCounts(summary, classNames)}
${facts.length === 0 ? '' : html`<div class="words">${htmlTable([], facts)}</div>\n`}${notes.map(
  (note) => html`<p>Note: ${note}.</p>\n`,
)}${skipped.length === 0 ? '' : describeSkipped(skipped)}`;
}

function describeCounts({ splits }: DataSummary, classNames: readonly string[]): Html {
  const total = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);
  const cells = (of: (counts: readonly number[]) => number) =>
    splits.map(({ counts }) => of(counts).toLocaleString('en'));
  const table = htmlTable(
    ['class', ...splits.map(({ name }) => name)],
    [...classNames.map((name, id) => [name, ...cells((counts) => counts[id]!)]), ['in all', ...cells(total)]],
  );
  if (classNames.length <= mostOpen) return table;
  return html`<details><summary>${classNames.length} classes</summary>${table}</details>`;
}

function describeSkipped(skipped: Findings['skipped']): Html {
  const more = skipped.length - mostFiles;
  const lines = skipped.slice(0, mostFiles).map(({ name, reason }) => html`<li>${name}: ${reason}</li>`);
  if (more > 0) lines.push(html`<li>and ${more.toLocaleString('en')} more</li>`);
  const files = skipped.length === 1 ? 'One file was' : `${skipped.length.toLocaleString('en')} files were`;
  return html`<p>${files} left out:</p><ul>${lines}</ul>`;
}
