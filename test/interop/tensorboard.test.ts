/** Logs that a training wrote, read by TensorBoard. `tensorboard_interop.py` tells how to run it. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { tensorBoard } from '../../src/training/callbacks.ts';
import { smallModel, x, y } from '../support/small_model.ts';

const python = process.env['GRAFT_KERAS_PYTHON'];
const script = fileURLToPath(new URL('tensorboard_interop.py', import.meta.url));

interface Tag {
  readonly plugin: string;
  readonly points: readonly { readonly step: number; readonly value: unknown }[];
}

async function read(folder: string): Promise<Record<string, Tag>> {
  const { stdout } = await promisify(execFile)(python!, [script, folder], { maxBuffer: 1 << 26 });
  return JSON.parse(stdout) as Record<string, Tag>;
}

const skipped = 'TensorBoard reads logs (skipped: GRAFT_KERAS_PYTHON names no Python with tensorboard)';
describe.skipIf(!python)(python ? 'TensorBoard reads logs' : skipped, () => {
  it('with scalars, histograms and images under the tags of Keras', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'graft-tensorboard-'));
    const model = smallModel();
    try {
      model.compile({ loss: 'categoricalCrossentropy', metrics: ['accuracy'], optimizer: 'sgd' });
      const { epochs } = await model.fit(
        { x, y },
        {
          ...{ epochs: 2, batchSize: 20, validationData: { x, y }, verbose: false },
          callbacks: [tensorBoard(folder, { histogramFreq: 2, writeImages: true })],
        },
      );
      const train = await read(join(folder, 'train'));
      const validation = await read(join(folder, 'validation'));
      const points = (key: string) => epochs.map((logs, step) => ({ step, value: Math.fround(logs[key]!) }));
      expect(train['epoch_loss']).toEqual({ plugin: 'scalars', points: points('loss') });
      expect(train['epoch_learning_rate']!.points.map(({ value }) => value)).toEqual(
        [0.01, 0.01].map(Math.fround),
      );
      expect(Object.keys(validation).sort()).toEqual([
        'epoch_accuracy',
        'epoch_loss',
        'evaluation_accuracy_vs_iterations',
        'evaluation_loss_vs_iterations',
      ]);
      expect(validation['epoch_accuracy']!.points).toEqual(points('valAccuracy'));
      // Three steps an epoch.
      expect(validation['evaluation_loss_vs_iterations']!.points).toEqual(
        points('valLoss').map(({ value }, i) => ({ step: 3 * (i + 1), value })),
      );
      // 3 x 3 x 3 x 4 weights, after the first of two epochs only.
      const { plugin, points: histograms } = train['conv_a/kernel/histogram']!;
      expect([plugin, histograms.length, histograms[0]!.step]).toEqual(['histograms', 1, 0]);
      const rows = histograms[0]!.value as [number, number, number][];
      expect(rows.reduce((sum, [, , count]) => sum + count, 0)).toBe(108);
      // Width, height and number: four filters make RGBA pictures of 3 x 3.
      expect(train['conv_a/kernel/image']!.points).toEqual([{ step: 0, value: [3, 3, 3] }]);
      // A column of 4 biases.
      expect(train['conv_a/bias/image']!.points).toEqual([{ step: 0, value: [1, 4, 1] }]);
      expect(train['conv_b/kernel/image']).toBeUndefined();
    } finally {
      await model.close();
      await rm(folder, { recursive: true });
    }
  }, 120_000);
});
