/** Looks at what a graph computes for some pictures, to choose the ranges of its integers. */
import type { Tensor } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { Histogram } from './histogram.ts';
import { chooseRange, type RangeMethod, type ValueRange } from './ranges.ts';
import type { Unit } from './units.ts';

/** Positions of a map along each axis that are looked at: more say no more about a range. */
export const sampledPositions = 8;

/** The values that need a range: results of arithmetic, and what enters from float32. */
export function valuesToObserve(units: ReadonlyMap<Node, Unit>): Node[] {
  const values = new Set<Node>();
  for (const unit of units.values()) {
    if (unit.kind === 'conv') values.add(unit.x);
    if (unit.kind === 'conv' || unit.kind === 'add' || unit.kind === 'concat') values.add(unit.node);
  }
  return [...values];
}

/** Collects the distribution of each value, batch by batch; memory does not grow with the pictures. */
export class Calibration {
  readonly #seen: ReadonlyMap<string, Seen>;

  /** `names` are those of the values among the outputs of a batch. */
  constructor(names: readonly string[]) {
    this.#seen = new Map(names.map((name) => [name, new Seen()]));
  }

  /** Takes the outputs for one batch, channels last. */
  add(results: Readonly<Record<string, Tensor>>): void {
    for (const [name, seen] of this.#seen) seen.add(results[name] as Tensor<'float32'>);
  }

  /** A range for each value, in the order of the names. */
  ranges(method: RangeMethod): ValueRange[] {
    return [...this.#seen.values()].map((seen) => seen.range(method));
  }
}

/** What is known of one value. */
class Seen {
  readonly #histogram = new Histogram();
  #sums = new Float64Array();
  #rows = 0;

  add({ shape, data }: Tensor<'float32'>): void {
    this.#histogram.add(data);
    const channels = shape.at(-1)!;
    if (this.#rows === 0) this.#sums = new Float64Array(channels);
    this.#rows += data.length / channels;
    for (let i = 0; i < data.length; ) {
      for (let c = 0; c < channels; c++, i++) this.#sums[c]! += data[i]!;
    }
  }

  range(method: RangeMethod): ValueRange {
    const means = Float32Array.from(this.#sums, (sum) => sum / this.#rows);
    return { ...chooseRange(this.#histogram, method), means };
  }
}

/** Every n-th position along each axis of a map, and the last: padding makes other values at the border than inside. */
export function sampled(value: Node): Node {
  if (value.shape.length !== 4) return value;
  return [1, 2].reduce((map, axis) => {
    const end = map.shape[axis]!;
    const step = Math.floor(end / sampledPositions);
    if (step <= 1) return map;
    const last = o.slice(map, [{ axis, start: end - 1, end }]);
    return o.concat([o.slice(map, [{ axis, start: 0, end: end - 1, step }]), last], axis);
  }, value);
}
