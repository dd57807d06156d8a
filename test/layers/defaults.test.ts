/** What is written for a layer, optimizer, initializer, ... made with as few options as possible, beside Keras's. */
import { describe, expect, it } from 'vitest';
import { layerFromKeras, layerTypes } from '../../src/layers/index.ts';
import * as initializers from '../../src/layers/initializers.ts';
import { regularizerFromKeras } from '../../src/layers/regularizers.ts';
import { toCamel } from '../../src/layers/serialization.ts';
import { lossFromKeras } from '../../src/losses/index.ts';
import { metricFromKeras } from '../../src/metrics/index.ts';
import {
  type OptimizerName,
  optimizer,
  optimizerFromKeras,
  optimizerNames,
} from '../../src/optimizers/index.ts';
import { scheduleFromKeras } from '../../src/optimizers/schedules.ts';
import { goldenJson } from '../support/golden.ts';

type Config = Readonly<Record<string, unknown>>;

const keras = await goldenJson<{
  layers: Record<string, { arguments: Config; config: Config }>;
  optimizers: Record<string, Config>;
  schedules: Record<string, Config>;
  initializers: Record<string, Config>;
  regularizers: Record<string, Config>;
  losses: Record<string, Config>;
  metrics: Record<string, { name: string }>;
}>('defaults.json');

