/** A scalar that depends on every element of a value: the sum of the value times an input `weights`. */
import type { Tensor } from '../../src/core/tensor.ts';
import { type Node, resolveShape } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { drawTensor } from './operation_cases.ts';

export function weightedSum(value: Node): Node {
  return o.sum(o.mul(o.cast(value, 'float32'), o.input('weights', value.shape)));
}

export function weightsFor(value: Node, batch: number, purpose = 'weights'): Record<string, Tensor> {
  return { weights: drawTensor(resolveShape(value.shape, batch), 'float32', 'normal', purpose) };
}
