/** Running sums of an epoch: Keras weighs the loss of a batch by its size; metrics are totals over pictures. */
import type { Logs } from './callback.ts';

export class Totals {
  readonly #sums: Record<string, number>;
  #count: number;

  /** `metrics` are the names of the totals; `sums` continues an earlier epoch from its `state`. */
  constructor(metrics: readonly string[], sums: Logs = {}) {
    const { count = 0, ...rest } = sums;
    this.#count = count;
    this.#sums = { loss: 0, ...Object.fromEntries(metrics.map((name) => [name, 0])), ...rest };
  }

  /** Adds a batch: `loss` is its mean, every other number its total. */
  add(result: Readonly<Record<string, number>>, size: number): void {
    for (const [name, value] of Object.entries(result)) {
      this.#sums[name]! += name === 'loss' ? value * size : value;
    }
    this.#count += size;
  }

  logs(): Logs {
    return Object.fromEntries(Object.entries(this.#sums).map(([name, sum]) => [name, sum / this.#count]));
  }

  state(): Logs {
    return { ...this.#sums, count: this.#count };
  }
}
