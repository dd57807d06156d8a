/** The small model beside Keras: ten steps with each optimizer, whole and partly frozen, and whole fits. */
import { afterEach, describe, expect, it } from 'vitest';
import { traceModel } from '../../src/compile/trace.ts';
import { fromTensors, lengthOf, slice } from '../../src/data/dataset.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue } from '../../src/graph/reference.ts';
import { categoricalCrossentropy } from '../../src/losses/index.ts';
import { optimizerFromKeras } from '../../src/optimizers/index.ts';
import type { CompileOptions, Model } from '../../src/training/model.ts';
import { expectNear, expectNumbers } from '../support/golden.ts';
import { batchOf, smallModel, training, weightOf, x, y } from '../support/small_model.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

function compiled(frozen: readonly string[], options: Partial<CompileOptions> = {}): Model {
  const model = smallModel(frozen);
  model.compile({
    loss: 'categorical_crossentropy',
    metrics: ['accuracy'],
    threads: 1,
    cache: 'memory',
    ...options,
  });
  open.push(model);
  return model;
}

const caseOf = (name: string) => training.json.steps.find((each) => each.name === name)!;

const optimizerOf = (name: string) => {
  const { optimizer, config } = caseOf(name);
  return optimizerFromKeras({ class_name: optimizer, config });
};

async function expectFinal(group: string, model: Model, prefix: string, tolerance: number) {
  await model.currentWeights();
  expect(model.variables.map(({ path }) => path)).toEqual(training.json.weights.map(({ path }) => path));
  for (const variable of model.variables) {
    const wanted = training.tensor(`${prefix}/final/${variable.path}`);
    const { data } = weightOf(variable);
    expectNumbers(
      group,
      `${prefix}/${variable.path}`,
      [...data],
      [...(wanted.data as Float32Array)],
      tolerance,
    );
  }
}

describe.each(['whole', 'frozen'])('the gradients of the first batch, %s', (freezing) => {
  it('equal Keras in float64, regularization included', () => {
    const model = smallModel(freezing === 'frozen' ? ['conv_a', 'bn_a'] : []);
    const trace = traceModel(model, 'float32');
    const labels = o.input('y', [-1, 5]);
    const data = o.mean(categoricalCrossentropy().perSample(trace.training.output, labels));
    const penalties = model.variables.flatMap((variable) =>
      variable.regularizer ? [variable.regularizer.penalty(trace.weights.get(variable)![0]!.node)] : [],
    );
    expect(penalties.length, 'the model has a regularizer').toBe(1);
    const loss = penalties.reduce((total, penalty) => o.add(total, penalty), data);
    const batch = batchOf(0);
    const feeds = {
      image: toValue(batch.x),
      y: toValue(batch.y),
      ...Object.fromEntries(
        model.variables.map((variable, i) => [
          `w${i}`,
          { shape: variable.shape, data: Float64Array.from(variable.values) },
        ]),
      ),
    };
    const { trainableVariables } = model;
    expect(trainableVariables.map(({ path }) => path).sort()).toEqual(
      training.under(`${freezing}/gradients/`).sort(),
    );
    const gradients = differentiate(
      loss,
      trainableVariables.map((variable) => trace.weights.get(variable)![0]!.node),
    );
    evaluate(gradients, feeds).forEach((gradient, i) => {
      const { path } = trainableVariables[i]!;
      const wanted = training.tensor(`${freezing}/gradients/${path}`);
      expectNear('training, gradients', `${freezing}/${path}`, gradient, wanted, 2e-6);
    });
  });
});

describe('ten steps of training', () => {
  it.each(training.json.steps.map((each) => [each.name, each] as const))(
    '%s: losses, accuracies, weights and predictions equal Keras',
    async (name, each) => {
      // Kept features are rounded to float16; Keras's are not.
      const model = compiled(each.frozen, { optimizer: optimizerOf(name), cache: 'off' });
      expect(model.trainableVariables.map(({ path }) => path)).toEqual(each.trainable_weights);
      const logs = [];
      for (let step = 0; step < each.loss.length; step++) {
        const { x, y } = batchOf(step);
        logs.push(await model.trainOnBatch(x, y));
      }
      expectNumbers(
        'training, loss',
        name,
        logs.map(({ loss }) => loss!),
        each.loss,
        2e-6,
      );
      expectNumbers(
        'training, accuracy',
        name,
        logs.map(({ accuracy }) => accuracy!),
        each.accuracy,
        1e-7,
      );
      await expectFinal('training, weights', model, name, 1e-5);

      const first = batchOf(0);
      const { loss, accuracy } = await model.evaluate(first, { batchSize: 6, verbose: false });
      const wanted = each.evaluate_batch_0;
      expectNumbers('training, evaluate', name, [loss!, accuracy!], [wanted.loss, wanted.accuracy], 2e-6);
      const predictions = await model.predict(first.x);
      expectNear('training, predictions', name, predictions, training.tensor(`${name}/predictions`), 1e-5);
    },
  );
});

