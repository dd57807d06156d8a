/** Training from the command line, on small pictures made here. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import { cifar10 } from '../../src/data/cifar.node.ts';
import { limit } from '../../src/data/dataset.ts';
import { writeSafetensors } from '../../src/saving/safetensors.node.ts';
import { load, model as modelOf } from '../../src/training/build.ts';
import { sha256 } from '../data/support.ts';
import {
  classNames,
  type Finished,
  jsonOf,
  makeWorkplace,
  tiny,
  trainColours,
  type Workplace,
  words,
} from './support.ts';

let workplace: Workplace;
let trained: Finished;
beforeAll(async () => {
  workplace = await makeWorkplace();
  trained = await trainColours(workplace);
}, 120_000);
afterAll(() => workplace.remove());

/** With the mirror's data, which is unpacked by now. */
const run = (line: string) => workplace.run(words(line), { GRAFT_MIRROR: workplace.path('mirror') });

function historyOf(text: string): Record<string, number>[] {
  const [header, ...rows] = text
    .trimEnd()
    .split('\n')
    .map((line) => line.split(','));
  return rows.map((row) => Object.fromEntries(header!.map((key, i) => [key, Number(row[i])])));
}

describe('graft train', () => {
  it('says before it begins what it is going to do', () => {
    expect(trained.stderr).toContain(
      'Data    cifar10: train (50000, 32, 32, 3), test (10000, 32, 32, 3), 10 classes\n' +
        '        the first 200 to train, the first 60 test pictures to validate\n' +
        'Model   ResNet50 up to conv2_block1_out with random weights, at 32x32; head: gap,bn\n' +
        'Trains  the head (2 layers), ',
    );
    expect(trained.stderr).toContain('\nFrozen  conv1_conv … conv2_block1_3_bn (10 layers); computed once, ');
    expect(trained.stderr).toContain(
      '\nRecipe  probe: Adam, learning rate 0.01, batch 20, 3 epochs, seed 5\n',
    );
    expect(trained.stderr).toContain('\nDevice  cpu, 1 thread\n');
    expect(trained.stderr).toContain('\nRun     runs/colours\n');
  });

  it('prints one JSON object, alone on stdout', () => {
    expect(trained.code).toBe(0);
    expect(trained.stdout.trimEnd()).not.toContain('\n');
    expect(jsonOf(trained)).toMatchObject({
      command: 'train',
      status: 'finished',
      run: 'runs/colours',
      model: 'runs/colours/cifar10.h5',
      history: 'runs/colours/history.csv',
      epochs: 3,
      memory: { mainPeak: expect.any(Number) },
    });
  });

  it('leaves a folder with the record, the history and the model, and no checkpoint', async () => {
    const names = await readdir(workplace.path('runs/colours'));
    expect(names.sort()).toEqual([
      ...['cifar10.h5', 'history.csv', 'predictions.safetensors', 'report.html', 'run.json'],
    ]);
  });

  it('reports on the kept model: predictions agree with its accuracy, and the report is written again', async () => {
    const { metrics, predictions } = await workplace.record('runs/colours');
    expect(predictions).toMatchObject({ file: 'predictions.safetensors', on: 'test' });
    const page = await readFile(workplace.path('runs/colours/report.html'), 'utf8');
    const right = Math.round(60 * metrics!.valAccuracy);
    expect(page).toContain(`${right} of 60 test pictures are right;`);
    expect(page).toMatch(/<pre>graft train --data cifar10 [^<]*--seed 5 --json --mirror [^<]*<\/pre>/);
    const { code, stdout, stderr } = await run('report runs/colours');
    expect(code, stderr).toBe(0);
    expect(stdout).toBe('runs/colours/report.html\n');
    expect(await readFile(workplace.path('runs/colours/report.html'), 'utf8')).toBe(page);
    const phases = (await workplace.record('runs/colours')).sessions[0]!.phases!;
    const total = phases.reduce((sum, { seconds }) => sum + seconds, 0);
    expect(Math.abs(total - metrics!.seconds), 'phases are the whole time').toBeLessThan(0.05);
  });

  it('learns, and keeps the epoch that was best on the validation pictures', async () => {
    const history = historyOf(await readFile(workplace.path('runs/colours/history.csv'), 'utf8'));
    expect(Object.keys(history[0]!)).toEqual([
      ...['epoch', 'loss', 'accuracy', 'valLoss', 'valAccuracy', 'learningRate'],
    ]);
    for (const { learningRate } of history) expect(learningRate).toBeCloseTo(0.01, 7);
    expect(history.map(({ epoch }) => epoch)).toEqual([0, 1, 2]);
    const metrics = (await workplace.record('runs/colours')).metrics!;
    const best = history[metrics.bestEpoch - 1]!;
    expect(best['valAccuracy']).toBe(Math.max(...history.map((row) => row['valAccuracy']!)));
    expect(best['valAccuracy']).toBeGreaterThan(0.5);
    for (const key of ['accuracy', 'loss', 'valAccuracy'] as const) expect(metrics[key]).toBe(best[key]);
    expect(metrics.valLoss).toBeCloseTo(best['valLoss']!, 6);
    expect(metrics.epochs).toBe(3);
    expect(metrics.seconds).toBeGreaterThan(metrics.preparationSeconds);
    expect(metrics.imagesPerSecond).toBeGreaterThan(1);
  });

  it('records configuration, versions, and what went in', async () => {
    const record = await workplace.record('runs/colours');
    const manifest = JSON.parse(await readFile(workplace.path('mirror/manifest.json'), 'utf8'));
    expect(record).toMatchObject({
      format: 1,
      status: 'finished',
      config: {
        ...{ data: 'cifar10', limit: 200, validationLimit: 60, validationSplit: null },
        ...{ backbone: 'resnet50', backboneOutput: 'conv2_block1_out', unfreezeFrom: null, head: 'gap,bn' },
        ...{ optimizer: 'adam', learningRate: 0.01, batchSize: 20, epochs: 3, seed: 5, threads: 1 },
      },
      versions: { graft: expect.any(String), node: process.versions.node, onnxruntime: expect.any(String) },
      data: {
        fingerprint: expect.stringContaining(manifest.assets[0].sha256),
        trainingImages: 200,
        validationImages: 60,
        classNames,
      },
      weights: null,
      model: { file: 'cifar10.h5', trainable: 256 * 10 + 10 + 2 * 256 },
    });
    expect(record.memory!.mainPeak).toBeGreaterThan(20e6);
    expect(record.memory!.epochs).toHaveLength(3);
  });

  it('augments in training only, and says so', async () => {
    const { code, stdout, stderr } = await run(
      `train ${tiny} --epochs 1 --head pooled --limit 100 --augment flip,translation:0.2,mixup --out runs/augmented`,
    );
    expect(stderr).not.toContain('error');
    expect(stdout).toMatch(/\nAugment +flip, translation 0\.2, mixup 0\.2; in training steps only\n/);
    expect(stdout).toMatch(/computed again in every step, as pictures are mixed/);
    expect(code).toBe(0);
    expect((await workplace.record('runs/augmented')).config.augment).toBe('flip,translation:0.2,mixup');
  });

  it('tests on the test pictures where it validates on a split', async () => {
    const { code, stdout, stderr } = await run(
      `train ${tiny} --epochs 1 --head pooled --limit 100 --validation-split 0.1 --out runs/split`,
    );
    expect(stderr).not.toContain('error');
    expect(stdout).toContain(
      'the first 90 to train, the 10 after them to validate (0.1), the first 60 test pictures at the end',
    );
    expect(stdout).toMatch(/\nAccuracy {2}[\d.]+ % of 10 validation pictures/);
    expect(stdout).toMatch(/\nTest {6}[\d.]+ % of 60 test pictures\n/);
    expect(stdout).toMatch(/\nNext {5}node .*main\.js predict --model runs\/split picture\.jpg\n/);
    expect(code).toBe(0);
    const { metrics, data } = await workplace.record('runs/split');
    expect(data).toMatchObject({ trainingImages: 90, validationImages: 10, testImages: 60 });
    expect(metrics).toMatchObject({ testAccuracy: expect.any(Number), testLoss: expect.any(Number) });
  });

  it('with --quiet says the result only', async () => {
    const { stdout, stderr } = await run(`train ${tiny} --epochs 1 --head pooled --quiet --out runs/quiet`);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^Accuracy .*\nEpoch .*\nTime .*\n$/);
  });

  it('stops where the loss is no number, and says what may help', async () => {
    const { code, stderr } = await run(
      `train ${tiny} --epochs 2 --head pooled --optimizer sgd --learning-rate 1e39 --out runs/wild`,
    );
    expect(stderr).toContain(
      'error: The loss is no longer a number (epoch 1), so training was stopped. Try a smaller --learning-rate.',
    );
    expect(code).toBe(1);
    expect((await workplace.record('runs/wild')).status).toBe('failed');
    const resumed = await run('train --resume runs/wild');
    expect(resumed.stderr).toContain('runs/wild failed, its loss is no number; start a new run');
    expect(resumed.code).toBe(2);
  });

  it('leaves nothing behind where training could not begin', async () => {
    const { code, stderr } = await run(`train ${tiny} --device cuda --head pooled --out runs/cuda`);
    if (code === 0) return; // This machine has one.
    expect(stderr).toMatch(/error: The device "cuda" is not available: .*Use --device cpu otherwise\./);
    expect(code).toBe(1);
    expect(existsSync(workplace.path('runs/cuda'))).toBe(false);
  });

  it('does not go on with what is finished', async () => {
    const { code, stdout } = await run('train --resume runs/colours');
    expect(stdout).toContain('runs/colours is finished: nothing to continue.');
    expect(code).toBe(0);
  });

  it.each([
    [
      'step',
      '--optimizer sgd --momentum 0.9 --schedule step',
      'SGD with momentum 0.9, learning rate 0.01 (a tenth after half, a hundredth after three quarters)',
    ],
    [
      'cosine',
      '--schedule cosine --warmup-epochs 0.5 --weight-decay 0.01',
      'Adam, learning rate 0.001 falling as a cosine after 0.5 epochs of warm-up, weight decay 0.01',
    ],
  ])('follows the %s schedule', async (name, options, said) => {
    const finished = await run(
      `train ${tiny} --epochs 2 --head gap,bn --label-smoothing 0.1 ${options} --out runs/${name}`,
    );
    expect(finished.stderr).not.toContain('error');
    expect(finished.stdout).toContain(said);
    expect(finished.stdout).toContain('label smoothing 0.1');
    expect(finished.code).toBe(0);
    const saved = await load(workplace.path('runs', name, 'cifar10.h5'));
    const { optimizer, loss } = saved.compiled;
    expect(loss.keras.config['label_smoothing']).toBe(0.1);
    const usual = { step: 0.01, cosine: 0.001 }[name]!;
    const rate = (epochs: number) => Number((optimizer.rateAt(10 * epochs) / usual).toFixed(3));
    if (name === 'step') expect([0, 0.9, 1.1, 1.6].map(rate)).toEqual([1, 1, 0.1, 0.01]);
    else expect([0, 0.25, 0.5, 2].map(rate)).toEqual([0, 0.5, 1, 0]);
    await saved.close();
  });

  describe('with one update in all', () => {
    /** The weights of the head after a run. */
    const headAfter = async (name: string, options: string): Promise<number[]> => {
      const line = `train ${tiny} --optimizer sgd --epochs 1 --head gap --limit 40 --seed 3`;
      const finished = await run(`${line} ${options} --out runs/${name}`);
      expect(finished.code, finished.stderr).toBe(0);
      const saved = await load(workplace.path('runs', name, 'cifar10.h5'));
      await saved.close();
      return saved.trainableVariables.flatMap(({ values }) => [...values]);
    };
    const distance = (one: readonly number[], other: readonly number[]) =>
      Math.hypot(...one.map((value, i) => value - other[i]!));

    it('--clip-norm limits how far all weights together go: rate times norm', async () => {
      const start = await headAfter('still', '--batch-size 40 --learning-rate 1e-12');
      const free = await headAfter('free', '--batch-size 40 --learning-rate 1');
      expect(distance(free, start), 'the gradients exceed the limit').toBeGreaterThan(0.1);
      const clipped = await headAfter('clipped', '--batch-size 40 --learning-rate 1 --clip-norm 0.05');
      // The way is 0.05; weights of a tenth are float32.
      expect(Math.abs(distance(clipped, start) - 0.05)).toBeLessThan(1e-5);
    });

    it('--accumulate averages batches: two of 20 are one of 40', async () => {
      const options = '--learning-rate 0.5';
      const whole = await headAfter('whole', `--batch-size 40 ${options}`);
      const halves = await headAfter('halves', `--batch-size 20 --accumulate 2 ${options}`);
      expect(distance(halves, whole)).toBeLessThan(1e-5);
      const apart = await headAfter('apart', `--batch-size 20 ${options}`);
      expect(distance(apart, whole), 'two updates end elsewhere').toBeGreaterThan(1e-3);
    });

    it('--accumulate of more batches than there are would never update, and is refused', async () => {
      const { code, stderr } = await run(`train ${tiny} --epochs 2 --accumulate 21 --out runs/never`);
      expect(stderr).toContain('--accumulate 21: the whole training has 20 batches only.');
      expect(code).toBe(2);
    });
  });

  it('trains backbone layers when asked', async () => {
    const { code, stdout } = await run(
      `train ${tiny} --epochs 1 --head pooled --unfreeze-from conv2_block1_2_conv --out runs/deep`,
    );
    expect(stdout).toContain('Trains  conv2_block1_2_conv … conv2_block1_3_bn and the head (6 + 1 layers), ');
    expect(stdout).toContain('Frozen  conv1_conv … conv2_block1_1_bn (4 layers); ');
    expect(code).toBe(0);
  });

  it('starts from the weights of a file, and records which', async () => {
    const saved = await load(workplace.path('runs/colours/cifar10.h5'));
    const path = workplace.path('backbone.safetensors');
    const { variables } = saved.getLayer('resnet50');
    await writeSafetensors(
      path,
      variables.map(({ path: name, shape, values }) => ({ name, tensor: tensor('float32', shape, values) })),
    );
    const { code, stdout } = await run(
      `train ${tiny} --weights backbone.safetensors --head pooled --epochs 1 --out runs/from-file`,
    );
    expect(stdout).toContain(`with weights of ${path}, at 32x32`);
    expect(code).toBe(0);
    const { weights } = await workplace.record('runs/from-file');
    expect(weights).toEqual({ path, sha256: sha256(await readFile(path)) });
    const trainedOn = await load(workplace.path('runs/from-file/cifar10.h5'));
    expect(trainedOn.getLayer('conv1_conv').variables[0]!.values).toEqual(variables[0]!.values);
  });

  it('says of a file that it holds no weights of the backbone', async () => {
    const other = fileURLToPath(new URL('../saving/fixtures/keras3_weights.h5', import.meta.url));
    const { code, stderr } = await run(
      `train ${tiny} --weights ${other} --head pooled --epochs 1 --out runs/wrong`,
    );
    expect(stderr).toContain(`${other} holds no weights of the layers of resnet50`);
    expect(code).toBe(2);
  });
});

