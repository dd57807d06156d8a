/** Rows that come again in every epoch: the engine's process keeps those that it was fed, and gathers them by position. */
import { fail } from '../core/errors.ts';
import { gatherRows, scatterRows, type Tensor, tensor } from '../core/tensor.ts';
import type { KeptRows, Tensors } from './protocol.ts';

interface Kept {
  readonly rows: Tensor;
  /** What was gathered last: the next batch of that size goes into the same memory. */
  gathered: Tensor | null;
}

export class RowSets {
  readonly #sets = new Map<string, Map<string, Kept>>();

  /** Keeps the rows that were fed, and adds those that were not. */
  complete(feeds: Tensors, { set, length, indices, inputs }: KeptRows): Tensors {
    const known = this.#sets.get(set) ?? new Map<string, Kept>();
    this.#sets.set(set, known);
    const taken: Record<string, Tensor> = {};
    for (const input of inputs) {
      const given = feeds[input];
      let kept = known.get(input);
      if (given === undefined) {
        if (kept === undefined) fail('state', `The engine keeps no rows of "${input}" in "${set}".`);
        const fits = kept.gathered?.shape[0] === indices.length;
        kept.gathered = gatherRows(kept.rows, indices, fits ? kept.gathered! : undefined);
        taken[input] = kept.gathered;
      } else {
        kept ??= { rows: tensor(given.dtype, [length, ...given.shape.slice(1)]), gathered: null };
        known.set(input, kept);
        scatterRows(given, indices, kept.rows);
      }
    }
    return { ...feeds, ...taken };
  }

  clear(): void {
    this.#sets.clear();
  }
}
