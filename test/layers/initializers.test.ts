/** Initial weights, dropout's noise and regularizers: what is random must have the right law and be repeatable. */
import { afterEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { float32, sizeOf, tensor } from '../../src/core/tensor.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate } from '../../src/graph/reference.ts';
import * as layers from '../../src/layers/index.ts';
import * as initializers from '../../src/layers/initializers.ts';
import { type InitializerName, initializer, varianceScaling } from '../../src/layers/initializers.ts';
import { l1, l1l2, l2 } from '../../src/layers/regularizers.ts';
import { sgd } from '../../src/optimizers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

function moments(values: Float32Array) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return { mean, variance, largest };
}

// Kernels as Keras counts their fans: dense (in, out); convolution (height, width, in, out), times height · width.
const kernels = [
  { title: 'a dense kernel', shape: [300, 200], fanIn: 300, fanOut: 200 },
  { title: 'a convolution kernel', shape: [3, 3, 80, 120], fanIn: 720, fanOut: 1080 },
];
const laws: [InitializerName, (fanIn: number, fanOut: number) => number, 'uniform' | 'truncated'][] = [
  ['glorot_uniform', (a, b) => 2 / (a + b), 'uniform'],
  ['glorot_normal', (a, b) => 2 / (a + b), 'truncated'],
  ['he_uniform', (a) => 2 / a, 'uniform'],
  ['he_normal', (a) => 2 / a, 'truncated'],
  ['lecun_uniform', (a) => 1 / a, 'uniform'],
  ['lecun_normal', (a) => 1 / a, 'truncated'],
];

describe.each(kernels)('initial values of $title', ({ shape, fanIn, fanOut }) => {
  it.each(laws)('%s: mean, variance and bounds', (name, varianceOf, kind) => {
    const values = initializer(name).values(shape, new Random(1, name));
    expect(values.length).toBe(sizeOf(shape));
    const variance = varianceOf(fanIn, fanOut);
    const got = moments(values);
    // Six standard errors of the mean; 2 % of the variance is about as many of its own.
    expect(Math.abs(got.mean)).toBeLessThan(6 * Math.sqrt(variance / values.length));
    expect(Math.abs(got.variance / variance - 1)).toBeLessThan(0.02);
    const limit =
      kind === 'uniform' ? Math.sqrt(3 * variance) : (2 * Math.sqrt(variance)) / 0.8796256610342398;
    expect(got.largest).toBeLessThanOrEqual(limit * (1 + 1e-6));
    expect(got.largest).toBeGreaterThan(limit * 0.99);
  });
});

describe('other initial values', () => {
  it('varianceScaling without truncation has tails; constants and ranges are what was asked', () => {
    const normal = varianceScaling({ scale: 2, mode: 'fan_out', distribution: 'untruncated_normal' });
    const got = moments(normal.values([100, 400], new Random(2, 'normal')));
    expect(Math.abs(got.variance / (2 / 400) - 1)).toBeLessThan(0.03);
    expect(got.largest).toBeGreaterThan(3.5 * Math.sqrt(2 / 400));
    const random = () => new Random(3, 'other');
    expect([...initializers.constant(0.3).values([2], random())]).toEqual([...Float32Array.of(0.3, 0.3)]);
    const range = initializers.randomUniform({ minval: 1, maxval: 3 }).values([5000], random());
    expect([Math.min(...range) >= 1, Math.max(...range) <= 3]).toEqual([true, true]);
    expect(moments(range).mean).toBeCloseTo(2, 1);
    const shifted = initializers.randomNormal({ mean: 4, stddev: 0.5 }).values([5000], random());
    expect(moments(shifted).mean).toBeCloseTo(4, 1);
    expect(moments(shifted).variance).toBeCloseTo(0.25, 1);
    const cut = initializers.truncatedNormal({ stddev: 0.5 }).values([5000], random());
    expect(moments(cut).largest).toBeLessThanOrEqual(1);
  });

  it('are the same for the same seed, and different from weight to weight and seed to seed', () => {
    const draw = (seed: number) => {
      const model = sequential([
        layers.input({ shape: [6] }),
        layers.dense({ units: 6, biasInitializer: 'he_normal' }),
        layers.dense({ units: 6, biasInitializer: 'he_normal' }),
      ]);
      model.initialize(seed);
      return model.getWeights();
    };
    const [first, other] = [draw(7), draw(8)];
    expect(draw(7)).toEqual(first);
    const all = [...first, ...other].map((values) => [...values].join());
    expect(new Set(all).size).toBe(8);
  });

  it('an unknown name is refused with the known ones', () => {
    expect(() => initializer('he' as InitializerName)).toThrow('expected one of "zeros", "ones"');
  });
});

