/** Where a model is cut, and what the graphs on both sides take and give. */
import { afterEach, describe, expect, it } from 'vitest';
import { resnet50 } from '../../src/applications/resnet.ts';
import { findCut } from '../../src/compile/cut.ts';
import { buildProgram, type ProgramOptions } from '../../src/compile/program.ts';
import { float32 } from '../../src/core/tensor.ts';
import type { Node } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import * as layers from '../../src/layers/index.ts';
import type { Layer, SymbolicTensor } from '../../src/layers/layer.ts';
import { categoricalCrossentropy } from '../../src/losses/index.ts';
import { accuracy } from '../../src/metrics/index.ts';
import type { Network } from '../../src/models/network.ts';
import { adam, sgd } from '../../src/optimizers/index.ts';
import { model, sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { smallModel, x, y } from '../support/small_model.ts';

/** Enough of the small model that its features are worth keeping. */
const frozenLayers = ['conv_a', 'bn_a', 'conv_b', 'bn_b'];

const open: Model[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

function programOf(network: Network, options: Partial<ProgramOptions> = {}) {
  network.initialize(0);
  return buildProgram({
    network,
    optimizer: sgd(),
    loss: categoricalCrossentropy(),
    metrics: [accuracy()],
    trains: true,
    imageDType: 'uint8',
    labels: 'ids',
    featureDType: 'float16',
    ...options,
  });
}

const shapesOf = (features: readonly { readonly shape: readonly number[] }[]) =>
  features.map(({ shape }) => shape);

describe('the cut of a graph', () => {
  const image = o.input('image', [-1, 4, 4, 64]);
  const kernelOf = (channels: number, filters = 2) =>
    o.constant(float32([3, 3, channels, filters], new Float32Array(9 * filters * channels).fill(0.1)));
  const kernel = kernelOf(64);
  const window = { strides: [1, 1], dilations: [1, 1], groups: 1, pads: [1, 1, 1, 1] } as const;
  const w = o.input('w', [2]);
  const find = (...roots: Node[]) => findCut(roots, image, new Set([w]));

  it('lies where the first changing weight comes in', () => {
    const frozen = o.relu(o.conv2d(image, kernel, window));
    expect(find(o.mul(frozen, w))).toEqual([frozen]);
  });

  it('holds every value that crosses, in graph order, and none that only frozen values use', () => {
    const first = o.relu(o.conv2d(image, kernel, window));
    const between = o.neg(first);
    const second = o.conv2d(between, kernelOf(2), window);
    expect(find(o.add(o.mul(second, w), first))).toEqual([first, second]);
  });

  it('is the picture when what is frozen is so light that repeating it costs less than keeping it', () => {
    expect(find(o.mul(o.mean(o.relu(image), [3], true), w))).toEqual([image]);
    const light = o.input('image', [-1, 4, 4, 2]);
    const frozen = o.conv2d(light, kernelOf(2), window);
    expect(findCut([o.mul(frozen, w)], light, new Set([w]))).toEqual([light]);
  });

  it('is the picture when the changing part looks at it too', () => {
    // So heavy that its features would be worth keeping beside the pictures.
    const frozen = o.mul(o.conv2d(image, kernelOf(64, 64), window), 1);
    expect(find(o.mul(o.sum(frozen), o.sum(w)))).not.toContain(image);
    expect(find(o.add(o.mul(frozen, o.sum(w)), o.mul(image, o.sum(w))))).toEqual([image]);
  });

  it('holds an output that depends on nothing changing', () => {
    const frozen = o.conv2d(image, kernel, window);
    expect(find(frozen)).toEqual([frozen]);
  });
});

/** conv → relu, a frozen or trainable one by name. */
function conv(from: SymbolicTensor, name: string, trainable: boolean): SymbolicTensor {
  const layer = layers.conv2d({
    filters: 4,
    kernelSize: 9,
    padding: 'same',
    activation: 'relu',
    name,
    trainable,
  });
  return layer.apply(from);
}

function head(from: SymbolicTensor): SymbolicTensor {
  const pooled = layers.globalAveragePooling2d().apply(from);
  return layers.dense({ units: 5, activation: 'softmax' }).apply(pooled);
}

describe('the program of a model', () => {
  it('of ResNet50 with a frozen conv4 is cut at the pixels of conv4 that conv5 looks at', async () => {
    const base = await resnet50({ weights: null, includeTop: false, inputShape: [64, 64, 3] });
    base.freezeUntil('conv5_block1_1_conv');
    const network = model({ inputs: base.input, outputs: head(base.result) });
    expect(network.trainingPlan().filter(({ trainable }) => trainable)[0]!.layer).toBe('conv5_block1_1_conv');
    const program = programOf(network);
    expect(program.features).toEqual([{ name: 'feature0', shape: [2, 2, 1024], dtype: 'float16' }]);
    expect(program.frozen!.feeds).toEqual(['image']);
    const trained = [...program.weights.values()].map(({ variable }) => variable.layer.name);
    expect(trained.every((name) => name.startsWith('conv5') || name.startsWith('dense'))).toBe(true);
    expect(trained).toContain('conv5_block1_0_bn');
  });

  it('of a residual block that begins at a trainable layer keeps both ways around it', () => {
    const input = layers.input({ shape: [8, 8, 3] });
    const shortcut = conv(input, 'shortcut', false);
    const inner = conv(conv(shortcut, 'before', false), 'after', true);
    const program = programOf(model({ inputs: input, outputs: head(layers.add().apply([shortcut, inner])) }));
    expect(shapesOf(program.features)).toEqual([
      [8, 8, 4],
      [8, 8, 4],
    ]);
    expect(program.step.feeds).toEqual(expect.arrayContaining(['feature0', 'feature1']));
  });

  it('feeds step, evaluation and prediction with the same features and never with the picture', () => {
    const network = smallModel(frozenLayers);
    const program = programOf(network, { imageDType: 'float32', optimizer: adam() });
    // Behind the last frozen layer, ReLU and Flatten need no weight.
    expect(program.features).toEqual([{ name: 'feature0', shape: [24], dtype: 'float16' }]);
    const { step, evaluate, predict } = program;
    expect([...step.feeds].sort()).toEqual(['correctedRate', 'feature0', 'sampleWeight', 'y']);
    expect([...evaluate.feeds].sort()).toEqual(['feature0', 'sampleWeight', 'y']);
    expect(predict.feeds).toEqual(['feature0']);
  });

  it('replaces in a step each trained weight, each moving statistic and each slot, and nothing elsewhere', () => {
    for (const [frozen, statistics] of [
      [[], 4],
      [['conv_a', 'bn_a'], 2],
      [frozenLayers, 0],
    ] as const) {
      const network = smallModel(frozen);
      const { step, evaluate, predict, weights, slots } = programOf(network, { optimizer: adam() });
      const learned = network.trainableVariables.length;
      expect(weights.size).toBe(learned + statistics);
      expect(slots.size).toBe(2 * learned);
      expect(Object.values(step.writes).sort()).toEqual([...weights.keys(), ...slots.keys()].sort());
      expect([evaluate.writes, predict.writes]).toEqual([{}, {}]);
    }
  });

  it('takes the picture where nothing heavy is frozen', () => {
    const program = programOf(smallModel());
    expect(program.features).toEqual([{ name: 'image', shape: [8, 8, 3], dtype: 'uint8' }]);
    expect(program.frozen).toBeNull();
  });

  it('has a frozen part with noise and one without where a random layer stands in front of it', () => {
    const input = layers.input({ shape: [8, 8, 3] });
    const noisy = layers.dropout({ rate: 0.5 }).apply(input);
    const frozen = layers.dropout({ rate: 0.2 }).apply(conv(noisy, 'frozen', false));
    const { features, augmented, noises, step, ...program } = programOf(
      model({ inputs: input, outputs: head(frozen) }),
    );
    // The convolution's output, in front of the head's dropout.
    expect(features).toEqual([{ name: 'feature0', shape: [8, 8, 4], dtype: 'float16' }]);
    expect(program.frozen!.feeds).toEqual(['image']);
    expect([...augmented!.feeds].sort()).toEqual(['image', 'noise0']);
    expect(augmented!.noises).toEqual([{ name: 'noise0', shape: [-1, 8, 8, 3], distribution: 'uniform' }]);
    expect(augmented!.digest).not.toBe(program.frozen!.digest);
    expect(noises).toEqual([{ name: 'noise1', shape: [-1, 8, 8, 4], distribution: 'uniform' }]);
    expect([...step.feeds].sort()).toEqual(['feature0', 'learningRate', 'noise1', 'sampleWeight', 'y']);
    expect([...program.evaluate.feeds].sort()).toEqual(['feature0', 'sampleWeight', 'y']);
    expect(program.predict.feeds).toEqual(['feature0']);
  });

  it('draws for each picture what moves it by itself, and keeps what mixes a batch in the step', () => {
    const behind = (front: Layer) => {
      const input = layers.input({ shape: [8, 8, 3] });
      const outputs = head(conv(front.apply(input), 'frozen', false));
      return programOf(model({ inputs: input, outputs }));
    };
    const moved = behind(layers.randomTranslation({ heightFactor: 0.1, widthFactor: 0.1 }));
    expect(moved.augmented!.noises.map(({ shape }) => shape)).toEqual([
      [-1, 1],
      [-1, 1],
    ]);
    expect(moved.noises).toEqual([]);
    const mixed = behind(layers.mixUp());
    expect(mixed.augmented).toBeNull();
    expect(mixed.features.map(({ name }) => name)).toEqual(['image']);
    expect(mixed.noises.map(({ distribution }) => distribution)).toEqual([
      'permutation',
      { beta: [0.2, 0.2] },
    ]);
  });

  it('finds the same values in inference inside a layer too: the pixels that a strided one looks at', () => {
    const input = layers.input({ shape: [8, 8, 3] });
    const noisy = layers.dropout({ rate: 0.5 }).apply(input);
    const shortcut = conv(noisy, 'shortcut', false);
    const strided = layers.conv2d({ filters: 4, kernelSize: 1, strides: 2, name: 'strided' });
    const network = model({ inputs: input, outputs: head(strided.apply(conv(shortcut, 'frozen', false))) });
    const program = programOf(network);
    expect(shapesOf(program.features)).toEqual([[4, 4, 4]]);
    expect([program.frozen!.feeds, program.predict.feeds]).toEqual([['image'], ['feature0']]);
  });

  it('hands over what a random layer made where the trainable part looks at it too', () => {
    const input = layers.input({ shape: [8, 8, 3] });
    const noisy = layers.dropout({ rate: 0.5 }).apply(input);
    const frozen = conv(conv(noisy, 'first', false), 'second', false);
    const both = layers.concatenate().apply([frozen, conv(noisy, 'learns', true)]);
    const program = programOf(model({ inputs: input, outputs: head(both) }));
    // It is a feature, so that both parts see the same.
    expect(shapesOf(program.features)).toEqual([
      [8, 8, 3],
      [8, 8, 4],
    ]);
    expect([...program.augmented!.feeds].sort()).toEqual(['image', 'noise0']);
    expect([...program.step.feeds].sort()).toEqual([
      ...['feature0', 'feature1', 'learningRate', 'sampleWeight', 'y'],
    ]);
  });

  it('is cut before noise that comes later: what is frozen in front of it is kept', () => {
    const frozen = conv(layers.input({ shape: [8, 8, 3] }), 'first', false);
    const dropped = layers.dropout({ rate: 0.5 }).apply(frozen);
    const outputs = head(conv(dropped, 'second', false));
    const after = programOf(model({ inputs: frozen.layer.calls[0]!.inputs[0]!, outputs }));
    expect(shapesOf(after.features)).toEqual([[8, 8, 4]]);
    expect(after.step.feeds).toContain('noise0');
    expect(after.evaluate.feeds).not.toContain('noise0');
  });

  it('is not cut at a frozen dropout, which drops nothing', () => {
    const input = layers.input({ shape: [8, 8, 3] });
    const dropped = layers.dropout({ rate: 0.5, trainable: false }).apply(conv(input, 'first', false));
    const program = programOf(model({ inputs: input, outputs: head(conv(dropped, 'second', false)) }));
    expect(program.noises).toEqual([]);
    const without = conv(conv(input, 'first', false), 'second', false);
    const plain = programOf(model({ inputs: input, outputs: head(without) }));
    expect(shapesOf(program.features)).toEqual(shapesOf(plain.features));
    expect(program.frozen).not.toBeNull();
  });

  it('has frozen layers behind the cut as constants, not as state', () => {
    const input = layers.input({ shape: [8, 8, 3] });
    const outputs = head(conv(conv(input, 'learns', true), 'stays', false));
    const program = programOf(model({ inputs: input, outputs }));
    expect(program.frozen).toBeNull();
    const names = [...program.weights.values()].map(({ variable }) => variable.layer.name);
    expect(names).toContain('learns');
    expect(names).not.toContain('stays');
    expect(program.step.feeds.some((name) => name.startsWith('w'))).toBe(false);
  });

  it('names its frozen part by what it computes: another weight is another name, another head is not', () => {
    const digest = (change?: (network: Model) => void, options?: Partial<ProgramOptions>) => {
      const network = smallModel(frozenLayers);
      change?.(network);
      return programOf(network, options).frozen!.digest;
    };
    const first = digest();
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(digest()).toBe(first);
    expect(digest(undefined, { optimizer: adam(), labels: 'rows' })).toBe(first);
    const moved = (name: string) => (network: Model) => {
      const variable = network.getLayer(name).variables[0]!;
      variable.assign(variable.values.map((value) => value + 1e-3));
    };
    expect(digest(moved('dense_a'))).toBe(first);
    expect(digest(moved('conv_a'))).not.toBe(first);
    expect(digest(moved('bn_a'))).not.toBe(first);
  });
});

describe('a compiled model', () => {
  const compiled = (frozen: readonly string[], cache: 'off' | 'memory' = 'off') => {
    const made = smallModel(frozen);
    made.compile({ loss: 'categorical_crossentropy', metrics: ['accuracy'], threads: 1, cache });
    open.push(made);
    return made;
  };
  it('predicts the same whether a part of it is frozen or all, and wherever it is cut', async () => {
    const whole = await compiled([]).predict(x);
    for (const names of [frozenLayers, ['conv_a', 'bn_a'], ['conv_b'], ['dense_a', 'predictions']]) {
      const { data } = await compiled(names).predict(x);
      const apart = Math.max(...data.map((value, i) => Math.abs(value - whole.data[i]!)));
      expect(apart, names.join()).toBeLessThan(1e-6);
    }
  });

  it.each(['off', 'memory'] as const)(
    'sees a frozen weight that was set after compile, features %s',
    async (cache) => {
      const made = compiled(frozenLayers, cache);
      const before = await made.evaluate({ x, y }, { verbose: false });
      const weights = made.getWeights();
      weights[0] = weights[0]!.map((value) => -value);
      made.setWeights(weights);
      const after = await made.evaluate({ x, y }, { verbose: false });
      expect(after).not.toEqual(before);
      const fresh = compiled(frozenLayers, cache);
      fresh.setWeights(weights);
      expect(await fresh.evaluate({ x, y }, { verbose: false })).toEqual(after);
      await made.fit({ x, y }, { verbose: false });
      await fresh.fit({ x, y }, { verbose: false });
      expect(made.getWeights()).toEqual(fresh.getWeights());
    },
  );

  it('leaves frozen weights, and the statistics of frozen batch normalization, as they are', async () => {
    const made = compiled(frozenLayers);
    const before = made.getWeights();
    await made.fit({ x, y }, { verbose: false });
    made.variables.forEach(({ path, values, layer, shape }, i) => {
      const moved = values.some((value, j) => value !== before[i]![j]);
      expect(moved, `${path} ${shape}`).toBe(!frozenLayers.includes(layer.name));
    });
  });

  it('of a chain without weights predicts', async () => {
    const made = sequential([layers.input({ shape: [8, 8, 3] }), layers.maxPooling2d()]);
    open.push(made);
    const pooled = await made.predict(x);
    expect(pooled.shape).toEqual([60, 4, 4, 3]);
  });
});
