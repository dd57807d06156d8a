/** The last stage of every backbone trains: what is before it stays, what is in it moves, the loss falls. */
import { afterEach, describe, expect, it } from 'vitest';
import * as applications from '../../src/applications/index.ts';
import { buildProgram } from '../../src/compile/program.ts';
import { Random } from '../../src/core/random.ts';
import { float32, tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { loss } from '../../src/losses/index.ts';
import { adam } from '../../src/optimizers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { fillByRule } from '../support/rule_weights.ts';

const open: Model[] = [];
afterEach(async () => {
  for (const made of open.splice(0)) await made.close();
});

/** A classifier of two classes on a backbone whose layers from `first` on train. */
function classifierOn(application: applications.Application, first: string) {
  const { minimumSize } = application.record;
  const inputShape = [minimumSize, minimumSize, 3] as const;
  const base = application.structure({ weights: null, includeTop: false, inputShape });
  fillByRule(base, { period: 65521, firstScale: 1, gain: base.name === 'efficientnetb0' ? 1.2 : 1 });
  base.freezeUntil(first);
  const made = sequential([
    layers.input({ shape: inputShape }),
    base,
    layers.globalAveragePooling2d(),
    layers.batchNormalization(),
    layers.dense({ units: 2, activation: 'softmax' }),
  ]);
  open.push(made);
  return { made, base };
}

/** Pictures of six colours with some noise, in the range of a preprocessed picture or of a whole one. */
function batchFor({ record: { minimumSize: size, preprocessing } }: applications.Application) {
  const count = 6;
  const colours = new Random(3, 'colours', 0).fillUniform(new Float32Array(count * 3));
  const noise = new Random(3, 'pictures', 0).fillUniform(new Float32Array(count * size * size * 3));
  const values = noise.map((value, i) => {
    const colour = colours[Math.floor(i / (size * size * 3)) * 3 + (i % 3)]!;
    return (preprocessing === null ? 255 : 1) * (0.8 * colour + 0.2 * value);
  });
  const y = tensor('int32', [count], Int32Array.of(0, 1, 1, 0, 1, 0));
  return { x: float32([count, size, size, 3], values), y };
}

/** Larger models of a family have the layers of the smallest one, only more of them. */
const siblings = new Set(['vgg19', 'resnet101', 'resnet152', 'densenet169', 'densenet201']);
const all = applications.all.map((application) => [application.record.name, application] as const);
const first = all.filter(([name]) => !siblings.has(name));
const others = all.filter(([name]) => siblings.has(name));
const slow = process.env['GRAFT_SLOW_TESTS'] === '1';

async function expectLearning(application: applications.Application): Promise<void> {
  const { made, base } = classifierOn(application, application.record.lastStage);
  const frozen = base.variables.filter(({ layer }) => !layer.trainable);
  const trainable = base.variables.filter((variable) => variable.trainable);
  const before = new Map(base.variables.map((variable) => [variable, variable.values.slice()]));
  made.compile({
    optimizer: adam({ learningRate: 1e-3 }),
    loss: 'sparse_categorical_crossentropy',
    cache: 'off',
  });
  const { x, y } = batchFor(application);
  const losses: number[] = [];
  for (let step = 0; step < 6; step++) losses.push((await made.trainOnBatch(x, y))['loss']!);
  expect(losses.at(-1)).toBeLessThan(0.7 * losses[0]!);
  await made.currentWeights();
  const moved = ({ values }: { values: Float32Array }, old: Float32Array) =>
    values.some((value, i) => value !== old[i]);
  expect(frozen.length).toBeGreaterThan(0);
  expect(frozen.filter((variable) => moved(variable, before.get(variable)!))).toEqual([]);
  // Adam moves whatever has a gradient; a bias in front of batch normalization has almost none.
  const kernels = trainable.filter(({ name }) => name.endsWith('kernel'));
  expect(kernels.length).toBeGreaterThan(0);
  expect(
    kernels.filter((variable) => !moved(variable, before.get(variable)!)).map(({ path }) => path),
  ).toEqual([]);
}

describe('fine-tuning the last stage', () => {
  it.each(first)('of %s', (_, application) => expectLearning(application));
  it.skipIf(!slow).each(others)('of %s (skipped without GRAFT_SLOW_TESTS=1)', (_, application) =>
    expectLearning(application),
  );
});

describe('a cut inside of an inception module', () => {
  const { inceptionV3 } = applications;

  it('hands over several tensors, and what follows learns from them', async () => {
    const { made } = classifierOn(inceptionV3, 'mixed9_0');
    made.initialize(0);
    const program = buildProgram({
      network: made,
      optimizer: adam(),
      loss: loss('sparse_categorical_crossentropy'),
      metrics: [],
      trains: true,
      imageDType: 'float32',
      labels: 'ids',
      featureDType: 'float32',
    });
    // mixed9 concatenates four branches, of which the joined 1x3 and 3x1 of two end where the trainable part begins.
    expect(program.features.length).toBeGreaterThan(1);
    made.compile({ optimizer: adam(), loss: 'sparse_categorical_crossentropy', cache: 'off' });
    const { x, y } = batchFor(inceptionV3);
    const losses: number[] = [];
    for (let step = 0; step < 6; step++) losses.push((await made.trainOnBatch(x, y))['loss']!);
    expect(losses.at(-1)).toBeLessThan(0.7 * losses[0]!);
  });
});
