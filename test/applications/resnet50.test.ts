/** ResNet50 beside Keras's: architecture, and features with weights that a rule fills, or of ImageNet. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { preprocessing } from '../../src/applications/preprocessing.ts';
import { resnet50 } from '../../src/applications/resnet.ts';
import { float32, formatShape, type Tensor } from '../../src/core/tensor.ts';
import { cifar10 } from '../../src/data/cifar.node.ts';
import * as layers from '../../src/layers/index.ts';
import type { Layer, SymbolicTensor } from '../../src/layers/layer.ts';
import type { Network } from '../../src/models/network.ts';
import { model, sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { expectNear, readGolden } from '../support/golden.ts';
import { fillByRule } from '../support/rule_weights.ts';

interface Architecture {
  readonly total_params: number;
  readonly trainable_params: number;
  readonly non_trainable_params: number;
  readonly layers: readonly {
    readonly name: string;
    readonly class: string;
    readonly output_shape: readonly (number | null)[];
    readonly params: number;
  }[];
}

interface ResNetGolden {
  readonly taps: readonly string[];
  readonly weights: readonly {
    readonly path: string;
    readonly shape: readonly number[];
    readonly first: readonly number[];
  }[];
  readonly no_top_64: Architecture;
  readonly no_top_224: Architecture;
  readonly top_224: Architecture;
}

const golden = await readGolden<ResNetGolden>('resnet50');

const open: Model[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

/** The predictions of a model that ends after the test. */
async function predictionsOf(made: Model, x: Tensor<'uint8' | 'float32'>): Promise<Tensor<'float32'>> {
  open.push(made);
  return made.predict(x);
}

function expectArchitecture(network: Network, expected: Architecture): void {
  const outputs = new Map<Layer, SymbolicTensor>(
    network.layers.map((layer) => [layer, layer.calls[0]!.output]),
  );
  expect(
    network.layers.map((layer) => [
      layer.name,
      layer.className,
      formatShape([null, ...outputs.get(layer)!.shape]),
      layer.variables.reduce((total, { size }) => total + size, 0),
    ]),
  ).toEqual(
    // Keras counts the names of inputs on from model to model.
    expected.layers.map((each) => [
      each.name.replace(/^(input_layer)_\d$/, '$1'),
      each.class,
      formatShape(each.output_shape),
      each.params,
    ]),
  );
  const count = (trainable: boolean) =>
    network.variables
      .filter((variable) => variable.trainable === trainable)
      .reduce((total, { size }) => total + size, 0);
  expect(network.countParams()).toBe(expected.total_params);
  expect([count(true), count(false)]).toEqual([expected.trainable_params, expected.non_trainable_params]);
}

describe('the architecture of ResNet50', () => {
  it.each([
    ['without its classifier at 64 pixels', 'no_top_64', false, 64],
    ['without its classifier at 224 pixels', 'no_top_224', false, 224],
    ['with its classifier', 'top_224', true, 224],
  ] as const)(
    '%s: names, classes, order, shapes and parameters are those of Keras',
    async (_, key, top, size) => {
      const made = await resnet50({ weights: null, includeTop: top, inputShape: [size, size, 3] });
      expectArchitecture(made, golden.json[key]);
    },
  );

  it('its weights come in the order of Keras', async () => {
    const made = await resnet50({ weights: null, includeTop: false, inputShape: [64, 64, 3] });
    expect(made.variables.map(({ path, shape }) => [path, shape])).toEqual(
      golden.json.weights.map(({ path, shape }) => [path, shape]),
    );
  });

  it('pooling and the number of classes can be chosen; pictures must be large enough', async () => {
    const inputShape = [32, 32, 3] as const;
    const pooled = await resnet50({ weights: null, includeTop: false, inputShape, pooling: 'avg' });
    expect(pooled.result.shape).toEqual([2048]);
    expect(pooled.result.layer.name).toBe('avg_pool');
    const most = await resnet50({ weights: null, includeTop: false, inputShape, pooling: 'max' });
    expect(most.result.layer.className).toBe('GlobalMaxPooling2D');
    const ten = await resnet50({ weights: null, inputShape, classes: 10 });
    expect(ten.result.shape).toEqual([10]);
    await expect(resnet50({ weights: null, inputShape: [31, 32, 3] })).rejects.toThrow('got (31, 32, 3)');
    await expect(resnet50({ inputShape })).rejects.toThrow('1000 classes and takes (224, 224, 3)');
  });
});

/** The average of several layers' outputs over height and width, side by side, of pictures as they come. */
function pooledTaps(base: Network, taps: readonly string[], before: readonly Layer[] = []): Model {
  const pooled = taps.map((tap) => layers.globalAveragePooling2d().apply(base.getLayer(tap).output));
  const outputs = pooled.length === 1 ? pooled[0]! : layers.concatenate().apply(pooled);
  const network = model({ inputs: base.input, outputs });
  network.freeze();
  const [first] = before;
  const shape = first?.className === 'Resizing' ? [32, 32, 3] : base.input.shape;
  return sequential([layers.input({ shape }), ...before, preprocessing('caffe'), network]);
}

function column(pooled: Tensor<'float32'>, from: number, width: number): Tensor<'float32'> {
  const [rows, all] = pooled.shape as [number, number];
  const parts = Array.from({ length: rows }, (_, row) =>
    pooled.data.slice(row * all + from, row * all + from + width),
  );
  return float32(
    [rows, width],
    parts.flatMap((part) => [...part]),
  );
}

