/** Files that hold what Graft does not have: refused by the name of the layer, saying what there is. No code is run. */
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readArchive, writeArchive } from '../../src/saving/keras_archive.node.ts';
import { load } from '../../src/training/build.ts';
import { goldenPath } from '../support/golden.ts';

let folder: string;
let text: string;
const keras3 = goldenPath('formats/keras3.keras');
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-foreign-'));
  text = await readArchive(keras3, async ({ config }) => JSON.stringify(config));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Keras's file with a piece of its description replaced. */
async function changed(piece: string, by: string): Promise<string> {
  expect(text).toContain(piece);
  const path = join(folder, 'changed.keras');
  await readArchive(keras3, ({ metadata, weightsPath }) =>
    writeArchive(path, {
      metadata,
      config: JSON.parse(text.replace(piece, by)) as unknown,
      writeWeights: (temp) => copyFile(weightsPath, temp),
    }),
  );
  return path;
}

const custom = (name: string) =>
  `{"module":"builtins","class_name":"function","config":"${name}","registered_name":"function"}`;
const lambda = '{"class_name":"__lambda__","config":{"value":"4wEAAAAAAAAAAAAAAAEAAAACAAAA"}}';

describe('a file with a foreign', () => {
  const cases: readonly [what: string, piece: string, by: string, message: RegExp][] = [
    [
      'Lambda layer',
      '"class_name":"Rescaling","config":{',
      `"class_name":"Lambda","config":{"function":${lambda},`,
      /Layer rescaling is of class Lambda.*carries code; Resizing, Rescaling and arithmetic.*docs\/formats\.md/,
    ],
    [
      'class',
      '"module":"keras.layers","class_name":"Rescaling"',
      '"module":"os","class_name":"system"',
      /Layer rescaling is of class system, which Graft does not have\. docs\/formats\.md lists its layers\.$/,
    ],
    [
      'class whose name is nearly one that Graft has',
      '"class_name":"Rescaling"',
      '"class_name":"Rescalling"',
      /Layer rescaling is of class Rescalling, .*The nearest that it has is Rescaling\./,
    ],
    [
      'class with the name of what every object inherits',
      '"class_name":"Rescaling"',
      '"class_name":"constructor"',
      /Layer rescaling is of class constructor, which/,
    ],
    [
      'size of pictures that no memory holds',
      '"batch_shape":[null,6,6,3]',
      '"batch_shape":[null,3200000,3200000,3]',
      /one input of shape \(3200000, 3200000, 3\) would have 30720000000000 values; at most 2147483647 fit/,
    ],
    [
      'activation',
      '"activation":"softmax"',
      `"activation":${custom('my_activation')}`,
      /Layer classes \(Dense\): .* activation "my_activation"; it has linear, relu/,
    ],
    [
      'lambda as activation',
      '"activation":"softmax"',
      `"activation":${lambda}`,
      /Layer classes \(Dense\): .* activation "__lambda__"; it has/,
    ],
    [
      'initializer',
      '"class_name":"HeNormal"',
      '"class_name":"Orthogonal"',
      /Layer inner_a \(Conv2D\): .* initializer Orthogonal; it has Zeros, .*GlorotUniform/,
    ],
    [
      'regularizer',
      '"class_name":"L2","config":{',
      '"class_name":"OrthogonalRegularizer","config":{',
      /Layer hidden \(Dense\): .* regularizer OrthogonalRegularizer; it has L1, L2 and L1L2/,
    ],
    [
      'constraint',
      '"kernel_constraint":null',
      '"kernel_constraint":{"module":"keras.constraints","class_name":"MaxNorm","config":{}}',
      /Layer inner_a \(Conv2D\): Graft does not have kernel_constraint = /,
    ],
    [
      'dtype policy',
      '"class_name":"DTypePolicy","config":{"name":"float32"}',
      '"class_name":"DTypePolicy","config":{"name":"float64"}',
      /Layer rescaling \(Rescaling\) has dtype float64; Graft reads float32, mixed_float16/,
    ],
    [
      'optimizer',
      '"module":"keras.optimizers","class_name":"Adam"',
      '"module":"keras.optimizers","class_name":"Lion"',
      /optimizer Lion; it has sgd, rmsprop, adam, adamw.*\{ compile: false \}/,
    ],
    [
      'loss',
      '"loss":"sparse_categorical_crossentropy"',
      `"loss":${custom('my_loss')}`,
      /loss "my_loss"; expected categoricalCrossentropy.*\{ compile: false \}/,
    ],
    [
      'metric',
      '"metrics":["accuracy"]',
      '"metrics":[{"module":"keras.metrics","class_name":"AUC","config":{}}]',
      /metric "AUC"; expected accuracy.*\{ compile: false \}/,
    ],
  ];
  it.each(cases)('%s is refused', async (_, piece, by, message) => {
    const path = await changed(piece, by);
    const refused = load(path);
    await expect(refused).rejects.toMatchObject({ code: 'unsupported' });
    await expect(refused).rejects.toThrow(message);
  });

  it.each([
    ['loss', '"loss":"sparse_categorical_crossentropy"', '"loss":{"class_name":7}', 'file'],
    ['scale of the optimizer', '"class_name":"Adam"', '"class_name":"LossScaleOptimizer"', 'unsupported'],
    ['count of state', '"amsgrad":false', '"amsgrad":true', 'weights'],
    ['rate that is none', '"learning_rate":0.009999999776482582', '"learning_rate":-1', 'argument'],
  ])('%s is an error that names the way to load the model alone', async (_, piece, by, code) => {
    const path = await changed(piece, by);
    await expect(load(path)).rejects.toMatchObject({
      code,
      message: expect.stringContaining('{ compile: false }'),
    });
    expect((await load(path, { compile: false })).isCompiled).toBe(false);
  });

  it('way to train is loaded without it', async () => {
    const path = await changed('"module":"keras.optimizers","class_name":"Adam"', '"class_name":"Lion"');
    expect((await load(path, { compile: false })).isCompiled).toBe(false);
  });
});
