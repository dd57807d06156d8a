/** ONNX files from the command line: looked at, trained on, and no longer needed when the run has its copy. */
import { copyFile, readdir, rename, rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { foreignFile } from '../support/foreign.ts';
import { jsonOf, makeMirror, makeWorkplace, type Workplace, words, writePicture } from './support.ts';

let workplace: Workplace;
let mirror: string;
beforeAll(async () => {
  workplace = await makeWorkplace();
  mirror = await makeMirror(workplace.path('mirror'));
  for (const name of ['plain', 'goes', 'stopped'])
    await copyFile(foreignFile('plain.onnx'), workplace.path(`${name}.onnx`));
});
afterAll(() => workplace.remove());

const run = (line: string) => workplace.run(words(line), { GRAFT_MIRROR: mirror });

const data = '--data cifar10 --limit 200 --validation-limit 60 --batch-size 20 --threads 1';
const train = `train ${data} --optimizer adam --schedule constant --batch-size 32 --learning-rate 0.05 --seed 5`;

describe('an ONNX file', () => {
  it('is looked at', async () => {
    const { code, stdout } = await run('inspect plain.onnx --image-size 32');
    expect(stdout).toContain('Made by     small, operator set 17');
    // 3·3·3·8 + 8, four times 8, 8·5 + 5
    expect(stdout).toContain('Parameters  301');
    expect(stdout).toContain('Input       image (any, 3, any, any), tried with 32x32');
    expect(stdout).toMatch(
      /\n {2}norm +\(batch, 8, 16, 16\) +BatchNormalization\n\* map +\(batch, 8, 16, 16\) +Relu\n/,
    );
    expect(stdout).toMatch(
      /train --data cifar10 --backbone plain.onnx --head linear --preprocessing torch\n$/,
    );
    expect(code).toBe(0);
    const json = jsonOf(await run('inspect plain.onnx --json'));
    expect(json).toMatchObject({
      ...{ command: 'inspect', producer: 'small', irVersion: 8, parameters: 301, suggested: 'map' },
      ...{ operatorSets: { 'ai.onnx': 17 }, inputShape: [224, 224, 3], preprocessing: null },
      input: { name: 'image', layout: 'channelsFirst', shape: [null, 3, null, null], dynamicBatch: true },
    });
    expect(json['tensors']).toContainEqual({
      ...{
        name: 'map',
        operation: 'Relu',
        shape: [null, 8, 112, 112],
        separates: true,
        layout: 'channelsFirst',
      },
    });
  });

  it('serves as a backbone', async () => {
    const options = '--backbone goes.onnx --preprocessing torch --image-size 32 --head linear --epochs 10';
    const trained = await run(`${train} ${options} --out runs/foreign --json`);
    expect(trained.stderr).not.toContain('error');
    expect(trained.stderr).toContain('Model   goes.onnx up to map, pictures normalised as torch, at 32x32;');
    expect(trained.stderr).toContain('Frozen  all of goes.onnx; computed once, features kept on disk');
    expect(trained.stderr).toMatch(
      /runs\/foreign\/cifar10\.h5 \(with backbone-[0-9a-f]{12}\.onnx beside it\)/,
    );
    // The pictures show their class by their colours; chance is a tenth.
    const { valAccuracy } = jsonOf(trained) as { valAccuracy: number };
    expect(valAccuracy).toBeGreaterThan(0.5);
  });

  it('is no longer needed when it has been trained on', async () => {
    await rm(workplace.path('goes.onnx'));
    await rename(workplace.path('runs/foreign'), workplace.path('runs/moved'));
    const evaluated = jsonOf(await run('evaluate --model runs/moved --limit 60 --json'));
    expect(evaluated['accuracy']).toBe((await workplace.record('runs/moved')).metrics!.valAccuracy);
    await writePicture(workplace.path('ship.png'), 8, 77);
    const predicted = await run('predict --model runs/moved ship.png --top 1 --json');
    expect(jsonOf(predicted)).toMatchObject({ predictions: [{ image: 'ship.png', classes: [{}] }] });
  });

  it('stays with a run that was stopped', async () => {
    const options =
      '--backbone stopped.onnx --preprocessing torch --image-size 32 --head linear --epochs 4000';
    const { child, finished, seen } = workplace.start(words(`${train} ${options} --out runs/stopped`), {
      GRAFT_MIRROR: mirror,
    });
    await seen('Epoch 2/4000');
    child.kill('SIGINT');
    expect((await finished).code).toBe(130);
    await rm(workplace.path('stopped.onnx'));
    const { sessions } = await workplace.record('runs/stopped');
    expect(sessions).toHaveLength(1);
    const again = workplace.start(words('train --resume runs/stopped'), { GRAFT_MIRROR: mirror });
    await again.seen('/4000: 7/7');
    again.child.kill('SIGINT');
    const { code, stderr } = await again.finished;
    expect(stderr).not.toContain('error');
    // The features are there already: the copy is the same backbone.
    expect(stderr).not.toContain('Computing frozen features');
    expect(code).toBe(130);
    const files = await readdir(workplace.path('runs/stopped'));
    expect(files.filter((name) => name.endsWith('.onnx'))).toHaveLength(1);
  });

  it.each([
    ['--backbone gone.onnx', 'There is no such file.'],
    ['--backbone plain', 'or an .onnx file.'],
    ['--backbone plain.onnx', 'plain.onnx does not say how its pictures are normalised'],
    [
      '--backbone plain.onnx --preprocessing 1,2/3',
      'Cannot read "1,2/3"; expected caffe, tf, torch, unit, none, or',
    ],
    [
      '--backbone resnet50 --preprocessing torch',
      '--preprocessing is for .onnx files; resnet50 knows its own.',
    ],
    ['--backbone plain.onnx --unfreeze-from map', '--unfreeze-from: an .onnx file stays frozen as a whole'],
    ['--backbone plain.onnx --weights none', 'has its own weights; leave the option out'],
    ['--backbone plain.onnx --preprocessing torch --backbone-output mpa', 'There is no tensor "mpa"'],
  ])('train %s is an error', async (options, text) => {
    const { code, stderr } = await run(
      `train --data cifar10 ${options} --image-size 32 --out runs/none --limit 20`,
    );
    expect(stderr).toContain(text);
    expect(stderr).not.toContain('bug');
    expect(code).toBeGreaterThan(0);
    expect(await readdir(workplace.path('runs'))).not.toContain('none');
  });
});