describe('a fit', () => {
  const cases = training.json.fits.filter(({ error }) => error === undefined);
  it.each(cases.map((each) => [each.name, each] as const))(
    '%s: history and weights equal Keras, the short last batch included',
    async (name, each) => {
      const optimizer = optimizerFromKeras({ class_name: each.optimizer, config: each.config });
      const model = compiled([], { optimizer });
      const data = fromTensors(x, y);
      const { epochs, completed } = await model.fit(data, {
        epochs: each.epochs,
        batchSize: each.batch_size,
        shuffle: false,
        validationData: slice(data, 0, 20),
        verbose: false,
        ...(each.class_weight ? { classWeight: each.class_weight } : {}),
        ...(each.sample_weight
          ? { sampleWeight: training.tensor(each.sample_weight).data as Float32Array }
          : {}),
      });
      expect(completed).toBe(true);
      expect(epochs.length).toBe(each.epochs);
      const history = each.history!;
      const wanted = {
        loss: history['loss']!,
        accuracy: history['accuracy']!,
        valLoss: history['val_loss']!,
        valAccuracy: history['val_accuracy']!,
      };
      expect(Object.keys(epochs.at(-1)!).sort()).toEqual(Object.keys(wanted).sort());
      const got = Object.keys(wanted).map((key) => epochs.at(-1)![key]!);
      expectNumbers('fit, history', name, got, Object.values(wanted), 2e-6);
      await expectFinal('fit, weights', model, name, 1e-5);
    },
  );

  it('class weights and sample weights at once are refused, as Keras does', async () => {
    const refused = training.json.fits.find(({ error }) => error !== undefined)!;
    expect([refused.sample_weight, refused.class_weight]).not.toContain(null);
    const model = compiled([]);
    const fit = model.fit(
      { x, y },
      { classWeight: { 0: 2 }, sampleWeight: new Float32Array(60).fill(1), verbose: false },
    );
    await expect(fit).rejects.toThrow('classWeight or sampleWeight, not both');
  });

  it('validationSplit sets the last pictures aside: the same as fitting the first on their own', async () => {
    const whole = compiled([]);
    const data = fromTensors(x, y);
    const options = { batchSize: 16, shuffle: false, verbose: false };
    const split = await whole.fit(data, { ...options, validationSplit: 0.25 });
    const apart = compiled([]);
    const given = await apart.fit(slice(data, 0, 45), { ...options, validationData: slice(data, 45, 60) });
    expect(split).toEqual(given);
    expect(await whole.currentWeights()).toEqual(await apart.currentWeights());
    expect(lengthOf(data)).toBe(60);
  });
});

describe('kept features', () => {
  const frozen = caseOf('frozen_rmsprop').frozen;
  const fitted = async (cache: 'off' | 'memory') => {
    const model = compiled([...frozen, 'conv_b', 'bn_b'], {
      optimizer: optimizerOf('frozen_sgd_nesterov'),
      cache,
    });
    const data = fromTensors(x, y);
    const options = { batchSize: 6, shuffle: false, verbose: false, validationData: slice(data, 0, 20) };
    const history = await model.fit(data, { ...options, epochs: 2 });
    return { model, history, weights: await model.currentWeights() };
  };

  it('without them a fit goes the way of Keras exactly: ten steps end in the weights of ten batches', async () => {
    const model = compiled(frozen, { optimizer: optimizerOf('frozen_sgd_nesterov'), cache: 'off' });
    await model.fit({ x, y }, { batchSize: 6, shuffle: false, verbose: false });
    await expectFinal('fit without kept features, weights', model, 'frozen_sgd_nesterov', 1e-5);
  });

  it('in memory, as float16, they give the same training up to their rounding', async () => {
    const off = await fitted('off');
    const memory = await fitted('memory');
    off.history.epochs.forEach((logs, epoch) => {
      for (const key of ['loss', 'valLoss']) {
        const difference = Math.abs(logs[key]! - memory.history.epochs[epoch]![key]!);
        expect(difference, `${key} of epoch ${epoch}`).toBeLessThan(2e-3);
        expect(difference, 'the features were rounded').toBeGreaterThan(0);
      }
    });
    off.weights.forEach((values, i) => {
      const largest = Math.max(...values.map(Math.abs));
      const apart = Math.max(...values.map((value, j) => Math.abs(value - memory.weights[i]![j]!)));
      // Rounding to eleven bits moves a feature by 2⁻¹¹ of it at most; twenty steps carry some of it along.
      expect(apart / largest, off.model.variables[i]!.path).toBeLessThan(4e-3);
    });
  });

  it('one-hot rows and class ids give the same training', async () => {
    const { labels } = await import('../support/small_model.ts');
    const rows = compiled([]);
    const ids = compiled([], { loss: 'sparse_categorical_crossentropy' });
    const options = { batchSize: 25, verbose: false };
    const one = await rows.fit({ x, y }, options);
    const other = await ids.fit({ x, y: labels }, options);
    expect(one).toEqual(other);
    expect(await rows.currentWeights()).toEqual(await ids.currentWeights());
  });
});
