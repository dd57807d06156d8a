/** Timing for ratios: every row is measured beside the yardstick, in turns, so that a busy machine hits both. */
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
  /** One unit of work, already warm. */
  run(): Promise<unknown>;
  /** Multiply-adds · 2 of one unit, in units of 10⁹; null where FLOPs say nothing. */
  readonly gflop: number | null;
  /** Images of one unit. */
  readonly images: number;
  readonly target: string;
  /** Other work whose time is put beside this one's, in the same rounds. */
  against?(): Promise<unknown>;
  /** Memory of the engine's process at its peak, in MB, if it is part of the row. */
  memory?(): Promise<number>;
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
