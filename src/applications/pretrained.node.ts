/** Published weights: how they come into a model. */
import { fileURLToPath } from 'node:url';
import { fail } from '../core/errors.ts';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { type Asset, type AssetOptions, fetchAsset } from '../data/index.ts';
import type { Variable } from '../layers/layer.ts';
import type { Network } from '../models/network.ts';
import { readKerasH5 } from '../saving/keras_h5.node.ts';
import { assignAll, assignLayers, type Found, layersWithin, pairing } from '../saving/keras_weights.ts';
import { openSafetensors } from '../saving/safetensors.node.ts';
import { loadWeights as loadAllWeights } from '../saving/weights.ts';
import { looksLikeTorch } from './torch_weights.node.ts';

/** Where weights may be taken from. */
export type PretrainedOptions = Pick<AssetOptions, 'mirror' | 'cacheDir' | 'onProgress'>;

/** Weights that come with the package, in its folder `assets`. */
export interface PackagedFile {
  readonly packaged: string;
}

export type PublishedFile = Asset | PackagedFile;

/** The path of published weights; those of the package are there already. Throws as `fetchAsset` does. */
export async function fetchPublished(file: PublishedFile, options: PretrainedOptions = {}): Promise<string> {
  if (!('packaged' in file)) return fetchAsset(file, options);
  return fileURLToPath(new URL(`../../assets/${file.packaged}`, import.meta.url));
}

/** Gives a model published weights, or a file's. */
export async function loadPretrained(
  network: Network,
  weights: PublishedFile | string,
  options: PretrainedOptions,
): Promise<void> {
  await loadWeights(network, typeof weights === 'string' ? weights : await fetchPublished(weights, options));
}

/**
 * Sets the weights of a model's layers from a file: Keras `.h5`, or `.safetensors` whose tensors are named
 * `layer/weight`. Layers pair by name. Where an `.h5` names them otherwise but has as many layers with weights, they
 * pair in order, as in Keras: its own files come from times when some layers had other names. Of an `.h5` with a larger
 * model that this one is a layer of, as a training leaves it, that layer is read.
 *
 * Layers that the file lacks keep what they have; if that is nothing, compiling the model draws new values for
 * trainable ones and refuses frozen ones. Throws `weights` if nothing matches or shapes differ.
 */
export async function loadWeights(network: Network, path: string): Promise<void> {
  const kind = await kindOf(path);
  // Files of Keras 3 do not name layers, so all of them must be there.
  if (kind === 'kerasArchive' || /\.weights\.h5$/i.test(path)) {
    await loadAllWeights(path, network);
    return;
  }
  let assigned: ReadonlySet<Variable>;
  if (kind === 'safetensors') assigned = await assignSafetensors(network, path);
  else if (kind === 'hdf5') {
    const file = await readKerasH5(path, { training: false });
    const whole = file.layers.find(({ layer }) => layer === network.name);
    const layers = whole === undefined ? file.layers : layersWithin(whole);
    assigned = assignLayers(path, network, layers, pairing(network, layers));
  } else return refuseKind(path, kind, 'weights in a .h5, .weights.h5, .keras or .safetensors file');
  if (assigned.size === 0) {
    fail(
      'weights',
      `${path} holds no weights of the layers of ${network.name}; Graft looks for Keras's layer names.`,
    );
  }
  for (const variable of network.variables) {
    if (!assigned.has(variable) && !variable.initialized) variable.missingFrom = path;
  }
}

async function assignSafetensors(network: Network, path: string): Promise<ReadonlySet<Variable>> {
  await using file = await openSafetensors(path);
  if (looksLikeTorch(file.entries.keys())) {
    fail(
      'weights',
      `${path} has the names of PyTorch. Build the model with weights: null and call applications.loadTorchWeights, ` +
        "which knows what fits; the pictures are then prepared by preprocessing('torch').",
    );
  }
  const found: Found[] = [];
  for (const variable of network.variables) {
    const name = variable.path;
    if (file.entries.has(name)) found.push({ variable, source: { name, tensor: await file.read(name) } });
  }
  assignAll(path, found);
  return new Set(found.map(({ variable }) => variable));
}
