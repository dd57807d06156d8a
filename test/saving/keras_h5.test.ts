import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readJson } from '../../src/core/files.node.ts';
import { bytesOf, float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import { withHdf5 } from '../../src/saving/hdf5_library.node.ts';
import { type KerasH5, readKerasH5, writeKerasH5 } from '../../src/saving/keras_h5.node.ts';
import { asFloat32, type NamedTensor } from '../../src/saving/tensors.ts';

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-h5-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const model: KerasH5 = {
  modelConfig: { class_name: 'Sequential', config: { name: 'tiny', layers: [] } },
  trainingConfig: { loss: 'sparse_categorical_crossentropy' },
  kerasVersion: '3.15.1',
  backend: 'tensorflow',
  layers: [
    {
      layer: 'dense',
      weights: [
        { name: 'tiny/dense/kernel', tensor: float32([2, 3], [1, 2, 3, 4, 5, 6]) },
        { name: 'tiny/dense/bias', tensor: float32([3], [7, 8, 9]) },
      ],
    },
    { layer: 'dropout', weights: [] },
  ],
  topLevel: [],
  optimizer: [
    { name: 'sgd/iteration', tensor: tensor('int64', [], BigInt64Array.of(12345678901n)) },
    { name: 'sgd/learning_rate', tensor: float32([], [0.25]) },
  ],
  extra: { json: { epoch: 3 }, tensors: [{ name: 'best/kernel', tensor: float32([2], [1, 2]) }] },
};
const { trainingConfig: _, optimizer: __, extra: ___, ...rest } = model;
const weightsOnly: KerasH5 = {
  ...rest,
  modelConfig: null,
  trainingConfig: null,
  optimizer: null,
  extra: null,
};

async function roundTrip(contents: KerasH5): Promise<KerasH5> {
  const path = join(folder, 'round-trip.h5');
  await writeKerasH5(path, contents);
  return await readKerasH5(path);
}

describe('writing and reading back', () => {
  it('keeps a whole model', async () => {
    expect(await roundTrip(model)).toEqual(model);
  });

  it('keeps weights alone', async () => {
    expect(await roundTrip(weightsOnly)).toEqual(weightsOnly);
  });

  it('leaves nothing but the file', async () => {
    await roundTrip(model);
    expect(await readdir(folder)).toEqual(['round-trip.h5']);
  });

  it('keeps a configuration far longer than an HDF5 attribute, in any script', async () => {
    const modelConfig = { long: 'x'.repeat(200_000), greek: 'αβγ', face: '😀' };
    expect((await roundTrip({ ...model, modelConfig })).modelConfig).toEqual(modelConfig);
  });

  it('keeps lists of names that must be cut into pieces', async () => {
    const layers = Array.from({ length: 3000 }, (_, i) => ({
      layer: `a_layer_with_a_rather_long_name_number_${i}`,
      weights: i === 7 ? [{ name: 'kernel', tensor: float32([1], [7]) }] : [],
    }));
    expect((await roundTrip({ ...weightsOnly, layers })).layers).toEqual(layers);
  });

  it('keeps a layer whose name holds a slash or letters outside ASCII', async () => {
    const weight = { name: 'conv/größe/kernel:0', tensor: float32([1], [1]) };
    const layers = ['conv', 'conv/depthwise', 'größe'].map((layer) => ({ layer, weights: [weight] }));
    expect((await roundTrip({ ...weightsOnly, layers })).layers).toEqual(layers);
  });

  it('keeps any tensor', async () => {
    const kinds = ['float32', 'int32', 'int64', 'uint8', 'int8'] as const;
    const anyTensor: fc.Arbitrary<Tensor> = fc
      .tuple(fc.constantFrom(...kinds), fc.array(fc.nat(3), { maxLength: 4 }), fc.nat(255))
      .map(([dtype, shape, fill]) => {
        const made = tensor(dtype, shape);
        bytesOf(made).fill(fill);
        return made;
      });
    await fc.assert(
      fc.asyncProperty(fc.array(anyTensor, { maxLength: 4 }), async (tensors) => {
        const weights = tensors.map((each, i): NamedTensor => ({ name: `w/${i}`, tensor: each }));
        const read = await roundTrip({ ...weightsOnly, layers: [{ layer: 'a', weights }] });
        expect(read.layers[0]!.weights).toEqual(weights);
      }),
      { numRuns: 30 },
    );
  });

  it('writes and reads a tensor in several slices', async () => {
    const large = float32([5, 1 << 20], new Float32Array(5 << 20));
    for (let i = 0; i < 5; i++) large.data.fill(i + 1, i << 20, (i + 1) << 20);
    const layers = [{ layer: 'a', weights: [{ name: 'w', tensor: large }] }];
    const path = join(folder, 'slices.h5');
    await writeKerasH5(path, { ...weightsOnly, layers });
    // Contiguous: HDF5 keeps the values as they lie in memory.
    expect((await readFile(path)).includes(Buffer.from(large.data.buffer))).toBe(true);
    const read = (await readKerasH5(path)).layers[0]!.weights[0]!.tensor;
    expect(Buffer.compare(bytesOf(read), bytesOf(large))).toBe(0);
  });

  it('widens float16', async () => {
    const half = tensor('float16', [2], Uint16Array.of(0x3c00, 0xc100));
    const layers = [{ layer: 'a', weights: [{ name: 'w', tensor: half }] }];
    const read = (await roundTrip({ ...weightsOnly, layers })).layers[0]!.weights[0]!.tensor;
    expect(read).toEqual(float32([2], [1, -2.5]));
  });

  it('reads the chosen layers, and no optimizer if told so', async () => {
    const path = join(folder, 'round-trip.h5');
    await writeKerasH5(path, model);
    const read = await readKerasH5(path, { training: false, layers: (layer) => layer !== 'dense' });
    expect(read.optimizer).toBeNull();
    expect(read.layers).toEqual([
      { layer: 'dense', weights: [] },
      { layer: 'dropout', weights: [] },
    ]);
  });

  it('refuses names that HDF5 cannot hold, and writes nothing', async () => {
    const path = join(folder, 'refused.h5');
    const named = (...layers: string[]) =>
      writeKerasH5(path, { ...weightsOnly, layers: layers.map((layer) => ({ layer, weights: [] })) });
    await expect(named('')).rejects.toMatchObject({ code: 'argument' });
    await expect(named('a//b')).rejects.toThrow('"a//b" cannot name a layer');
    await expect(named('a/./b')).rejects.toMatchObject({ code: 'argument' });
    await expect(named('x'.repeat(20_000))).rejects.toThrow('longer than 16000');
    await expect(named('a', 'a')).rejects.toThrow('Two things called "a"');
    await expect(writeKerasH5(path, { ...model, modelConfig: null })).rejects.toThrow('weights alone');
    expect(await readdir(folder)).not.toContain('refused.h5');
  });

  it('says which file it cannot write, and leaves nothing', async () => {
    const path = join(folder, 'clash.h5');
    // "w" would have to be a data set and a group.
    const weights = [
      { name: 'w', tensor: float32([], [1]) },
      { name: 'w/x', tensor: float32([], [1]) },
    ];
    await expect(writeKerasH5(path, { ...weightsOnly, layers: [{ layer: 'a', weights }] })).rejects.toThrow(
      `Cannot write ${path}: `,
    );
    expect((await readdir(folder)).filter((name) => name.includes('clash'))).toEqual([]);
  });
});

interface Checksum {
  readonly name: string;
  readonly shape: readonly number[];
  readonly abs: number;
}

function checksum({ name, tensor: values }: NamedTensor): Checksum {
  const abs = asFloat32(values).data.reduce((sum, value) => sum + Math.abs(value), 0);
  return { name, shape: values.shape, abs };
}

describe('files written by Keras', () => {
  const byName = (a: Checksum, b: Checksum) => (a.name < b.name ? -1 : 1);

  it('reads a model that Keras 3 saved, weight by weight', async () => {
    const expected = (await readJson(fixture('keras3_model.json'))) as {
      readonly weights: readonly Checksum[];
      readonly optimizer: { readonly variables: readonly Checksum[]; readonly iterations: number };
    };
    const read = await readKerasH5(fixture('keras3_model.h5'));
    expect(read.modelConfig).toMatchObject({ class_name: 'Sequential', config: { name: 'small' } });
    expect(read.trainingConfig).toMatchObject({ optimizer_config: { class_name: 'RMSprop' } });
    expect(read.kerasVersion).toMatch(/^3\./);
    const weights = read.layers.flatMap((layer) => layer.weights.map(checksum)).sort(byName);
    expect(weights).toHaveLength(expected.weights.length);
    for (const [i, { name, shape, abs }] of [...expected.weights].sort(byName).entries()) {
      expect(weights[i]).toMatchObject({ name, shape });
      expect(weights[i]!.abs).toBeCloseTo(abs, 4);
    }
    for (const [i, { name, shape, abs }] of expected.optimizer.variables.entries()) {
      expect(checksum(read.optimizer![i]!)).toMatchObject({ name, shape });
      expect(checksum(read.optimizer![i]!).abs).toBeCloseTo(abs, 4);
    }
    expect(read.optimizer![0]!.tensor.data[0]).toBe(BigInt(expected.optimizer.iterations));
  });

  it('reads the weights of a partly frozen nested model in the order Keras keeps them', async () => {
    const read = await readKerasH5(fixture('keras3_model.h5'));
    const backbone = read.layers.find((layer) => layer.layer === 'backbone')!;
    expect(backbone.weights.map((weight) => weight.name)).toEqual([
      'conv2_conv/kernel',
      'conv2_conv/bias',
      'conv2_bn/gamma',
      'conv2_bn/beta',
      'conv1_conv/kernel',
      'conv1_conv/bias',
      'conv1_bn/gamma',
      'conv1_bn/beta',
      'conv1_bn/moving_mean',
      'conv1_bn/moving_variance',
      'conv2_bn/moving_mean',
      'conv2_bn/moving_variance',
    ]);
  });

  it('reads weights alone as the same layers', async () => {
    const whole = await readKerasH5(fixture('keras3_model.h5'));
    const alone = await readKerasH5(fixture('keras3_weights.h5'));
    expect(alone.layers).toEqual(whole.layers);
    expect(alone.modelConfig).toBeNull();
    expect(alone.optimizer).toBeNull();
  });

  it('reads the byte strings, pieces and names of Keras 2', async () => {
    const read = await readKerasH5(fixture('keras2_weights.h5'));
    expect(read.kerasVersion).toBe('2.2.4');
    expect(read.layers.map((layer) => layer.layer)).toEqual(['input_1', 'conv1', 'bn1', 'relu']);
    const [kernel, bias] = read.layers[1]!.weights;
    expect(kernel).toEqual({
      name: 'conv1/kernel:0',
      tensor: float32(
        [3, 3, 3, 2],
        Array.from({ length: 54 }, (_, i) => i),
      ),
    });
    expect(bias).toEqual({ name: 'conv1/bias:0', tensor: float32([2], [1, 2]) });
  });

  it('reads every element type, big-endian and compressed data', async () => {
    const { weights } = (await readKerasH5(fixture('dtypes.h5'))).layers[0]!;
    const types = Object.fromEntries(weights.map((weight) => [weight.name, weight.tensor.dtype]));
    expect(types).toMatchObject({ f2: 'float16', f8: 'float32', i2: 'int32', u4: 'int64', '?': 'bool' });
    for (const { name, tensor: values } of weights.slice(0, 14)) {
      expect([name, ...asFloat32(values).data]).toEqual([name, 1, 2, 3, 4, 5, 127]);
    }
    const rest = new Map(weights.slice(14).map((weight) => [weight.name, weight.tensor]));
    expect(rest.get('gzip')!.data[4095]).toBe(4095);
    expect(rest.get('scalar')).toEqual(float32([], [2.5]));
    expect(rest.get('empty')).toEqual(float32([0, 3], []));
  });
});

describe('files that are refused', () => {
  const reasons: readonly (readonly [string, string])[] = [
    ['hostile_external_link.h5', '"/a/w" is a link'],
    ['hostile_external_data.h5', 'it refers to another file, '],
    ['hostile_soft_link.h5', '"/a/w" is a link'],
    ['hostile_virtual.h5', 'holds no values of its own'],
    ['hostile_bomb.h5', 'of shape (1048576, 1048576) is larger than the file can hold'],
    ['hostile_unwritten.h5', 'of shape (1073741824) is larger than the file can hold'],
    ['hostile_cycle.h5', 'there is no data set "/a/w"'],
    ['hostile_text.h5', 'a type that is not supported'],
  ];
  it.each(reasons)('%s', async (name, reason) => {
    await expect(readKerasH5(fixture(name))).rejects.toMatchObject({
      code: 'file',
      message: expect.stringMatching(/hostile_\w+\.h5 is damaged or not a Keras \.h5 file: .*\.$/),
    });
    await expect(readKerasH5(fixture(name))).rejects.toThrow(reason);
  });

  it('a file that is missing, a folder, text or a zip archive', async () => {
    const path = join(folder, 'wrong.h5');
    await expect(readKerasH5(join(folder, 'none.h5'))).rejects.toThrow('none.h5: there is no such file');
    await expect(readKerasH5(folder)).rejects.toMatchObject({ code: 'file' });
    await writeFile(path, 'text');
    await expect(readKerasH5(path)).rejects.toThrow(
      `${path} is of no kind that Graft knows (it begins with the text "text"); expected an .h5 file`,
    );
    await writeFile(path, 'PK\x03\x04 and more');
    await expect(readKerasH5(path)).rejects.toThrow(`${path} is a zip archive; expected`);
    await rm(path);
  });

  it('an HDF5 file without layers', async () => {
    const path = join(folder, 'empty.h5');
    await withHdf5(path, 'write', () => undefined);
    await expect(readKerasH5(path)).rejects.toThrow('it has no attribute "layer_names" on "/"');
    await rm(path);
  });
});
