/**
 * Layers that change pictures at random: beside Keras with the same random numbers, and by what they draw themselves.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Distribution, draw } from '../../src/core/distributions.ts';
import { Random } from '../../src/core/random.ts';
import { float32, rows, type Tensor } from '../../src/core/tensor.ts';
import { type Node, resolveShape } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue } from '../../src/graph/reference.ts';
import * as layers from '../../src/layers/index.ts';
import { layerFromKeras } from '../../src/layers/index.ts';
import type { CallContext, Layer } from '../../src/layers/layer.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { Engine } from '../../src/runtime/engine.node.ts';
import { expectNear, readGolden } from '../support/golden.ts';

interface Case {
  readonly name: string;
  readonly layer: string;
  readonly config: Record<string, unknown>;
  readonly batch: number;
  readonly noise: readonly string[];
  readonly mixes: boolean;
}

const golden = await readGolden<{ cases: readonly Case[] }>('augmentation');
const { cases } = golden.json;

/** Of the largest value, 255: a tenth of a shade would be 4e-4. */
const tolerance = 1e-5;

interface Asked {
  readonly name: string;
  readonly shape: readonly number[];
  readonly distribution: Distribution;
}

/** A layer in a training step: its pictures, its mixed labels if it mixes any, and the noise that it asked for. */
function trainingStep(layer: Layer, x: Node, labels: Node, prefix: string) {
  const asked: Asked[] = [];
  let mixed = labels;
  const ask = (shape: readonly number[], distribution: Distribution) => {
    const name = `${prefix}/noise/${asked.length}`;
    asked.push({ name, shape, distribution });
    return o.input(name, shape, distribution === 'permutation' ? 'int32' : 'float32');
  };
  const context: CallContext = {
    training: true,
    weight: () => expect.unreachable('an augmentation has no weights'),
    update: () => expect.unreachable('an augmentation has no weights'),
    uniform: (_layer, shape) => ask(shape, 'uniform'),
    draw: (_layer, shape, distribution) => ask(shape, distribution),
    mixLabels: (_layer, mix) => {
      mixed = mix(mixed);
    },
  };
  return { output: layer.call([x], context), mixed, asked };
}

/** The graphs of a case by the name of the golden that each must equal, and what to feed. */
function build({ name, layer: className, config, batch, mixes }: Case) {
  const images = rows(golden.tensor('images'), 0, batch);
  const x = o.input('images', [-1, ...images.shape.slice(1)]);
  const labels = o.input('labels', [-1, 4]);
  const { output, mixed, asked } = trainingStep(layerFromKeras(className, config), x, labels, name);
  const results: Record<string, Node> = { [`${name}/output`]: output };
  if (mixes) results[`${name}/labels`] = mixed;
  const noise = asked.map(({ name: input, shape }): [string, Tensor] => {
    const given = golden.tensor(input);
    return [input, { ...given, shape: resolveShape(shape, batch) }];
  });
  const feeds: Record<string, Tensor> = { images, ...Object.fromEntries(noise) };
  if (mixes) feeds['labels'] = golden.tensor('labels');
  return { results, feeds, asked };
}

describe('with the random numbers of Keras', () => {
  let engine: Engine;
  beforeAll(() => {
    engine = Engine.start({ threads: 1 });
  });
  afterAll(() => engine.close());

  it.each(cases.map((each) => [each.name, each] as const))('%s equals Keras', async (_, each) => {
    const { results, feeds, asked } = build(each);
    expect(
      asked.map(({ distribution }) => (typeof distribution === 'string' ? distribution : 'beta')),
    ).toEqual(each.noise);
    const names = Object.keys(results);
    const values = Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, toValue(value)]));
    evaluate(Object.values(results), values, each.batch).forEach((value, i) => {
      expectNear('augmentation, float64', names[i]!, value, golden.tensor(names[i]!), tolerance);
    });
    const session = await engine.load(emitModel(results));
    const got = await session.run(feeds);
    for (const name of names) {
      expectNear('augmentation, engine', name, got[name]!, golden.tensor(name), tolerance);
    }
    await session.release();
  });
});

