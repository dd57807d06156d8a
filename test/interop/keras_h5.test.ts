/** Files that Graft wrote, opened by Keras itself. `keras_interop.py` tells how to run these tests. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readKerasH5, writeKerasH5 } from '../../src/saving/keras_h5.node.ts';
import { readSafetensors } from '../../src/saving/safetensors.node.ts';

const python = process.env['GRAFT_KERAS_PYTHON'];
const script = fileURLToPath(new URL('keras_interop.py', import.meta.url));
const run = promisify(execFile);

interface Variable {
  readonly name: string;
  readonly abs: number;
}

interface Report {
  readonly losses?: readonly number[];
  readonly weights: readonly Variable[];
  readonly optimizer: {
    readonly class: string;
    readonly iterations: number;
    readonly restoredByKeras: number;
    readonly variables: readonly Variable[];
  };
}

async function keras(...args: readonly string[]): Promise<Report> {
  const { stdout } = await run(python!, [script, ...args], { maxBuffer: 1 << 26 });
  return JSON.parse(stdout) as Report;
}

const skipped = 'Keras opens what Graft wrote (skipped: GRAFT_KERAS_PYTHON names no Python with Keras)';
describe.skipIf(!python)(python ? 'Keras opens what Graft wrote' : skipped, () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'graft-interop-'));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true });
  });

  const optimizers = ['rmsprop', 'rmsprop_centered', 'adam', 'adamw', 'sgd'];
  it.each(optimizers)(
    'with %s: predictions, optimizer state and further steps are those of Keras',
    async (name) => {
      const home = join(folder, name);
      const made = await keras('make', home, '--optimizer', name, '--steps', '3', '--more', '2');
      const copy = join(home, 'copy.h5');
      await writeKerasH5(copy, await readKerasH5(join(home, 'model.h5')));

      const data = join(home, 'data.safetensors');
      const seen = await keras('inspect', copy, '--input', data, '--output', join(home, 'seen.safetensors'));
      expect(seen.weights).toEqual(made.weights);
      expect(seen.optimizer.variables).toEqual(made.optimizer.variables);
      expect(seen.optimizer.iterations).toBe(3);
      const predictions = (await readSafetensors(join(home, 'seen.safetensors'))).get('predictions');
      expect(predictions).toEqual((await readSafetensors(data)).get('predictions'));

      // Ends where Keras ended: the state was used, not only read.
      const after = join(home, 'after.safetensors');
      const more = await keras(
        'train',
        copy,
        '--data',
        data,
        '--first',
        '3',
        '--steps',
        '2',
        '--output',
        after,
      );
      for (const [i, loss] of made.losses!.slice(3).entries()) expect(more.losses![i]).toBeCloseTo(loss, 5);
      const ended = await readKerasH5(join(home, 'after.h5'));
      const weights = await readSafetensors(after);
      for (const { name: weight, tensor } of ended.layers.flatMap((layer) => layer.weights)) {
        const found = weights.get(weight)!;
        const worst = Math.max(
          ...[...tensor.data].map((value, i) => Math.abs(Number(value) - Number(found.data[i]))),
        );
        expect([weight, worst < 1e-5]).toEqual([weight, true]);
      }
    },
    120_000,
  );
});
