/** Whatever is put where an option belongs: every public call either takes it or names the option in an error. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GraftError } from '../src/core/errors.ts';
import type { Dataset } from '../src/data/dataset.ts';
import {
  applications,
  batches,
  callbacks,
  data,
  datasets,
  fromTensors,
  gradCam,
  initializers,
  layers,
  listCaches,
  losses,
  metrics,
  model,
  models,
  optimizers,
  preview,
  pruneCaches,
  regularizers,
  schedules,
  sequential,
  tensor,
  verifyCache,
} from '../src/index.ts';
import { backup } from '../src/training/checkpoint.node.ts';

const images = tensor('uint8', [2, 4, 4, 3]);
const y = tensor('int32', [2]);

function small() {
  const made = sequential([
    layers.input({ shape: [4, 4, 3] }),
    layers.flatten(),
    layers.dense({ units: 2, activation: 'softmax' }),
  ]);
  made.compile({ loss: 'sparseCategoricalCrossentropy' });
  return made;
}

/** Options that are taken end here, before anything is computed. */
const unreadable: Dataset = {
  name: 'unreadable',
  shape: [4, 4, 4, 3],
  dtype: 'uint8',
  classNames: null,
  fingerprint: 'unreadable',
  read: async () => {
    throw new GraftError('data', 'taken');
  },
};

type Options = Readonly<Record<string, unknown>>;
type Call = (options: never) => unknown;

