/** Models in files: what is read is what was written, and training goes on as if nothing had happened. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadWeights } from '../../src/applications/pretrained.node.ts';
import { tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { networkConfig } from '../../src/models/config.ts';
import { Network } from '../../src/models/network.ts';
import { adam, adamw, type Optimizer, rmsprop, sgd } from '../../src/optimizers/index.ts';
import { cosineDecay } from '../../src/optimizers/schedules.ts';
import { readKerasH5, writeKerasH5 } from '../../src/saving/keras_h5.node.ts';
import { assignLayers, layersOf } from '../../src/saving/keras_weights.ts';
import { writeSafetensors } from '../../src/saving/safetensors.node.ts';
import { load, model, sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { batchOf, smallModel, x, y } from '../support/small_model.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-models-'));
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

const compileOptions = {
  loss: 'categorical_crossentropy',
  metrics: ['accuracy'],
  threads: 1,
  cache: 'off',
} as const;

async function trainSteps(made: Model, from: number, to: number) {
  const logs = [];
  for (let step = from; step < to; step++) {
    const { x, y } = batchOf(step);
    logs.push(await made.trainOnBatch(x, y));
  }
  return logs;
}

describe('a saved model', () => {
  const optimizers: Record<string, () => Optimizer> = {
    sgd: () => sgd({ learningRate: 0.02 }),
    'sgd with momentum and a schedule': () =>
      sgd({ momentum: 0.9, learningRate: cosineDecay({ initialLearningRate: 0.05, decaySteps: 8 }) }),
    'rmsprop, centered, with momentum': () => rmsprop({ momentum: 0.5, centered: true }),
    adam: () => adam({ clipnorm: 1 }),
    'adam with amsgrad': () => adam({ amsgrad: true }),
    adamw: () => adamw({ weightDecay: 0.01, learningRate: 0.003 }),
  };

  it.each(Object.entries(optimizers))(
    'with %s predicts the same when it is loaded, and trains on bit for bit',
    async (name, optimizer) => {
      const path = join(folder, `${name}.h5`);
      const made = tracked(smallModel(['conv_a', 'bn_a']));
      made.compile({ ...compileOptions, optimizer: optimizer() });
      await trainSteps(made, 0, 3);
      await made.save(path);
      const loaded = tracked(await load(path));
      expect(loaded.name).toBe('small');
      expect(networkConfig(loaded)).toEqual(networkConfig(made));
      expect(loaded.trainableVariables.map(({ path }) => path)).toEqual(
        made.trainableVariables.map(({ path }) => path),
      );
      expect(loaded.getWeights()).toEqual(made.getWeights());
      expect(await loaded.predict(x)).toEqual(await made.predict(x));
      expect(loaded.compiled.executor.step).toBe(3);
      expect(loaded.compiled.optimizer.keras).toEqual(made.compiled.optimizer.keras);
      expect(await trainSteps(loaded, 3, 6)).toEqual(await trainSteps(made, 3, 6));
      expect(await loaded.currentWeights()).toEqual(await made.currentWeights());
    },
  );

  it('that was never compiled is loaded uncompiled, even after it has predicted', async () => {
    const path = join(folder, 'plain.h5');
    const made = tracked(smallModel());
    const predicted = await made.predict(x);
    await made.save(path);
    expect((await readKerasH5(path)).trainingConfig).toBeNull();
    const loaded = tracked(await load(path));
    expect(loaded.isCompiled).toBe(false);
    expect(await loaded.predict(x)).toEqual(predicted);
  });

  it('that was compiled but never trained starts its optimizer when it is trained', async () => {
    const path = join(folder, 'fresh.h5');
    const made = tracked(smallModel());
    made.compile({ ...compileOptions, optimizer: adam() });
    await made.save(path);
    const loaded = tracked(await load(path));
    expect(await trainSteps(loaded, 0, 2)).toEqual(await trainSteps(made, 0, 2));
  });

  it('of any other ending is refused, and what is no model too', async () => {
    await expect(smallModel().save(join(folder, 'model.onnx2'))).rejects.toThrow('.h5');
    await expect(load(join(folder, 'missing.h5'))).rejects.toThrow('missing.h5');
    const path = join(folder, 'weights.h5');
    await writeKerasH5(path, weightsOnly(smallModel()));
    await expect(load(path)).rejects.toThrow(
      'holds weights without a model. Build the model and use loadWeights',
    );
  });

  it('with a layer of foreign code is refused by its name and says what to use', async () => {
    const path = join(folder, 'lambda.h5');
    await smallModel().save(path);
    const file = await readKerasH5(path);
    const config = JSON.parse(JSON.stringify(file.modelConfig).replace('"ReLU"', '"Lambda"')) as unknown;
    await writeKerasH5(path, { ...file, modelConfig: config });
    await expect(load(path)).rejects.toThrow(
      'Layer relu_b is of class Lambda, which Graft does not have. A Lambda layer carries code; Resizing, Rescaling ' +
        'and arithmetic on tensors do not.',
    );
  });
});

function weightsOnly(network: Network) {
  return {
    modelConfig: null,
    trainingConfig: null,
    kerasVersion: '3.0.0',
    backend: 'tensorflow',
    layers: layersOf(network),
    optimizer: null,
  };
}

/** A backbone of two convolutions of equal shapes, so that a wrong order would not show in the shapes. */
function nested(kind: 'Functional' | 'Sequential'): { whole: Model; base: Network } {
  const parts = (from: ReturnType<typeof layers.input>) =>
    ['first', 'second'].reduce((current, name) => {
      const conv = layers.conv2d({ filters: 3, kernelSize: 3, padding: 'same', name }).apply(current);
      return layers.batchNormalization({ name: `${name}_bn` }).apply(conv);
    }, from);
  const image = layers.input({ shape: [6, 6, 3] });
  const base = new Network(kind, { inputs: image, outputs: parts(image), name: 'base' });
  const whole = sequential([
    layers.input({ shape: [6, 6, 3] }),
    base,
    layers.globalAveragePooling2d(),
    layers.dense({ units: 2, activation: 'softmax', name: 'head' }),
  ]);
  whole.initialize(5);
  return { whole: tracked(whole), base };
}

