/**
 * Static quantization of a frozen graph to int8: look at what it computes for some pictures, choose ranges, write it
 * with integers. Ranges are a function of the graph and the pictures, so they need not be kept.
 */
import { fail } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import { type Node, topologicalOrder } from '../graph/node.ts';
import { Calibration, valuesToObserve } from './calibration.ts';
import { emitQuantized } from './emit.ts';
import type { Range, RangeMethod } from './ranges.ts';
import { findUnits, type Unit } from './units.ts';

export { foldFrozen } from './fold.ts';
export type { Range } from './ranges.ts';

/** Names how integers are chosen: changes whenever the same pictures would give other integers. */
export const quantizationVersion = 'int8-1';

/**
 * Measured on conv1-conv4 of ResNet50 (noise in the pooled features, as a share of their variance): everything 1.8 %,
 * least squared error 1.1 %, all but 0.001 % of the values 1.0 %, all but 0.01 % 2.5 %.
 */
const method: RangeMethod = { name: 'percentile', percent: 99.999 };

export const foreignInteger =
  'Precision int8 is for the backbones that Graft builds itself. Of a foreign ONNX model, quantize the file ' +
  '(onnxruntime.quantization.quantize_static in Python) and train on that one with precision float32.';

/** A graph on its way to integers. */
export class Quantization {
  readonly #outputs: Readonly<Record<string, Node>>;
  readonly #units: ReadonlyMap<Node, Unit>;
  readonly #values: readonly Node[];
  readonly #calibration: Calibration;

  /** `outputs` have been through `foldFrozen`. */
  constructor(outputs: Readonly<Record<string, Node>>) {
    if (topologicalOrder(Object.values(outputs)).some(({ op }) => op === 'foreign')) {
      fail('unsupported', foreignInteger);
    }
    this.#outputs = outputs;
    this.#units = findUnits(Object.values(outputs));
    this.#values = valuesToObserve(this.#units);
    this.#calibration = new Calibration(this.#values);
  }

  /** What to compute in float32 for each batch of pictures and hand to `observe`. */
  get observed(): Readonly<Record<string, Node>> {
    return this.#calibration.outputs;
  }

  observe(results: Readonly<Record<string, Tensor>>): void {
    this.#calibration.add(results);
  }

  /** The ranges of what was observed; they fit every graph that computes the same values from the same inputs. */
  ranges(): readonly Range[] {
    return this.#calibration.ranges(method);
  }

  /** The graph with integers, as an ONNX model. */
  model(ranges: readonly Range[]): Uint8Array {
    const byValue = new Map(this.#values.map((value, i) => [value, ranges[i]!]));
    return emitQuantized(this.#outputs, this.#units, byValue);
  }
}
