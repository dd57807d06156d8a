/** What recipes mean, which is chosen for how many pictures, and fine-tuning in two phases from the command line. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lastStageOf } from '../../src/cli/backbone.ts';
import { output } from '../../src/cli/output.ts';
import { type RecipeName, recipes } from '../../src/cli/recipes.ts';
import { configOf } from '../../src/cli/train_config.ts';
import type { TrainOptions } from '../../src/cli/train_options.ts';
import { jsonOf, makeMirror, makeWorkplace, tiny, type Workplace, words } from './support.ts';

/** What the command line gives without a flag. */
const plain: TrainOptions = {
  ...{ data: 'cifar10', backbone: 'resnet50', weights: 'imagenet', augment: 'none', accumulate: 1 },
  ...{ balance: 'none', seed: 0, cache: 'auto', precision: 'float32', device: 'cpu' },
};
const configured = (options: Partial<TrainOptions>) =>
  configOf({ ...plain, ...options }, output({ quiet: true }));
const configFor = async (options: Partial<TrainOptions>) => (await configured(options)).config;

describe('a recipe', () => {
  const expected = {
    probe: { unfreezeFrom: null, head: 'linear', optimizer: 'adamw', freezeEpochs: 0, warmupEpochs: 0 },
    'last-block': {
      unfreezeFrom: 'conv5_block1_1_conv',
      head: 'pooled',
      schedule: 'cosine',
      warmupEpochs: 1,
    },
    'fine-tune': { unfreezeFrom: 'all', optimizer: 'adam', learningRate: 2e-3, freezeEpochs: 1 },
    reference: {
      ...{ unfreezeFrom: 'conv5_block1_1_conv', head: 'reference', optimizer: 'rmsprop', learningRate: 2e-5 },
      ...{ schedule: 'constant', batchSize: 32, epochs: 10, imageSize: 224, momentum: 0, weightDecay: null },
    },
  };
  it.each(Object.entries(expected))('%s says what trains, and how', async (recipe, wanted) => {
    expect(await configFor({ recipe: recipe as RecipeName })).toMatchObject({ recipe, ...wanted });
  });

  it('gives way to flags, one by one', async () => {
    const { head: _, ...usual } = await configFor({ recipe: 'last-block' });
    const config = await configFor({ recipe: 'last-block', head: 'gap' });
    expect(config).toEqual({ ...usual, head: 'gap' });
    const flags = { unfreezeFrom: 'all', epochs: 4, batchSize: 8, labelSmoothing: 0, imageSize: 96 } as const;
    expect(await configFor({ recipe: 'reference', ...flags })).toMatchObject(flags);
    expect(await configFor({ recipe: 'last-block', momentum: 0 })).toMatchObject({ momentum: 0 });
  });

  it('lends its rates to its own optimizer only', async () => {
    const { learningRate, weightDecay } = recipes.probe;
    expect(await configFor({ recipe: 'probe' })).toMatchObject({ learningRate, weightDecay });
    expect(await configFor({ recipe: 'probe', optimizer: 'sgd' })).toMatchObject({
      ...{ learningRate: 0.01, momentum: 0, weightDecay: null },
    });
    expect(await configFor({ recipe: 'last-block', optimizer: 'adam' })).toMatchObject({
      ...{ learningRate: 2e-5, momentum: 0, weightDecay: null },
    });
  });

  it('warms up in a share of the epochs, and not where the schedule has no warm-up', async () => {
    expect(await configFor({ recipe: 'last-block', epochs: 3 })).toMatchObject({ warmupEpochs: 0.3 });
    expect(await configFor({ recipe: 'last-block', schedule: 'step' })).toMatchObject({ warmupEpochs: 0 });
    expect(await configFor({ recipe: 'fine-tune', epochs: 1 })).toMatchObject({ freezeEpochs: 0 });
  });
});

describe('without a recipe', () => {
  it.each([
    [{ limit: 499 }, 'probe', '499 training pictures are few: with fewer than 500 the backbone stays frozen'],
    [{ limit: 500 }, 'last-block', '500 training pictures are enough to train the last stage too'],
    [{ limit: 600, validationSplit: 0.2 }, 'probe', '480 training pictures are few'],
    [{}, 'last-block', '50,000 training pictures are enough'],
    [{ limit: 10, unfreezeFrom: 'all' }, 'last-block', '--unfreeze-from was given'],
    [{ unfreezeFrom: 'all', freezeEpochs: 2 }, 'fine-tune', '--freeze-epochs was given'],
    [{ weights: 'none' }, 'probe', 'the backbone has random weights'],
  ] as const)('%j is answered by %s, and it says why', async (options, name, why) => {
    const { config, choice } = await configured(options);
    expect(config.recipe).toBe(name);
    expect(choice).toContain(`Recipe ${name}, since ${why}`);
    expect((await configured({ recipe: name })).choice).toBeNull();
  });
});

