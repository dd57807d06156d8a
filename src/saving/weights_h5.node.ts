/** Reading and writing the HDF5 files of Keras 3: tensors in groups, as `keras_groups.ts` tells. */
import { type Tensor, tensor } from '../core/tensor.ts';
import { Network } from '../models/network.ts';
import { Hdf5Error } from './hdf5_library.node.ts';
import type { Hdf5Reader } from './hdf5_reader.node.ts';
import { join } from './hdf5_slices.node.ts';
import type { Hdf5Writer } from './hdf5_writer.node.ts';
import type { SavedTraining } from './index.ts';
import { layerGroups, type TensorGroup } from './keras_groups.ts';
import type { NamedTensor } from './tensors.ts';
import { optimizerTensors } from './training_config.ts';

const OPTIMIZER = 'optimizer';
const LAYERS = 'layers';
/** What Keras 2.12 and 2.13 call the layers of a model. */
const OLD_LAYERS = '_layer_checkpoint_dependencies';

/** True if a file has the layout of Keras 3. */
export function hasKerasGroups(file: Hdf5Reader): boolean {
  return [LAYERS, OLD_LAYERS].some((name) => file.kindOf(`/${name}`) === 'group');
}

/** The groups to write for a model and its optimizer. */
export function kerasGroups(network: Network, training: SavedTraining | null): TensorGroup[] {
  return [
    { path: '', name: network.name, tensors: [] },
    ...layerGroups(network).map(({ path, layer }) => ({
      path,
      name: layer.name,
      // The weights of a nested model lie in the groups of its layers.
      tensors:
        layer instanceof Network
          ? []
          : layer.variables.map(({ shape, values }) => tensor('float32', shape, values)),
    })),
    ...(training === null
      ? []
      : [
          {
            path: OPTIMIZER,
            name: training.optimizer.rule.name,
            tensors: optimizerTensors(network, training).map((each) => each.tensor),
          },
        ]),
  ];
}

export function writeGroups(file: Hdf5Writer, groups: readonly TensorGroup[]): void {
  for (const { path, name, tensors } of groups) {
    const vars = path === '' ? '/vars' : `/${path}/vars`;
    file.group(vars);
    if (name !== null) file.text(vars, 'name', name);
    for (const [i, values] of tensors.entries()) file.dataset(`${vars}/${i}`, values);
  }
}

/** What a file holds for a model, layer by layer, and its optimizer's variables. */
export interface StoredWeights {
  /** Layers with weights, in the order of `layerGroups`. */
  readonly layers: readonly TensorGroup[];
  /** Null when the file has none or they were not asked for. */
  readonly optimizer: readonly NamedTensor[] | null;
}

/**
 * Reads what a model needs. A group has at most one tensor more than was asked for: enough to see that there are
 * too many.
 */
export function readGroups(
  file: Hdf5Reader,
  network: Network,
  options: { readonly optimizer: boolean },
): StoredWeights {
  const old = file.kindOf(`/${LAYERS}`) === null && file.kindOf(`/${OLD_LAYERS}`) === 'group';
  const layers = layerGroups(network)
    .filter(({ layer }) => !(layer instanceof Network) && layer.variables.length > 0)
    .map(({ path, layer }) => {
      const stored = old ? path.replaceAll(LAYERS, OLD_LAYERS) : path;
      return readGroup(file, stored, layer.variables.length + 1);
    });
  const hasOptimizer = options.optimizer && file.kindOf(`/${OPTIMIZER}/vars`) === 'group';
  // Two counters, and for each weight no optimizer keeps more than three numbers.
  const limit = 3 + 3 * network.trainableVariables.length;
  return { layers, optimizer: hasOptimizer ? named(readGroup(file, OPTIMIZER, limit)) : null };
}

function named({ path, tensors }: TensorGroup): NamedTensor[] {
  return tensors.map((values, i) => ({ name: `${path}/vars/${i}`, tensor: values }));
}

function readGroup(file: Hdf5Reader, path: string, limit: number): TensorGroup {
  const vars = join(join('/', path), 'vars');
  if (file.kindOf(vars) !== 'group') return { path, name: null, tensors: [] };
  const tensors: Tensor[] = [];
  for (let i = 0; i < limit && file.kindOf(`${vars}/${i}`) !== null; i++) {
    if (file.attributeText(`${vars}/${i}`, 'dtype') === 'bfloat16') {
      throw new Hdf5Error(`"${vars}/${i}" is bfloat16, which is not supported; save the model in float32`);
    }
    tensors.push(file.dataset(`${vars}/${i}`));
  }
  return { path, name: file.attributeText(vars, 'name'), tensors };
}
