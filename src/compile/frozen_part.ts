/** The frozen part of a model as graphs: in float32, on integers, and by a name for what it computes. */
import { createHash } from 'node:crypto';
import { bytesOf, type Tensor } from '../core/tensor.ts';
import { type Node, topologicalOrder } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { foldFrozen, Quantization, type ValueRange } from '../quantize/index.ts';
import { type Executable, link } from './executable.ts';
import type { Outputs } from './outputs.ts';
import type { Noise } from './trace.ts';

/** From pictures to features. */
export interface FrozenPart extends Executable {
  /** What random layers in front of it take, beside the pictures. */
  readonly noises: readonly Noise[];
  /** Identifies what it computes, in whatever dtype it hands it over: its graph and its weights. */
  readonly digest: string;
  /** The same part to be run on integers. */
  integers(): IntegerFrozen;
}

/** The frozen part on its way to integers: `observe` what `observation` computes for some pictures first. */
export interface IntegerFrozen {
  readonly observation: Executable;
  observe(results: Readonly<Record<string, Tensor>>): void;
  ranges(): readonly ValueRange[];
  /** `tiles`: for a processor that multiplies tiles of integers; what it computes is the same. */
  frozen(ranges: readonly ValueRange[], tiles?: boolean): Executable;
}

/** `values` cross the cut under the names of `features`, in their dtype. */
export function frozenPart(
  values: readonly Node[],
  features: readonly string[],
  dtype: 'float32' | 'float16',
  noises: readonly Noise[],
): FrozenPart {
  const folded = foldFrozen(values);
  const outputs = Object.fromEntries(folded.map((node, i) => [features[i]!, o.cast(node, dtype)]));
  return {
    ...link(outputs, () => false),
    noises,
    digest: digest(folded),
    integers: () => integerFrozen(outputs),
  };
}

function integerFrozen(outputs: Outputs): IntegerFrozen {
  const quantization = new Quantization(outputs);
  const executable = link(outputs, () => false);
  return {
    observation: { ...link(quantization.observed, () => false), model: () => quantization.observation() },
    observe: (results) => quantization.observe(results),
    ranges: () => quantization.ranges(),
    frozen: (ranges, tiles) => ({ ...executable, model: () => quantization.model(ranges, tiles) }),
  };
}

/** SHA-256 over the structure of a graph and the values of its constants. */
function digest(outputs: readonly Node[]): string {
  const hash = createHash('sha256');
  const index = new Map<Node, number>();
  for (const node of topologicalOrder(outputs)) {
    index.set(node, index.size);
    hash.update(`${node.op} ${node.inputs.map((input) => index.get(input))} [${node.shape}] ${node.dtype} `);
    if (node.op === 'constant') hash.update(bytesOf(node.attributes.value));
    else hash.update(JSON.stringify(node.attributes));
  }
  return hash.digest('hex');
}
