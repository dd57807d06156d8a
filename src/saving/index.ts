/** Whole models to files and back. The file's ending says the format; files of weights alone are `weights.ts`. */
import { fail, GraftError } from '../core/errors.ts';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { interpret } from '../core/json.ts';
import { isRecord } from '../core/records.ts';
import type { Loss } from '../losses/index.ts';
import type { Metric } from '../metrics/index.ts';
import { type MakeNetwork, networkConfig, networkFromConfig, type ReadingOptions } from '../models/config.ts';
import type { Network } from '../models/network.ts';
import type { LearningRateMultipliers } from '../models/rates.ts';
import type { Optimizer } from '../optimizers/index.ts';
import { loadAssets, saveAssets } from './assets.node.ts';
import { fillHdf5, readHdf5 } from './hdf5_files.node.ts';
import { startHdf5 } from './hdf5_library.node.ts';
import { readArchive, writeArchive } from './keras_archive.node.ts';
import { readKerasH5, writeKerasH5 } from './keras_h5.node.ts';
import { assignGroups, assignLayers, layersOf } from './keras_weights.ts';
import type { NamedTensor } from './tensors.ts';
import {
  compileConfig,
  type DescribedTraining,
  describedTraining,
  extraState,
  optimizerTensors,
  readTraining,
  trainingConfig,
} from './training_config.ts';
import { hasKerasGroups, kerasGroups, readGroups, writeGroups } from './weights_h5.node.ts';

/** How a model was being trained, as far as files keep it. */
export interface SavedTraining {
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly metrics: readonly Metric[];
  /** Decides shuffles and dropout. */
  readonly seed: number;
  readonly learningRateMultipliers: LearningRateMultipliers;
  /** Updates done. */
  readonly step: number;
  /** Optimizer state by name (`w3/velocity`), or `null` before the first step. */
  readonly slots: Readonly<Record<string, Float32Array>> | null;
}

export interface SavedModel {
  readonly network: Network;
  readonly training: SavedTraining | null;
}

/** The endings of files that hold a whole model. */
export const modelEndings = ['.keras', '.h5', '.hdf5'] as const;

/** The version of Keras whose formats are written. */
export const kerasVersion = '3.0.0';

/** Writes a model, whole or not at all. Throws `argument` for an ending that Graft does not write. */
export async function saveModel(path: string, saved: SavedModel): Promise<void> {
  const save = endingOf(path) === '.keras' ? saveArchive : saveH5;
  await saveAssets(path, saved.network);
  await save(path, saved);
}

/**
 * Finds out before a training whether `model.save` will be able to write such a path. Throws `argument` for an ending
 * that Graft does not write, `state` if the HDF5 library cannot start.
 */
export async function prepareSaving(path: string): Promise<void> {
  if (path.toLowerCase().endsWith('.onnx')) return;
  endingOf(path);
  await startHdf5();
}

async function saveH5(path: string, { network, training }: SavedModel): Promise<void> {
  await writeKerasH5(path, {
    modelConfig: networkConfig(network),
    trainingConfig: training && trainingConfig(training),
    kerasVersion,
    backend: 'tensorflow',
    layers: layersOf(network),
    optimizer: training?.slots ? optimizerTensors(network, training) : null,
    extra: training && { json: extraState(training), tensors: [] },
  });
}

async function saveArchive(path: string, { network, training }: SavedModel): Promise<void> {
  const config = networkConfig(network);
  const groups = kerasGroups(network, training);
  await writeArchive(path, {
    metadata: {
      keras_version: kerasVersion,
      // Keras wants one and reads none; the time would make two files of the same model differ.
      date_saved: '1980-01-01@00:00:00',
      ...(training ? { graft: extraState(training) } : {}),
    },
    config: training ? { ...config, compile_config: compileConfig(training) } : config,
    writeWeights: (temp) => fillHdf5(temp, (file) => writeGroups(file, groups), path),
  });
}

/** What is read of a model, and how. */
export interface LoadingOptions {
  /** False reads nothing of how the model was trained, whatever the file says about it. */
  readonly training: boolean;
  /** Without the batch, where the file leaves dimensions of the input open. */
  readonly inputShape?: readonly number[] | undefined;
}

