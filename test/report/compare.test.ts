/** Runs beside each other: which pictures change sides, which options differ, what the page says. */
import { describe, expect, it } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import { fromTensors } from '../../src/data/dataset.ts';
import { type ComparedRun, changesTo, differingOptions, renderComparison } from '../../src/report/compare.ts';
import { judge, type Predictions } from '../../src/report/predictions.ts';

const labels = Int32Array.of(0, 0, 0, 1, 1);
const predictionsOf = (ofFirst: readonly number[]): Predictions => ({
  labels,
  probabilities: Float32Array.from(ofFirst.flatMap((p) => [p, 1 - p])),
  classes: 2,
});
// Right: 0 and 3. Then right: 0, 1, 2 and 4.
const before = predictionsOf([0.9, 0.4, 0.2, 0.3, 0.6]);
const after = predictionsOf([0.8, 0.7, 0.6, 0.9, 0.1]);

const run = (name: string, predictions: Predictions, options: Record<string, string>): ComparedRun => ({
  ...{ name, predictions, options, bestEpoch: 1, seconds: 3, trainable: 7 },
  history: [{ epoch: 0, loss: 1, accuracy: 0.5, valLoss: 1, valAccuracy: 0.4, learningRate: 0.1 }],
});
const runs = [
  run('a<1>', before, { seed: '0', head: 'linear' }),
  run('b', after, { seed: '1', head: 'linear' }),
];

describe('comparing runs', () => {
  it('finds the pictures that changed sides, the surest wrong answers first', () => {
    const { mended, broken } = changesTo([judge(before), judge(after)], 1);
    // Picture 2 was wrong with loss -ln 0.2, picture 1 with -ln 0.4 and picture 4 with -ln 0.4.
    expect(mended.map(([one]) => one!.index)).toEqual([2, 1, 4]);
    expect(broken.map(([one]) => one!.index)).toEqual([3]);
  });

  it('lists the options that differ, and those that a run does not have', () => {
    expect(differingOptions(runs)).toEqual([['seed', '0', '1']]);
    expect(differingOptions([{ options: { a: '1', b: '2' } }, { options: { b: '2' } }])).toEqual([
      ['a', '1', '–'],
    ]);
    const three = ['1', '1', '2'].map((a) => ({ options: { a, b: '0' } }));
    expect(differingOptions(three)).toEqual([['a', '1', '1', '2']]);
  });

  it('shows both guesses of a picture, escaped, with its thumbnail', async () => {
    const pictures = fromTensors(tensor('uint8', [5, 8, 8, 3]), tensor('int32', [5], labels));
    const page = { runs, samePictures: true, pictures, names: null, classNames: ['cat', 'dog'] };
    const html = await renderComparison(page);
    expect(html).toContain('Wrong in a&lt;1&gt;, right in b: 3');
    expect(html).toContain('Right in a&lt;1&gt;, wrong in b: 1');
    const gallery = JSON.parse(/id="gallery">(.*?)<\/script>/s.exec(html)![1]!) as {
      pictures: Record<string, { uri: string; caption: string }>;
    };
    expect(Object.keys(gallery.pictures)).toEqual(['1', '2', '3', '4']);
    expect(gallery.pictures['3']!.caption).toBe('picture 3, dog. a<1>: dog 70.0 %; b: cat 90.0 %');
    expect(gallery.pictures['3']!.uri).toMatch(/^data:image\/webp;base64,/);
    // 2 of 5 and 4 of 5, with Wilson's intervals.
    expect(html).toContain('40.0 % (11.8 … 76.9 %)');
    expect(html).toContain('80.0 % (37.6 … 96.4 %)');
  });

  it('compares no pictures of runs that saw different ones, and says so', async () => {
    const html = await renderComparison({
      ...{ runs, samePictures: false, pictures: null, names: null, classNames: ['cat', 'dog'] },
    });
    expect(html).toContain('judged by different pictures');
    expect(html).not.toContain('right in b');
  });
});
