/** What files are, whatever they are called: first bytes as their formats' documents give them. */
import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ZipFile } from 'yazl';
import { fromOnnx, loadWeights } from '../../src/applications/index.ts';
import { kindOf } from '../../src/core/file_kind.node.ts';
import * as layers from '../../src/layers/index.ts';
import { load, sequential } from '../../src/training/build.ts';
import { foreignFile } from '../support/foreign.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-kinds-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function zipOf(...names: string[]): Promise<Buffer> {
  const zip = new ZipFile();
  for (const name of names) zip.addBuffer(Buffer.from('content'), name);
  zip.end();
  return buffer(zip.outputStream);
}

/** Field number and wire type of a protobuf field, then its bytes. */
const varintField = (field: number, value: number) => Buffer.from([...varint(8 * field), value]);
const bytesField = (field: number, ...bytes: number[]) =>
  Buffer.from([...varint(8 * field + 2), bytes.length, ...bytes]);

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

/** Something of a model, but of no kind that `models.load` reads; the way out is in the text. */
const strangers: readonly (readonly [string, Buffer | Promise<Buffer>, RegExp])[] = [
  ['empty.keras', Buffer.alloc(0), /is empty.* fetch it again/],
  ['zeros.h5', Buffer.alloc(5000), /nothing but zeros.* fetch it again/],
  [
    'pointer.h5',
    Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 98023\n'),
    /a Git LFS pointer.* git lfs pull/,
  ],
  ['page.keras', Buffer.from('\n<!DOCTYPE html>\n<html><head><title>404</title>'), /an HTML page/],
  ['page2.h5', Buffer.from('\ufeff<html lang="en"><body>Sign in</body></html>'), /an HTML page/],
  ['error.h5', Buffer.from('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), /is XML/],
  ['refused.keras', Buffer.from('{"error":"Repository not found"}'), /is JSON.* error message/],
  [
    'model.json',
    Buffer.from('{"format": "layers-model", "modelTopology": {"keras_version": "2.7.0"}}'),
    /TensorFlow\.js.* tensorflowjs_converter/,
  ],
  [
    'graph.json',
    Buffer.from('{"format":"graph-model","modelTopology":{}}'),
    /a graph model of TensorFlow\.js/,
  ],
  [
    'architecture.json',
    Buffer.from('{"module": "keras", "class_name": "Sequential", "config": {}}'),
    /without its weights .*model\.save\('model\.keras'\)/,
  ],
  // FlatBuffers: the file identifier is bytes 4 to 7.
  ['mobile.h5', Buffer.from('\x1c\0\0\0TFL3\x14\0\x20\0', 'latin1'), /TensorFlow Lite.* tf2onnx/],
  ['fast.h5', Buffer.from('\x18\0\0\0ORTM\0\0', 'latin1'), /the ORT format/],
  [
    'weights.pth',
    zipOf('archive/data.pkl', 'archive/data/0'),
    /PyTorch.*does not unpickle.* torch\.onnx\.export/,
  ],
  [
    'script.keras',
    zipOf('m/data.pkl', 'm/constants.pkl', 'm/code/a.py'),
    /TorchScript.* torch\.onnx\.export/,
  ],
  // PROTO 2, then the magic number of torch.save before PyTorch 1.6.
  ['old.pt', Buffer.from('80028a0a6cfc9c46f920', 'hex'), /a pickle.*does not unpickle/],
  ['joblib.h5', Buffer.from('80049522000000000000007d', 'hex'), /a pickle.*does not unpickle/],
  ['arrays.h5', zipOf('a.npy', 'b.npy'), /NumPy archive/],
  ['array.h5', Buffer.from('\x93NUMPY\x01\0', 'latin1'), /NumPy array/],
  [
    'download.zip',
    zipOf('keras_model.h5', 'labels.txt'),
    /a zip archive with keras_model\.h5 in it.* Unpack it/,
  ],
  ['saved.zip', zipOf('m/saved_model.pb', 'm/variables/variables.index'), /a SavedModel.*zip/],
  ['packed.keras', gzipSync('content'), /gzip.* gunzip/],
  // SavedModel: saved_model_schema_version = 1, meta_graphs = 2.
  [
    'saved_model.pb',
    Buffer.concat([varintField(1, 1), bytesField(2, 8, 1)]),
    /part of a SavedModel.* tf2onnx\.convert --saved-model/,
  ],
  // GraphDef: node = 1, versions = 4.
  ['frozen.pb', Buffer.concat([bytesField(1, 10, 1, 120), bytesField(4, 8, 1)]), /TensorFlow 1/],
  // Core ML: specificationVersion = 1, description = 2, neuralNetworkClassifier = 403.
  [
    'phone.mlmodel',
    Buffer.concat([varintField(1, 4), bytesField(2, 10, 0), bytesField(403, 10, 0)]),
    /a Core ML model.* \.onnx/,
  ],
  [
    'gpu.engine',
    Buffer.from('ftrt\0\0\0\0\0\0\0\0', 'latin1'),
    /TensorRT.* \.onnx file that it was built from/,
  ],
  ['photo.keras', Buffer.from('ffd8ffe000104a464946', 'hex'), /an image/],
  ['notes.keras', Buffer.from('to do: train'), /it begins with the text "to do: train"/],
];

describe('a file of another kind', () => {
  it.each(strangers)('%s is told what it is and what to do', async (name, bytes, text) => {
    const path = join(folder, name);
    await writeFile(path, await bytes);
    await expect(load(path)).rejects.toMatchObject({ code: 'file', message: expect.stringMatching(text) });
    await expect(load(path)).rejects.toThrow(`${path} is `);
    // The same sentence wherever the file is named.
    const model = sequential([layers.input({ shape: [1] }), layers.dense({ units: 1 })]);
    await expect(model.loadWeights(path)).rejects.toThrow(text);
    await expect(loadWeights(model, path)).rejects.toThrow(text);
    await expect(fromOnnx(path)).rejects.toThrow(text);
  });

  it('may be a folder: a SavedModel, an unpacked archive, or one that a model lies in', async () => {
    const inside = async (name: string, files: readonly string[]) => {
      await mkdir(join(folder, name));
      for (const file of files) await writeFile(join(folder, name, file), 'x');
      return join(folder, name);
    };
    const saved = await inside('saved', ['saved_model.pb', 'fingerprint.pb']);
    await expect(load(saved)).rejects.toThrow(/is a SavedModel of TensorFlow.* --saved-model/);
    const unpacked = await inside('unpacked', ['config.json', 'metadata.json', 'model.weights.h5']);
    await expect(load(unpacked)).rejects.toThrow('zip -0 ../model.keras');
    const around = await inside('around', ['model.h5', 'readme.md']);
    await expect(load(around)).rejects.toThrow('is a folder; expected a model in a .keras or .h5 file. Name');
    await expect(load(around)).rejects.toThrow('Name a file in it: model.h5.');
  });

  it.runIf(process.platform === 'linux')('may be a pipe, which nobody waits for', async () => {
    const path = join(folder, 'pipe.keras');
    spawnSync('mkfifo', [path]);
    await expect(load(path)).rejects.toMatchObject({ code: 'file' });
  });

  it('is named where ONNX, Keras and safetensors are taken for one another', async () => {
    const renamed = async (from: string, to: string) => {
      await copyFile(from, join(folder, to));
      return join(folder, to);
    };
    const onnx = await renamed(foreignFile('plain.onnx'), 'is_onnx.keras');
    expect(await kindOf(onnx)).toBe('onnx');
    await expect(load(onnx)).rejects.toThrow(/is an ONNX model; expected .*applications\.fromOnnx/);
    const h5 = await renamed(foreignKeras('keras3_model.h5'), 'is_h5.onnx');
    await expect(fromOnnx(h5)).rejects.toThrow(/is an HDF5 file.*expected an ONNX model .*models\.load/);
    const header = Buffer.from('{}      ');
    const tensors = Buffer.concat([Buffer.from([header.length, 0, 0, 0, 0, 0, 0, 0]), header]);
    await writeFile(join(folder, 'is_safetensors.h5'), tensors);
    await expect(load(join(folder, 'is_safetensors.h5'))).rejects.toThrow(
      /is a file of weights \(\.safetensors\), which holds no model.*loadWeights/,
    );
  });
});

const foreignKeras = (name: string) => new URL(`../saving/fixtures/${name}`, import.meta.url).pathname;

describe('a Keras model under the name of the other format', () => {
  it('is loaded as what it is, in both directions', async () => {
    const model = sequential([
      layers.input({ shape: [2] }),
      layers.dense({ units: 1, kernelInitializer: 'ones', name: 'sum' }),
    ]);
    model.compile({ loss: 'categoricalCrossentropy' });
    await model.save(join(folder, 'right.keras'));
    await model.save(join(folder, 'right.h5'));
    await copyFile(join(folder, 'right.keras'), join(folder, 'archive.h5'));
    await copyFile(join(folder, 'right.h5'), join(folder, 'hdf5.keras'));
    for (const name of ['archive.h5', 'hdf5.keras']) {
      const { layers: read } = await load(join(folder, name));
      expect(read.map((layer) => layer.name)).toEqual(['sum']);
      expect([...read[0]!.variables[0]!.values]).toEqual([1, 1]);
    }
    await model.saveWeights(join(folder, 'right.weights.h5'));
    await copyFile(join(folder, 'right.weights.h5'), join(folder, 'alone.h5'));
    await expect(load(join(folder, 'alone.h5'))).rejects.toThrow('holds weights without a model. Build');
    await model.close();
  });
});
