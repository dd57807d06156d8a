/**
 * The groups in which Keras 3 keeps weights (`.keras` and `.weights.h5`; keras/src/saving/saving_lib.py).
 *
 * - The group of a layer is named by its class, made unique in its model, and not by the layer's own name:
 *   `layers/conv2d`, `layers/conv2d_1`. A nested model nests: `layers/functional/layers/dense`.
 * - Each group has a child `vars` with the layer's weights as data sets `0`, `1`, ...: learned ones first, whatever
 *   is frozen. Its attribute `name` is the name of the layer; Keras before 3.6 and Keras 2 leave it out.
 * - `optimizer/vars` holds Keras's `optimizer.variables`, in the order that `keras_h5.ts` tells.
 */
import type { Tensor } from '../core/tensor.ts';
import type { Layer } from '../layers/layer.ts';
import { classToSnake } from '../layers/serialization.ts';
import { Network } from '../models/network.ts';

/** Tensors at `<path>/vars/0`, `1`, ... */
export interface TensorGroup {
  readonly path: string;
  /** The name of what the tensors belong to; null where the file does not say it. */
  readonly name: string | null;
  readonly tensors: readonly Tensor[];
}

/** A layer and its group. */
export interface LayerGroup {
  readonly path: string;
  readonly layer: Layer;
}

/** Every layer of a model with its group, nested models before what is in them. */
export function layerGroups(network: Network): LayerGroup[] {
  const groups: LayerGroup[] = [];
  const met = new Set<Layer>();
  const visit = (model: Network, prefix: string): void => {
    const counts = new Map<string, number>();
    for (const layer of model.layers) {
      const name = classToSnake(layer.className);
      const count = counts.get(name) ?? 0;
      counts.set(name, count + 1);
      // Keras stores a layer where it meets it first; later appearances only take a number.
      if (met.has(layer)) continue;
      met.add(layer);
      const path = `${prefix}layers/${count === 0 ? name : `${name}_${count}`}`;
      groups.push({ path, layer });
      if (layer instanceof Network) visit(layer, `${path}/`);
    }
  };
  visit(network, '');
  return groups;
}
