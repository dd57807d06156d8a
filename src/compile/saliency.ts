/** Grad-CAM (Selvaraju et al. 2017) as a graph: where a feature map speaks for a class. It runs nothing. */
import { differentiate } from '../graph/autodiff.ts';
import { type Node, topologicalOrder } from '../graph/node.ts';
import * as o from '../graph/ops.ts';
import { simplify, substitute } from '../graph/simplify.ts';
import type { Layer } from '../layers/layer.ts';
import { Network } from '../models/network.ts';
import { emitModel } from '../onnx/emit.ts';
import { traceModel, weightConstants } from './trace.ts';

/**
 * The layers that put out feature maps (height, width, channels) of more than one place, in order; no models, and
 * none whose map goes into a foreign model, which has no gradient.
 */
export function featureMapLayers(network: Network): readonly Layer[] {
  const { calls, output: result } = traceModel(network, 'float32').inference;
  const foreign = topologicalOrder([result]).filter(({ op }) => op === 'foreign');
  const before = new Set(topologicalOrder(foreign.flatMap(({ inputs }) => inputs)));
  const maps = calls.filter(
    ({ layer, output }) => !(layer instanceof Network) && isMap(output) && !before.has(output),
  );
  return [...new Set(maps.map(({ layer }) => layer))];
}

function isMap({ shape }: Node): boolean {
  const [, height, width] = shape;
  return shape.length === 4 && height! * width! > 1;
}

/**
 * `image` (batch, height, width, channels) and, if `ofClass` is `given`, `class` (batch) int32 → `map` (batch, height,
 * width) and the model's `output`. With A the last output of `layer`, y the logits of inference and c the class, or
 * the one with the largest logit:
 *
 *     α_k = mean over places of ∂y_c / ∂A_k        map = max(0, Σ_k α_k A_k)
 *
 * Weights are constants. The layer puts out a feature map.
 */
export function gradCamGraph(
  network: Network,
  layer: Layer,
  ofClass: 'given' | 'predicted',
  dtype: 'uint8' | 'float32',
): Uint8Array {
  const trace = traceModel(network, dtype);
  const { inference } = trace;
  const { output } = inference;
  const features = inference.calls.findLast((call) => call.layer === layer)!.output;
  const logits = o.logitsOf(output) ?? output;
  const id = ofClass === 'given' ? o.input('class', [-1], 'int32') : o.argMax(logits, 1);
  // Inference keeps the pictures of a batch apart, so the gradient of the sum is that of each.
  const score = o.sum(o.mul(logits, o.oneHot(id, logits.shape[1]!)), [0, 1]);
  const [gradient] = differentiate(score, [features]);
  const importance = o.mean(gradient!, [1, 2], true);
  const map = o.relu(o.sum(o.mul(importance, features), [3]));
  const [simpleMap, simpleOutput] = simplify(substitute([map, output], weightConstants(trace)));
  return emitModel({ map: simpleMap!, output: simpleOutput! });
}