const freezings: Record<string, (base: Network) => void> = {
  'all trainable': () => undefined,
  'its first layers frozen': (base) => {
    for (const name of ['first', 'first_bn']) base.getLayer(name).trainable = false;
  },
  'a frozen layer between trainable ones': (base) => {
    base.getLayer('first_bn').trainable = false;
  },
  'all frozen': (base) => base.freeze(),
  'all frozen and its last layers thawed': (base) => {
    base.freeze();
    for (const name of ['second', 'second_bn']) base.getLayer(name).trainable = true;
  },
};

describe.each(['Functional', 'Sequential'] as const)('a nested %s model', (kind) => {
  it.each(Object.entries(freezings))(
    'with %s keeps its weights and its flags in a file',
    async (_, freeze) => {
      const { whole, base } = nested(kind);
      freeze(base);
      const path = join(folder, 'nested.h5');
      await whole.save(path);
      const loaded = tracked(await load(path));
      expect(loaded.getWeights()).toEqual(whole.getWeights());
      expect(loaded.trainingPlan()).toEqual(whole.trainingPlan());
      // Keras restores the flag of a Functional model, not of a Sequential one.
      expect(loaded.getLayer('base').trainable).toBe(kind === 'Sequential' || base.trainable);
    },
  );

  it('is written as Keras reads it: trainable weights of the group first, unless Keras counts none', () => {
    const { whole, base } = nested(kind);
    const names = () => layersOf(whole)[0]!.weights.map(({ name }) => name);
    const natural = base.variables.map(({ path }) => path);
    const statistics = natural.filter((path) => path.includes('moving'));
    expect(names()).toEqual([...natural.filter((path) => !statistics.includes(path)), ...statistics]);
    base.freeze();
    expect(names()).toEqual(natural);
    const thawed = ['second', 'second_bn'].map((name) => base.getLayer(name));
    for (const layer of thawed) layer.trainable = true;
    const second = natural.filter((path) => path.startsWith('second') && !path.includes('moving'));
    const others = natural.filter((path) => !second.includes(path));
    expect(names()).toEqual(kind === 'Functional' ? natural : [...second, ...others]);
  });

  it('is read right in any order if names tell it, as from a Sequential model that Keras itself cannot read', () => {
    const { whole } = nested(kind);
    const wanted = whole.getWeights();
    const groups = layersOf(whole).map(({ layer, weights }) => ({
      layer,
      // As Keras 3 names them in a Sequential model, in another order.
      weights: [...weights].reverse().map((weight) => ({ ...weight, name: `base/${weight.name}` })),
    }));
    const other = nested(kind).whole;
    other.initialize(6);
    other.setWeights(wanted.map((values) => values.map(() => 0)));
    assignLayers('file', other, groups, 'order');
    expect(other.getWeights()).toEqual(wanted);
  });

  it('is read by position if names say nothing', () => {
    const { whole } = nested(kind);
    const groups = layersOf(whole).map(({ layer, weights }) => ({
      layer,
      weights: weights.map((weight, i) => ({ ...weight, name: `variable_${i}` })),
    }));
    const other = nested(kind).whole;
    other.setWeights(other.getWeights().map((values) => values.map(() => 0)));
    assignLayers('file', other, groups, 'order');
    expect(other.getWeights()).toEqual(whole.getWeights());
  });
});

