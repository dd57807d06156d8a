/**
 * Weights that torchvision and timm publish as `.safetensors`, for the architectures that Keras has in exactly the
 * same way. It owns the table of names and the change of layout: kernels (out, in, height, width) become (height,
 * width, in, out), matrices are transposed, and the first matrix behind a feature map changes the order of its inputs.
 */
import { fail } from '../core/errors.ts';
import { float32, sizeOf, type Tensor } from '../core/tensor.ts';
import type { Variable } from '../layers/layer.ts';
import { type Network, someOf } from '../models/network.ts';
import { assignAll, type Found } from '../saving/keras_weights.ts';
import { openSafetensors } from '../saving/safetensors.node.ts';
import { asFloat32 } from '../saving/tensors.ts';

/** PyTorch's name of each layer by Keras's, or why there is none. */
type Architecture = { readonly layers: ReadonlyMap<string, string> } | { readonly differs: string };

const residual: Architecture = {
  differs:
    'PyTorch strides the 3x3 convolution of a block (version 1.5 of the architecture), Keras the 1x1 before it; ' +
    'the weights would fit and compute something else. Use weights of Keras.',
};

const architectures = new Map<string, Architecture>([
  ['vgg16', { layers: vgg([2, 2, 3, 3, 3]) }],
  ['vgg19', { layers: vgg([2, 2, 4, 4, 4]) }],
  ['resnet50', residual],
  ['resnet101', residual],
  ['resnet152', residual],
]);

/** torchvision counts every module: each convolution is followed by a ReLU, each block by a pooling. */
function vgg(blocks: readonly number[]): Map<string, string> {
  const names = new Map([
    ['fc1', 'classifier.0'],
    ['fc2', 'classifier.3'],
    ['predictions', 'classifier.6'],
  ]);
  let module = 0;
  blocks.forEach((convolutions, block) => {
    for (let i = 1; i <= convolutions; i++) {
      names.set(`block${block + 1}_conv${i}`, `features.${module}`);
      module += 2;
    }
    module += 1;
  });
  return names;
}

/** True if the names in a file are PyTorch's: `features.0.weight`, where Keras says `block1_conv1/kernel`. */
export function looksLikeTorch(names: Iterable<string>): boolean {
  return [...names].some((name) => /^[^/]+\.(weight|running_mean)$/.test(name));
}

/**
 * Sets all weights of a model of `applications` from a file with PyTorch's names (torchvision, timm). These weights
 * expect pictures prepared by `preprocessing('torch')`, whatever Keras's own ones expect.
 *
 * Throws `unsupported`, saying why, for a model whose architecture PyTorch does not have, or has in another way, and
 * `weights` if names or shapes do not fit.
 */
export async function loadTorchWeights(network: Network, path: string): Promise<void> {
  const architecture = architectures.get(network.name);
  const known = [...architectures].filter(([, each]) => 'layers' in each).map(([name]) => name);
  if (architecture === undefined) {
    fail(
      'unsupported',
      `Graft has no names of PyTorch for ${network.name}; it has them for ${known.join(', ')}.`,
    );
  }
  if ('differs' in architecture) {
    fail('unsupported', `The ${network.name} of PyTorch is not that of Keras: ${architecture.differs}`);
  }
  await using file = await openSafetensors(path);
  if ([...file.entries.keys()].some((name) => name.endsWith('.running_mean'))) {
    fail(
      'unsupported',
      `${path} is of a variant with batch normalization, which Keras's ${network.name} has not.`,
    );
  }
  const sources = network.layers.flatMap((layer) => {
    const name = architecture.layers.get(layer.name) ?? layer.name;
    const parts = { kernel: 'weight', bias: 'bias' } as const;
    return layer.variables.map((variable) => ({
      variable,
      name: `${name}.${parts[variable.name as 'kernel']}`,
    }));
  });
  const missing = sources.filter(({ name }) => !file.entries.has(name)).map(({ name }) => name);
  if (missing.length > 0) fail('weights', `${path} lacks ${someOf(missing)} of ${network.name}.`);
  const found: Found[] = [];
  let channels = 0;
  for (const { variable, name } of sources) {
    const tensor = inKerasLayout(asFloat32(await file.read(name)), variable, channels);
    if (variable.shape.length === 4) channels = variable.shape[3]!;
    found.push({ variable, source: { name, tensor } });
  }
  assignAll(path, found);
}

/** `channels` are those of the last feature map before this weight. */
function inKerasLayout(source: Tensor<'float32'>, { shape }: Variable, channels: number): Tensor<'float32'> {
  const { shape: given } = source;
  if (given.length === 4) return permuted(source, [2, 3, 1, 0]);
  if (given.length !== 2) return source;
  const [outputs, inputs] = given as [number, number];
  const places = inputs / channels;
  // A flattened feature map is (channels, height · width) in PyTorch, (height · width, channels) in Keras.
  const flattened = Number.isInteger(places) && shape.length === 2 && places > 1 && shape[0] === inputs;
  if (!flattened) return permuted(source, [1, 0]);
  const { data } = permuted(float32([outputs, channels, places], source.data), [2, 1, 0]);
  return float32([inputs, outputs], data);
}

/** A copy with its axes in another order. */
function permuted({ shape, data }: Tensor<'float32'>, order: readonly number[]): Tensor<'float32'> {
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  const target = order.map((axis) => shape[axis]!);
  const steps = order.map((axis) => strides[axis]!);
  const out = new Float32Array(data.length);
  const index = target.map(() => 0);
  let from = 0;
  for (let i = 0; i < out.length; i++) {
    out[i] = data[from]!;
    for (let axis = target.length - 1; axis >= 0; axis--) {
      from += steps[axis]!;
      if (++index[axis]! < target[axis]!) break;
      from -= steps[axis]! * target[axis]!;
      index[axis] = 0;
    }
  }
  return float32(target, out);
}
