/** Models to files and back. The file's ending says the format. */
import { extname } from 'node:path';
import { fail } from '../core/errors.ts';
import type { Loss } from '../losses/index.ts';
import type { Metric } from '../metrics/index.ts';
import {
  type KerasLayerConfig,
  type MakeNetwork,
  networkConfig,
  networkFromConfig,
} from '../models/config.ts';
import type { Network } from '../models/network.ts';
import type { Optimizer } from '../optimizers/index.ts';
import { readKerasH5, writeKerasH5 } from './keras_h5.node.ts';
import { assignLayers, layersOf } from './keras_weights.ts';
import { extraState, optimizerTensors, readTraining, trainingConfig } from './training_config.ts';

/** How a model was being trained, as far as files keep it. */
export interface SavedTraining {
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  /** Decides shuffles and dropout. */
  readonly seed: number;
  /** Updates done. */
  readonly step: number;
  /** Optimizer state by name (`w3/velocity`), or `null` before the first step. */
  readonly slots: Readonly<Record<string, Float32Array>> | null;
}

export interface SavedModel {
  readonly network: Network;
  readonly training: SavedTraining | null;
}

/** Writes a model, whole or not at all. Throws `argument` for an ending that Graft does not write. */
export async function saveModel(path: string, { network, training }: SavedModel): Promise<void> {
  checkEnding(path);
  await writeKerasH5(path, {
    modelConfig: networkConfig(network),
    trainingConfig: training && trainingConfig(training),
    kerasVersion: '3.0.0',
    backend: 'tensorflow',
    layers: layersOf(network),
    optimizer: training?.slots ? optimizerTensors(network, training) : null,
    extra: training && extraState(training),
  });
}

/**
 * Reads a model with its weights and, if it was compiled and `training` is true, its training. `make` builds the
 * model of its parts.
 */
export async function loadModel(
  path: string,
  make: MakeNetwork,
  options: { readonly training: boolean },
): Promise<SavedModel> {
  checkEnding(path);
  const file = await readKerasH5(path, { optimizer: options.training });
  if (file.modelConfig === null || file.modelConfig === undefined) {
    fail('file', `${path} holds weights without a model; build the model and use loadWeights.`);
  }
  const network = networkFromConfig(file.modelConfig as KerasLayerConfig, make);
  assignLayers(path, network, file.layers, 'order');
  const training = options.training && file.trainingConfig ? readTraining(path, network, file) : null;
  return { network, training };
}

function checkEnding(path: string): void {
  const ending = extname(path).toLowerCase();
  if (ending !== '.h5' && ending !== '.hdf5') {
    fail('argument', `Graft saves and loads models as .h5; got "${path}".`);
  }
}
