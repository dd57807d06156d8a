/** Features in memory: the bytes of their shards, decoded when they are read. */
import { checkIndices } from '../data/dataset.ts';
import type { Features } from './columns.ts';
import { type Plan, runsOf } from './plan.ts';
import { deliver, emptyRows, type Footer } from './shard.ts';

/** A whole shard. */
export interface Shard {
  readonly image: Uint8Array;
  readonly footer: Footer;
}

/** All shards of a plan, in order, from wherever `load` gets them. */
export async function memoryFeatures(plan: Plan, load: (shard: number) => Promise<Shard>): Promise<Features> {
  const kept: Shard[] = [];
  for (const shard of plan.all) kept.push(await load(shard));
  return {
    name: plan.name,
    shape: [plan.length],
    inMemory: true,
    async read(indices) {
      checkIndices(indices, plan.length, plan.name);
      const tensors = emptyRows(plan.layout(0), indices.length);
      for (const { shard, row, count, at } of runsOf(indices, plan.shardRows, plan.shardRows)) {
        const { image, footer } = kept[shard]!;
        plan.layout(shard).columns.forEach((column, i) => {
          const from = column.at + row * column.bytes;
          const bytes = image.subarray(from, from + count * column.bytes);
          deliver(bytes, column, footer.scales[i]!, tensors[i]!, at);
        });
      }
      return plan.named(tensors);
    },
  };
}
