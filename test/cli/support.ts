/** Runs the built command line as a person does, against a small mirror made here, so that no network is needed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createGzip } from 'node:zlib';
import sharp from 'sharp';
import tar from 'tar-stream';
import type { RunRecord } from '../../src/cli/run_folder.ts';
import { sha256 } from '../data/support.ts';

export const repository = fileURLToPath(new URL('../..', import.meta.url));
const program = join(repository, 'dist/cli/main.js');

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves when the text has come on stderr. */
  seen(text: string): Promise<void>;
}

/** Where a test works: everything that the program writes stays inside. */
export interface Workplace {
  readonly folder: string;
  /** A path inside. */
  path(...names: string[]): string;
  /** What a run has recorded. */
  record(run: string): Promise<RunRecord>;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): Started;
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Finished>;
  remove(): Promise<void>;
}

export async function makeWorkplace(environment: Readonly<Record<string, string>> = {}): Promise<Workplace> {
  const folder = await mkdtemp(join(tmpdir(), 'graft-cli-'));
  const base = { ...process.env, GRAFT_CACHE: join(folder, 'cache'), GRAFT_MIRROR: '', ...environment };
  const start: Workplace['start'] = (args, env = {}) => launch(args, folder, { ...base, ...env });
  const path = (...names: string[]) => join(folder, ...names);
  return {
    folder,
    path,
    record: async (run) => JSON.parse(await readFile(path(run, 'run.json'), 'utf8')) as RunRecord,
    start,
    run: (args, env) => start(args, env).finished,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

function launch(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Started {
  const child = spawn(process.execPath, [program, ...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  const waiting: { text: string; resolve(): void }[] = [];
  child.stdout!.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr!.on('data', (chunk) => {
    stderr += chunk;
    for (const { text, resolve } of waiting) if (stderr.includes(text)) resolve();
  });
  const finished = new Promise<Finished>((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  const seen = (text: string) =>
    new Promise<void>((resolve, reject) => {
      if (stderr.includes(text)) resolve();
      waiting.push({ text, resolve });
      void finished.then(() => reject(new Error(`It ended without "${text}":\n${stderr}`)));
    });
  return { child, finished, seen };
}

/** Arguments as they are typed. */
export function words(line: string): string[] {
  return line.split(' ');
}

/** As much of ResNet50 as classifies colours within a second. */
export const tiny =
  '--data cifar10 --weights none --image-size 32 --backbone-output conv2_block1_out ' +
  '--limit 200 --validation-limit 60 --recipe probe --schedule constant --batch-size 20 --optimizer adam --threads 1';

/** Trains the classifier of colours that several tests look at. */
export async function trainColours(workplace: Workplace): Promise<Finished> {
  const mirror = await makeMirror(workplace.path('mirror'));
  const args = `train ${tiny} --head gap,bn --learning-rate 0.01 --epochs 3 --seed 5 --out runs/colours --json`;
  return workplace.run([...words(args), '--mirror', mirror]);
}

/** The object of `--json`: the last line of stdout. */
export function jsonOf({ stdout }: Finished): Record<string, unknown> {
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Record<string, unknown>;
}

const side = 32;
export const classNames = [
  ...['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'],
];

/** A picture that shows its class by its colours, with some noise: planes of red, green and blue. */
export function syntheticPicture(label: number, index: number): Uint8Array {
  const planes = new Uint8Array(3 * side * side);
  let state = index * 7919 + label + 1;
  for (let i = 0; i < planes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const channel = Math.floor(i / (side * side));
    const level = 40 + 170 * (((label + 1) >> channel) & 1) + (label > 7 ? 30 : 0);
    planes[i] = Math.min(255, level + (state >>> 28));
  }
  return planes;
}

/** The same as a PNG. */
export async function writePicture(path: string, label: number, index: number): Promise<void> {
  const planes = syntheticPicture(label, index);
  const pixels = Uint8Array.from(
    { length: planes.length },
    (_, i) => planes[(i % 3) * side * side + Math.floor(i / 3)]!,
  );
  await sharp(pixels, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toFile(path);
}

const recordBytes = 1 + 3 * side * side;
const records = 10_000;

/** A file of records: pictures at its beginning, black airplanes after them. */
function recordFile(pictures: number, seed: number): Buffer {
  const bytes = Buffer.alloc(records * recordBytes);
  for (let i = 0; i < pictures; i++) {
    const label = (i * 7 + seed) % 10;
    bytes[i * recordBytes] = label;
    bytes.set(syntheticPicture(label, i + 1000 * seed), i * recordBytes + 1);
  }
  return bytes;
}

/** A mirror whose CIFAR-10 has the real one's form; the first 500 training and 200 test pictures mean something. */
export async function makeMirror(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const pack = tar.pack();
  const black = recordFile(0, 0);
  const entries: readonly (readonly [string, Buffer])[] = [
    ['batches.meta.txt', Buffer.from(`${classNames.join('\n')}\n`)],
    ['data_batch_1.bin', recordFile(500, 3)],
    ...[2, 3, 4, 5].map((i) => [`data_batch_${i}.bin`, black] as const),
    ['test_batch.bin', recordFile(200, 5)],
  ];
  const compressed = pack.pipe(createGzip({ level: 1 }));
  for (const [name, content] of entries) pack.entry({ name: `cifar-10-batches-bin/${name}` }, content);
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of compressed) chunks.push(chunk as Buffer);
  const archive = Buffer.concat(chunks);
  await writeFile(join(folder, 'cifar-10-binary.tar.gz'), archive);
  const asset = {
    id: 'cifar10/binary',
    file: 'cifar-10-binary.tar.gz',
    sha256: sha256(archive),
    bytes: archive.length,
  };
  await writeFile(join(folder, 'manifest.json'), JSON.stringify({ format: 1, assets: [asset] }));
  return folder;
}
