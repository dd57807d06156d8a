/**
 * Measures whole trainings through the command line, each in a process of its own: JSON lines, then a table.
 *
 * `npm run bench:job -- memory IMAGES... [-- OPTION...]`: the reference job with features on disk and one epoch, for
 * each number of pictures; what matters is that memory stays under 2.5 GB and neither it nor the speed depends on the
 * number. `npm run bench:job -- conv5 IMAGES [-- OPTION...]`: ten epochs of the reference job with features kept, against
 * `--cache off`; `head`: the same for a head alone. Options go to `graft train`: `-- --image-size 96`.
 *
 * Every training begins without kept features. The data set and the weights come from the usual cache or `GRAFT_MIRROR`.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readJson } from '../src/core/files.node.ts';
import { cacheFolder } from '../src/data/index.ts';
import { printTable, watchMemory } from './measure.ts';

interface Job {
  readonly name: string;
  readonly images: number;
  readonly options: readonly string[];
}

interface Measured {
  readonly name: string;
  readonly images: number;
  /** The whole run, and what of it came before the first step. */
  readonly seconds: number;
  readonly preparationSeconds: number;
  /** In steps and in validation: what grows with the epochs. */
  readonly trainingSeconds: number;
  readonly validationSeconds: number;
  /** In steps alone. */
  readonly imagesPerSecond: number;
  /**
   * Most that its processes had resident at a time (shared pages once), and that each had at its own peak, in MB of
   * 2^20 bytes.
   */
  readonly peakMB: number;
  readonly mainPeakMB: number;
  readonly enginePeakMB: number;
}

/** What of the run's record is read. */
interface Recorded {
  readonly sessions: readonly {
    readonly phases: readonly { readonly name: string; readonly seconds: number }[];
  }[];
}

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const separator = process.argv.indexOf('--');
const words = process.argv.slice(2, separator < 0 ? undefined : separator);
const extra = separator < 0 ? [] : process.argv.slice(separator + 1);
const [mode, ...numbers] = words;
const counts = numbers.map(Number);
const usable = counts.length > 0 && counts.every((count) => Number.isInteger(count) && count > 0);
const conv5 = ['--recipe', 'reference'];
// Of the whole backbone, whose weights not every mirror has; random ones take the same time.
const head = ['--recipe', 'probe', '--weights', 'none', '--head', 'pooled', '--batch-size', '32'];
if (!usable || (mode !== 'memory' && mode !== 'conv5' && mode !== 'head')) {
  throw new Error('Expected: memory, conv5 or head, then IMAGES..., then -- and options of graft train.');
}
console.log(JSON.stringify({ mode, node: process.version, options: extra }));
if (mode === 'memory') await compareCounts(counts);
else for (const count of counts) await compareCaches(mode, mode === 'conv5' ? conv5 : head, count);

async function compareCounts(images: readonly number[]): Promise<void> {
  const results: Measured[] = [];
  for (const count of images) {
    const options = [...conv5, '--cache', 'disk', '--epochs', '1'];
    results.push(await measure({ name: `reference job, ${count} pictures`, images: count, options }));
  }
  const first = results[0]!;
  printTable([
    ['what', 'peak MB', 'main', 'engine', 'to the first', 'images/s', 'to the first'],
    ...results.map((result) => [
      result.name,
      ...[result.peakMB, result.mainPeakMB, result.enginePeakMB].map((value) => value.toFixed(0)),
      percentage(result.peakMB / first.peakMB),
      result.imagesPerSecond.toFixed(1),
      percentage(result.imagesPerSecond / first.imagesPerSecond),
    ]),
  ]);
}

async function compareCaches(kind: string, options: readonly string[], images: number): Promise<void> {
  const epochs = [...options, '--epochs', '10'];
  const kept = await measure({ name: `${kind}, kept`, images, options: [...epochs, '--cache', 'disk'] });
  const off = await measure({ name: `${kind}, off`, images, options: [...epochs, '--cache', 'off'] });
  const columns = ['seconds', 'before the first step', 'in steps', 'in validation', 'images/s'];
  printTable([
    ['what', ...columns, 'kept against off'],
    ...[kept, off].map((result) => [
      result.name,
      ...[result.seconds, result.preparationSeconds].map((value) => value.toFixed(1)),
      ...[result.trainingSeconds, result.validationSeconds].map((value) => value.toFixed(1)),
      result.imagesPerSecond.toFixed(1),
      result === kept ? `${(off.seconds / kept.seconds).toFixed(2)} times as fast` : '',
    ]),
  ]);
}

function percentage(ratio: number): string {
  return `${(100 * (ratio - 1)).toFixed(1)} %`;
}

/** Trains in a folder of its own, with a cache that has everything but features. */
async function measure({ name, images, options }: Job): Promise<Measured> {
  const folder = await mkdtemp(join(tmpdir(), 'graft-bench-'));
  try {
    const cache = join(folder, 'cache');
    await shareCache(cache);
    const args = [
      ...['train', '--data', 'cifar10', '--limit', String(images)],
      ...['--validation-limit', String(Math.ceil(images / 5)), '--out', join(folder, 'run'), '--json'],
      ...options,
      ...extra,
    ];
    const child = spawn(process.execPath, [program, ...args], {
      env: { ...process.env, GRAFT_CACHE: cache },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const memory = watchMemory(child.pid!);
    let output = '';
    for await (const piece of child.stdout) output += String(piece);
    const { peakMB, mainMB, childMB } = memory.end();
    const { seconds, preparationSeconds, imagesPerSecond } = JSON.parse(output) as Measured;
    const record = (await readJson(join(folder, 'run', 'run.json'))) as Recorded;
    const secondsIn = (wanted: string) =>
      record.sessions[0]!.phases.find(({ name }) => name === wanted)?.seconds ?? 0;
    const parts = { trainingSeconds: secondsIn('training'), validationSeconds: secondsIn('validation') };
    const times = { seconds, preparationSeconds, ...parts, imagesPerSecond };
    const result = { name, images, ...times, peakMB, mainPeakMB: mainMB, enginePeakMB: childMB };
    console.log(JSON.stringify(result));
    return result;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function shareCache(cache: string): Promise<void> {
  await mkdir(cache, { recursive: true });
  const usual = cacheFolder();
  for (const entry of await readdir(usual).catch(() => [])) {
    if (entry !== 'features') await symlink(resolve(usual, entry), join(cache, entry));
  }
}
