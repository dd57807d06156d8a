/**
 * Files of weights alone, for a model that is there already:
 *
 * - `.weights.h5`: Keras 3's, with the optimizer's state if the model is compiled
 * - `.h5`, `.hdf5`: Keras's legacy layout; layers pair by their order
 * - `.safetensors`: tensors called `layer/weight`, as in Keras (`conv1_conv/kernel`)
 */
import { fail } from '../core/errors.ts';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { tensor } from '../core/tensor.ts';
import type { Network } from '../models/network.ts';
import { someOf } from '../models/network.ts';
import { readHdf5, writeHdf5 } from './hdf5_files.node.ts';
import { kerasVersion, type SavedModel } from './index.ts';
import { readArchive } from './keras_archive.node.ts';
import { isLegacy, readLayers, writeKerasH5 } from './keras_h5.node.ts';
import { assignAll, assignGroups, assignLayers, type Found, layersOf } from './keras_weights.ts';
import { openSafetensors, writeSafetensors } from './safetensors.node.ts';
import type { NamedTensor } from './tensors.ts';
import { hasKerasGroups, kerasGroups, readGroups, writeGroups } from './weights_h5.node.ts';

/** The endings of files of weights; the first is looked for before the second. */
export const weightEndings = ['.weights.h5', '.h5', '.hdf5', '.safetensors'] as const;

/** Writes the weights of a model, whole or not at all. Throws `argument` for other endings. */
export async function saveWeights(path: string, { network, training }: SavedModel): Promise<void> {
  switch (endingOf(path)) {
    case '.weights.h5': {
      const groups = kerasGroups(network, training);
      return writeHdf5(path, (file) => writeGroups(file, groups));
    }
    case '.safetensors':
      return writeSafetensors(path, namedWeights(network), { format: 'keras' });
    default: {
      const nothing = { modelConfig: null, trainingConfig: null, optimizer: null };
      return writeKerasH5(path, {
        ...nothing,
        kerasVersion,
        backend: 'tensorflow',
        layers: layersOf(network),
      });
    }
  }
}

/**
 * Sets all weights of a model from a file of weights, or from one of a whole model. Returns the optimizer's variables
 * if the file is Keras 3's and has them. Throws `weights`, and sets nothing, if file and model do not fit.
 */
export async function loadWeights(path: string, network: Network): Promise<readonly NamedTensor[] | null> {
  const kind = await kindOf(path);
  switch (kind) {
    case 'kerasArchive':
      return readArchive(path, ({ weightsPath }) => loadHdf5(weightsPath, network, path));
    case 'safetensors':
      await loadSafetensors(path, network);
      return null;
    case 'hdf5':
      return loadHdf5(path, network, path);
    default:
      return refuseKind(path, kind, 'weights in a .weights.h5, .h5, .safetensors or .keras file');
  }
}

/** Which of the two layouts it is, the file itself says: Keras before 2.13 wrote the legacy one under any name. */
async function loadHdf5(
  path: string,
  network: Network,
  shownAs: string,
): Promise<readonly NamedTensor[] | null> {
  const read = await readHdf5(
    path,
    (file) =>
      isLegacy(file) || !hasKerasGroups(file)
        ? { legacy: readLayers(file) }
        : { groups: readGroups(file, network, { optimizer: true }) },
    shownAs,
  );
  if (read.legacy !== undefined) {
    assignLayers(shownAs, network, read.legacy, 'order');
    return null;
  }
  assignGroups(shownAs, network, read.groups.layers, { namesMatch: false });
  return read.groups.optimizer;
}

function namedWeights(network: Network): NamedTensor[] {
  return network.variables.map(({ path, shape, values }) => ({
    name: path,
    tensor: tensor('float32', shape, values),
  }));
}

async function loadSafetensors(path: string, network: Network): Promise<void> {
  await using file = await openSafetensors(path);
  const { variables } = network;
  const names = new Set(variables.map((variable) => variable.path));
  if (names.size < variables.length) {
    fail(
      'weights',
      `Model ${network.name} has layers of one name in it; its weights cannot be told apart by name.`,
    );
  }
  const missing = [...names].filter((name) => !file.entries.has(name));
  const foreign = [...file.entries.keys()].filter((name) => !names.has(name));
  if (missing.length > 0 || foreign.length > 0) {
    const parts = [
      ...(missing.length > 0 ? [`lacks ${someOf(missing)}`] : []),
      ...(foreign.length > 0 ? [`holds ${someOf(foreign)}, which the model does not have`] : []),
    ];
    fail('weights', `${path} does not fit model ${network.name}: it ${parts.join(' and ')}.`);
  }
  const found: Found[] = [];
  for (const variable of variables) {
    const name = variable.path;
    found.push({ variable, source: { name, tensor: await file.read(name) } });
  }
  assignAll(path, found);
}

function endingOf(path: string): (typeof weightEndings)[number] {
  const ending = weightEndings.find((known) => path.toLowerCase().endsWith(known));
  return ending ?? fail('argument', `Files of weights end in ${weightEndings.join(', ')}; got "${path}".`);
}