describe('kept features', () => {
  const said = 'Computing frozen features of cifar10/train';

  it('are announced with their size, place and number, in the precision that was asked for', async () => {
    const line = `train ${tiny} --epochs 1 --head gap --seed 21`;
    // A picture: 256 pooled values, an int32 label and two checksums. A shard: 28 bytes, and in uint8 256 scales.
    // Announced are both data sets: 260 pictures in two shards.
    const sizes = {
      float32: { train: 200 * (1024 + 12) + 28, both: '0.3 MB' }, // 269,416
      float16: { train: 200 * (512 + 12) + 28, both: '0.1 MB' }, // 136,296
      uint8: { train: 200 * 268 + 1052, both: '71.8 kB' }, // 71,784
    };
    for (const [precision, { train, both }] of Object.entries(sizes)) {
      const { code, stdout, stderr } = await run(
        `${line} --cache-precision ${precision} --out runs/${precision}`,
      );
      expect(code, stderr).toBe(0);
      const place = workplace.path('cache/features');
      expect(stdout).toContain(`features kept on disk in ${place} (${both}, 260 pictures)`);
      expect(stderr).toContain(`${said}: ${(train / 1000).toFixed(1)} kB on disk in ${place}`);
    }
  });

  it('in memory are computed once, also for a head that measures them first', async () => {
    const { code, stderr } = await run(
      `train ${tiny} --epochs 1 --head linear --seed 22 --cache memory --out runs/in-memory`,
    );
    expect(code).toBe(0);
    expect(stderr.split(said).length - 1).toBe(1);
  });

  it('that exceed the limit together are refused before the first is computed', async () => {
    const { code, stderr } = await run(
      `train ${tiny} --epochs 1 --head gap --seed 23 --cache disk --cache-limit 1kB --out runs/limited`,
    );
    expect(stderr).toMatch(/error: The features of cifar10\/train and cifar10\/test \(260 images\) take /);
    expect(stderr).toContain('and the limit is 1.0 kB. Raise the limit');
    expect(stderr).not.toContain(said);
    expect(code).toBe(1);
    expect(existsSync(workplace.path('runs/limited'))).toBe(false);
  });

  it('in several views need random layers in front of what is frozen', async () => {
    const { code, stderr } = await run(`train ${tiny} --head gap --cached-views 2 --out runs/views`);
    expect(stderr).toContain(
      'no random layer stands in front of the frozen part of this model; leave it out.',
    );
    expect(code).toBe(2);
  });
});