/**
 * Reads a model with its weights and, if it was compiled and `training` is true, its training. `make` builds the
 * model of its parts.
 */
export async function loadModel(
  path: string,
  make: MakeNetwork,
  options: LoadingOptions,
): Promise<SavedModel> {
  // What the file is counts, not its name: people rename .h5 to .keras and back.
  const kind = await kindOf(path);
  if (kind === 'kerasArchive') return loadArchive(path, make, options);
  if (kind === 'hdf5') return loadH5(path, make, options);
  return refuseKind(path, kind, 'a model in a .keras or .h5 file');
}

async function loadH5(path: string, make: MakeNetwork, options: LoadingOptions): Promise<SavedModel> {
  const file = await readKerasH5(path, { training: options.training }).catch((error: unknown) =>
    refuseWeights(path, error),
  );
  const { modelConfig, extra } = file;
  if (modelConfig === null) return weightsAlone(path);
  const reading = readingOptions(file.kerasVersion ?? '1', options);
  const network = interpret(path, () => networkFromConfig(modelConfig, make, reading));
  await loadAssets(path, network);
  assignLayers(path, network, file.layers, 'order');
  const described = options.training ? describedTraining(file.trainingConfig, extra?.json) : null;
  return { network, training: training(path, network, described, file.optimizer) };
}

/** A file that cannot be read as a model may be weights alone in Keras 3's layout. */
async function refuseWeights(path: string, error: unknown): Promise<never> {
  if (error instanceof GraftError && (await readHdf5(path, hasKerasGroups))) weightsAlone(path);
  throw error;
}

function weightsAlone(path: string): never {
  return fail(
    'file',
    `${path} holds weights without a model. Build the model and use loadWeights (on the command line: graft train ` +
      "--weights), or write both in Python: model.save('model.keras').",
  );
}

async function loadArchive(path: string, make: MakeNetwork, options: LoadingOptions): Promise<SavedModel> {
  return readArchive(path, async ({ config, metadata, weightsPath }) => {
    const { keras_version: version } = isRecord(metadata) ? metadata : {};
    const reading = readingOptions(String(version ?? '3'), options);
    const network = interpret(`config.json in ${path}`, () => networkFromConfig(config, make, reading));
    await loadAssets(path, network);
    const stored = await readHdf5(
      weightsPath,
      (file) => readGroups(file, network, { optimizer: options.training }),
      path,
    );
    assignGroups(path, network, stored.layers, { namesMatch: true });
    const { compile_config: compiled } = config as { readonly compile_config?: unknown };
    const extra = (metadata as { readonly graft?: unknown } | null)?.graft;
    const described = options.training ? describedTraining(compiled, extra) : null;
    return { network, training: training(path, network, described, stored.optimizer) };
  });
}

function readingOptions(version: string, { inputShape }: LoadingOptions): ReadingOptions {
  return { keras: /^[12]\b/.test(version) ? 2 : 3, ...(inputShape === undefined ? {} : { inputShape }) };
}

function training(
  path: string,
  network: Network,
  described: DescribedTraining | null,
  variables: readonly NamedTensor[] | null,
): SavedTraining | null {
  if (described === null) return null;
  return namingTheWay(() => interpret(path, () => readTraining(path, network, described, variables)));
}

/** Whatever is wrong with how a model was trained, the model itself can be read. */
export function namingTheWay<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof GraftError)) throw error;
    const way = 'load(path, { compile: false }) reads the model without how it was trained.';
    return fail(error.code, `${error.message} ${way}`, error);
  }
}

function endingOf(path: string): (typeof modelEndings)[number] {
  const ending = modelEndings.find((known) => path.toLowerCase().endsWith(known));
  if (path.toLowerCase().endsWith('.weights.h5')) {
    fail(
      'argument',
      `"${path}" names a file of weights alone; use saveWeights and loadWeights, or another name.`,
    );
  }
  return ending ?? fail('argument', `Graft saves models as ${modelEndings.join(', ')}; got "${path}".`);
}
