/** Files of applications between Graft and real Keras: its legacy weights come in, whole models go out. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, it } from 'vitest';
import * as applications from '../../src/applications/index.ts';
import type { Tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { readSafetensors, writeSafetensors } from '../../src/saving/safetensors.node.ts';
import { sequential } from '../../src/training/build.ts';
import { expectNear } from '../support/golden.ts';

const run = promisify(execFile);
const python = process.env['GRAFT_KERAS_PYTHON'];
const script = fileURLToPath(new URL('keras_applications.py', import.meta.url));
const skipped = python ? '' : ' (skipped: GRAFT_KERAS_PYTHON names no Python with Keras)';

const each = applications.all
  // The others are Graft's own.
  .filter(({ record }) => record.trainedOn.name === 'imagenet')
  .map((application) => [application.record.name, application] as const);

describe.skipIf(!python)(`applications between Graft and Keras${skipped}`, () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'graft-interop-applications-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it.each(each)(
    "%s predicts with Keras's legacy weights as Keras does, and Keras with the model that Graft saves",
    async (name, application) => {
      await run(python!, [script, 'make', folder, name]);
      const made = await readSafetensors(join(folder, `${name}.safetensors`));
      const x = made.get('x') as Tensor<'float32'>;
      const inputShape = x.shape.slice(1) as [number, number, number];
      const base = await application({
        weights: join(folder, `${name}.h5`),
        includeTop: false,
        inputShape,
      });
      base.freeze();
      const predictions = await base.predict(x);
      expectNear('Keras weights in Graft', name, predictions, made.get('predictions')!, 1e-5);
      await base.close();

      base.freezeUntil(application.record.lastStage);
      const whole = sequential([
        layers.input({ shape: inputShape }),
        base,
        layers.globalAveragePooling2d(),
        layers.dense({ units: 3, activation: 'softmax' }),
      ]);
      whole.initialize(1);
      const [saved, pictures, output] = ['h5', 'x.safetensors', 'y.safetensors'].map((ending) =>
        join(folder, `${name}-graft.${ending}`),
      ) as [string, string, string];
      await whole.save(saved);
      await writeSafetensors(pictures, [{ name: 'x', tensor: x }]);
      const wanted = await whole.predict(x);
      await whole.close();
      await run(python!, [script, 'predict', saved, pictures, output]);
      const seen = (await readSafetensors(output)).get('predictions')!;
      expectNear('Graft models in Keras', name, seen as Tensor<'float32'>, wanted, 1e-5);
    },
    300_000,
  );

  it('classifiers come in with their weights too', async () => {
    const names = ['vgg16:top', 'mobilenet_v2:top', 'efficientnetb0:top', 'convnext_tiny:top'];
    // A second Inception in one session has other automatic names; its layers pair in order.
    await run(python!, [script, 'make', folder, ...names, 'inception_v3', 'inception_v3:top']);
    for (const entry of [...names, 'inception_v3:top']) {
      const [name] = entry.split(':') as [string];
      const stem = join(folder, entry.replace(':', '-'));
      const made = await readSafetensors(`${stem}.safetensors`);
      const x = made.get('x') as Tensor<'float32'>;
      const [, application] = each.find(([other]) => other === name)!;
      const inputShape = x.shape.slice(1) as [number, number, number];
      const model = await application({ weights: `${stem}.h5`, inputShape });
      const predictions = await model.predict(x);
      expectNear('Keras classifiers in Graft', entry, predictions, made.get('predictions')!, 1e-5);
      await model.close();
    }
  }, 300_000);
});
