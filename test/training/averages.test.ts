/** Moving averages of weights: `fit` ends with them, a training that goes on has the weights. */
import { afterEach, expect, it } from 'vitest';
import { fromTensors } from '../../src/data/dataset.ts';
import { sgd } from '../../src/optimizers/index.ts';
import type { TrainingState } from '../../src/training/callback.ts';
import { lambdaCallback } from '../../src/training/callbacks.ts';
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
