/** Whole models between Graft and real Keras, both ways. `keras_interop.py` tells how to run these tests. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { adam, adamw, type Optimizer, rmsprop, sgd } from '../../src/optimizers/index.ts';
import { readKerasH5 } from '../../src/saving/keras_h5.node.ts';
import { readSafetensors, writeSafetensors } from '../../src/saving/safetensors.node.ts';
import { load, sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { expectNear, expectNumbers, goldenPath } from '../support/golden.ts';
import { batchOf, labels, smallModel, x } from '../support/small_model.ts';

const python = process.env['GRAFT_KERAS_PYTHON'];
const script = fileURLToPath(new URL('keras_interop.py', import.meta.url));
const run = promisify(execFile);

interface Report {
  readonly losses: readonly number[];
  readonly trainable: readonly string[];
  readonly optimizer: { readonly iterations: number; readonly class: string };
}

async function keras(...args: readonly string[]): Promise<Report> {
  const { stdout } = await run(python!, [script, ...args], { maxBuffer: 1 << 26 });
  return JSON.parse(stdout) as Report;
}

const open: Model[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

const skipped = '(skipped: GRAFT_KERAS_PYTHON names no Python with Keras)';
describe.skipIf(!python)(
  python ? 'models between Graft and Keras' : `models between Graft and Keras ${skipped}`,
  () => {
    let folder: string;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'graft-interop-models-'));
    });
    afterAll(async () => {
      await rm(folder, { recursive: true });
    });

    const known = new Map<string, Promise<Report>>();
    /** What Keras made with an optimizer, and the folder of its files. */
    async function madeWith(name: string, steps = 3): Promise<[string, Report]> {
      const home = join(folder, `made-${name}-${steps}`);
      const report =
        known.get(home) ?? keras('make', home, '--optimizer', name, '--steps', `${steps}`, '--more', '2');
      known.set(home, report);
      return [home, await report];
    }

    // As keras_interop.py makes them.
    const optimizers: Record<string, () => Optimizer> = {
      rmsprop: () => rmsprop(),
      rmsprop_centered: () => rmsprop({ momentum: 0.9, centered: true }),
      adam: () => adam(),
      adamw: () => adamw(),
      sgd: () => sgd({ learningRate: 1e-2, momentum: 0.9, nesterov: true }),
    };

    const endings = ['h5', 'keras'];
    const cases = endings.flatMap((ending) => Object.keys(optimizers).map((name) => [ending, name] as const));

    it.each(cases)(
      'as .%s with %s, Keras predicts as the model that Graft trained and saved, and trains on alike',
      async (ending, name) => {
        const made = smallModel(['conv_a', 'bn_a']);
        open.push(made);
        const loss = 'sparse_categorical_crossentropy';
        made.compile({
          optimizer: optimizers[name]!(),
          loss,
          metrics: ['accuracy'],
          threads: 1,
          cache: 'off',
        });
        const ids = (step: number) => tensor('int32', [6], labels.data.slice(step * 6, step * 6 + 6));
        for (let step = 0; step < 3; step++) await made.trainOnBatch(batchOf(step).x, ids(step));
        const path = join(folder, `${name}.${ending}`);
        await made.save(path);

        const data = join(folder, `${name}.safetensors`);
        await writeSafetensors(data, [
          { name: 'x', tensor: x },
          { name: 'y', tensor: labels },
        ]);
        const output = join(folder, `${name}-seen.safetensors`);
        const seen = await keras('inspect', path, '--input', data, '--output', output);
        expect(seen.optimizer.iterations).toBe(3);
        expect(seen.trainable.map((each) => each.split('/').slice(-2).join('/'))).toEqual(
          made.trainableVariables.map((variable) => variable.path),
        );
        const predictions = (await readSafetensors(output)).get('predictions')!;
        expectNear('Keras opens Graft, predictions', name, await made.predict(x), predictions, 1e-5);

        const after = join(folder, `${name}-after.safetensors`);
        const options = [
          '--data',
          data,
          '--first',
          '3',
          '--steps',
          '2',
          '--batch-size',
          '6',
          '--output',
          after,
        ];
        const more = await keras('train', path, ...options);
        const losses: number[] = [];
        for (const step of [3, 4])
          losses.push((await made.trainOnBatch(batchOf(step).x, ids(step)))['loss']!);
        expectNumbers('Keras opens Graft, losses', name, losses, more.losses, 1e-5);
        const ended = await readSafetensors(after);
        await made.currentWeights();
        for (const { path, shape, values } of made.variables) {
          const found = [...ended.keys()].find((key) => key.endsWith(path))!;
          expectNear('Keras opens Graft, weights', path, { shape, data: values }, ended.get(found)!, 1e-5);
        }
      },
      300_000,
    );

    it('Keras opens a model that augments pictures, and predicts alike', async () => {
      const made = sequential([
        layers.input({ shape: [8, 8, 3] }),
        layers.randomFlip({ mode: 'horizontal' }),
        layers.randomTranslation({
          heightFactor: 0.1,
          widthFactor: [-0.2, 0.1],
          fillMode: 'constant',
          fillValue: 3,
        }),
        layers.randomRotation({ factor: 0.1, interpolation: 'nearest' }),
        layers.randomZoom({ heightFactor: 0.1 }),
        layers.randomContrast({ factor: 0.2 }),
        layers.randomBrightness({ factor: 0.2, valueRange: [0, 1] }),
        layers.randomErasing({ fillValue: 1 }),
        layers.mixUp({ alpha: 0.3 }),
        layers.cutMix(),
        layers.centerCrop({ height: 6, width: 7 }),
        layers.flatten(),
        layers.dense({ units: 5, activation: 'softmax' }),
      ]);
      open.push(made);
      made.compile({ loss: 'categorical_crossentropy', threads: 1 });
      const path = join(folder, 'augmented.h5');
      await made.save(path);
      const data = join(folder, 'augmented.safetensors');
      await writeSafetensors(data, [{ name: 'x', tensor: x }]);
      const output = join(folder, 'augmented-seen.safetensors');
      await keras('inspect', path, '--input', data, '--output', output);
      const predictions = (await readSafetensors(output)).get('predictions')!;
      expectNear('Keras opens Graft, predictions', 'augmented', await made.predict(x), predictions, 1e-5);
    }, 120_000);

    it.each(['.weights.h5', '.h5'])(
      'weights that Graft wrote as %s are those that Keras loads',
      async (ending) => {
        const [home] = await madeWith('adam');
        const made = await load(join(home, 'model.keras'));
        open.push(made);
        const data = join(home, 'data.safetensors');
        const pictures = (await readSafetensors(data)).get('x') as Tensor<'float32'>;
        const changed = made.getWeights().map((values) => values.map((value) => value * 1.1 + 0.01));
        made.setWeights(changed);
        const path = join(folder, `changed${ending}`);
        await made.saveWeights(path);
        const output = join(folder, 'changed.safetensors');
        const into = join(home, 'model.keras');
        const seen = await keras('weights', path, '--into', into, '--input', data, '--output', output);
        const predictions = (await readSafetensors(output)).get('predictions')!;
        expectNear('Keras loads weights of Graft', ending, await made.predict(pictures), predictions, 1e-5);
        expect(seen.optimizer.iterations).toBe(ending === '.weights.h5' ? 3 : 0);
      },
      300_000,
    );

    it('lists of names that do not fit into one attribute are cut alike, both ways', async () => {
      const home = join(folder, 'long');
      await keras('long', home);
      const data = join(home, 'data.safetensors');
      const loaded = await load(join(home, 'long.h5'));
      open.push(loaded);
      const arrays = await readSafetensors(data);
      const predicted = await loaded.predict(arrays.get('x') as Tensor<'float32'>);
      expectNear('long lists', 'Graft', predicted, arrays.get('predictions')!, 1e-6);
      await loaded.save(join(home, 'again.h5'));
      await keras(
        'inspect',
        join(home, 'again.h5'),
        '--input',
        data,
        '--output',
        join(home, 'seen.safetensors'),
      );
      const seen = (await readSafetensors(join(home, 'seen.safetensors'))).get('predictions')!;
      expectNear('long lists', 'Keras', seen, arrays.get('predictions')!, 1e-6);
      expect((await readKerasH5(join(home, 'again.h5'))).layers).toHaveLength(101);
    }, 300_000);

    it('an exported model is valid ONNX, and other implementations of it predict as Keras does', async () => {
      const path = join(folder, 'exported.onnx');
      const arrays = await readSafetensors(goldenPath('formats/keras3.safetensors'));
      const exported = await load(goldenPath('formats/keras3.keras'));
      open.push(exported);
      await exported.export(path, { input: 'float32' });
      const output = join(folder, 'exported.safetensors');
      await keras('onnx', path, '--input', goldenPath('formats/keras3.safetensors'), '--output', output);
      for (const [name, found] of await readSafetensors(output)) {
        expectNear('exported', name, found, arrays.get('predictions')!, 1e-5);
      }
    }, 300_000);

    const trained = cases.map((each) => [...each, 3] as const);
    // Before the first step Keras's optimizer has no slots.
    const untrained = endings.map((ending) => [ending, 'adam', 0] as const);
    it.each([...trained, ...untrained])(
      'as .%s with %s, Graft predicts as the model that Keras saved after %i steps, and trains on alike',
      async (ending, name, steps) => {
        const [home, made] = await madeWith(name, steps);
        const data = await readSafetensors(join(home, 'data.safetensors'));
        const [pictures, ids] = [data.get('x') as Tensor<'float32'>, data.get('y') as Tensor<'int32'>];
        const loaded = await load(join(home, `model.${ending}`));
        open.push(loaded);
        const predictions = await loaded.predict(pictures);
        expectNear('Graft opens Keras, predictions', name, predictions, data.get('predictions')!, 1e-5);
        expect(loaded.trainableVariables.map(({ path }) => path)).toEqual(
          made.trainable.map((each) => each.split('/').slice(-2).join('/')),
        );
        const losses: number[] = [];
        for (const step of [steps, steps + 1]) {
          const rows = Array.from({ length: 4 }, (_, i) => (step * 4 + i) % 12);
          const part = rows.flatMap((row) => [...pictures.data.slice(row * 192, row * 192 + 192)]);
          const y = tensor(
            'int32',
            [4],
            Int32Array.from(rows, (row) => ids.data[row]!),
          );
          losses.push((await loaded.trainOnBatch(float32([4, 8, 8, 3], part), y))['loss']!);
        }
        expectNumbers('Graft opens Keras, losses', name, losses, made.losses.slice(steps), 1e-5);
        await loaded.currentWeights();
        const ended = await readKerasH5(join(home, 'after.h5'));
        const weights = new Map(
          ended.layers.flatMap((layer) =>
            layer.weights.map(
              (weight) => [weight.name.split('/').slice(-2).join('/'), weight.tensor] as const,
            ),
          ),
        );
        for (const { path, shape, values } of loaded.variables) {
          // Batch normalization subtracts these biases again: their gradient is rounding alone, which RMSprop and
          // Adam blow up to whole steps, and only the moving means behind them see that.
          if (/^(conv2_conv|hidden)\/bias$|moving_mean$/.test(path)) continue;
          const wanted = weights.get(path)!;
          expect(shape).toEqual(wanted.shape);
          const found = [...(wanted.data as Float32Array)];
          expectNumbers('Graft opens Keras, weights', path, [...values], found, 1e-5);
        }
      },
      300_000,
    );
  },
);
