/**
 * The charts of reports, drawn by Observable Plot as SVG. Colours are CSS variables and `currentColor`, so that a
 * page's light and dark apply to them. Plot draws into a document, which linkedom is without a browser.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { Bin } from './calibration.ts';
import { type Html, html, markupOf } from './html.ts';

export interface Curve {
  readonly name: string;
  /** One value an epoch, from the first. */
  readonly values: readonly number[];
}

/** As many colours as `page.ts` defines. */
export const mostColours = 6;

const colours = Array.from({ length: mostColours }, (_, i) => `var(--series-${i + 1})`);

export function colourOf(series: number): string {
  return colours[series % colours.length]!;
}

/** Narrow enough for a phone without shrinking. */
const size = { width: 340, height: 220, marginLeft: 48, marginBottom: 34 };

function draw(title: string, options: Plot.PlotOptions) {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const page = document as unknown as NonNullable<Plot.PlotOptions['document']>;
  const svg = Plot.plot({ ...size, ...options, document: page });
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', title);
  return svg;
}

/** A chart for a page, whose style has Plot's rules: a page allows no style but its own. */
export function inPage(svg: ReturnType<typeof draw>): Html {
  for (const style of svg.querySelectorAll('style')) style.remove();
  return markupOf(svg);
}

/** Curves over epochs, counted from 1. */
export function drawCurves(title: string, curves: readonly Curve[]): Html {
  const values = curves.flatMap(({ values }) => values).filter(Number.isFinite);
  const longest = Math.max(...curves.map((curve) => curve.values.length));
  const marks = curves.flatMap((curve, i) => {
    const points = curve.values.map((value, epoch) => ({ epoch: epoch + 1, value }));
    const common = { x: 'epoch', y: 'value', stroke: colourOf(i) };
    return [
      Plot.lineY(points, { ...common, strokeWidth: 2 }),
      Plot.dot(points, { ...common, r: longest > 40 ? 0 : 2, fill: colourOf(i) }),
    ];
  });
  const svg = draw(title, {
    x: { label: 'epoch', ticks: Math.min(longest, 8), tickFormat: (epoch: number) => wholeOnly(epoch) },
    y: { label: null, grid: true, nice: true, ...flat(values) },
    marks,
  });
  return inPage(svg);
}

/** A loss at each learning rate, and rates that stand out. */
export interface RateCurve {
  readonly learningRates: readonly number[];
  readonly losses: readonly number[];
  readonly smoothedLosses: readonly number[];
  readonly marks: readonly { readonly name: string; readonly learningRate: number }[];
}

/** The loss over the learning rate: each step as a dot, the average as a curve, suggestions as lines. */
export function drawLearningRates(title: string, curve: RateCurve) {
  const points = curve.learningRates.map((rate, i) => ({
    rate,
    loss: curve.losses[i]!,
    smoothed: curve.smoothedLosses[i]!,
  }));
  // A loss that leaves would press the valley flat.
  const all = points.flatMap(({ loss, smoothed }) => [loss, smoothed]).filter(Number.isFinite);
  const [low, first] = [Math.min(...all), points[0]!.loss];
  const top = low + 1.6 * (first - low || 1);
  return draw(title, {
    height: 280,
    x: { type: 'log', label: 'learning rate', ticks: 5, tickFormat: (rate: number) => rate.toExponential(0) },
    y: { label: 'loss', grid: true, domain: [0.95 * low, top], clamp: true },
    marks: [
      Plot.dot(points, { x: 'rate', y: 'loss', r: 1.5, fill: 'currentColor', fillOpacity: 0.35 }),
      Plot.lineY(points, { x: 'rate', y: 'smoothed', stroke: colourOf(0), strokeWidth: 2 }),
      ...curve.marks.map(({ learningRate }, i) =>
        Plot.ruleX([learningRate], { stroke: colourOf(i + 1), strokeWidth: 2, strokeDasharray: '5 3' }),
      ),
    ],
  });
}

function wholeOnly(epoch: number): string {
  return Number.isInteger(epoch) ? String(epoch) : '';
}

/** A scale for values that are all the same. */
function flat(values: readonly number[]): { readonly domain?: [number, number] } {
  // Not as arguments: a long training has more epochs than a call may have.
  const low = values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  const high = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  return low === high ? { domain: [0, low === 0 ? 1 : 2 * low] } : {};
}

/** Accuracy by confidence; on the diagonal probabilities mean what they say. */
export function drawReliability(title: string, bins: readonly Bin[]): Html {
  const filled = bins.filter(({ count }) => count > 0);
  const svg = draw(title, {
    height: 300,
    x: { label: 'confidence', domain: [0, 1], percent: false },
    y: { label: 'accuracy', domain: [0, 1], grid: true },
    marks: [
      Plot.rectY(filled, {
        x1: 'low',
        x2: 'high',
        y: 'accuracy',
        fill: colourOf(0),
        fillOpacity: 0.7,
        inset: 1,
      }),
      Plot.line(
        [
          [0, 0],
          [1, 1],
        ],
        { stroke: 'currentColor', strokeDasharray: '4 3' },
      ),
      Plot.dot(filled, { x: 'confidence', y: 'accuracy', r: 3, fill: colourOf(1) }),
    ],
  });
  return inPage(svg);
}

/** The share of pictures in each bin of confidence. */
export function drawConfidences(title: string, bins: readonly Bin[]): Html {
  const total = bins.reduce((sum, { count }) => sum + count, 0);
  const shares = bins.map(({ low, high, count }) => ({ low, high, share: count / total }));
  const svg = draw(title, {
    height: 300,
    x: { label: 'confidence', domain: [0, 1] },
    y: { label: 'share of pictures', grid: true },
    marks: [Plot.rectY(shares, { x1: 'low', x2: 'high', y: 'share', fill: colourOf(2), inset: 1 })],
  });
  return inPage(svg);
}

/** Which colour is which. */
export function legend(names: readonly string[]): Html {
  return html`<p class="legend">${names.map((name, i) => legendEntry(name, i))}</p>`;
}

/** A name beside its colour. */
export function legendEntry(name: string, series: number): Html {
  return html`<span><i class="series-${series % mostColours}"></i>${name}</span> `;
}
