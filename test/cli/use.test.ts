/** What a trained model is used for from the command line: evaluating, predicting, looking at it. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeModel, elementTypes } from '../../src/onnx/proto.ts';
import {
  classNames,
  jsonOf,
  makeWorkplace,
  trainColours,
  type Workplace,
  words,
  writePicture,
} from './support.ts';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  await trainColours(workplace);
  await mkdir(workplace.path('elsewhere'));
  await copyFile(workplace.path('runs/colours/cifar10.h5'), workplace.path('elsewhere/model.h5'));
  for (const label of [2, 6]) await writePicture(workplace.path(`${classNames[label]}.png`), label, 77);
  await writeFile(workplace.path('text.png'), 'no picture');
}, 120_000);
afterAll(() => workplace.remove());

const run = (line: string) => workplace.run(words(line), { GRAFT_MIRROR: workplace.path('mirror') });

describe('graft evaluate', () => {
  it('finds what training found, by the run alone', async () => {
    const finished = await run('evaluate --model runs/colours --limit 60 --json');
    const metrics = (await workplace.record('runs/colours')).metrics!;
    const result = jsonOf(finished);
    expect(result).toMatchObject({ command: 'evaluate', data: 'cifar10', images: 60 });
    expect(result['accuracy']).toBe(metrics.valAccuracy);
    expect(result['loss']).toBeCloseTo(metrics.valLoss, 3);
    expect(finished.code).toBe(0);
  });

  it('needs the name of the pictures for a model that lies elsewhere', async () => {
    const without = await run('evaluate --model elsewhere/model.h5');
    expect(without.stderr).toContain(
      'elsewhere/model.h5 lies in no run folder; say which pictures with --data cifar10.',
    );
    expect(without.code).toBe(2);
    const { code, stdout } = await run('evaluate --model elsewhere/model.h5 --data cifar10 --limit 20 -q');
    expect(stdout).toMatch(/^[\d.]+ % of 20 test pictures of cifar10 \(loss [\d.]+\)\n$/);
    expect(code).toBe(0);
  });

  it('refuses pictures of other classes', async () => {
    const { code, stderr } = await run('evaluate --model runs/colours --data cifar100');
    expect(stderr).toContain(
      'runs/colours/cifar10.h5 knows 10 classes, cifar100 has 100. Choose another --data.',
    );
    expect(code).toBe(2);
  });

  it('says when there are fewer pictures than asked for', async () => {
    const { code, stdout } = await run('evaluate --model runs/colours --limit 10001');
    expect(stdout).toContain('cifar10/test has 10,000 pictures, fewer than --limit 10001.\n');
    expect(stdout).toContain(' of 10,000 test pictures of cifar10');
    expect(code).toBe(0);
  });
});

describe('graft predict', () => {
  it('names the classes of pictures', async () => {
    const finished = await run('predict --model runs/colours --json bird.png frog.png');
    const { predictions } = jsonOf(finished) as {
      predictions: { image: string; classes: { class: string; id: number; probability: number }[] }[];
    };
    expect(predictions.map(({ image }) => image)).toEqual(['bird.png', 'frog.png']);
    expect(predictions.map(({ classes }) => classes[0]!.class)).toEqual(['bird', 'frog']);
    for (const { classes } of predictions) {
      expect(classes).toHaveLength(3);
      expect(classes[0]!.probability).toBeGreaterThanOrEqual(classes[1]!.probability);
      expect(classNames[classes[0]!.id]).toBe(classes[0]!.class);
    }
    expect(finished.code).toBe(0);
  });

  it('prints a line for each picture', async () => {
    const { stdout } = await run('predict --model runs/colours --top 1 bird.png frog.png');
    expect(stdout).toMatch(/^bird\.png {2}bird [\d.]+ %\nfrog\.png {2}frog [\d.]+ %\n$/);
  });

  it('numbers the classes of a model that lies in no run folder', async () => {
    const { stdout } = await run('predict --model elsewhere/model.h5 --top 1 bird.png');
    expect(stdout).toMatch(/\nbird\.png {2}class 2 [\d.]+ %\n/);
    expect(stdout).toContain('the model scales them itself (Conv2D "caffe_preprocessing")');
    expect(stdout).toContain('\nThe file does not name its classes, so they are numbers; --class-names FILE');
  });

  it.each([
    ['text.png', 'not an image in a known format (JPEG, PNG, WebP, GIF, AVIF and TIFF).'],
    ['missing.png', 'there is no such file.'],
  ])('names a picture that it cannot read: %s', async (name, reason) => {
    const { code, stderr, stdout } = await run(`predict --model runs/colours bird.png ${name}`);
    expect(stderr).toContain(`error: Cannot read the picture ${name}: ${reason}\n`);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });
});

describe('graft export', () => {
  it('writes ONNX with the names of the classes, beside the model', async () => {
    const finished = await run('export --model runs/colours --json');
    const file = 'runs/colours/cifar10.onnx';
    expect(jsonOf(finished)).toMatchObject({ command: 'export', file, classNames });
    expect(finished.stderr).toMatch(
      /^Wrote runs\/colours\/cifar10\.onnx \([\d.]+ MB\) from cifar10\.h5\.\n$/,
    );
    const { metadataProps, graph } = decodeModel(await readFile(workplace.path(file)));
    const names = metadataProps.find(({ key }) => key === 'graft.classNames')!.value;
    expect(JSON.parse(names)).toEqual(classNames);
    expect(graph.input[0]!.type.tensorType.elemType).toBe(elementTypes.uint8);
    expect(finished.code).toBe(0);
  });

  it('writes other formats, which predict as the model does', async () => {
    const made = await run('export --model elsewhere/model.h5 --out elsewhere/model.keras -q');
    expect(made.stdout).toMatch(/^Wrote elsewhere\/model\.keras \(/);
    const [own, other] = await Promise.all(
      ['elsewhere/model.h5', 'elsewhere/model.keras'].map((file) =>
        run(`predict --model ${file} bird.png -q`),
      ),
    );
    expect(other!.stdout).toMatch(/^bird\.png {2}class 2 /);
    expect(other!.stdout).toBe(own!.stdout);
    const weights = await run('export --model elsewhere/model.keras --out elsewhere/model.safetensors');
    expect(weights.code).toBe(0);
  });

  it('refuses an ending that it does not know', async () => {
    const { code, stderr } = await run('export --model elsewhere/model.h5 --out model.tflite');
    expect(stderr).toContain('model.tflite');
    expect(stderr).toContain('.onnx, .keras, .h5, .weights.h5 or .safetensors');
    expect(code).toBe(2);
  });
});

describe('graft summary', () => {
  it('shows a saved model', async () => {
    const { code, stdout } = await run('summary --model runs/colours --show-trainable');
    expect(stdout).toContain('Model: "sequential"');
    expect(stdout).toMatch(/│ resnet50 \(Functional\) +│ \(None, 8, 8, 256\)/);
    expect(stdout).toContain(' Trainable params: 3,082 (12.04 KB)');
    expect(code).toBe(0);
  });

  it('shows what train would build, and its layers as JSON', async () => {
    const finished = await run(
      'summary --backbone resnet50 --unfreeze-from conv5_block1_1_conv --head linear --expand-nested --json',
    );
    const summary = jsonOf(finished) as {
      layers: { name: string; className: string; outputShape: unknown; trainable: boolean }[];
    };
    expect(summary).toMatchObject({
      command: 'summary',
      inputShape: [null, 32, 32, 3],
      outputShape: [null, 10],
      parameters: { total: 23_587_712 + 12 + 20_490 },
    });
    const trainable = summary.layers.filter((layer) => layer.trainable && layer.className !== 'Functional');
    expect(trainable[0]!.name).toBe('conv5_block1_1_conv');
    const last = summary.layers.find(({ name }) => name === 'conv5_block3_out')!;
    expect(last.outputShape).toEqual([null, 7, 7, 2048]);
    expect(finished.stderr).toContain('└ conv5_block3_out');
  });
});

describe('graft models', () => {
  it('lists the backbones, with what their layers add up to', async () => {
    const finished = await run('models --json');
    const { models } = jsonOf(finished) as { models: Record<string, unknown>[] };
    expect(models.map(({ name }) => name)).toContain('convnext_tiny');
    expect(models.find(({ name }) => name === 'mobilenet_v2')).toMatchObject({
      title: 'MobileNetV2',
      inputSize: 224,
      preprocessing: 'tf',
      licence: 'Apache 2.0',
      parameters: 3_538_984,
      parametersWithoutTop: 2_257_984,
      // Sandler et al. 2018 say 300 million; this is their table with Keras's paddings.
      multiplyAdds: 300_774_272,
      weightsBytesWithoutTop: 4 * 2_257_984,
      accuracy: { top1: 0.713, top5: 0.901 },
    });
    expect(finished.stderr).toMatch(
      /^inception_v3 +299 +23\.9 M +5\.71 G +87 MB +77\.9 % +93\.7 % +tf +Apache 2\.0$/m,
    );
    expect(finished.code).toBe(0);
  });

  it('each can be summarized, at its own size', async () => {
    const { stdout, code } = await run(
      'summary --backbone xception --head linear --unfreeze-from block14_sepconv1',
    );
    expect(stdout).toMatch(/xception \(Functional\) +│ \(None, 10, 10, 2048\)/);
    expect(code).toBe(0);
  });
});