/** Pictures (count, height, width, 1) that are all the same. */
function repeated(count: number, height: number, width: number, value: (x: number, y: number) => number) {
  const one = Array.from({ length: height * width }, (_, i) => value(i % width, Math.floor(i / width)));
  return float32([count, height, width, 1], Array.from({ length: count }, () => one).flat());
}

/** What a layer makes of pictures in a step, in float64, with noise from a seed. */
function augmented(layer: Layer, images: Tensor, seed = 0) {
  const [count] = images.shape as [number];
  const x = o.input('images', [-1, ...images.shape.slice(1)]);
  const { output, asked } = trainingStep(layer, x, o.input('labels', [-1, 4]), 'drawn');
  const noise = asked.map(({ name, shape, distribution }): [string, Tensor] => [
    name,
    draw(new Random(seed, name), distribution, resolveShape(shape, count)),
  ]);
  const feeds = [['images', images] as const, ...noise].map(([name, value]) => [name, toValue(value)]);
  const [result] = evaluate([output], Object.fromEntries(feeds), count);
  return result!;
}

describe('what a layer draws', () => {
  const count = 1000;
  const columns = (x: number) => x;
  const degrees = Math.PI / 180;

  /** Each row: a layer, a picture in which its draw can be read, how, and the range that it must fill. */
  const readings: readonly (readonly [
    string,
    Layer,
    readonly [height: number, width: number, value: (x: number, y: number) => number],
    (at: (x: number, y: number) => number) => number,
    readonly [number, number],
  ])[] = [
    [
      'a shift to either side by up to a fifth of the width',
      layers.randomTranslation({ heightFactor: 0, widthFactor: 0.2 }),
      [1, 21, columns],
      (at) => 10 - at(10, 0),
      [-4.2, 4.2],
    ],
    [
      'a shift down only',
      layers.randomTranslation({ heightFactor: [0.1, 0.3], widthFactor: 0 }),
      [21, 1, (_, y) => y],
      (at) => 10 - at(0, 10),
      [2.1, 6.3],
    ],
    [
      'a zoom, positive outwards',
      layers.randomZoom({ heightFactor: [-0.5, 0.25] }),
      [1, 21, columns],
      (at) => at(11, 0) - at(10, 0),
      [0.5, 1.25],
    ],
    [
      'a turn, positive counterclockwise',
      layers.randomRotation({ factor: [0.05, 0.1] }),
      [9, 9, columns],
      // What lies below the centre comes from the left: the picture has turned counterclockwise.
      (at) => Math.atan2(4 - at(4, 6), at(6, 4) - 4) / degrees,
      [18, 36],
    ],
    [
      'a change of brightness by a share of the value range',
      layers.randomBrightness({ factor: 0.2 }),
      [1, 1, () => 128],
      (at) => at(0, 0) - 128,
      [-51, 51],
    ],
    [
      'a contrast, about the mean',
      layers.randomContrast({ factor: [0.3, 0.6] }),
      [1, 2, (x) => 100 + 40 * x],
      (at) => (at(1, 0) - at(0, 0)) / 40,
      [0.7, 1.6],
    ],
    [
      'a contrast from one number, which only grows',
      layers.randomContrast({ factor: 0.5 }),
      [1, 2, (x) => 100 + 40 * x],
      (at) => (at(1, 0) - at(0, 0)) / 40,
      [1, 1.5],
    ],
  ];

  it.each(readings)('%s', (_name, layer, [height, width, value], read, [low, high]) => {
    const { data } = augmented(layer, repeated(count, height, width, value));
    const values = Array.from({ length: count }, (_, i) =>
      read((x, y) => data[(i * height + y) * width + x]!),
    );
    const slack = 1e-4 * (high - low);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(low - slack);
    expect(Math.max(...values)).toBeLessThanOrEqual(high + slack);
    // Uniform: mean and deviation within five standard errors (deviation / √n, and 0.45 deviations / √n).
    const mean = values.reduce((total, each) => total + each, 0) / count;
    const deviation = Math.sqrt(values.reduce((total, each) => total + (each - mean) ** 2, 0) / count);
    const expected = (high - low) / Math.sqrt(12);
    expect(Math.abs(mean - (low + high) / 2)).toBeLessThan((5 * expected) / Math.sqrt(count));
    expect(Math.abs(deviation - expected)).toBeLessThan((2.25 * expected) / Math.sqrt(count));
  });

  it('flips half of the pictures', () => {
    const { data } = augmented(layers.randomFlip({ mode: 'horizontal' }), repeated(count, 1, 2, columns));
    const flipped = Array.from({ length: count }, (_, i) => data[2 * i]!).filter(
      (first) => first === 1,
    ).length;
    // Five deviations of a fair coin: 5 · √(1000 / 4) = 79.
    expect(Math.abs(flipped - 500)).toBeLessThan(79);
  });

  it('erases pictures with a chance from its factor, over a part from its scale', () => {
    const layer = layers.randomErasing({ factor: [0.2, 0.6], scale: [0.09, 0.49], fillValue: 255 });
    const { data } = augmented(
      layer,
      repeated(count, 20, 20, () => 0),
    );
    const areas = Array.from({ length: count }, (_, i) => {
      const picture = data.subarray(400 * i, 400 * (i + 1));
      return picture.filter((value) => value === 255).length / 400;
    });
    const erased = areas.filter((area) => area > 0);
    // A chance of 0.4 on average: 400 ± five deviations, 5 · √(1000 · 0.24) = 77.
    expect(Math.abs(erased.length - 400)).toBeLessThan(77);
    // Sides are √0.09 … √0.49 of 20 pixels, 6 … 14; counted in whole pixels, one more or less.
    expect(Math.min(...erased)).toBeGreaterThanOrEqual((5 * 5) / 400);
    expect(Math.max(...erased)).toBeLessThanOrEqual((15 * 15) / 400);
    expect(Math.max(...erased) - Math.min(...erased)).toBeGreaterThan(0.2);
  });

  it('crops at every place, all pictures of a step at the same', () => {
    const layer = layers.randomCrop({ height: 1, width: 6 });
    const places = Array.from({ length: 200 }, (_, seed) => {
      const { data } = augmented(layer, repeated(2, 2, 8, columns), seed);
      expect(data[0]).toBe(data[6]);
      return data[0]!;
    });
    expect([...new Set(places)].sort()).toEqual([0, 1, 2]);
  });

  it('is another for another seed, and the same for the same', () => {
    const layer = layers.randomRotation({ factor: 0.1 });
    const picture = repeated(2, 5, 5, columns);
    const first = augmented(layer, picture, 1).data;
    expect(augmented(layer, picture, 1).data).toEqual(first);
    expect(augmented(layer, picture, 2).data).not.toEqual(first);
    expect(first.subarray(0, 25)).not.toEqual(first.subarray(25));
  });
});

