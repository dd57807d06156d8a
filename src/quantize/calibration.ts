/** Looks at what a graph computes for some pictures, to choose the ranges of its integers. */
import type { Tensor } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { Histogram } from './histogram.ts';
import { chooseRange, type Range, type RangeMethod } from './ranges.ts';
import type { Unit } from './units.ts';

/** Positions of a map along each axis that are looked at: more say no more about a range. */
const sampledPositions = 8;

/** The values that need a range: results of arithmetic, and what enters from float32. */
export function valuesToObserve(units: ReadonlyMap<Node, Unit>): Node[] {
  const values = new Set<Node>();
  for (const unit of units.values()) {
    if (unit.kind === 'conv' && !units.has(unit.x)) values.add(unit.x);
    if (unit.kind === 'conv' || unit.kind === 'add' || unit.kind === 'concat') values.add(unit.node);
  }
  return [...values];
}

/** Collects the distribution of each value, batch by batch; memory does not grow with the pictures. */
export class Calibration {
  /** What to compute for each batch of pictures: samples of each value, by name. */
  readonly outputs: Readonly<Record<string, Node>>;
  readonly #histograms: readonly Histogram[];

  constructor(values: readonly Node[]) {
    this.#histograms = values.map(() => new Histogram());
    this.outputs = Object.fromEntries(values.map((value, i) => [`value${i}`, sampled(value)]));
  }

  /** Takes the outputs for one batch. */
  add(results: Readonly<Record<string, Tensor>>): void {
    this.#histograms.forEach((histogram, i) => {
      histogram.add(results[`value${i}`]!.data as Float32Array);
    });
  }

  /** A range for each value, in the order of the values. */
  ranges(method: RangeMethod): Range[] {
    return this.#histograms.map((histogram) => chooseRange(histogram, method));
  }
}

/** Every n-th position of a map, beginning inside. */
function sampled(value: Node): Node {
  if (value.shape.length !== 4) return value;
  const axes = [1, 2].map((axis) => {
    const step = Math.max(1, Math.floor(value.shape[axis]! / sampledPositions));
    return { axis, start: step >> 1, end: value.shape[axis]!, step };
  });
  return o.slice(value, axes);
}