describe('the linear head', () => {
  it('standardizes features with the statistics of the training pictures, computed once', async () => {
    // Other random weights than above, whose features are kept already.
    const { code, stderr } = await run(`train ${tiny} --epochs 1 --head linear --seed 9 --out runs/linear`);
    expect(code).toBe(0);
    expect(stderr.split('Computing frozen features of cifar10/train').length - 1).toBe(1);
    const saved = await load(workplace.path('runs/linear/cifar10.h5'));
    const standardized = saved.layers.find((layer) => layer.className === 'Normalization')!;
    const features = modelOf({ inputs: saved.input, outputs: standardized.output });
    const { train } = await cifar10.load({
      mirror: workplace.path('mirror'),
      cacheDir: workplace.path('cache'),
    });
    const { data, shape } = await features.predict(limit(train, 200));
    const [rows, width] = shape as [number, number];
    let standard = 0;
    for (let column = 0; column < width; column++) {
      const values = Array.from({ length: rows }, (_, row) => data[row * width + column]!);
      const mean = values.reduce((sum, value) => sum + value, 0) / rows;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / rows;
      // The statistics are those of features that were kept in float16.
      expect(Math.abs(mean)).toBeLessThan(0.02);
      // Features that are all but silent stay quieter than the others.
      expect(variance).toBeLessThan(1.02);
      if (variance > 0.98) standard++;
    }
    expect(standard).toBeGreaterThan(width / 2);
    await features.close();
    await saved.close();
  });
});