function expectTaps(
  pooled: Tensor<'float32'>,
  taps: readonly string[],
  expected: (tap: string) => Tensor,
): void {
  let from = 0;
  for (const tap of taps) {
    const wanted = expected(tap);
    const width = wanted.shape[1]!;
    expectNear('resnet50, pooled', tap, column(pooled, from, width), wanted, 1e-5);
    from += width;
  }
  expect(from).toBe(pooled.shape[1]);
}

describe('features of ResNet50 with the weights of the rule', () => {
  const images = golden.tensor('images') as Tensor<'uint8'>;

  it('preprocessing subtracts the means of blue, green, red, as the caffe convention does', async () => {
    const prepared = await predictionsOf(
      sequential([layers.input({ shape: [64, 64, 3] }), preprocessing('caffe')]),
      images,
    );
    const wanted = golden.tensor('preprocessed_corner');
    const corner = [0, 1].flatMap((picture) =>
      [0, 1].flatMap((row) => [
        ...prepared.data.slice((picture * 64 + row) * 64 * 3, (picture * 64 + row) * 64 * 3 + 6),
      ]),
    );
    expectNear('preprocessing', 'caffe', { shape: wanted.shape, data: corner }, wanted, 1e-7);
  });

  it('the six taps and the last feature map equal Keras', async () => {
    const base = await resnet50({ weights: null, includeTop: false, inputShape: [64, 64, 3] });
    fillByRule(base);
    for (const [i, { first, path }] of golden.json.weights.entries()) {
      expect([...base.variables[i]!.values.slice(0, 3)], path).toEqual([...Float32Array.from(first)]);
    }
    const { taps } = golden.json;
    const pooled = await predictionsOf(pooledTaps(base, taps), images);
    expectTaps(pooled, taps, (tap) => golden.tensor(`pooled/${tap}`));

    base.freeze();
    const whole = sequential([layers.input({ shape: [64, 64, 3] }), preprocessing('caffe'), base]);
    const last = await predictionsOf(whole, images);
    expectNear('resnet50, last map', 'conv5_block3_out', last, golden.tensor('conv5_block3_out'), 1e-5);
  });
});

describe('the other two preprocessings', () => {
  it.each([
    ['tf', [-1, 1, 0.2]],
    ['torch', [-0.485 / 0.229, (1 - 0.456) / 0.224, (0.6 - 0.406) / 0.225]],
  ] as const)('%s scales as Keras does', async (mode, expected) => {
    const made = sequential([layers.input({ shape: [1, 1, 3] }), preprocessing(mode)]);
    const { data } = await predictionsOf(made, {
      dtype: 'uint8',
      shape: [1, 1, 1, 3],
      data: Uint8Array.of(0, 255, 153),
    });
    expected.forEach((value, i) => {
      expect(data[i]).toBeCloseTo(value, 6);
    });
  });
});

const shared = resolve(import.meta.dirname, '..', '..', '..', 'shared');
const mirror = process.env['GRAFT_MIRROR'] || join(shared, 'mirror');
const references = process.env['GRAFT_REFERENCE'] || join(shared, 'reference');
const mirrorIsThere = /^https?:/.test(mirror) || existsSync(join(mirror, 'manifest.json'));

async function cifarPictures(count: number): Promise<Tensor<'uint8'>> {
  const { test } = await cifar10.load({ mirror });
  const { x } = await test.read(Int32Array.from({ length: count }, (_, i) => i));
  return x as Tensor<'uint8'>;
}

async function imagenetTaps(size: number, taps: readonly string[]): Promise<Model> {
  const base = await resnet50({ includeTop: false, inputShape: [size, size, 3], mirror });
  return pooledTaps(base, taps, [layers.resizing({ height: size, width: size })]);
}

describe('features of ResNet50 with the weights of ImageNet', () => {
  it('of four CIFAR-10 pictures at 96 pixels equal Keras', async (context) => {
    if (!mirrorIsThere) context.skip('no mirror: set GRAFT_MIRROR to a folder or address with ResNet50');
    const mirrored = await readGolden<{ taps: readonly string[] }>('resnet50_mirror');
    const { taps } = mirrored.json;
    const pooled = await predictionsOf(await imagenetTaps(96, taps), await cifarPictures(4));
    expectTaps(pooled, taps, (tap) => mirrored.tensor(`pooled/${tap}`));
  });

  const sizes = [96, 224] as const;
  it.for(sizes)(
    'of sixteen pictures at %i pixels equal an independent computation',
    async (size, context) => {
      const path = join(references, `resnet50-conv4-pooled-${size}px-16x1024.f32`);
      if (!mirrorIsThere || !existsSync(path)) {
        context.skip(`needs a mirror (GRAFT_MIRROR) and ${path} (GRAFT_REFERENCE)`);
      }
      const bytes = await readFile(path);
      const wanted = float32(
        [16, 1024],
        new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)),
      );
      const pooled = await predictionsOf(
        await imagenetTaps(size, ['conv4_block6_out']),
        await cifarPictures(16),
      );
      expectNear('resnet50, independent', `${size} px`, pooled, wanted, 1e-5);
    },
  );

  it('frozen layers that the file lacks are refused by name; trainable ones are drawn and named once', async (context) => {
    if (!mirrorIsThere) context.skip('no mirror: set GRAFT_MIRROR to a folder or address with ResNet50');
    const base = await resnet50({ includeTop: false, inputShape: [32, 32, 3], mirror });
    base.freeze();
    expect(() => base.compile({ loss: 'categorical_crossentropy' })).toThrow(
      /lacks the weights of 20 frozen layer\(s\): conv5_block1_1_conv, .*Make them trainable/,
    );
  });
});
