/** Model files that Keras 3 and Keras 2 wrote (`test/golden/make_formats.py`), and the same formats written by Graft. */
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadWeights as loadPretrained } from '../../src/applications/pretrained.node.ts';
import type { Tensor } from '../../src/core/tensor.ts';
import { networkConfig } from '../../src/models/config.ts';
import { writeHdf5 } from '../../src/saving/hdf5_files.node.ts';
import { readArchive, writeArchive } from '../../src/saving/keras_archive.node.ts';
import { layerGroups } from '../../src/saving/keras_groups.ts';
import { readSafetensors, writeSafetensors } from '../../src/saving/safetensors.node.ts';
import { kerasGroups, writeGroups } from '../../src/saving/weights_h5.node.ts';
import { load } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { expectNear, goldenPath } from '../support/golden.ts';
import { batchOf, smallModel, x } from '../support/small_model.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-formats-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const open: Model[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

function tracked(made: Model): Model {
  open.push(made);
  return made;
}

async function golden(stem: string) {
  const arrays = await readSafetensors(goldenPath(`formats/${stem}.safetensors`));
  return { arrays, x: arrays.get('x') as Tensor<'float32'>, y: arrays.get('y') as Tensor<'int32'> };
}

async function expectNextStep(model: Model, stem: string): Promise<void> {
  const { arrays, x, y } = await golden(stem);
  const { loss } = await model.trainOnBatch(x, y);
  expect(Math.abs(loss! - Number(arrays.get('loss')!.data[0]))).toBeLessThan(1e-6);
  await model.currentWeights();
  for (const { path, shape, values } of model.variables) {
    // Keras 2 corrects the variance by n / (n − 1) in its fused kernel, Keras 3 and Graft do not.
    if (stem.startsWith('keras2') && path.endsWith('moving_variance')) continue;
    expectNear(`${stem}, after a step`, path, { shape, data: values }, arrays.get(`after/${path}`)!, 3e-6);
  }
}

describe('a file that Keras wrote', () => {
  const files = ['keras3.keras', 'keras2.keras', 'keras2.h5', 'keras2_legacy.h5'];
  it.each(files)('%s gives the same predictions and the same next step', async (file) => {
    const stem = file.replace(/\.\w+$/, '');
    const { arrays, x } = await golden(stem);
    const model = tracked(await load(goldenPath(`formats/${file}`)));
    expectNear(`${file}, predictions`, file, await model.predict(x), arrays.get('predictions')!, 1e-6);
    expect(model.compiled.executor.step).toBe(2);
    expect(model.getLayer('inner_a').trainable).toBe(false);
    await expectNextStep(model, stem);
  });

  const weights = ['keras3.weights.h5', 'keras3.keras', 'keras2_weights.h5', 'keras2.h5'];
  it.each(weights)('%s gives its weights to a model that is there', async (file) => {
    const stem = file.slice(0, 6);
    const { arrays, x } = await golden(stem);
    const model = tracked(await load(goldenPath(`formats/${stem}.keras`), { compile: false }));
    model.setWeights(model.variables.map(({ size }) => new Float32Array(size)));
    await model.loadWeights(goldenPath(`formats/${file}`));
    expectNear(`${file}, predictions`, file, await model.predict(x), arrays.get('predictions')!, 1e-6);
  });

  it('of weights gives a compiled model the state of its optimizer too', async () => {
    const model = tracked(await load(goldenPath('formats/keras3.keras')));
    const { x, y } = await golden('keras3');
    model.compiled.executor.learningRate = 0.5;
    for (let step = 0; step < 3; step++) await model.trainOnBatch(x, y);
    await model.loadWeights(goldenPath('formats/keras3.weights.h5'));
    expect(model.compiled.executor.step).toBe(2);
    expect(model.compiled.executor.learningRate).toBe(0.01);
    await expectNextStep(model, 'keras3');
  });

  it('of weights leaves another optimizer alone, and says so', async () => {
    const model = tracked(await load(goldenPath('formats/keras3.keras'), { compile: false }));
    model.compile({ optimizer: 'sgd', loss: 'sparse_categorical_crossentropy' });
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    await model.loadWeights(goldenPath('formats/keras3.weights.h5'));
    const [[text]] = said.mock.calls as [[string]];
    said.mockRestore();
    expect(text).toMatch(/keeps its own state.*holds 20 values of optimizer state; SGD over 10 .* needs 0/);
  });
});

describe('a file of weights', () => {
  it('gives a pretrained backbone its weights', async () => {
    const model = await load(goldenPath('formats/keras3.keras'), { compile: false });
    const expected = model.getWeights();
    model.setWeights(model.variables.map(({ size }) => new Float32Array(size)));
    await loadPretrained(model, goldenPath('formats/keras3.weights.h5'));
    expect(model.getWeights()).toEqual(expected);
  });

  it('is read under the names of groups that Keras 2.13 has', async () => {
    const path = join(folder, 'old.weights.h5');
    const model = await load(goldenPath('formats/keras3.keras'), { compile: false });
    const old = kerasGroups(model, null).map((group) => ({
      ...group,
      // keras/src/saving/saving_lib.py, H5IOStore.get: "Fix for 2.13 compatibility".
      path: group.path.replaceAll('layers', '_layer_checkpoint_dependencies'),
    }));
    await writeHdf5(path, (file) => writeGroups(file, old));
    const other = await load(goldenPath('formats/keras3.keras'), { compile: false });
    other.setWeights(other.variables.map(({ size }) => new Float32Array(size)));
    await other.loadWeights(path);
    expect(other.getWeights()).toEqual(model.getWeights());
  });

  it('whose groups belong to other layers than the description says is refused', async () => {
    const path = join(folder, 'swapped.keras');
    await readArchive(goldenPath('formats/keras3.keras'), ({ metadata, config, weightsPath }) =>
      writeArchive(path, {
        metadata,
        config: JSON.parse(JSON.stringify(config).replaceAll('"outer"', '"other"')) as unknown,
        writeWeights: (temp) => copyFile(weightsPath, temp),
      }),
    );
    await expect(load(path)).rejects.toThrow(
      "the file's layers/conv2d belongs to layer outer, the model has other there",
    );
  });
});