/** Each call and what it cannot do without. */
const calls: Readonly<Record<string, readonly [call: Call, base?: Options]>> = {
  'layers.input': [layers.input, { shape: [4, 4, 3] }],
  'layers.conv2d': [layers.conv2d, { filters: 2, kernelSize: 3 }],
  'layers.depthwiseConv2d': [layers.depthwiseConv2d, { kernelSize: 3 }],
  'layers.separableConv2d': [layers.separableConv2d, { filters: 2, kernelSize: 3 }],
  'layers.dense': [layers.dense, { units: 2 }],
  'layers.batchNormalization': [layers.batchNormalization],
  'layers.layerNormalization': [layers.layerNormalization],
  'layers.activation': [layers.activation, { activation: 'relu' }],
  'layers.relu': [layers.relu],
  'layers.dropout': [layers.dropout, { rate: 0.5 }],
  'layers.flatten': [layers.flatten],
  'layers.reshape': [layers.reshape, { targetShape: [-1] }],
  'layers.zeroPadding2d': [layers.zeroPadding2d],
  'layers.upSampling2d': [layers.upSampling2d],
  'layers.add': [layers.add],
  'layers.multiply': [layers.multiply],
  'layers.concatenate': [layers.concatenate],
  'layers.maxPooling2d': [layers.maxPooling2d],
  'layers.averagePooling2d': [layers.averagePooling2d],
  'layers.globalAveragePooling2d': [layers.globalAveragePooling2d],
  'layers.globalMaxPooling2d': [layers.globalMaxPooling2d],
  'layers.resizing': [layers.resizing, { height: 2, width: 2 }],
  'layers.rescaling': [layers.rescaling, { scale: 2 }],
  'layers.normalization': [layers.normalization],
  'layers.layerScale': [layers.layerScale, { initValues: 1, projectionDim: 2 }],
  'layers.stochasticDepth': [layers.stochasticDepth, { dropPathRate: 0.1 }],
  'layers.randomFlip': [layers.randomFlip],
  'layers.randomCrop': [layers.randomCrop, { height: 2, width: 2 }],
  'layers.centerCrop': [layers.centerCrop, { height: 2, width: 2 }],
  'layers.randomTranslation': [layers.randomTranslation, { heightFactor: 0.1, widthFactor: 0.1 }],
  'layers.randomRotation': [layers.randomRotation, { factor: 0.1 }],
  'layers.randomZoom': [layers.randomZoom, { heightFactor: 0.1 }],
  'layers.randomContrast': [layers.randomContrast, { factor: 0.1 }],
  'layers.randomBrightness': [layers.randomBrightness, { factor: 0.1 }],
  'layers.randomErasing': [layers.randomErasing],
  'layers.randomColorDegeneration': [layers.randomColorDegeneration, { factor: 0.1 }],
  'layers.randomGrayscale': [layers.randomGrayscale],
  'layers.randomShear': [layers.randomShear],
  'layers.randomSharpness': [layers.randomSharpness, { factor: 0.1 }],
  'layers.randomPosterization': [layers.randomPosterization, { factor: 4 }],
  'layers.solarization': [layers.solarization],
  'layers.autoContrast': [layers.autoContrast],
  'layers.equalization': [layers.equalization],
  'layers.randAugment': [layers.randAugment],
  'layers.mixUp': [layers.mixUp],
  'layers.cutMix': [layers.cutMix],
  'optimizers.sgd': [optimizers.sgd],
  'optimizers.rmsprop': [optimizers.rmsprop],
  'optimizers.adam': [optimizers.adam],
  'optimizers.adamw': [optimizers.adamw],
  'schedules.cosineDecay': [schedules.cosineDecay, { initialLearningRate: 0.1, decaySteps: 10 }],
  'schedules.exponentialDecay': [
    schedules.exponentialDecay,
    { initialLearningRate: 0.1, decaySteps: 10, decayRate: 0.5 },
  ],
  'schedules.piecewiseConstantDecay': [
    schedules.piecewiseConstantDecay,
    { boundaries: [1, 2], values: [3, 2, 1] },
  ],
  'losses.categoricalCrossentropy': [losses.categoricalCrossentropy],
  'losses.sparseCategoricalCrossentropy': [losses.sparseCategoricalCrossentropy],
  'metrics.topKCategoricalAccuracy': [metrics.topKCategoricalAccuracy],
  'initializers.varianceScaling': [initializers.varianceScaling],
  'initializers.randomNormal': [initializers.randomNormal],
  'initializers.truncatedNormal': [initializers.truncatedNormal],
  'initializers.randomUniform': [initializers.randomUniform],
  'regularizers.l1l2': [regularizers.l1l2],
  'callbacks.earlyStopping': [callbacks.earlyStopping],
  'callbacks.reduceLROnPlateau': [callbacks.reduceLROnPlateau],
  'callbacks.modelCheckpoint': [(options) => callbacks.modelCheckpoint('a.keras', options)],
  'callbacks.csvLogger': [(options) => callbacks.csvLogger('a.csv', options)],
  'callbacks.jsonLogger': [(options) => callbacks.jsonLogger('a.jsonl', options)],
  'callbacks.tensorBoard': [(options) => callbacks.tensorBoard('logs', options)],
  'callbacks.lambdaCallback': [callbacks.lambdaCallback],
  backup: [(options) => backup('a.checkpoint', options)],
  fromTensors: [(options) => fromTensors(images, y, options)],
  batches: [(options) => batches(unreadable, options)],
  sequential: [(options) => sequential([layers.input({ shape: [4] }), layers.flatten()], options)],
  model: [
    (options) => model({ inputs: input, outputs: output, ...(options as object) }),
    { inputs: layers.input({ shape: [4] }) },
  ],
  'model.compile': [(options) => small().compile(options), { loss: 'sparseCategoricalCrossentropy' }],
  'model.fit': [(options) => small().fit(unreadable, options), { verbose: false }],
  'model.fineTune': [(options) => small().fineTune(unreadable, options), { verbose: false }],
  'model.lrFind': [(options) => small().lrFind(unreadable, options), { verbose: false }],
  'model.evaluate': [(options) => small().evaluate(unreadable, options), { verbose: false }],
  'model.predict': [(options) => small().predict(unreadable, options)],
  'model.trainOnBatch': [
    (options) => small().trainOnBatch(images, y, options),
    { sampleWeight: new Float32Array(3) },
  ],
  'model.export': [(options) => small().export('/nowhere/model.onnx', options)],
  'models.load': [(options) => models.load('/nowhere/model.keras', options)],
  gradCam: [(options) => gradCam(small(), images, options), { layer: 'none' }],
  preview: [(options) => preview([layers.dense({ units: 2 })], images, options)],
  'data.imageFolder': [(options) => data.imageFolder('/nowhere', options)],
  'data.imageCsv': [(options) => data.imageCsv('/nowhere.csv', options)],
  'datasets.cifar10.load': [(options) => datasets.cifar10.load(options), { mirror: '/nowhere' }],
  'datasets.cifar100.load': [(options) => datasets.cifar100.load(options), { mirror: '/nowhere' }],
  'applications.fromOnnx': [(options) => applications.fromOnnx('/nowhere/model.onnx', options)],
  'applications.decodePredictions': [
    (options) => applications.decodePredictions(tensor('float32', [1, 1000]), options),
  ],
  listCaches: [listCaches, { folder: '/nowhere' }],
  verifyCache: [(options) => verifyCache('all', options), { folder: '/nowhere' }],
  'applications.cifar_resnet': [applications.cifarResnet.structure],
  'applications.mobilenetv2': [applications.mobilenetV2.structure, { weights: null }],
};