describe('dropout', () => {
  const rate = 0.3;
  const width = 400;

  /** A model whose loss gives back the mask: logits are the dropped ones of a row of ones. */
  it('keeps a share of 1 − rate, scaled by 1 / (1 − rate), and nothing else', () => {
    const layer = layers.dropout({ rate });
    const x = o.input('x', [-1, width]);
    const y = layer.call([x], {
      training: true,
      weight: () => expect.unreachable(),
      update: () => expect.unreachable(),
      uniform: (_layer, shape) => o.input('noise', shape),
      draw: (_layer, shape) => o.input('noise', shape),
      mixLabels: () => undefined,
    });
    const noise = new Random(5, 'noise').fillUniform(new Float32Array(50 * width));
    const shape = [50, width];
    const [result] = evaluate([y], {
      x: { shape, data: new Float64Array(noise.length).fill(1) },
      noise: { shape, data: Float64Array.from(noise) },
    });
    const values = result!.data;
    const kept = values.filter((value) => value !== 0);
    for (const value of kept) expect(value).toBe(Math.fround(1 / (1 - rate)));
    expect(Math.abs(kept.length / values.length - (1 - rate))).toBeLessThan(0.015);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.abs(mean - 1)).toBeLessThan(0.02);
  });

  it('decides each value by itself: noise below the rate drops, the rate itself keeps', () => {
    const layer = layers.dropout({ rate: 0.25 });
    const x = o.input('x', [-1, 3]);
    const context = {
      ...unasked,
      uniform: (_: unknown, shape: readonly number[]) => o.input('noise', shape),
      draw: (_: unknown, shape: readonly number[]) => o.input('noise', shape),
      mixLabels: () => undefined,
    };
    const [result] = evaluate([layer.call([x], context)], {
      x: { shape: [1, 3], data: Float64Array.of(1, 1, 1) },
      noise: { shape: [1, 3], data: Float64Array.of(0.25 - 2 ** -24, 0.25, 0.25 + 2 ** -24) },
    });
    expect([...result!.data]).toEqual([0, Math.fround(4 / 3), Math.fround(4 / 3)]);
    expect(() => layers.dropout({ rate: 1 })).toThrow('rate must be a number from 0 to below 1, got 1');
    expect(layers.dropout({ rate: 0 }).call([x], context)).toBe(x);
  });

  /** A training step of a layer that has nothing to ask for. */
  const unasked = {
    training: true,
    weight: () => expect.unreachable(),
    update: () => expect.unreachable(),
    uniform: () => expect.unreachable(),
    draw: () => expect.unreachable(),
    mixLabels: () => expect.unreachable(),
  };

  it.each([
    ['a noise shape of [null, 1, 1, 1]', layers.dropout({ rate: 0.5, noiseShape: [null, 1, 1, 1] })],
    ['stochastic depth', layers.stochasticDepth({ dropPathRate: 0.5 })],
  ])('with %s drops whole pictures', (_, layer) => {
    const x = o.input('x', [-1, 1, 2, 1]);
    const context = {
      ...unasked,
      uniform: (_: unknown, shape: readonly number[]) => o.input('noise', shape),
    };
    const [result] = evaluate([layer.call([x], context)], {
      x: { shape: [3, 1, 2, 1], data: Float64Array.of(1, 2, 3, 4, 5, 6) },
      noise: { shape: [3, 1, 1, 1], data: Float64Array.of(0.4, 0.6, 0.1) },
    });
    expect([...result!.data]).toEqual([0, 0, 6, 8, 0, 0]);
    expect(layer.call([x], { ...context, training: false })).toBe(x);
    layer.trainable = false;
    expect(layer.call([x], context), 'frozen').toBe(x);
  });

  it('a noise shape that does not fit says what was expected', () => {
    const layer = layers.dropout({ rate: 0.5, noiseShape: [null, 2, 1], name: 'drop' });
    expect(() => layer.call([o.input('x', [-1, 3, 2])], unasked)).toThrow(
      'drop: noiseShape [null, 2, 1] does not fit inputs of',
    );
  });

  const noisy = (seed: number) => {
    const model = sequential([
      layers.input({ shape: [width] }),
      layers.dropout({ rate }),
      layers.dense({ units: 2, activation: 'softmax', kernelInitializer: 'he_normal' }),
    ]);
    // At rate zero nothing moves, so that the loss shows the mask alone.
    model.compile({
      optimizer: sgd({ learningRate: 0 }),
      loss: 'categorical_crossentropy',
      seed,
      threads: 1,
    });
    open.push(model);
    return model;
  };
  const x = float32([4, width], new Float32Array(4 * width).fill(1));
  const y = tensor('int32', [4], Int32Array.of(0, 1, 0, 1));

  it('draws anew in each step, and the same for the same seed and step', async () => {
    const losses = async (seed: number) => {
      const model = noisy(seed);
      model.setWeights(noisy(0).getWeights());
      const found: number[] = [];
      for (let step = 0; step < 3; step++) found.push((await model.trainOnBatch(x, y))['loss']!);
      return found;
    };
    const first = await losses(1);
    expect(new Set(first).size).toBe(3);
    expect(await losses(1)).toEqual(first);
    expect(await losses(2)).not.toEqual(first);
  });

  it('does nothing when the model is evaluated', async () => {
    const model = noisy(1);
    const evaluated = async () => (await model.evaluate({ x, y }, { verbose: false }))['loss'];
    expect(await evaluated()).toBe(await evaluated());
  });
});

