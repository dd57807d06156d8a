/** The page of a learning-rate range test: the curve, what it suggests, and the numbers. */
import { colourOf, drawLearningRates, type RateCurve } from './charts.ts';
import { escapeHtml, htmlTable } from './html.ts';
import { renderPage } from './page.ts';

/** What `model.lrFind` gives. */
export interface RateTest extends Omit<RateCurve, 'marks'> {
  readonly suggestions: Readonly<Record<string, number>> | null;
}

/** Draws a range test as SVG; in a page of its own colours are light and dark with it. */
export function plotLearningRates(test: RateTest): string {
  return drawLearningRates('Loss over learning rate', { ...test, marks: marksOf(test) });
}

function marksOf({ suggestions }: RateTest): RateCurve['marks'] {
  return Object.entries(suggestions ?? {}).map(([name, learningRate]) => ({ name, learningRate }));
}

/** HTML of one file that needs no network. `command` is shown as what was typed. */
export function renderLearningRates(title: string, test: RateTest, command: string): string {
  const marks = marksOf(test);
  const key = marks.map(({ name, learningRate }, i) => {
    const colour = `<i style="background:${colourOf(i + 1)}"></i>`;
    return `<span>${colour}${escapeHtml(name)} ${learningRate.toExponential(1)}</span>`;
  });
  const rows = test.learningRates.map((rate, i) => [
    rate.toExponential(2),
    test.losses[i]!.toFixed(4),
    test.smoothedLosses[i]!.toFixed(4),
  ]);
  const body = [
    `<div class="charts">${plotLearningRates(test)}</div>`,
    marks.length > 0
      ? `<p class="legend">${key.join(' ')}</p>`
      : '<p>The loss never falls: there is nothing to suggest.</p>',
    `<p class="soft">Each dot is a step at a growing rate; the curve is their moving average.</p>`,
    `<pre>${escapeHtml(command)}</pre>`,
    `<details><summary>All steps</summary>${htmlTable(['learning rate', 'loss', 'average'], rows)}</details>`,
  ].join('\n');
  return renderPage({ title, body, gallery: { pictures: {}, groups: {} } });
}