describe('the groups of Keras 3', () => {
  it('are named by class, in the order of each model, nested ones inside', async () => {
    const model = await load(goldenPath('formats/keras3.keras'), { compile: false });
    // As Keras wrote them: layer names are in the attributes of the groups, which load compares.
    expect(layerGroups(model).map(({ path, layer }) => [path, layer.name])).toEqual([
      ['layers/input_layer', 'image'],
      ['layers/rescaling', 'rescaling'],
      ['layers/functional', 'block'],
      ['layers/functional/layers/input_layer', 'picture'],
      ['layers/functional/layers/conv2d', 'inner_a'],
      ['layers/functional/layers/batch_normalization', 'inner_bn'],
      ['layers/functional/layers/conv2d_1', 'inner_b'],
      ['layers/functional/layers/add', 'inner_add'],
      ['layers/conv2d', 'outer'],
      ['layers/global_average_pooling2d', 'average'],
      ['layers/dropout', 'dropout'],
      ['layers/sequential', 'tail'],
      ['layers/sequential/layers/dense', 'hidden'],
      ['layers/sequential/layers/re_lu', 're_lu'],
      ['layers/dense', 'classes'],
    ]);
  });
});

describe('a file that Graft wrote', () => {
  it.each(['model.keras', 'model.h5'])('%s is the model again, and trains on bit for bit', async (file) => {
    const path = join(folder, file);
    const made = tracked(smallModel(['conv_a', 'bn_a']));
    made.compile({ optimizer: 'adam', loss: 'categorical_crossentropy', metrics: ['accuracy'], seed: 9 });
    for (let step = 0; step < 2; step++) await made.trainOnBatch(batchOf(step).x, batchOf(step).y);
    await made.save(path);
    const loaded = tracked(await load(path));
    expect(networkConfig(loaded)).toEqual(networkConfig(made));
    expect(loaded.getWeights()).toEqual(made.getWeights());
    expect(loaded.compiled.seed).toBe(9);
    const next = batchOf(2);
    expect(await loaded.trainOnBatch(next.x, next.y)).toEqual(await made.trainOnBatch(next.x, next.y));
    expect(await loaded.currentWeights()).toEqual(await made.currentWeights());
  });

  it('.keras of a model that was never compiled is loaded uncompiled', async () => {
    const path = join(folder, 'plain.keras');
    const made = tracked(smallModel());
    await made.save(path);
    const loaded = tracked(await load(path));
    expect(loaded.isCompiled).toBe(false);
    expect(await loaded.predict(x)).toEqual(await made.predict(x));
  });

  it.each(['some.weights.h5', 'some.h5', 'some.safetensors'])('%s holds all weights', async (file) => {
    const path = join(folder, file);
    const made = smallModel();
    await made.saveWeights(path);
    const other = smallModel();
    other.setWeights(other.variables.map(({ size }) => new Float32Array(size)));
    await other.loadWeights(path);
    expect(other.getWeights()).toEqual(made.getWeights());
  });
});

describe('weights that do not fit', () => {
  it.each(['other.weights.h5', 'other.h5', 'other.safetensors'])('in %s change nothing', async (file) => {
    const path = join(folder, file);
    const nested = await load(goldenPath('formats/keras3.keras'), { compile: false });
    await nested.saveWeights(path);
    const model = smallModel();
    const before = model.getWeights();
    await expect(model.loadWeights(path)).rejects.toMatchObject({ code: 'weights' });
    expect(model.getWeights()).toEqual(before);
  });

  it('in safetensors are named: what lacks, and what is too many', async () => {
    const path = join(folder, 'renamed.safetensors');
    const model = smallModel();
    await model.saveWeights(path);
    const tensors = await readSafetensors(path);
    const renamed = [...tensors].map(([name, tensor]) => ({
      name: name.replace('conv_a/kernel', 'x/y'),
      tensor,
    }));
    await writeSafetensors(path, renamed);
    await expect(model.loadWeights(path)).rejects.toThrow('it lacks conv_a/kernel and holds x/y, which');
  });

  it('are not written under a strange ending, and models not under the ending of weights', async () => {
    const model = smallModel();
    await expect(model.saveWeights(join(folder, 'a.bin'))).rejects.toThrow(
      '.weights.h5, .h5, .hdf5, .safetensors',
    );
    await expect(model.save(join(folder, 'a.weights.h5'))).rejects.toThrow('use saveWeights');
    await expect(model.save(join(folder, 'a.zip'))).rejects.toThrow('.keras, .h5, .hdf5');
  });
});
