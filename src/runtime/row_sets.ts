/** Rows that come again in every epoch: the engine's process keeps those that it was fed, for graphs that gather them. */
import { fail } from '../core/errors.ts';
import { scatterRows, type Tensor, tensor } from '../core/tensor.ts';
import { allRows, positions } from '../onnx/emit.ts';
import type { KeptRows, Tensors } from './protocol.ts';

export class RowSets {
  readonly #sets = new Map<string, Map<string, Tensor>>();

  /** Keeps the rows that were fed. In place of those that were not it adds all rows, and the positions of the batch. */
  complete(feeds: Tensors, { set, length, indices, steps, inputs }: KeptRows): Tensors {
    const known = this.#sets.get(set) ?? new Map<string, Tensor>();
    this.#sets.set(set, known);
    const taken: Record<string, Tensor> = {};
    for (const input of inputs) {
      const given = feeds[input];
      const rows = known.get(input);
      if (given !== undefined) {
        const kept = rows ?? tensor(given.dtype, [length, ...given.shape.slice(1)]);
        known.set(input, kept);
        scatterRows(given, indices, kept);
      } else {
        taken[allRows(input)] = rows ?? fail('state', `The engine keeps no rows of "${input}" in "${set}".`);
        const shape = steps === 1 ? [indices.length] : [steps, indices.length / steps];
        taken[positions] ??= tensor('int32', shape, Int32Array.from(indices));
      }
    }
    return { ...feeds, ...taken };
  }

  clear(): void {
    this.#sets.clear();
  }
}
