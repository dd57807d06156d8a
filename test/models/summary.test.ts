/** The table of `model.summary()`, character by character as Keras prints it. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { resnet50 } from '../../src/applications/resnet.ts';
import * as layers from '../../src/layers/index.ts';
import { clearSession } from '../../src/layers/layer.ts';
import { summary } from '../../src/models/summary.ts';
import { sequential } from '../../src/training/build.ts';
import { goldenPath } from '../support/golden.ts';
import { smallModel } from '../support/small_model.ts';

/** The golden's script joined what Keras prints by newlines, and added one to the end that Keras had printed. */
const printed = async (file: string) => (await readFile(goldenPath(file), 'utf8')).replace(/\n\n$/, '\n');

describe('the summary', () => {
  it('of the small model is that of Keras', async () => {
    expect(summary(smallModel(), { lineLength: 98 })).toBe(await printed('summary_small.txt'));
  });

  it('of the reference job is that of Keras: a nested backbone, most of it frozen', async () => {
    clearSession();
    const base = await resnet50({ weights: null, includeTop: false });
    base.freezeUntil('conv5_block1_1_conv');
    const job = sequential([
      layers.input({ shape: [32, 32, 3] }),
      layers.resizing({ height: 224, width: 224 }),
      base,
      layers.flatten(),
      layers.batchNormalization(),
      layers.dense({ units: 128, activation: 'relu' }),
      layers.dropout({ rate: 0.5 }),
      layers.batchNormalization(),
      layers.dense({ units: 64, activation: 'relu' }),
      layers.dropout({ rate: 0.5 }),
      layers.batchNormalization(),
      layers.dense({ units: 10, activation: 'softmax' }),
    ]);
    expect(summary(job, { lineLength: 98 })).toBe(await printed('summary_nested.txt'));
  });

  it('marks what trains and lists nested layers when asked', async () => {
    const text = summary(smallModel(['conv_a', 'bn_a']), { showTrainable: true });
    const rows = Object.fromEntries(
      [...text.matchAll(/│ (\w+) \(.*│\s+([YN-])\s+│/g)].map(([, name, flag]) => [name, flag]),
    );
    expect(rows).toMatchObject({ conv_a: 'N', bn_a: 'N', pool: '-', conv_b: 'Y', predictions: 'Y' });
    const outer = sequential([layers.input({ shape: [8, 8, 3] }), smallModel()]);
    expect(summary(outer)).not.toContain('conv_a');
    expect(summary(outer, { expandNested: true })).toContain('└ conv_a (Conv2D)');
  });
});
