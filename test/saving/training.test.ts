import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { float32, tensor } from '../../src/core/tensor.ts';
import { layers, losses, metrics, models, optimizers, sequential } from '../../src/index.ts';
import { readKerasH5, writeKerasH5 } from '../../src/saving/keras_h5.node.ts';
import { describedTraining, readOptimizer, readTraining } from '../../src/saving/training_config.ts';

const folder = mkdtempSync(join(tmpdir(), 'graft-training-'));
afterAll(() => rmSync(folder, { recursive: true }));

function small(rate = 0) {
  return sequential([
    layers.input({ shape: [4] }),
    layers.dropout({ rate }),
    layers.dense({ units: 7, activation: 'softmax' }),
  ]);
}

const x = float32(
  [6, 4],
  Float32Array.from({ length: 24 }, (_, i) => Math.sin(i)),
);
const y = tensor('int32', [6], Int32Array.of(0, 1, 2, 3, 4, 5));

describe('how a model is trained, in its file', () => {
  it('keeps the k of top-k accuracy, as the class of Keras that fits the labels', async () => {
    const path = join(folder, 'top.h5');
    const model = small();
    const options = { optimizer: 'sgd', metrics: [metrics.topKCategoricalAccuracy({ k: 3 })] } as const;
    model.compile({ ...options, loss: losses.sparseCategoricalCrossentropy() });
    await model.save(path);
    const { trainingConfig } = await readKerasH5(path);
    expect(trainingConfig).toMatchObject({
      metrics: [{ class_name: 'SparseTopKCategoricalAccuracy', config: { k: 3 } }],
    });
    const loaded = await models.load(path);
    const [own, read] = [model, loaded].map((each) => each.evaluate({ x, y }, { verbose: false }));
    expect(await read).toEqual(await own);
    await model.close();
    await loaded.close();
  });

  it('has no state of the optimizer before the first step, where Keras wrote it', () => {
    const model = small();
    // What h5py lists of adam in a file that Keras 3.15.1 wrote after `compile`.
    const variables = (steps: bigint) => [
      { name: 'adam/iteration', tensor: tensor('int64', [], BigInt64Array.of(steps)) },
      { name: 'adam/learning_rate', tensor: float32([], [0.01]) },
    ];
    const read = (steps: bigint) => readOptimizer('x.h5', model, optimizers.adam(), variables(steps));
    expect(read(0n)).toEqual({ step: 0, slots: null, learningRate: 0.01 });
    // Kernel and bias have two moments each.
    expect(() => read(2n)).toThrow(
      'x.h5 holds 1 values of optimizer state; Adam over 2 trainable weights needs 4.',
    );
  });

  it('is refused with weights of the loss that are not 1, which would change every step', () => {
    const loss = ['sparse_categorical_crossentropy'];
    const optimizer = { class_name: 'SGD', config: { learning_rate: 0.05 } };
    const read = (loss_weights: unknown) =>
      readTraining('x.keras', small(), describedTraining({ loss, loss_weights, optimizer }, null)!, null);
    for (const weights of [[0.5], 0.5, { dense: 0.5 }]) {
      expect(() => read(weights)).toThrow(`Graft does not have loss_weights = ${JSON.stringify(weights)}.`);
    }
    for (const weights of [null, [null], [1], 1]) {
      expect(read(weights).loss.name).toBe('sparse_categorical_crossentropy');
    }
  });

  it('goes on with the seed that decides dropout and order', async () => {
    const path = join(folder, 'seed.h5');
    const model = small(0.5);
    model.compile({ optimizer: 'sgd', loss: losses.sparseCategoricalCrossentropy(), seed: 1234 });
    await model.save(path);
    const loaded = await models.load(path);
    const options = { epochs: 2, batchSize: 2, verbose: false };
    expect((await loaded.fit({ x, y }, options)).epochs).toEqual((await model.fit({ x, y }, options)).epochs);
    await model.close();
    await loaded.close();
  });

  it('can be left out, when it is something that Graft does not have', async () => {
    const path = join(folder, 'foreign.h5');
    const model = small();
    model.compile({ optimizer: 'sgd', loss: losses.sparseCategoricalCrossentropy() });
    await model.save(path);
    const file = await readKerasH5(path);
    await writeKerasH5(path, {
      ...file,
      trainingConfig: { ...(file.trainingConfig as object), loss: 'poisson' },
    });
    await expect(models.load(path)).rejects.toThrow(/Unknown loss "poisson"/);
    const loaded = await models.load(path, { compile: false });
    expect(loaded.isCompiled).toBe(false);
    expect((await loaded.predict(x)).data).toEqual((await model.predict(x)).data);
    await model.close();
    await loaded.close();
  });
});
