/** Published weights: what is recorded about them, how they come into a model, and the preprocessing they expect. */
import { extname } from 'node:path';
import { fail } from '../core/errors.ts';
import { type Asset, type AssetOptions, fetchAsset } from '../data/index.ts';
import * as layers from '../layers/index.ts';
import type { Layer, Variable } from '../layers/layer.ts';
import type { Network } from '../models/network.ts';
import { readKerasH5 } from '../saving/keras_h5.node.ts';
import { assignAll, assignLayers, type Found } from '../saving/keras_weights.ts';
import { openSafetensors } from '../saving/safetensors.node.ts';
import { loadWeights as loadAllWeights } from '../saving/weights.ts';
import { looksLikeTorch } from './torch_weights.node.ts';

/** A pretrained model: addresses, checksums, licence and preprocessing. */
export interface PretrainedRecord {
  readonly name: string;
  readonly preprocessing: PreprocessingMode;
  /** Licence of the weights. */
  readonly licence: string;
  readonly noTop: Asset;
  readonly top: Asset;
}

/** Where weights may be taken from. */
export type PretrainedOptions = Pick<AssetOptions, 'mirror' | 'cacheDir' | 'onProgress'>;

/** Gives a model its pretrained weights. Weights that the file lacks stay open; `compile` decides about them. */
export async function loadPretrained(
  network: Network,
  record: PretrainedRecord,
  options: PretrainedOptions & { readonly weights: string | null; readonly includeTop: boolean },
): Promise<void> {
  const { weights, includeTop, ...assets } = options;
  if (weights === null) return;
  const asset = includeTop ? record.top : record.noTop;
  const path = weights === 'imagenet' ? await fetchAsset(asset, assets) : weights;
  await loadWeights(network, path);
}

/**
 * Sets the weights of a model's layers by name from a file: Keras `.h5`, or `.safetensors` whose tensors are named
 * `layer/weight`. Layers that the file lacks keep what they have; if that is nothing, compiling the model draws
 * new values for trainable ones and refuses frozen ones. Throws `weights` if nothing matches or shapes differ.
 */
export async function loadWeights(network: Network, path: string): Promise<void> {
  // Files of Keras 3 do not name layers, so all of them must be there.
  if (/\.(weights\.h5|keras)$/i.test(path)) {
    await loadAllWeights(path, network);
    return;
  }
  const ending = extname(path).toLowerCase();
  let assigned: ReadonlySet<Variable>;
  if (ending === '.safetensors') assigned = await assignSafetensors(network, path);
  else if (ending === '.h5' || ending === '.hdf5') {
    assigned = assignLayers(path, network, (await readKerasH5(path, { optimizer: false })).layers, 'name');
  } else
    return fail(
      'argument',
      `Weights are read from .h5, .weights.h5, .keras and .safetensors files, got "${path}".`,
    );
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

/** Keras's three conventions (keras.applications.imagenet_utils). */
export type PreprocessingMode = 'caffe' | 'tf' | 'torch';

/**
 * RGB pictures of 0 … 255 to what a network expects, as one layer that every Keras loads without custom code:
 *
 * - `caffe`: RGB to BGR, minus 103.939, 116.779, 123.68 — a frozen 1x1 convolution, exact in float32
 * - `tf`: x / 127.5 − 1
 * - `torch`: (x / 255 − mean) / deviation of ImageNet
 */
export function preprocessing(mode: PreprocessingMode): Layer {
  const name = `${mode}_preprocessing`;
  if (mode === 'tf') return layers.rescaling({ scale: 1 / 127.5, offset: -1, name });
  if (mode === 'torch') {
    const mean = [0.485, 0.456, 0.406];
    const deviation = [0.229, 0.224, 0.225];
    return layers.rescaling({
      scale: deviation.map((value) => 1 / (255 * value)),
      offset: mean.map((value, i) => -value / deviation[i]!),
      name,
    });
  }
  const layer = layers.conv2d({ filters: 3, kernelSize: 1, trainable: false, name });
  layer.apply(layers.input({ shape: [1, 1, 3], name: `${name}_shape` }));
  layer.calls.length = 0;
  const [kernel, bias] = layer.variables;
  kernel!.assign(Float32Array.of(0, 0, 1, 0, 1, 0, 1, 0, 0));
  bias!.assign(Float32Array.of(-103.939, -116.779, -123.68));
  return layer;
}