it('Equalization rounds halves to the even number, as NumPy does', () => {
  // Shades 10, 20 and five of 30: 20 becomes 1 · 255 / 6 = 42.5.
  const images = float32([1, 1, 7, 1], [10, 20, 30, 30, 30, 30, 30]);
  expect([...augmented(layers.equalization(), images).data]).toEqual([0, 42, 255, 255, 255, 255, 255]);
});

describe('a channel of one shade', () => {
  it.each([
    ['AutoContrast', layers.autoContrast()],
    ['Equalization', layers.equalization()],
  ])('%s leaves it alone, and the others not', (_name, layer) => {
    // Two pictures of 1 x 2 pixels: the first channel is 7 everywhere, the second goes from 10 to 20.
    const images = float32([2, 1, 2, 2], [7, 10, 7, 20, 7, 10, 7, 20]);
    expect([...augmented(layer, images).data]).toEqual([7, 0, 7, 255, 7, 0, 7, 255]);
  });
});

describe('at inference', () => {
  const inference: CallContext = {
    training: false,
    weight: () => expect.unreachable(),
    update: () => expect.unreachable(),
    uniform: () => expect.unreachable('nothing is drawn'),
    draw: () => expect.unreachable('nothing is drawn'),
    mixLabels: () => expect.unreachable('nothing is mixed'),
  };
  const changing = new Set(['RandomCrop', 'CenterCrop', 'AutoContrast']);

  it.each(cases.filter(({ layer }) => !changing.has(layer)))('$name leaves pictures alone', (each) => {
    const x = o.input('images', [-1, 8, 10, 3]);
    expect(layerFromKeras(each.layer, each.config).call([x], inference)).toBe(x);
  });

  it('a random crop shows the largest window of its proportions, resized', () => {
    // 4 x 6 pixels of columns 0 … 5; a crop of 2 x 2 shows the middle 4 x 4, columns 1 … 4, at half the size.
    const x = o.constant(repeated(1, 4, 6, (column) => column));
    const y = layers.randomCrop({ height: 2, width: 2 }).call([x], inference);
    expect([...evaluate([y], {})[0]!.data]).toEqual([1.5, 3.5, 1.5, 3.5]);
  });
});

