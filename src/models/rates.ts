/** Discriminative learning rates (Howard & Ruder 2018): groups of layers that learn at a share of the rate. */
import { fail } from '../core/errors.ts';
import type { Layer } from '../layers/layer.ts';
import { Network } from './network.ts';

/**
 * What the learning rate is multiplied with, by the first layer of each group: a group goes up to the next one that is
 * named, in the order of the model. Layers before the first group learn at the whole rate.
 */
export type LearningRateMultipliers = Readonly<Record<string, number>>;

/**
 * The multiplier of each layer that is no model. Names may be those of nested models or of layers inside. Throws
 * `argument` for a name that the model lacks or a multiplier that is not above 0.
 */
export function multipliersOf(
  network: Network,
  multipliers: LearningRateMultipliers,
): ReadonlyMap<Layer, number> {
  for (const [name, multiplier] of Object.entries(multipliers)) {
    network.getLayer(name);
    if (multiplier > 0 && Number.isFinite(multiplier)) continue;
    fail(
      'argument',
      `learningRateMultipliers: expected a number above 0 for ${name}, got ${multiplier}. To keep layers as they ` +
        'are, set trainable = false.',
    );
  }
  const found = new Map<Layer, number>();
  let current = 1;
  const visit = ({ layers }: Network): void => {
    for (const layer of layers) {
      if (Object.hasOwn(multipliers, layer.name)) current = multipliers[layer.name]!;
      if (layer instanceof Network) visit(layer);
      else found.set(layer, current);
    }
  };
  visit(network);
  return found;
}
