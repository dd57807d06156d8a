// Damages run folders, models, tables, images, manifests and configuration in seeded ways and has the program read
// them. It has to refuse with a sentence, or to read what is still readable: no crash, no "This is a bug in Graft", no
// hang, no memory without bounds.
import { fork, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { models } from '../../dist/index.js';
import { damage, damageStart, mutateHeader, mutateJson, mutateTable } from './mutations/mutate.mjs';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const workerFile = new URL('./mutations/worker.mjs', import.meta.url);

/** A command may take so long, on a busy machine too, and so much memory with its engine. */
const patienceMs = 60_000;
const mostMemory = 2.5e9;
/** A worker is exchanged after so many commands. */
const perWorker = 400;

const training =
  'train --data images --weights none --image-size 32 --backbone-output conv2_block1_out --recipe probe --head gap ' +
  '--schedule constant --optimizer adam --learning-rate 0.01 --batch-size 8 --seed 3 --threads 1 --validation-split 0.2';

const json = (text, random) => mutateJson(String(text), random);
const table = (text, random) => mutateTable(String(text), random);
const header = (bytes, random) => (random() < 0.6 ? mutateHeader(bytes, random) : damageStart(bytes, random));

/** What is damaged, how, and what reads it afterwards; `weight` says how often, `slow` needs an engine. */
const kinds = [
  {
    file: 'run/run.json',
    change: json,
    weight: 6,
    commands: [
      'report run',
      'report run --no-pictures',
      'compare run other',
      'compare other run',
      'summary --model run',
      'export --model run --out out.onnx',
    ],
  },
  {
    file: 'run/run.json',
    change: json,
    weight: 2,
    slow: true,
    commands: [
      'evaluate --model run',
      'predict --model run images/red/0.png',
      'explain run images/red/0.png --output out.png',
    ],
  },
  { file: 'run/history.csv', change: table, weight: 2, commands: ['report run', 'compare other run'] },
  {
    file: 'run/predictions.safetensors',
    change: header,
    weight: 3,
    commands: ['report run', 'compare other run'],
  },
  { file: 'stopped/run.json', change: json, weight: 2, slow: true, commands: ['train --resume stopped'] },
  {
    file: 'stopped/checkpoint.safetensors',
    change: header,
    weight: 2,
    slow: true,
    commands: ['train --resume stopped'],
  },
  { file: 'stopped/history.csv', change: table, weight: 1, slow: true, commands: ['train --resume stopped'] },
  { file: 'sweep/sweep.json', change: json, weight: 2, slow: true, commands: ['sweep --resume sweep'] },
  { file: 'sweep/001/run.json', change: json, weight: 1, slow: true, commands: ['sweep --resume sweep'] },
  {
    file: 'cache/features/KEY/meta.json',
    change: json,
    weight: 2,
    commands: ['cache list', 'cache verify', 'cache prune --keep 1'],
  },
  { file: 'cache/features/KEY/shard-00000', change: damageStart, weight: 1, commands: ['cache verify'] },
  {
    file: 'model.h5',
    change: damageStart,
    weight: 6,
    commands: ['summary --model model.h5', 'export --model model.h5 --out out.safetensors'],
  },
  {
    file: 'model.keras',
    change: damageStart,
    weight: 4,
    commands: ['summary --model model.keras', 'export --model model.keras --out out.h5'],
  },
  {
    file: 'model.keras',
    change: inArchive,
    weight: 5,
    commands: ['summary --model model.keras', 'export --model model.keras --out out.onnx'],
  },
  {
    file: 'model.safetensors',
    change: header,
    weight: 3,
    commands: [
      'train --data images --backbone cifar_resnet --weights model.safetensors --epochs 1 --out out',
    ],
  },
  { file: 'model.onnx', change: damageStart, weight: 6, slow: true, commands: ['inspect model.onnx'] },
  {
    file: 'labels.csv',
    change: table,
    weight: 3,
    commands: ['data labels.csv', 'data labels.csv --contact-sheet sheet.html'],
  },
  {
    file: 'images/red/0.png',
    change: damageStart,
    weight: 3,
    commands: ['data images', 'data images --contact-sheet sheet.html'],
  },
  { file: 'images/red/1.jpg', change: damageStart, weight: 3, commands: ['data images'] },
  {
    file: 'mirror/manifest.json',
    change: json,
    weight: 2,
    commands: ['data cifar10 --mirror mirror', 'evaluate --model run --data cifar10 --mirror mirror'],
  },
  {
    file: 'graft.config.json',
    change: json,
    weight: 3,
    commands: ['cache list', 'train', 'predict nothing.png', 'report run'],
  },
];

export default async function mutations({ cases, isOver, random }) {
  const folder = await mkdtemp(join(tmpdir(), 'graft-mutations-'));
  const counts = new Map();
  const lost = [];
  const runner = new Runner();
  try {
    await plant(folder);
    let tried = 0;
    for (; tried < cases && !isOver(); tried++) {
      const { outcome, story } = await tryOne(folder, random(tried), runner);
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
      if (!['refused', 'done'].includes(outcome)) lost.push(`case ${tried}: ${outcome}: ${story}`);
      if (!['refused', 'done'].includes(outcome)) console.error(`case ${tried}: ${outcome}: ${story}`);
    }
    // Much damage does no harm; where nothing is read, the commands do not come as far as the damage.
    if (tried >= 20 && !counts.has('done')) lost.push('no command came to its end, whatever was damaged');
    const count = (name) => counts.get(name) ?? 0;
    console.log(
      `${count('refused')} refused with a sentence, ${count('done')} read all the same, ${count('bug')} bugs, ` +
        `${count('crashed')} crashed, ${count('hung')} hung, ${count('memory')} over memory`,
    );
    return { tried, survived: tried - lost.length, lost };
  } finally {
    runner.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Slow ones come a tenth as often. */
const total = kinds.reduce((sum, kind) => sum + share(kind), 0);

function share({ weight, slow = false }) {
  return slow ? weight / 8 : weight;
}

async function tryOne(folder, random, runner) {
  let left = random() * total;
  const kind =
    kinds.find((each) => {
      left -= share(each);
      return left < 0;
    }) ?? kinds[0];
  const work = join(folder, 'work');
  await rm(work, { recursive: true, force: true });
  await cp(join(folder, 'seed'), work, { recursive: true });
  const file = join(work, kind.file.replace('KEY', await readFile(join(folder, 'key'), 'utf8')));
  const [content, what] = await kind.change(await readFile(file), random);
  await writeFile(file, content);
  const command = kind.commands[Math.floor(random() * kind.commands.length)];
  const { outcome, message = '' } = await runner.run(command.split(' '), work);
  return { outcome, story: `${kind.file} (${what}): graft ${command}: ${message.slice(0, 1500)}` };
}

/** Has a worker run commands, and replaces it when it hangs, takes too much or ends. */
class Runner {
  #worker = null;
  #done = 0;

  stop() {
    this.#worker?.kill('SIGKILL');
    this.#worker = null;
  }

  async run(args, work) {
    if (this.#done++ % perWorker === 0) this.stop();
    this.#worker ??= this.#start(work);
    const worker = this.#worker;
    const ended = new Promise((resolve) => {
      worker.removeAllListeners('message');
      worker.removeAllListeners('exit');
      worker.on('message', (message) => {
        if (message.outcome !== 'ready') resolve(message);
      });
      worker.on('exit', (code, signal) => resolve({ outcome: 'crashed', message: `${signal ?? code}` }));
      worker.send({ args, folder: work }, (error) => {
        if (error) resolve({ outcome: 'crashed', message: error.message });
      });
    });
    const start = performance.now();
    for (;;) {
      const result = await Promise.race([ended, wait(100)]);
      if (result !== undefined) {
        if (result.outcome === 'crashed') this.stop();
        return result;
      }
      const memory = await memoryOf(worker.pid);
      const late = performance.now() - start > patienceMs;
      if (!late && memory < mostMemory) continue;
      this.stop();
      return late ? { outcome: 'hung' } : { outcome: 'memory', message: `${(memory / 1e9).toFixed(1)} GB` };
    }
  }

  #start(work) {
    const cache = join(work, 'cache');
    return fork(workerFile, [], {
      cwd: work,
      env: { ...process.env, GRAFT_CACHE: cache, GRAFT_MIRROR: '', CI: '1' },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
  }
}

/** Resident bytes of a process and its children, where the system tells. */
async function memoryOf(pid) {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const pids = [pid, ...children.trim().split(' ').filter(Boolean)];
  const sizes = await Promise.all(
    pids.map(async (each) => {
      const status = await readFile(`/proc/${each}/status`, 'utf8').catch(() => '');
      return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    }),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Changes a file in an archive: the configuration, or the weights. */
async function inArchive(bytes, random) {
  const { readArchive, writeArchive } = await import('./mutations/archive.mjs');
  const entries = await readArchive(bytes);
  const names = [...entries.keys()];
  const name = random() < 0.7 ? 'config.json' : names[Math.floor(random() * names.length)];
  const [content, what] = name.endsWith('.json')
    ? mutateJson(String(entries.get(name)), random)
    : damage(entries.get(name), random);
  entries.set(name, Buffer.from(content));
  return [await writeArchive(entries), `${name}: ${what}`];
}

/** What is damaged, whole: runs, models, a sweep, features. */
async function plant(folder) {
  const seed = join(folder, 'seed');
  await makeImages(join(seed, 'images'));
  await runProgram(seed, [...training.split(' '), '--epochs', '2', '--out', 'run']);
  await runProgram(seed, [...training.split(' '), '--epochs', '3', '--out', 'other']);
  await stopInside(seed, [...training.split(' '), '--epochs', '200', '--out', 'stopped']);
  await runProgram(seed, [
    'sweep',
    ...training.replace('--learning-rate 0.01 ', '').split(' ').slice(1),
    '--epochs',
    '1',
    '--grid',
    'learning-rate=0.01,0.02',
    '--out',
    'sweep',
  ]);
  const record = JSON.parse(await readFile(join(seed, 'run/run.json'), 'utf8'));
  const model = await models.load(join(seed, 'run', record.model.file));
  await model.save(join(seed, 'model.h5'));
  await model.save(join(seed, 'model.keras'));
  await model.saveWeights(join(seed, 'model.safetensors'));
  await model.export(join(seed, 'model.onnx'), { input: 'float32' });
  await model.close();
  await writeFile(
    join(seed, 'labels.csv'),
    `path,label\n${['red', 'blue'].flatMap((label) => Array.from({ length: 12 }, (_, i) => `images/${label}/${i}.${i === 1 ? 'jpg' : 'png'},${label}\n`)).join('')}`,
  );
  await mkdir(join(seed, 'mirror'));
  await writeFile(
    join(seed, 'mirror/manifest.json'),
    JSON.stringify({
      format: 1,
      assets: [{ id: 'cifar10/binary', file: 'cifar.tar.gz', sha256: '0'.repeat(64), bytes: 10 }],
    }),
  );
  await writeFile(join(seed, 'mirror/cifar.tar.gz'), 'ten bytes!');
  await writeFile(
    join(seed, 'graft.config.json'),
    JSON.stringify({
      train: { data: 'images', epochs: 1, head: 'linear' },
      predict: { top: 1 },
      cache: { prune: { all: false } },
    }),
  );
  const { readdir } = await import('node:fs/promises');
  const [key] = await readdir(join(seed, 'cache/features'));
  await writeFile(join(folder, 'key'), key);
}

async function runProgram(cwd, args) {
  const { code, output } = await launched(cwd, args).ended;
  if (code !== 0) throw new Error(`graft ${args.join(' ')} ended with ${code}:\n${output}`);
}

/** Stops a training at its first checkpoint, and makes it short. */
async function stopInside(cwd, args) {
  const { child, ended } = launched(cwd, args);
  while (child.exitCode === null && !existsSync(join(cwd, 'stopped/checkpoint.safetensors'))) await wait(20);
  child.kill('SIGINT');
  await ended;
  const path = join(cwd, 'stopped/run.json');
  const record = JSON.parse(await readFile(path, 'utf8'));
  if (record.status !== 'stopped')
    throw new Error(`The training that was to be stopped is ${record.status}.`);
  record.config.epochs = record.metrics.epochs + 1;
  await writeFile(path, JSON.stringify(record));
}

function launched(cwd, args) {
  const child = spawn(process.execPath, [program, ...args], {
    cwd,
    env: { ...process.env, GRAFT_CACHE: join(cwd, 'cache'), GRAFT_MIRROR: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  return { child, ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, output }))) };
}

/** Two classes of a few small images. */
async function makeImages(folder) {
  const side = 32;
  for (const [label, name] of ['blue', 'red'].entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let index = 0; index < 12; index++) {
      const pixels = new Uint8Array(side * side * 3);
      for (let i = 0; i < pixels.length; i++) {
        pixels[i] = ((i * 7919 + index * 104_729) % 128) + (i % 3 === 2 * (1 - label) ? 60 : 20);
      }
      const image = sharp(pixels, { raw: { width: side, height: side, channels: 3 } });
      await image.toFile(join(folder, name, index === 1 ? '1.jpg' : `${index}.png`));
    }
  }
}