/** Keras's objects without what says where Python finds them; arguments that only newer Keras has. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => !['module', 'registered_name', 'input_axes', 'output_axes'].includes(key))
      .map(([key, each]) => [key, plain(each)]),
  );
}

const rounded = (config: Config) =>
  Object.fromEntries(
    Object.entries(config).map(([key, value]) => [
      key,
      typeof value === 'number' ? Math.fround(value) : plain(value),
    ]),
  );

const known = Object.entries(keras.layers).filter(([name]) => name in layerTypes);

describe('a layer with its defaults', () => {
  it('every layer class has one to compare with', () => {
    // Keras has no layer for a foreign ONNX model.
    const ours = Object.keys(layerTypes).filter((name) => name !== 'OnnxBackbone');
    expect(known.map(([name]) => name).sort()).toEqual(ours.sort());
  });

  it.each(known)('%s writes what Keras writes for it', (className, { arguments: given, config }) => {
    // Keras's layers have seeds of their own; here the model has one.
    const { seed: _, ...own } = given;
    const options = Object.fromEntries(Object.entries(own).map(([key, value]) => [toCamel(key), value]));
    const layer =
      className === 'InputLayer'
        ? layerFromKeras(className, config)
        : layerTypes[className]!.make({ ...options, name: config['name'] } as never);
    const ours = layer.config();
    const theirs = plain(config) as Config;
    expect(plain(ours)).toEqual(Object.fromEntries(Object.keys(ours).map((key) => [key, theirs[key]])));
    expect(layer.name).toBe(config['name']);
    expect(layer.trainable).toBe(config['trainable'] ?? true);
  });

  it.each(known)('%s is read from all that Keras writes, and stays the same', (className, { config }) => {
    const layer = layerFromKeras(className, config);
    const again = layerFromKeras(className, { name: layer.name, ...layer.config() });
    expect(again.config()).toEqual(layer.config());
    expect(layer.className).toBe(className);
  });

  // From tf_keras 2.21.0, without what Keras 3 writes too.
  const conv = { kernel_size: [3, 3], strides: [1, 1], padding: 'valid', dilation_rate: [1, 1], groups: 1 };
  const glorot = { module: 'keras.initializers', class_name: 'GlorotUniform', config: { seed: null } };
  const unused = { kernel_initializer: glorot, kernel_regularizer: null, kernel_constraint: null };
  it.each([
    ['DepthwiseConv2D', { ...conv, depth_multiplier: 1, depthwise_initializer: glorot }],
    [
      'SeparableConv2D',
      { ...conv, ...unused, filters: 8, depth_multiplier: 1, pointwise_initializer: glorot },
    ],
    ['RandomFlip', { mode: 'horizontal_and_vertical', rng_type: 'stateful', seed: null }],
  ])('%s is read as Keras 2 writes it', (className, config) => {
    const theirs = plain(keras.layers[className]!.config) as Config;
    const ours = layerFromKeras(className, { name: theirs['name'], ...config }).config();
    expect(plain(ours)).toEqual(Object.fromEntries(Object.keys(ours).map((key) => [key, theirs[key]])));
  });

  it('SeparableConv2D in groups is refused', () => {
    const read = () => layerFromKeras('SeparableConv2D', { ...conv, filters: 4, groups: 2 });
    expect(read).toThrow('Graft does not have groups = 2');
  });

  it('a Normalization with half of its statistics is refused', () => {
    const half = { ...keras.layers['Normalization']!.config, mean: [1, 2] };
    expect(() => layerFromKeras('Normalization', half)).toThrow('takes mean and variance together');
  });

  it('names are those of Keras: snake case, counted from one class to the next', () => {
    const names = known.map(([className, { config }]) => [className, config['name']]);
    expect(names).toContainEqual(['ReLU', 're_lu']);
    expect(names).toContainEqual(['UpSampling2D', 'up_sampling2d']);
  });
});

describe('an optimizer with its defaults', () => {
  it.each(Object.entries(keras.optimizers))('%s writes what Keras writes', (className, config) => {
    const ours = optimizer(className.toLowerCase() as OptimizerName).keras;
    expect(ours.class_name).toBe(className);
    expect(rounded(ours.config)).toEqual(rounded(config));
    const read = optimizerFromKeras({ class_name: className, config: config as Record<string, unknown> });
    expect(read.keras).toEqual(ours);
    // Keras 2 writes the bare name if `compile` was given one.
    expect(optimizerFromKeras(className.toLowerCase()).keras).toEqual(ours);
  });

  it('every optimizer has one to compare with', () => {
    expect(Object.keys(keras.optimizers).map((name) => name.toLowerCase())).toEqual(optimizerNames);
    expect(() => optimizerFromKeras('nadam')).toThrow(
      'Unknown optimizer "nadam"; expected sgd, rmsprop, adam, adamw',
    );
  });
});

describe('schedules, initializers, regularizers, losses and metrics with their defaults', () => {
  it.each(Object.entries(keras.schedules))('the schedule %s', (class_name, config) => {
    expect(scheduleFromKeras({ class_name, config }).keras).toEqual({ class_name, config });
  });

  const ours = Object.entries(keras.initializers).filter(([name]) => name !== 'Orthogonal');
  it.each(ours)('the initializer %s', (class_name, config) => {
    const read = initializers.initializerFromKeras({ class_name, config });
    expect(read.keras).toEqual({ class_name, config: plain(config) });
    // Without its arguments, Graft's own defaults speak.
    expect(initializers.initializerFromKeras({ class_name, config: {} }).keras).toEqual(read.keras);
  });

  it('the initializer Orthogonal is refused by its name', () => {
    const read = () => initializers.initializerFromKeras({ class_name: 'Orthogonal', config: {} });
    expect(read).toThrow('Graft does not have the initializer Orthogonal');
  });

  it.each(Object.entries(keras.regularizers))('the regularizer %s', (class_name, config) => {
    const read = regularizerFromKeras({ class_name, config })!.keras;
    expect(read.class_name).toBe(class_name);
    expect(rounded(read.config)).toEqual(rounded(config));
  });

  it.each(Object.entries(keras.losses))('the loss %s', (class_name, config) => {
    expect(lossFromKeras({ class_name, config }).keras).toEqual({ class_name, config });
    expect(lossFromKeras({ class_name, config: {} }).keras).toEqual({ class_name, config });
  });

  it.each(Object.entries(keras.metrics))('the metric %s has a name that is understood', (_, { name }) => {
    expect(metricFromKeras(name).name).toMatch(/accuracy/i);
  });
});
