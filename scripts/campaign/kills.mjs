// Interrupts a training at seeded moments, continues it until it is done, and compares the end bit for bit with an
// uninterrupted training: history, weights, predictions. Interruptions are signals, to the program alone or to its group
// of processes, a console that closes, and a disk that is full. Nothing may be left behind: no lock, no half of a file,
// no process.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
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

/** What happens, in the proportions in which it is drawn, and the exit codes that are right then; null: by the signal. */
const kinds = [
  { name: 'SIGKILL', share: 8, codes: [null, 0] },
  { name: 'SIGTERM', share: 3, codes: [null, 0, 143] },
  { name: 'SIGINT', share: 3, codes: [null, 0, 130] },
  { name: 'SIGHUP', share: 2, codes: [null, 0, 129] },
  { name: 'a closed console', share: 2, codes: [0] },
  { name: 'a full disk', share: 2, codes: [0, 1] },
];

export default async function kills({ cases, isOver, random }) {
  const folder = await mkdtemp(join(tmpdir(), 'graft-kills-'));
  const disk = join(folder, 'disk');
  await mkdir(disk);
  const hasDisk = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk]).status === 0;
  if (!hasDisk) console.log('Disks of a size take rights that this user does not have; none will be full.');
  const possible = kinds.filter(({ name }) => hasDisk || name !== 'a full disk');
  const counts = new Map(possible.map(({ name }) => [name, 0]));
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
      const plan = { length, expected, possible, counts, most: Math.min(cases - tried, mostInterruptions) };
      const { interruptions, problem } = await tryOne(folder, random(index), plan);
      tried += interruptions;
      if (problem !== null) lost.push(`training ${index}: ${problem}`);
    }
    console.log([...counts].map(([name, count]) => `${name} ${count}`).join(', '));
    return { tried, survived: tried - lost.length, lost };
  } finally {
    if (hasDisk) spawnSync('umount', [disk]);
    await rm(folder, { recursive: true, force: true });
  }
}

/** One training, interrupted some times and continued until it is finished. */
async function tryOne(folder, random, { length, expected, possible, counts, most }) {
  const path = join(folder, place);
  await rm(path, { recursive: true, force: true });
  await rm(join(folder, 'cache'), { recursive: true, force: true });
  const wanted = Math.min(most, 1 + Math.floor(random() * mostInterruptions));
  const story = [];
  for (let interruptions = 1; interruptions <= wanted; interruptions++) {
    const kind = draw(possible, random());
    const delay = Math.round(random() * length);
    const toGroup = random() < 0.5;
    counts.set(kind.name, counts.get(kind.name) + 1);
    story.push(`${kind.name}${toGroup && kind.name.startsWith('SIG') ? ' to all' : ''} after ${delay} ms`);
    const { code, output, interrupted, survivors } = await run(folder, commandFor(path), {
      kind,
      delay,
      toGroup,
    });
    await rm(join(folder, 'disk', 'fill'), { force: true });
    const allowed = interrupted ? kind.codes : [0];
    const isWrong = !allowed.includes(code) || output.includes('This is a bug') || survivors;
    if (isWrong) return { interruptions, problem: describe(story, code, output, survivors) };
  }
  const { code, output, survivors } = await run(folder, commandFor(path));
  if (code !== 0 || survivors)
    return { interruptions: wanted, problem: describe(story, code, output, survivors) };
  const problem = differenceOf(expected, await resultOf(path));
  return { interruptions: wanted, problem: problem && `${story.join(', ')}: ${problem}` };
}

function draw(possible, value) {
  const drawn = possible.flatMap((kind) => Array.from({ length: kind.share }, () => kind));
  return drawn[Math.floor(value * drawn.length)];
}

/** Where the interrupted training goes: on the disk that can be full. */
const place = 'disk/run';

/** What a person types next: the same again, or on with what there is. */
function commandFor(path) {
  return existsSync(join(path, 'run.json')) ? ['train', '--resume', place] : [...training, '--out', place];
}

function describe(story, code, output, survivors) {
  const last = output.trimEnd().split('\n').slice(-3).join(' / ');
  return `${story.join(', ')}: exit code ${code}${survivors ? ', processes left' : ''}: ${last}`;
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

/** Runs the program, and lets something happen to it after a while if asked. */
async function run(folder, args, { kind, delay, toGroup } = {}) {
  const env = { ...process.env, GRAFT_CACHE: join(folder, 'cache'), GRAFT_MIRROR: '', _: '' };
  // A group of processes of its own, as a terminal has.
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  let interrupted = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const interrupt = async () => {
    if (kind.name === 'a closed console') {
      child.stdout.destroy();
      child.stderr.destroy();
    } else if (kind.name === 'a full disk') await fill(join(folder, 'disk', 'fill'));
    else if (toGroup) process.kill(-child.pid, kind.name);
    else child.kill(kind.name);
    interrupted = true;
  };
  let interrupting = Promise.resolve();
  const timer =
    kind &&
    setTimeout(() => {
      interrupting = interrupt();
    }, delay);
  const giveUp = setTimeout(() => {
    output += '\nThe campaign lost its patience.';
    process.kill(-child.pid, 'SIGKILL');
  }, patienceMs);
  const code = await new Promise((resolve) => child.on('exit', resolve));
  clearTimeout(timer);
  clearTimeout(giveUp);
  await interrupting;
  return { code, output, interrupted, survivors: await outlives(child.pid) };
}

/** Whether processes of a group are still there some seconds after its first has ended. */
async function outlives(group) {
  for (let patience = 100; patience > 0; patience--) {
    try {
      process.kill(-group, 0);
    } catch {
      return false;
    }
    await wait(100);
  }
  process.kill(-group, 'SIGKILL');
  return true;
}

/** Takes all room of a disk. */
async function fill(path) {
  const file = await open(path, 'w');
  try {
    for (let size = 2 ** 16; size >= 512; ) {
      try {
        await file.write(Buffer.alloc(size));
      } catch {
        size /= 2; // Not that much any more.
      }
    }
  } finally {
    await file.close();
  }
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