describe('a regularizer', () => {
  const values = Float64Array.of(1, -2, 3);
  const w = o.input('w', [3]);
  const penalty = (made: { penalty(weight: typeof w): typeof w }) =>
    evaluate([made.penalty(w)], { w: { shape: [3], data: values } })[0]!.data[0]!;

  it('adds its factor times the sum of magnitudes, of squares, or both', () => {
    expect(penalty(l1(0.5))).toBe(3);
    expect(penalty(l2(0.5))).toBe(7);
    expect(penalty(l1l2({ l1: 0.5, l2: 0.25 }))).toBe(6.5);
  });

  it('counts in the loss of training and of evaluation, but not for a frozen layer', async () => {
    const build = (regularized: boolean, trainable: boolean) => {
      const model = sequential([
        layers.input({ shape: [3] }),
        layers.dense({
          units: 4,
          trainable,
          kernelRegularizer: regularized ? l2(0.1) : null,
          biasRegularizer: regularized ? l1(0.2) : null,
          biasInitializer: 'ones',
        }),
        layers.dense({ units: 2, activation: 'softmax' }),
      ]);
      model.compile({ loss: 'categorical_crossentropy', threads: 1, seed: 3 });
      open.push(model);
      return model;
    };
    const x = float32([2, 3], [1, 2, 3, 4, 5, 6]);
    const y = tensor('int32', [2], Int32Array.of(0, 1));
    const plain = build(false, true);
    const [kernel] = plain.getWeights();
    const expected = 0.1 * kernel!.reduce((sum, value) => sum + value ** 2, 0) + 0.2 * 4;
    const loss = async (model: Model) => (await model.evaluate({ x, y }, { verbose: false }))['loss']!;
    const base = await loss(plain);
    const learns = build(true, true);
    expect((await loss(learns)) - base).toBeCloseTo(expected, 5);
    expect((await learns.trainOnBatch(x, y))['loss']! - base).toBeCloseTo(expected, 5);
    expect((await loss(build(true, false))) - base).toBeCloseTo(0, 6);
  });
});
