/** Computes one shard. */
import type { Shard } from './memory.ts';
import { computeRows, type Plan } from './plan.ts';
import { readFooter, ShardWriter } from './shard.ts';

/**
 * A shard, in `image` if that is given. One computation waits while another runs, so that whoever
 * computes is never idle. `onRows` hears the rows that were added.
 */
export async function computeShard(
  plan: Plan,
  shard: number,
  onRows: (count: number) => void,
  image?: Uint8Array,
): Promise<Shard> {
  const layout = plan.layout(shard);
  const bytes = image?.subarray(0, layout.bytes) ?? new Uint8Array(layout.bytes);
  const writer = new ShardWriter(layout, bytes, plan.name);
  const first = plan.start(shard);
  const compute = (row: number) => {
    const count = Math.max(0, Math.min(computeRows, layout.rows - row));
    if (count === 0) return null;
    const result = plan.request.compute(Int32Array.from({ length: count }, (_, i) => first + row + i));
    // It is awaited in its turn, or not at all if an earlier one fails.
    result.catch(() => undefined);
    return result;
  };
  let next = compute(0);
  for (let row = 0; row < layout.rows; row += computeRows) {
    const current = next!;
    next = compute(row + computeRows);
    writer.append(await current);
    onRows(Math.min(computeRows, layout.rows - row));
  }
  const seal = plan.seal(shard);
  const finished = writer.finish(seal);
  return { image: finished, footer: readFooter(finished.subarray(layout.footerAt), layout, seal)! };
}
