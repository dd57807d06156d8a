/** Between batches and the tensors that a graph takes and gives. */
import type { Executable } from '../compile/program.ts';
import { fail } from '../core/errors.ts';
import { float32, type Tensor } from '../core/tensor.ts';
import type { Tensors } from '../runtime/engine.node.ts';
import type { BatchResult, FeatureBatch } from './executor.ts';

export function labelled({ features, y, sampleWeight }: FeatureBatch): Record<string, Tensor> {
  return { ...features, y, sampleWeight: float32([sampleWeight.length], sampleWeight) };
}

/** The feeds that a graph takes; the simplified graph of a model may not use all. */
export function only(feeds: Tensors, graph: Executable): Tensors {
  return Object.fromEntries(
    graph.feeds.map((name) => [name, feeds[name] ?? fail('state', `No feed for ${name}.`)]),
  );
}

export function numbers(results: Tensors): BatchResult {
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, Number(data[0])]));
}
