/** Looks at what a graph computes for some pictures, to choose the ranges of its integers. */
import type { Tensor } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { Histogram } from './histogram.ts';
import { chooseRange, type Range, type RangeMethod } from './ranges.ts';
import type { Unit } from './units.ts';

/** Positions of a map along each axis that are looked at: more say no more about a range. */
export const sampledPositions = 8;

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
  readonly #histograms: ReadonlyMap<string, Histogram>;

  /** `names` are those of the values among the outputs of a batch. */
  constructor(names: readonly string[]) {
    this.#histograms = new Map(names.map((name) => [name, new Histogram()]));
  }

  /** Takes the outputs for one batch. */
  add(results: Readonly<Record<string, Tensor>>): void {
    for (const [name, histogram] of this.#histograms) histogram.add(results[name]!.data as Float32Array);
  }

  /** A range for each value, in the order of the names. */
  ranges(method: RangeMethod): Range[] {
    return [...this.#histograms.values()].map((histogram) => chooseRange(histogram, method));
  }
}

/** Every n-th position of a map, beginning inside. */
export function sampled(value: Node): Node {
  if (value.shape.length !== 4) return value;
  const axes = [1, 2].map((axis) => {
    const step = Math.max(1, Math.floor(value.shape[axis]! / sampledPositions));
    return { axis, start: step >> 1, end: value.shape[axis]!, step };
  });
  return o.slice(value, axes);
}
