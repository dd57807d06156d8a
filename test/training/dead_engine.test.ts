/** An engine that ends by itself, as when memory runs out: what the model says, what it has left, and how it goes on. */
import { afterEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import { type Callback, layers, type Model, optimizers, sequential } from '../../src/index.ts';
import { isAlive } from '../support/processes.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const model of open.splice(0)) await model.close();
});

const random = new Random(1, 'pictures', 0);
const x = float32(
  [24, 6],
  Float32Array.from({ length: 24 * 6 }, () => random.uniform()),
);
const classes = Int32Array.from({ length: 24 }, (_, i) => i % 3);
const y = tensor('int32', [24], classes);

function classifier(): Model {
  const model = sequential([
    layers.input({ shape: [6] }),
    layers.dense({ units: 5, activation: 'relu' }),
    layers.dense({ units: 3, activation: 'softmax' }),
  ]);
  const optimizer = optimizers.adam({ learningRate: 0.05 });
  model.compile({ optimizer, loss: 'sparseCategoricalCrossentropy', seed: 4 });
  open.push(model);
  return model;
}

/** Three steps an epoch. */
const fitting = { batchSize: 8, verbose: false };

/** Ends the engine of the step while it is idle, and lets this process hear of it. */
async function kill(model: Model): Promise<void> {
  const [pid] = model.enginePids;
  process.kill(pid!, 'SIGKILL');
  await expect.poll(() => model.enginePids).toEqual([]);
}

/** The same without waiting until this process has heard of it. */
async function killUnheard(model: Model): Promise<void> {
  const [pid] = model.enginePids;
  process.kill(pid!, 'SIGKILL');
  while (isAlive(pid!));
}

const startsAnew = 'and its optimizer starts anew; a checkpoint continues where it was written.';
const killed = "The engine's process ended (SIGKILL). The system does that when memory runs out.";

describe('a model whose engine dies', () => {
  it.each([
    ['each step is watched', true],
    ['steps are sent ahead', false],
  ])(
    'in a fit where %s has the weights that it says, and trains on from them as one compiled anew',
    async (_, stepwise) => {
      const model = classifier();
      await model.fit({ x, y }, { ...fitting, epochs: 2 });
      const kept = model.getWeights().map((weights) => weights.slice());
      const killer: Callback = {
        ...{ name: 'killer', stepwise },
        onTrainBatchEnd(batch, _, { epoch }) {
          if (epoch === 1 && batch === 1) process.kill(model.enginePids[0]!, 'SIGKILL');
        },
      };
      const dying = model.fit({ x, y }, { ...fitting, epochs: 400, callbacks: [killer] });
      const error = await dying.then(
        () => null,
        (reason: Error) => reason,
      );
      expect(error).toMatchObject({ code: 'device' });
      expect(error!.message).toMatch(
        /The model's weights are those of step 6, of \d+ taken, and its optimizer /,
      );
      expect(model.getWeights()).toEqual(kept);
      const other = classifier();
      other.setWeights(kept);
      const again = await model.fit({ x, y }, fitting);
      const anew = await other.fit({ x, y }, fitting);
      expect(again.epochs).toEqual(anew.epochs);
      expect(model.getWeights()).toEqual(other.getWeights());
    },
  );

  it('between two steps says it once, by whatever comes next', async () => {
    const model = classifier();
    const before = model.getWeights().map((weights) => weights.slice());
    for (let i = 0; i < 2; i++) await model.trainOnBatch(x, y);
    await kill(model);
    await expect(model.predict(x)).rejects.toMatchObject({
      code: 'device',
      message:
        "The engine's process has ended. The model's weights are those from before the first step, of 2 taken, " +
        startsAnew,
    });
    await model.predict(x);
    expect(model.getWeights()).toEqual(before);
    await model.trainOnBatch(x, y);
    expect(await model.currentWeights()).not.toEqual(before);
  });

  it('in a request says it with what ended the engine', async () => {
    const model = classifier();
    await model.trainOnBatch(x, y);
    await killUnheard(model);
    await expect(model.trainOnBatch(x, y)).rejects.toMatchObject({
      message: `${killed} The model's weights are those from before the first step, of 2 taken, ${startsAnew}`,
    });
    await model.trainOnBatch(x, y);
  });

  it('starts a new one without a word where nothing is lost', async () => {
    const model = classifier();
    const predicted = await model.predict(x);
    await kill(model);
    expect(await model.predict(x)).toEqual(predicted);
    const scored = await model.evaluate({ x, y }, fitting);
    await kill(model);
    expect(await model.evaluate({ x, y }, fitting)).toEqual(scored);
    await kill(model);
    const other = classifier();
    expect((await model.fit({ x, y }, fitting)).epochs).toEqual((await other.fit({ x, y }, fitting)).epochs);
  });

  it('predicts with all that it learned after a fit, and says that the optimizer starts anew when it matters', async () => {
    const model = classifier();
    await model.fit({ x, y }, fitting);
    const predicted = await model.predict(x);
    await kill(model);
    expect(await model.predict(x)).toEqual(predicted);
    await expect(model.fit({ x, y }, fitting)).rejects.toThrow(
      `The engine's process has ended. The model's weights are those of step 3, ${startsAnew}`,
    );
    await model.fit({ x, y }, fitting);
  });

  it.each([
    ['was heard of', kill],
    ['was not heard of yet', killUnheard],
  ])('closes without an error, also if its end %s, and says afterwards what was lost', async (_, end) => {
    const model = classifier();
    await model.trainOnBatch(x, y);
    await end(model);
    await model.close();
    await model.close();
    await expect(model.predict(x)).rejects.toThrow('those from before the first step, of 1 taken');
    await model.predict(x);
    await model.close();
  });
});