describe('loadWeights', () => {
  const asTensors = (network: Network, keep: (path: string) => boolean) =>
    network.variables
      .filter(({ path }) => keep(path))
      .map(({ path, shape, values }) => ({ name: path, tensor: tensor('float32', shape, values) }));

  /** The small model's layers under a head of its own, with no values yet. */
  const other = () =>
    model({
      inputs: layers.input({ shape: [8, 8, 3] }),
      outputs: layers.flatten().apply(layers.input({ shape: [1] })),
    });

  const empty = () => {
    const image = layers.input({ shape: [8, 8, 3], name: 'picture' });
    const conv = layers.conv2d({ filters: 4, kernelSize: 3, padding: 'same', name: 'conv_a' }).apply(image);
    const bn = layers.batchNormalization({ name: 'bn_a' }).apply(conv);
    const pooled = layers.globalAveragePooling2d().apply(bn);
    const outputs = layers.dense({ units: 5, activation: 'softmax', name: 'own' }).apply(pooled);
    return tracked(model({ inputs: image, outputs }));
  };

  it('takes layers by name from an .h5 of weights alone, whatever else the file holds', async () => {
    const path = join(folder, 'by_name.h5');
    const source = smallModel();
    await writeKerasH5(path, weightsOnly(source));
    const made = empty();
    await loadWeights(made, path);
    for (const name of ['conv_a', 'bn_a']) {
      made.getLayer(name).variables.forEach((variable, i) => {
        expect(variable.values).toEqual(source.getLayer(name).variables[i]!.values);
      });
    }
    expect(made.getLayer('own').variables.every(({ initialized }) => !initialized)).toBe(true);
  });

  it('draws what a file lacks for trainable layers and names them once', async () => {
    const path = join(folder, 'part.safetensors');
    const source = smallModel();
    await writeSafetensors(
      path,
      asTensors(source, (name) => name.startsWith('conv_a')),
    );
    const made = empty();
    await loadWeights(made, path);
    expect(made.getLayer('conv_a').variables[0]!.values).toEqual(source.variables[0]!.values);
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      made.compile(compileOptions);
      made.compile(compileOptions);
      expect(said.mock.calls.map(([text]) => text)).toEqual([
        'Initialized 2 trainable layers that the weights file lacks: bn_a, own.\n',
      ]);
    } finally {
      said.mockRestore();
    }
  });

  it('refuses to train on when a frozen layer is lacking: it would stay noise', async () => {
    const path = join(folder, 'frozen.safetensors');
    await writeSafetensors(
      path,
      asTensors(smallModel(), (name) => name.startsWith('conv_a')),
    );
    const made = empty();
    await loadWeights(made, path);
    made.getLayer('bn_a').trainable = false;
    expect(() => made.compile(compileOptions)).toThrow(
      `${path} lacks the weights of 1 frozen layer(s): bn_a. Make them trainable,`,
    );
  });

  it('refuses files without a common layer, of another shape, or of another kind', async () => {
    const path = join(folder, 'foreign.safetensors');
    await writeSafetensors(
      path,
      asTensors(smallModel(), (name) => name.startsWith('dense_a')),
    );
    await expect(loadWeights(empty(), path)).rejects.toThrow('holds no weights of the layers of');
    const shaped = join(folder, 'shaped.safetensors');
    await writeSafetensors(shaped, [{ name: 'conv_a/kernel', tensor: tensor('float32', [3, 3, 3, 5]) }]);
    await expect(loadWeights(empty(), shaped)).rejects.toThrow(
      'conv_a/kernel has shape (3, 3, 3, 5), conv_a/kernel needs (3, 3, 3, 4)',
    );
    await expect(loadWeights(empty(), 'weights.bin')).rejects.toThrow(
      'Cannot read weights.bin: there is no such',
    );
    const other = join(folder, 'weights.bin');
    await writeFile(other, 'weights of another kind');
    await expect(loadWeights(empty(), other)).rejects.toThrow(
      'weights in a .h5, .weights.h5, .keras or .safetensors file',
    );
  });

  it('an output that does not come from the input is no model', () => {
    expect(other).toThrow("which is not the model's input");
  });
});

describe('loading with evaluation', () => {
  it('gives the loss and the accuracy that the saved model had', async () => {
    const made = tracked(smallModel());
    made.compile(compileOptions);
    await trainSteps(made, 0, 2);
    const path = join(folder, 'evaluated.h5');
    await made.save(path);
    const loaded = tracked(await load(path));
    const options = { verbose: false, batchSize: 13 };
    expect(await loaded.evaluate({ x, y }, options)).toEqual(await made.evaluate({ x, y }, options));
  });
});
