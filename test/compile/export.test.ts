/** Exported models, run by ONNX Runtime itself and without anything of Graft's. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { exportModel } from '../../src/compile/export.ts';
import { float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { decodeModel } from '../../src/onnx/proto.ts';
import { readSafetensors } from '../../src/saving/safetensors.node.ts';
import { load, sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { expectNear, goldenPath } from '../support/golden.ts';
import { ort } from '../support/ort.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-export-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const open: Model[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

/** What Keras trained: nested models, batch normalization, dropout, softmax. */
async function trained(): Promise<Model> {
  const model = await load(goldenPath('formats/keras3.keras'));
  open.push(model);
  return model;
}

async function run(path: string, x: Tensor): Promise<Tensor<'float32'>> {
  const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1 });
  const feed = new ort.Tensor(x.dtype as 'uint8', x.data as Uint8Array, x.shape);
  const { output } = await session.run({ image: feed });
  await session.release();
  return float32(output!.dims.map(Number), output!.data as Float32Array);
}

describe('an exported model', () => {
  it('of float pictures gives what Keras predicted', async () => {
    const arrays = await readSafetensors(goldenPath('formats/keras3.safetensors'));
    const path = join(folder, 'float.onnx');
    await (await trained()).export(path, { input: 'float32' });
    const found = await run(path, arrays.get('x')!);
    expectNear('exported', 'predictions', found, arrays.get('predictions')!, 1e-5);
  });

  it('takes bytes by default, and any number of them', async () => {
    const model = await trained();
    const path = join(folder, 'bytes.onnx');
    await model.save(path);
    const bytes = Uint8Array.from({ length: 7 * 108 }, (_, i) => (i * 89) % 256);
    const x = tensor('uint8', [7, 6, 6, 3], bytes);
    const expected = await model.predict(x);
    expectNear('exported', 'seven', await run(path, x), expected, 1e-5);
    const one = tensor('uint8', [1, 6, 6, 3], bytes.slice(0, 108));
    expectNear('exported', 'one', await run(path, one), float32([1, 3], expected.data.slice(0, 3)), 1e-5);
  });

  it('is what training has come to, not what it began with', async () => {
    const arrays = await readSafetensors(goldenPath('formats/keras3.safetensors'));
    const [x, y] = [arrays.get('x') as Tensor<'float32'>, arrays.get('y') as Tensor<'int32'>];
    const model = await trained();
    for (let step = 0; step < 3; step++) await model.trainOnBatch(x, y);
    const path = join(folder, 'after.onnx');
    await model.export(path, { input: 'float32' });
    const found = await run(path, x);
    expectNear('exported', 'after training', found, await model.predict(x), 1e-5);
    const before = arrays.get('predictions')!.data as Float32Array;
    expect(Math.max(...found.data.map((value, i) => Math.abs(value - before[i]!)))).toBeGreaterThan(1e-3);
  });

  it('has resizing and preprocessing inside, and tells about them', async () => {
    const model = sequential([
      layers.input({ shape: [5, 4, 3] }),
      layers.resizing({ height: 9, width: 8 }),
      layers.normalization({ mean: [100, 110, 120], variance: [900, 1600, 2500] }),
      layers.conv2d({ filters: 2, kernelSize: 3, padding: 'same', strides: 2, activation: 'relu' }),
      layers.flatten(),
      layers.dense({ units: 2 }),
    ]);
    open.push(model);
    model.initialize(3);
    const path = join(folder, 'prepared.onnx');
    await model.export(path, { classNames: ['cat', 'dog'] });
    const x = tensor(
      'uint8',
      [2, 5, 4, 3],
      Uint8Array.from({ length: 120 }, (_, i) => (i * 37) % 256),
    );
    expectNear('exported', 'prepared', await run(path, x), await model.predict(x), 1e-5);
    const { metadataProps } = decodeModel(await readFile(path));
    const metadata = Object.fromEntries(
      metadataProps.map(({ key, value }) => [key, JSON.parse(value) as unknown]),
    );
    expect(metadata).toMatchObject({
      'graft.inputShape': [null, 5, 4, 3],
      'graft.classNames': ['cat', 'dog'],
      'graft.preprocessing': [
        { class_name: 'Resizing', config: { height: 9, width: 8, interpolation: 'bilinear' } },
        { class_name: 'Normalization', config: { mean: [100, 110, 120], variance: [900, 1600, 2500] } },
      ],
    });
  });

  it('is standard ONNX of one input, all weights constant, normalization folded', async () => {
    const { graph, opsetImport } = decodeModel(exportModel(await trained()));
    expect(opsetImport).toEqual([{ version: 20 }]);
    expect(graph.input.map(({ name }) => name)).toEqual(['image']);
    expect(graph.input[0]!.type.tensorType.shape!.dim[0]).toEqual({ dimParam: 'batch' });
    expect(graph.output.map(({ name }) => name)).toEqual(['output']);
    const types = graph.node.map(({ opType }) => opType);
    expect(types.filter((type) => type === 'Conv')).toHaveLength(3);
    // A product for rescaling and one for the average, a difference and a quotient in softmax, nothing for the norm.
    const arithmetic = types.filter((type) =>
      ['Mul', 'Div', 'Sub', 'Sqrt', 'BatchNormalization'].includes(type),
    );
    expect(arithmetic.sort()).toEqual(['Div', 'Mul', 'Mul', 'Sub']);
  });

  it('is refused with the wrong names, the wrong ending, or without weights', async () => {
    const model = await trained();
    await expect(model.export(join(folder, 'a.onnx'), { classNames: ['one'] })).rejects.toThrow(
      'has 3 outputs, but there are 1 class names',
    );
    await expect(model.export(join(folder, 'a.pb'))).rejects.toThrow('.onnx');
    const empty = sequential([layers.input({ shape: [4] }), layers.dense({ units: 2 })]);
    await expect(empty.export(join(folder, 'a.onnx'))).rejects.toMatchObject({ code: 'state' });
  });
});
