/** The work of a model, counted in its graph: nothing runs, and no weight needs values. */
import { topologicalOrder } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { multiplyAdds as ofNode } from '../graph/work.ts';
import { shapeContext } from '../layers/layer.ts';
import type { Network } from './network.ts';

/** Multiply-adds of predicting one picture: those of convolutions and matrix products, as papers count them. */
export function multiplyAdds(network: Network): number {
  const output = network.call([o.input('image', [-1, ...network.input.shape])], shapeContext);
  return topologicalOrder([output]).reduce((total, node) => total + ofNode(node), 0);
}
