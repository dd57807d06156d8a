/** What tests of `features/` need: features that are a function of their row, and an ear for what happens. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { toFloat16 } from '../../src/core/float16.ts';
import { sizeOf, type Tensor, tensor } from '../../src/core/tensor.ts';
import {
  type ColumnSpec,
  type Columns,
  type Features,
  type KeepOptions,
  keepFeatures,
  Plan,
} from '../../src/features/index.ts';

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'graft-features-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** What a value of these columns is: reproducible, different in each place, at least 0, exact in float16. */
export function valueAt(row: number, element: number): number {
  return ((row * 31 + element * 7) % 509) / 8;
}

export const plainColumns: readonly ColumnSpec[] = [
  { name: 'feature0', shape: [2, 3], dtype: 'float16', encoding: 'plain' },
  { name: 'feature1', shape: [5], dtype: 'float32', encoding: 'plain' },
  { name: 'y', shape: [], dtype: 'int32', encoding: 'plain' },
];

export const eightBitColumns: readonly ColumnSpec[] = [
  { name: 'feature0', shape: [2, 3], dtype: 'float32', encoding: 'uint8' },
  { name: 'y', shape: [], dtype: 'int32', encoding: 'plain' },
];

/** The rows at these positions as they are computed. */
export function computedRows(columns: readonly ColumnSpec[], indices: ArrayLike<number>): Columns {
  return Object.fromEntries(
    columns.map(({ name, shape, dtype }) => {
      const width = sizeOf(shape);
      const values = Float32Array.from({ length: indices.length * width }, (_, i) =>
        valueAt(indices[Math.floor(i / width)]!, i % width),
      );
      const full = [indices.length, ...shape];
      if (dtype === 'float16') return [name, tensor('float16', full, toFloat16(values))];
      if (dtype === 'int32') return [name, tensor('int32', full, Int32Array.from(values))];
      return [name, tensor('float32', full, values) as Tensor];
    }),
  );
}

export interface Kept {
  readonly features: Features;
  readonly plan: Plan;
  /** Rows in the order in which they were computed; grows when something is computed again. */
  readonly computed: number[];
  /** What a person was told. */
  readonly texts: string[];
  /** The path of a shard's file. */
  path(shard: number): string;
}

export interface Keeping extends Partial<KeepOptions> {
  readonly rows?: number;
  readonly columns?: readonly ColumnSpec[];
  readonly shardBytes?: number;
  readonly name?: string;
  readonly compute?: (indices: Int32Array) => Promise<Columns>;
  readonly origin?: Readonly<Record<string, string>>;
}

/** Bytes of a shard with which one of `plainColumns` has 32 rows: 36 bytes a row. */
export const smallShard = 36 * 32;

/** Keeps features of 100 rows in four shards of 32, unless told otherwise. */
export async function keep(folder: string, options: Keeping = {}): Promise<Kept> {
  const {
    rows = 100,
    columns = plainColumns,
    shardBytes = smallShard,
    name = 'things',
    origin = {},
  } = options;
  const computed: number[] = [];
  const texts: string[] = [];
  const compute = options.compute ?? (async (indices: Int32Array) => computedRows(columns, indices));
  const plan = new Plan({
    source: { name, shape: [rows] },
    columns,
    origin: { frozen: 'abc', ...origin },
    shardBytes,
    compute: (indices) => {
      computed.push(...indices);
      return compute(indices);
    },
  });
  const watcher = {
    onBegin: (text: string) => texts.push(text),
    onRows: () => undefined,
    onEnd: () => undefined,
    note: (text: string) => texts.push(text),
  };
  const features = await keepFeatures(plan, { mode: 'disk', folder, watcher, ...options });
  const path = (shard: number) =>
    join(folder, 'features', plan.key, `shard-${String(shard).padStart(5, '0')}`);
  return { features, plan, computed, texts, path };
}

export const range = (start: number, end: number): number[] =>
  Array.from({ length: end - start }, (_, i) => start + i);

/** Inverts one bit of a file. */
export async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  const position = at < 0 ? bytes.length + at : at;
  bytes[position]! ^= 1;
  await writeFile(path, bytes);
}

export interface ChildOrder {
  readonly folder: string;
  readonly rows: number;
  /** float32 values of a row. */
  readonly width: number;
  readonly shardBytes: number;
  /** Milliseconds that a computation takes. */
  readonly delay?: number;
  /** Read all rows in a shuffled order afterwards. */
  readonly read?: boolean;
}

/** Another process that extracts features; it needs a build. It prints a line for each computation. */
export function startChild(order: ChildOrder): ChildProcess {
  const script = fileURLToPath(new URL('./extract.mjs', import.meta.url));
  return spawn(process.execPath, [script, JSON.stringify(order)], { stdio: ['ignore', 'pipe', 'inherit'] });
}

export interface ChildReport {
  readonly computed: number;
  readonly wrong: number;
  readonly key: string;
  readonly maxRss: number;
}

export async function endOf(child: ChildProcess): Promise<ChildReport> {
  let output = '';
  for await (const piece of child.stdout!) output += String(piece);
  return JSON.parse(output.trim().split('\n').at(-1)!) as ChildReport;
}