describe('the last stage', () => {
  const at = (backbone: string, backboneOutput: string | null = null) =>
    lastStageOf({
      ...{ backbone, backboneOutput, weights: 'none', imageSize: 224, preprocessing: null },
      ...{ unfreezeFrom: null, head: 'linear', augment: 'none' },
    });
  // Read off Keras's summaries: the first layer with weights whose map has the last one's size.
  it.each([
    ['resnet50', 'conv5_block1_1_conv'],
    ['resnet101', 'conv5_block1_1_conv'],
    ['vgg16', 'block5_conv1'],
    ['densenet121', 'conv5_block1_0_bn'],
    ['mobilenet_v2', 'block_13_depthwise'],
    ['efficientnetb0', 'block6a_dwconv'],
    // Pooling stands behind the convolution, so its own map is larger.
    ['cifar_resnet', 'stage4_conv'],
  ])('of %s begins at %s', (backbone, layer) => {
    expect(at(backbone)).toBe(layer);
  });

  it('of a backbone that ends early is that of its end', () => {
    expect(at('resnet50', 'conv4_block6_out')).toBe('conv4_block1_1_conv');
  });
});

describe('from the command line', () => {
  let workplace: Workplace;
  let env: Record<string, string>;
  beforeAll(async () => {
    workplace = await makeWorkplace();
    env = { GRAFT_MIRROR: await makeMirror(workplace.path('mirror')) };
  }, 120_000);
  afterAll(() => workplace.remove());

  it('lr-find suggests a rate, draws it, and says the command that trains with it', async () => {
    const line = `lr-find ${tiny} --head gap --steps 40 --learning-rate 1 --out rates.html --json`;
    const finished = await workplace.run(words(line), env);
    expect(finished.code, finished.stderr).toBe(0);
    const { learningRates, suggestions } = jsonOf(finished) as {
      learningRates: number[];
      suggestions: { valley: number; steepest: number };
    };
    expect(learningRates[0]).toBe(1e-7);
    // Bright and dark colours are told apart with any rate but a tiny one.
    for (const rate of Object.values(suggestions)) expect(rate > 1e-6 && rate < 5, `${rate}`).toBe(true);
    const rate = suggestions.valley.toExponential(1).replace('.0e', 'e');
    expect(finished.stderr).toContain(`\nSuggested  ${rate} (half of the way down the longest valley)\n`);
    expect(finished.stderr).toMatch(/\n +\de-\d +[\d.]+ {2}━+ +valley/);
    expect(finished.stderr).toContain(`main.js train ${tiny} --head gap --learning-rate ${rate}\n`);
    const page = await readFile(workplace.path('rates.html'), 'utf8');
    expect(page).toContain('<svg');
    expect(page).toContain(`valley ${suggestions.valley.toExponential(1)}`);
  });

  const line = `train ${tiny} --recipe fine-tune --head gap --learning-rate 0.01 --epochs 4 --freeze-epochs 2 --seed 3`;
  const rates = async (run: string) => {
    const [, ...rows] = (await readFile(workplace.path(run, 'history.csv'), 'utf8')).trimEnd().split('\n');
    return rows.map((row) => Number(row.split(',').at(-1)));
  };

  it('fine-tune trains the head, then everything, as one run; stopped and continued it is the same', async () => {
    const { code, stdout, stderr } = await workplace.run(words(`${line} --out runs/whole`), env);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain(
      '\nRecipe  fine-tune: Adam, highest learning rate 0.01, batch 20, 4 epochs, the first 2 for the head alone, ' +
        'the others at half the rate, seed 3\n',
    );
    expect(stderr).toContain('Epoch 4/4');
    const record = await workplace.record('runs/whole');
    expect(record.config).toMatchObject({
      recipe: 'fine-tune',
      unfreezeFrom: 'all',
      freezeEpochs: 2,
      epochs: 4,
    });
    // The rate of the step after each epoch: the end of a climb in 20 steps, then of a cycle of 20 at half of it.
    const [first, second, third, fourth] = await rates('runs/whole');
    expect(first).toBeCloseTo(0.01 / 25 + (0.01 - 0.01 / 25) / 2, 7);
    expect(second).toBeCloseTo(0.01, 7);
    expect(third! < 0.005 && third! > 0.0025, `${third}`).toBe(true);
    expect(fourth).toBeCloseTo(0.005e-5, 9);

    const started = workplace.start(words(`${line} --out runs/part`), env);
    await started.seen('Epoch 3/4');
    started.child.kill('SIGINT');
    expect((await started.finished).code).toBe(130);
    const resumed = await workplace.run(['train', '--resume', 'runs/part'], env);
    expect(resumed.code, resumed.stderr).toBe(0);
    const history = (run: string) => readFile(workplace.path(run, 'history.csv'), 'utf8');
    expect(await history('runs/part')).toBe(await history('runs/whole'));
  });
});