describe('options that cannot work', () => {
  const refusals: readonly (readonly [string, () => unknown, string])[] = [
    [
      'a mode',
      () => layers.randomFlip({ mode: 'diagonal' as never }),
      'mode must be one of "horizontal", "vertical", "horizontal_and_vertical", got "diagonal".',
    ],
    [
      'a factor beyond its bounds',
      () => layers.randomContrast({ factor: 1.5 }),
      'factor must be a number or two numbers from 0 to 1, got 1.5.',
    ],
    [
      'a factor of three numbers',
      () => layers.randomRotation({ factor: [0, 0.1, 0.2] as never }),
      'factor must be a number or two numbers from -1 to 1, got [0, 0.1, 0.2].',
    ],
    [
      'a zoom to nothing',
      () => layers.randomZoom({ heightFactor: [-1, 0] }),
      'heightFactor must be above -1, with which nothing would be shown.',
    ],
    [
      'a fill mode',
      () => layers.randomTranslation({ heightFactor: 0.1, widthFactor: 0.1, fillMode: 'mirror' as never }),
      'fillMode must be one of "reflect", "wrap", "constant", "nearest", got "mirror".',
    ],
    [
      'a range upside down',
      () => layers.randomBrightness({ factor: 0.1, valueRange: [255, 0] }),
      'valueRange must be two numbers, the lower one first, got [255, 0].',
    ],
    [
      'a crop of no size',
      () => layers.randomCrop({ height: 0, width: 3 }),
      'height must be a whole number of at least 1, got 0.',
    ],
    ['an alpha of zero', () => layers.mixUp({ alpha: 0 }), 'alpha must be a number above 0, got 0.'],
    [
      'features in place of pictures',
      () => layers.mixUp({ name: 'mix' }).apply(layers.input({ shape: [7] })),
      'mix takes pictures (batch, height, width, channels), got [N, 7].',
    ],
    [
      'a fill value for other channels',
      () =>
        trainingStep(
          layers.randomErasing({ name: 'erase', fillValue: [1, 2] }),
          o.input('x', [-1, 4, 4, 3]),
          o.input('labels', [-1, 2]),
          '',
        ),
      'erase: fillValue must be one number or 3, got [1, 2].',
    ],
  ];
  it.each(refusals)('%s', (_name, make, message) => {
    expect(make).toThrow(message);
  });
});
