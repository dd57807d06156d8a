/** Moving averages of weights: `fit` ends with them, a training that goes on has the weights. */
import { afterEach, expect, it } from 'vitest';
import { fromTensors } from '../../src/data/dataset.ts';
import { sgd } from '../../src/optimizers/index.ts';
import type { TrainingState } from '../../src/training/callback.ts';
import { lambdaCallback, swapEmaWeights } from '../../src/training/callbacks.ts';
import type { Model } from '../../src/training/model.ts';
import { smallModel, x, y } from '../support/small_model.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

it('are the weights after fit; until then they are beside them', async () => {
  const model = smallModel();
  open.push(model);
  const optimizer = sgd({ learningRate: 0.05, useEma: true, emaMomentum: 0.5 });
  model.compile({ optimizer, loss: 'categorical_crossentropy', threads: 1, cache: 'off' });
  const states: TrainingState[] = [];
  const keep = lambdaCallback({
    onSettled: async (training) => {
      states.push(await training.state());
    },
  });
  await model.fit(fromTensors(x, y), { epochs: 1, batchSize: 20, verbose: false, callbacks: [keep] });

  // Weights of the three steps: a₁ = w₁, a₂ = (a₁ + w₂) / 2, a₃ = (a₂ + w₃) / 2.
  expect(states).toHaveLength(3);
  model.variables.forEach((variable, i) => {
    const [first, second, third] = states.map(({ weights }) => weights[i]!) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    if (!variable.trainable) {
      expect(variable.values).toEqual(third);
      return;
    }
    const wanted = third.map((weight, p) => ((first[p]! + second[p]!) / 2 + weight) / 2);
    const error = Math.max(...variable.values.map((value, p) => Math.abs(value - wanted[p]!)));
    expect(error, variable.path).toBeLessThan(1e-6);
    const apart = Math.max(...variable.values.map((value, p) => Math.abs(value - third[p]!)));
    if (/kernel$/.test(variable.path)) expect(apart, variable.path).toBeGreaterThan(1e-4);
  });
});

it('with swapEmaWeights are validated and saved at each epoch, and training goes on from the weights', async () => {
  const optimizer = () => sgd({ learningRate: 0.05, momentum: 0.9, useEma: true, emaMomentum: 0.8 });
  const compiled = () => {
    const model = smallModel();
    open.push(model);
    model.compile({ optimizer: optimizer(), loss: 'categorical_crossentropy', threads: 1, cache: 'off' });
    return model;
  };
  const data = fromTensors(x, y);
  const options = { epochs: 2, batchSize: 20, verbose: false, validationData: data } as const;
  const model = compiled();
  const kept: Float32Array[][] = [];
  const states: TrainingState[] = [];
  const watch = lambdaCallback({
    onEpochEnd: async (_epoch, _logs, training) => {
      kept.push(await training.model.currentWeights());
      return undefined;
    },
    onSettled: async (training) => {
      states.push(await training.state());
    },
  });
  const { epochs } = await model.fit(data, { ...options, callbacks: [swapEmaWeights(), watch] });

  // Six steps: the averages by hand, from the weights that the states hold.
  const parameters = model.variables.map(({ trainable }) => trainable);
  let averages = states[0]!.weights.map((values) => Float64Array.from(values));
  states.forEach(({ weights }, step) => {
    if (step > 0) averages = averages.map((old, i) => old.map((a, p) => 0.8 * a + 0.2 * weights[i]![p]!));
    if (step % 3 !== 2) return;
    const saved = kept[(step - 2) / 3]!;
    saved.forEach((values, i) => {
      const wanted = parameters[i] ? averages[i]! : weights[i]!;
      const error = Math.max(...values.map((value, p) => Math.abs(value - wanted[p]!)));
      expect(error, `${model.variables[i]!.path} after step ${step}`).toBeLessThan(1e-6);
    });
  });
  const kernel = model.variables.findIndex(({ path }) => path.endsWith('kernel'));
  expect(kept[1]![kernel], 'averages are not the weights').not.toEqual(states[5]!.weights[kernel]);

  const judge = compiled();
  for (const [epoch, weights] of kept.entries()) {
    judge.setWeights(weights);
    const { loss } = await judge.evaluate(data, { batchSize: 20, verbose: false });
    expect(epochs[epoch]!['valLoss']).toBeCloseTo(loss!, 6);
  }

  const plain = compiled();
  const weightsOf: TrainingState[] = [];
  const note = lambdaCallback({
    onSettled: async (training) => {
      weightsOf.push(await training.state());
    },
  });
  await plain.fit(data, { ...options, callbacks: [note] });
  expect(states.map(({ weights }) => weights)).toEqual(weightsOf.map(({ weights }) => weights));
});

it('swapEmaWeights without averages is refused', async () => {
  const model = smallModel();
  open.push(model);
  model.compile({ loss: 'categorical_crossentropy', threads: 1, cache: 'off' });
  const fit = model.fit(fromTensors(x, y), { verbose: false, callbacks: [swapEmaWeights()] });
  await expect(fit).rejects.toThrow('swapEmaWeights needs an optimizer that keeps averages: useEma: true.');
});
