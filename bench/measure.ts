/** Timing for ratios: every row is measured beside the yardstick, in turns, so that a busy machine hits both. */
import { readFileSync } from 'node:fs';
import { float32 } from '../src/core/tensor.ts';
import * as o from '../src/graph/ops.ts';
import { emitModel } from '../src/onnx/emit.ts';
import { Engine } from '../src/runtime/engine.node.ts';

export interface Timing {
  /** Milliseconds. */
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export interface Row {
  readonly name: string;
  /** Work that is already warm. */
  run(): Promise<unknown>;
  /** Units of work in a run, whose times are of one unit. Defaults to 1. */
  readonly units?: number;
  /** Multiply-adds · 2 of one unit, in units of 10⁹; null where FLOPs say nothing. */
  readonly gflop: number | null;
  /** Images of one unit. */
  readonly images: number;
  readonly target: string;
  /** Other work whose time is put beside this one's, in the same rounds. */
  against?(): Promise<unknown>;
  /** Memory of the engine's process at its peak, in MB, if it is part of the row. */
  memory?(): number;
  close(): Promise<void>;
}

export function summarize(times: readonly number[]): Timing {
  const sorted = [...times].sort((a, b) => a - b);
  return { median: sorted[sorted.length >> 1]!, low: sorted[0]!, high: sorted.at(-1)! };
}

export async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

export function printTable(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    );
}

/** Megabytes that a process had resident at its peak (Linux); null if it is gone. */
export function peakMemory(pid: number): number | null {
  return megabytes(pid, 'status', 'VmHWM');
}

/** Looks at a process and its children once a second: their tables of pages are read, some milliseconds a look. */
export function watchMemory(pid: number) {
  let peakMB = 0;
  let mainMB = 0;
  let childMB = 0;
  const look = () => {
    const children = childrenOf(pid);
    mainMB = Math.max(mainMB, peakMemory(pid) ?? 0);
    childMB = Math.max(childMB, ...children.map((child) => peakMemory(child) ?? 0));
    // A page that several processes have, such as one of node's code, counts once for all of them.
    const shares = [pid, ...children].map((each) => megabytes(each, 'smaps_rollup', 'Pss') ?? 0);
    peakMB = Math.max(
      peakMB,
      shares.reduce((total, share) => total + share),
    );
  };
  const timer = setInterval(look, 1000);
  return {
    /** The most that all had at a time, and that the process and the largest of its children had. */
    end() {
      clearInterval(timer);
      return { peakMB, mainMB, childMB };
    },
  };
}

function megabytes(pid: number, file: string, field: string): number | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return null;
  }
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) / 1024;
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}

/** Eight 2048³ float32 products in a chain, through the same runtime: 137 GFLOP. Only a scalar leaves the graph. */
export async function yardstick(): Promise<{
  run(): Promise<unknown>;
  gflop: number;
  close(): Promise<void>;
}> {
  const size = 2048;
  const a = o.input('a', [size, size]);
  let product = a;
  for (let i = 0; i < 8; i++) product = o.matmul(product, a);
  const engine = Engine.start();
  const session = await engine.load(emitModel({ sum: o.sum(product) }));
  const values = float32([size, size], new Float32Array(size * size).fill(1 / size));
  return {
    run: () => session.run({ a: values }),
    gflop: (8 * 2 * size ** 3) / 1e9,
    close: () => engine.close(),
  };
}
