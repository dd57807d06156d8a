/** Between a model's weights and the groups of Keras's files, where order is the contract. */
import { fail } from '../core/errors.ts';
import { formatShape, sameShape, tensor } from '../core/tensor.ts';
import type { Layer, Variable } from '../layers/layer.ts';
import { Network } from '../models/network.ts';
import { layerGroups, type TensorGroup } from './keras_groups.ts';
import type { LayerWeights } from './keras_h5.ts';
import { asFloat32, type NamedTensor } from './tensors.ts';

/** The weights of one group in Keras's order: those that train, then the others, over the whole group. */
function groupOrder(layer: Layer): readonly Variable[] {
  // A frozen Functional counts none as trainable; a Sequential's own flag is not restored when it is read.
  if (layer instanceof Network && layer.className === 'Functional' && !layer.trainable)
    return layer.variables;
  const trains = (variable: Variable) => variable.trainable;
  return [...layer.variables.filter(trains), ...layer.variables.filter((variable) => !trains(variable))];
}

/** What to write for each layer of a model. */
export function layersOf(network: Network): LayerWeights[] {
  return network.layers.map((layer) => ({
    layer: layer.name,
    weights: groupOrder(layer).map((variable) => ({
      name: variable.path,
      tensor: tensor('float32', variable.shape, variable.values),
    })),
  }));
}

/** By which the layers of a model and a file's groups pair: by name if all names agree, else in order if counts do. */
export function pairing(network: Network, groups: readonly LayerWeights[]): 'order' | 'name' {
  const filled = new Set(groups.filter(({ weights }) => weights.length > 0).map(({ layer }) => layer));
  const needed = network.layers.filter((layer) => layer.variables.length > 0);
  return needed.length === filled.size && !needed.every(({ name }) => filled.has(name)) ? 'order' : 'name';
}

/**
 * Sets the weights of a model from a file's groups. By `order` Keras pairs the layers that have weights one by
 * one; by `name` groups and layers of one name pair and the rest is left alone. Returns the weights that were
 * set. Throws `weights` if counts or shapes differ.
 */
export function assignLayers(
  path: string,
  network: Network,
  groups: readonly LayerWeights[],
  by: 'order' | 'name',
): ReadonlySet<Variable> {
  const withWeights = network.layers.filter((layer) => layer.variables.length > 0);
  const filled = groups.filter(({ weights }) => weights.length > 0);
  const pairs: [Layer, LayerWeights][] = [];
  if (by === 'order') {
    if (filled.length !== withWeights.length) {
      fail(
        'weights',
        `${path} holds weights of ${filled.length} layers, model ${network.name} has ${withWeights.length} with weights.`,
      );
    }
    withWeights.forEach((layer, i) => {
      pairs.push([layer, filled[i]!]);
    });
  } else {
    const byName = new Map(filled.map((group) => [group.layer, group]));
    for (const layer of withWeights) {
      const group = byName.get(layer.name);
      if (group !== undefined) pairs.push([layer, group]);
    }
  }
  const found: Found[] = [];
  for (const [layer, group] of pairs) {
    const variables = groupOrder(layer);
    if (variables.length !== group.weights.length) {
      fail(
        'weights',
        `${path}: layer ${layer.name} has ${variables.length} weights, the file's ${group.layer} has ${group.weights.length}.`,
      );
    }
    const sources = byName(variables, group.weights) ?? group.weights;
    variables.forEach((variable, i) => {
      found.push({ variable, source: sources[i]! });
    });
  }
  assignAll(path, found);
  return new Set(found.map(({ variable }) => variable));
}

/** What the group of a nested model holds for each of that model's layers, by the names of its weights. */
export function layersWithin({ weights }: LayerWeights): LayerWeights[] {
  const groups = new Map<string, LayerWeights['weights']>();
  for (const weight of weights) {
    const [layer = ''] = shortName(weight.name).split('/');
    groups.set(layer, [...(groups.get(layer) ?? []), weight]);
  }
  return [...groups].map(([layer, own]) => ({ layer, weights: own }));
}

/**
 * The weights of a group in the order of `variables`, if names say it all; `null` if a name is missing or ambiguous.
 * Position alone can mislead: Keras orders a nested model's weights by flags that its files do not always keep.
 */
function byName(
  variables: readonly Variable[],
  weights: LayerWeights['weights'],
): LayerWeights['weights'] | null {
  const known = new Map(weights.map((weight) => [shortName(weight.name), weight]));
  const found = variables.flatMap(({ path }) => known.get(path) ?? []);
  return known.size === weights.length && found.length === variables.length ? found : null;
}

/** `conv1/kernel` of `base/conv1/kernel` (Keras 3) or `conv1/kernel:0` (Keras 2). */
function shortName(name: string): string {
  return name.replace(/:\d+$/, '').split('/').slice(-2).join('/');
}

/**
 * Sets the weights of a model from the groups of a Keras 3 file. All are compared before the first is set. Throws
 * `weights` if counts or shapes differ, and, with `namesMatch`, if a group says that it belongs to another layer.
 */
export function assignGroups(
  path: string,
  network: Network,
  groups: readonly TensorGroup[],
  { namesMatch }: { readonly namesMatch: boolean },
): void {
  const holders = layerGroups(network).filter(
    ({ layer }) => !(layer instanceof Network) && layer.variables.length > 0,
  );
  const found: Found[] = [];
  for (const [i, { layer }] of holders.entries()) {
    const { path: at, name, tensors } = groups[i]!;
    const { variables } = layer;
    if (tensors.length !== variables.length) {
      const stored = tensors.length > variables.length ? 'more' : tensors.length;
      fail(
        'weights',
        `${path}: layer ${layer.name} has ${variables.length} weights, the file's ${at} has ${stored}.`,
      );
    }
    if (namesMatch && name !== null && name !== layer.name) {
      fail(
        'weights',
        `${path}: the file's ${at} belongs to layer ${name}, the model has ${layer.name} there.`,
      );
    }
    variables.forEach((variable, j) => {
      found.push({ variable, source: { name: `${at}/vars/${j}`, tensor: tensors[j]! } });
    });
  }
  assignAll(path, found);
}

/** A weight, and what a file holds for it. */
export interface Found {
  readonly variable: Variable;
  readonly source: NamedTensor;
}

/** Sets weights after all shapes have been compared. Throws `weights` if one differs. */
export function assignAll(path: string, found: readonly Found[]): void {
  for (const { variable, source } of found) {
    const { shape } = source.tensor;
    if (sameShape(shape, variable.shape)) continue;
    fail(
      'weights',
      `${path}: ${source.name} has shape ${formatShape(shape)}, ${variable.path} needs ${formatShape(variable.shape)}.`,
    );
  }
  for (const { variable, source } of found) variable.assign(asFloat32(source.tensor).data);
}
