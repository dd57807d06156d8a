/** The page of a learning-rate range test: the curve, what it suggests, and the numbers. */
import { drawLearningRates, inPage, legendEntry, type RateCurve } from './charts.ts';
import { html, htmlTable } from './html.ts';
import { renderPage } from './page.node.ts';

/** What `model.lrFind` gives. */
export interface RateTest extends Omit<RateCurve, 'marks'> {
  readonly suggestions: Readonly<Record<string, number>> | null;
}

/** Draws a range test as SVG; in a page of its own colours are light and dark with it. */
export function plotLearningRates(test: RateTest): string {
  return draw(test).outerHTML;
}

function draw(test: RateTest) {
  return drawLearningRates('Loss over learning rate', { ...test, marks: marksOf(test) });
}

function marksOf({ suggestions }: RateTest): RateCurve['marks'] {
  return Object.entries(suggestions ?? {}).map(([name, learningRate]) => ({ name, learningRate }));
}

/** HTML of one file that needs no network. `command` is shown as what was typed. */
export function renderLearningRates(title: string, test: RateTest, command: string): string {
  const marks = marksOf(test);
  const key = marks.map(({ name, learningRate }, i) =>
    legendEntry(`${name} ${learningRate.toExponential(1)}`, i + 1),
  );
  const rows = test.learningRates.map((rate, i) => [
    rate.toExponential(2),
    test.losses[i]!.toFixed(4),
    test.smoothedLosses[i]!.toFixed(4),
  ]);
  const suggestions =
    marks.length > 0
      ? html`<p class="legend">${key}</p>`
      : html`<p>The loss never falls: there is nothing to suggest.</p>`;
  const body = html`<div class="charts">${inPage(draw(test))}</div>
${suggestions}
<p class="soft">Each dot is a step at a growing rate; the curve is their moving average.</p>
<pre>${command}</pre>
<details><summary>All steps</summary>${htmlTable(['learning rate', 'loss', 'average'], rows)}</details>`;
  return renderPage({ title, body, gallery: { pictures: {}, groups: {} } });
}