const input = layers.input({ shape: [4] });
const output = layers.flatten().apply(input);

/** What the call throws, sooner or later; null if nothing. */
async function thrown(call: Call, options: unknown): Promise<unknown> {
  try {
    const result = call(options as never);
    if (result instanceof Promise) await result;
    return null;
  } catch (error) {
    return error;
  }
}

const never = [new Map([[0, 1]]), Symbol('s'), new Date(0), 10n, new WeakSet(), /x/];
const odd = fc.oneof(
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -1, 0, 1, 1.5, 2 ** 60, '', 'x', null, true, false),
  fc.constantFrom([], {}, [1, 2, 3], ['a'], [[]], { a: 1 }, () => 1, ...never),
  fc.anything(),
);

describe.each(Object.entries(calls))('%s', (name, [call, base = {}]) => {
  const known = async () => {
    const error = await thrown(call, { ...base, zzzzzzzz: 1 });
    expect(error).toMatchObject({ code: 'argument', message: expect.stringContaining('"zzzzzzzz"') });
    return /it knows (.*)\.$/.exec((error as GraftError).message)![1]!.split(', ');
  };

  it('names an option that it does not have, and lists those that it has', async () => {
    expect((await known()).length).toBeGreaterThan(0);
  });

  it('names the option that holds what no option can hold', async () => {
    for (const key of await known()) {
      for (const value of never) {
        const error = await thrown(call, { ...base, [key]: value });
        expect(error, `${key}: ${String(value)}`).toBeInstanceOf(GraftError);
        expect(error).toMatchObject({ code: 'argument', message: expect.stringContaining(key) });
      }
    }
  });

  it('takes whatever else comes or says what is wrong, in the same kind of error', async () => {
    const keys = await known();
    // A folder or an address may be any text.
    const tried = keys.filter((key) => key !== 'mirror' && key !== 'cacheDir');
    const property = fc.asyncProperty(fc.constantFrom(...tried), odd, async (key, value) => {
      const error = await thrown(call, { ...base, [key]: value });
      if (error !== null) expect(error).toBeInstanceOf(GraftError);
    });
    await fc.assert(property, { numRuns: 40, seed: 7 });
  });

  it('takes nothing but an object for its options', async () => {
    // What is spread into the options of the test's model is an object again.
    for (const value of name === 'model' ? [] : [5, 'x', null, [], new Map(), true]) {
      const error = await thrown(call, value);
      expect(error, String(value)).toMatchObject({ name: 'GraftError', code: 'argument' });
    }
  });
});

it('what removes features takes a date, a number of bytes or all, and nothing that is like it', async () => {
  const folder = '/nowhere';
  await expect(pruneCaches({ folder, olderThan: '2026-01-01' as never })).rejects.toThrow(
    'pruneCaches: olderThan must be a Date, got "2026-01-01".',
  );
  await expect(pruneCaches({ folder, keepBytes: Number.NaN })).rejects.toThrow('keepBytes must be');
  await expect(pruneCaches({ folder, all: 'no' as never })).rejects.toThrow(
    'all must be true or false, got "no".',
  );
  await expect(pruneCaches({ folder, keep: 5 } as never)).rejects.toThrow('does not know "keep"');
});

it('tensors are of a known type and a shape, with data that fits', () => {
  expect(() => tensor('float64' as 'float32', [1])).toThrow('(float32?), got "float64".');
  expect(() => tensor('float32', [1.5])).toThrow(
    'tensor: shape must be an array of whole numbers of at least 0',
  );
  expect(() => tensor('float32', 3 as never)).toThrow('got 3.');
  expect(() => tensor('uint8', [2], Float32Array.of(1, 2) as never)).toThrow(
    'tensor: data of uint8 must be a Uint8Array, got a Float32Array.',
  );
  expect(() => tensor('uint8', [3], Uint8Array.of(1, 2))).toThrow('needs 3 values, got 2');
});
