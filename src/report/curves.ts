/** Curves of a training by epoch, and beside those of another one on the same pictures. */
import { type Curve, drawCurves, legend } from './charts.ts';
import { type Html, html, htmlTable, percent } from './html.ts';

/** The numbers of each epoch by the names of `history.csv`. */
type History = readonly Readonly<Record<string, number>>[];

/** Another training on the same pictures, to compare with. */
export interface Beside {
  /** What it and the training of the report are called next to each other. */
  readonly names: readonly [beside: string, own: string];
  readonly history: History;
  /** On the same pictures as the report. */
  readonly accuracy: number;
  readonly seconds: number;
}

/** The training of the report. */
interface Trained {
  readonly history: History;
  /** What its accuracy was measured on: `test pictures`. */
  readonly what: string;
  readonly seconds: number;
}

export function describeCurves(history: History): Html {
  const curve = (name: string, key: string): Curve[] =>
    history.some((logs) => key in logs)
      ? [{ name, values: history.map((logs) => logs[key] ?? Number.NaN) }]
      : [];
  const pair = (key: string, validation: string) => [
    ...curve('training', key),
    ...curve('validation', validation),
  ];
  const charts = [
    ['Loss', pair('loss', 'valLoss')],
    ['Accuracy', pair('accuracy', 'valAccuracy')],
    ['Learning rate', curve('learning rate', 'learningRate')],
  ] as const;
  const drawn = charts
    .filter(([, curves]) => curves.length > 0)
    .map(([title, curves]) => html`<div><h3>${title}</h3>${drawCurves(title, curves)}</div>\n`);
  return html`${legend(['training', 'validation'])}<div class="charts">${drawn}</div>
<p class="soft">Training numbers are means over an epoch while weights change; dropout and augmentation are at work in them.</p>`;
}

export function describeBeside(own: Trained, beside: Beside, accuracy: number): Html {
  const names = beside.names;
  const accuracies = [beside.history, own.history].map((epochs) =>
    epochs.map((logs) => logs['valAccuracy']!),
  );
  const curves = names.map((name, i) => ({ name, values: accuracies[i]! }));
  const epochs = own.history.map((_, epoch) => [
    `validation pictures, epoch ${epoch + 1}`,
    ...accuracies.map((values) => (values[epoch] === undefined ? '' : percent(values[epoch]))),
  ]);
  const rows = [
    ...epochs,
    [own.what, percent(beside.accuracy), percent(accuracy)],
    ['time', `${beside.seconds.toFixed(1)} s`, `${own.seconds.toFixed(1)} s`],
  ];
  const title = 'Accuracy on validation pictures';
  return html`<p>The same network, pictures and number of epochs; only the weights that it began with differ.</p>
${legend(names)}<div class="charts"><div><h3>${title}</h3>${drawCurves(title, curves)}</div></div>
${htmlTable(['', ...names], rows)}`;
}
