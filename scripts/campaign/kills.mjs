// Kills and stops a training at seeded moments, continues it until it is done, and compares the end bit for bit with an
// uninterrupted training: history, weights, predictions. Nothing may be left behind: no lock, no half of a file.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import sharp from 'sharp';
import { models } from '../../dist/index.js';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** Dropout, batch normalization, trained backbone layers, an optimizer with state, a schedule: all must continue. */
const training = (
  'train --data images --weights none --image-size 32 --backbone-output conv2_block1_out ' +
  '--unfreeze-from conv2_block1_2_conv --head gap,bn,dense:16,dropout:0.5 --optimizer adam --schedule cosine ' +
  '--learning-rate 0.01 --batch-size 8 --epochs 3 --seed 3 --threads 1 --validation-split 0.2'
).split(' ');

/** Interruptions of one training before it is left alone. */
const mostInterruptions = 4;
/** Nothing here takes that long, on a busy machine either. */
const patienceMs = 300_000;

const signals = ['SIGKILL', 'SIGKILL', 'SIGINT'];

export default async function kills({ cases, isOver, random }) {
  const folder = await mkdtemp(join(tmpdir(), 'graft-kills-'));
  try {
    await makeImages(join(folder, 'images'));
    const start = performance.now();
    const { code, output } = await run(folder, [...training, '--out', 'whole']);
    if (code !== 0) throw new Error(`The uninterrupted training ended with ${code}:\n${output}`);
    const length = performance.now() - start;
    const expected = await resultOf(join(folder, 'whole'));
    const lost = [];
    let tried = 0;
    for (let index = 0; tried < cases && !isOver(); index++) {
      const { interruptions, problem } = await tryOne(folder, random(index), {
        length,
        expected,
        cases: cases - tried,
      });
      tried += interruptions;
      if (problem !== null) lost.push(`training ${index}: ${problem}`);
    }
    return { tried, survived: tried - lost.length, lost };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** One training, interrupted some times and continued until it is finished. */
async function tryOne(folder, random, { length, expected, cases }) {
  const path = join(folder, 'run');
  await rm(path, { recursive: true, force: true });
  await rm(join(folder, 'cache'), { recursive: true, force: true });
  const wanted = Math.min(cases, 1 + Math.floor(random() * mostInterruptions));
  const story = [];
  for (let interruptions = 0; interruptions < wanted; interruptions++) {
    const signal = signals[Math.floor(random() * signals.length)];
    const delay = Math.round(random() * length);
    story.push(`${signal} after ${delay} ms`);
    const { code, output, signalled } = await run(folder, commandFor(path), { signal, delay });
    const allowed = signalled ? [null, 0, 130] : [0];
    if (!allowed.includes(code))
      return { interruptions: interruptions + 1, problem: describe(story, code, output) };
  }
  const { code, output } = await run(folder, commandFor(path));
  if (code !== 0) return { interruptions: wanted, problem: describe(story, code, output) };
  const problem = differenceOf(expected, await resultOf(path));
  return { interruptions: wanted, problem: problem && `${story.join(', ')}: ${problem}` };
}

/** What a person types next: the same again, or on with what there is. */
function commandFor(path) {
  return existsSync(join(path, 'run.json')) ? ['train', '--resume', 'run'] : [...training, '--out', 'run'];
}

function describe(story, code, output) {
  return `${story.join(', ')}: exit code ${code}: ${output.trimEnd().split('\n').slice(-3).join(' / ')}`;
}

/** Everything that has to be the same, however often the training was interrupted. */
async function resultOf(path) {
  const record = JSON.parse(await readFile(join(path, 'run.json'), 'utf8'));
  const { accuracy, loss, valAccuracy, valLoss, epochs, bestEpoch } = record.metrics ?? {};
  const model = await models.load(join(path, record.model.file));
  return {
    'status and metrics': [record.status, accuracy, loss, valAccuracy, valLoss, epochs, bestEpoch],
    history: await readFile(join(path, 'history.csv'), 'utf8'),
    weights: model.getWeights(),
    predictions: await readFile(join(path, record.predictions.file)),
    'files in the folder': (await readdir(path)).sort(),
  };
}

function differenceOf(expected, found) {
  const different = Object.keys(expected).filter((key) => !isDeepStrictEqual(found[key], expected[key]));
  return different.length === 0 ? null : `other ${different.join(', ')} than without interruptions`;
}

/** Runs the program, and sends it a signal after a while if asked. */
function run(folder, args, { signal, delay } = {}) {
  const env = { ...process.env, GRAFT_CACHE: join(folder, 'cache'), GRAFT_MIRROR: '' };
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let signalled = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const timer = setTimeout(() => {
    if (signal !== undefined) signalled = child.kill(signal);
  }, delay);
  const giveUp = setTimeout(() => {
    output += '\nThe campaign lost its patience.';
    child.kill('SIGKILL');
  }, patienceMs);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      clearTimeout(giveUp);
      resolve({ code, output, signalled });
    });
  });
}

/** Two classes of noise that differ in their colours. */
async function makeImages(folder) {
  const side = 32;
  let state = 1;
  for (const [label, name] of ['blue', 'red'].entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let index = 0; index < 60; index++) {
      const pixels = new Uint8Array(side * side * 3);
      for (let i = 0; i < pixels.length; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        pixels[i] = (state >>> 25) + (i % 3 === 2 * (1 - label) ? 60 : 20);
      }
      const image = sharp(pixels, { raw: { width: side, height: side, channels: 3 } });
      await image.png().toFile(join(folder, name, `${index}.png`));
    }
  }
}
