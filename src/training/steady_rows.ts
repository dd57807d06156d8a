/**
 * Rows that the engine keeps. An epoch goes to it batch by batch; where rows are small and the same in every epoch, as
 * pooled features are, sending them takes longer than the step of a head. So from the second epoch on their positions
 * are sent.
 */
import { bytesPerElement, gatherRows, scatterRows, sizeOf, type Tensor, tensor } from '../core/tensor.ts';
import type { Executor } from './executor.ts';
import type { FeatureBatch } from './feeds.ts';
import type { Prepared, PreparedRows } from './prepare.ts';

/** Bytes of a row from which on sending it is little beside the step. */
const largeRow = 32 * 2 ** 10;
/** Most bytes of a data set that the engine keeps. */
const mostBytes = 512 * 2 ** 20;

/** Where the features of a batch are in the engine. */
export interface KeptBatch {
  /** Name of the data set, its rows, and the positions of this batch. */
  readonly set: string;
  readonly length: number;
  readonly indices: readonly number[];
  /** Says that the engine has them now. */
  sent(): void;
}

/** The same data set, kept by the engine from the first epoch on if that is worth it; `executor.forgetRows` ends it. */
export function keptByEngine(executor: Executor, prepared: Prepared, set: string): Prepared {
  // A device would be sent all of them at each step.
  if (!prepared.steady || executor.options.device !== 'cpu') return prepared;
  const rows = prepared.rows(0);
  const bytes = executor
    .program(prepared.kind)
    .features.reduce((total, { shape, dtype }) => total + sizeOf(shape) * bytesPerElement(dtype), 0);
  if (bytes >= largeRow || bytes * rows.shape[0]! > mostBytes) return prepared;
  const kept = new KeptByEngine(rows, set);
  return { ...prepared, rows: () => kept };
}

class KeptByEngine implements PreparedRows {
  readonly name: string;
  readonly shape: readonly number[];
  readonly #source: PreparedRows;
  readonly #set: string;
  /** 1 for each row that the engine has. */
  readonly #there: Uint8Array;
  #labels: Tensor<'int32' | 'float32'> | null = null;

  constructor(source: PreparedRows, set: string) {
    this.name = source.name;
    this.shape = source.shape;
    this.#source = source;
    this.#set = set;
    this.#there = new Uint8Array(source.shape[0]!);
  }

  async read(positions: ArrayLike<number>): Promise<Omit<FeatureBatch, 'sampleWeight'>> {
    const indices = Array.from(positions);
    const kept = { set: this.#set, length: this.#there.length, indices };
    if (this.#labels !== null && indices.every((index) => this.#there[index] === 1)) {
      return { features: {}, y: gatherRows(this.#labels, indices), kept: { ...kept, sent: () => undefined } };
    }
    const batch = await this.#source.read(positions);
    return { ...batch, kept: { ...kept, sent: () => this.#note(indices, batch.y) } };
  }

  #note(indices: readonly number[], y: Tensor<'int32' | 'float32'>): void {
    this.#labels ??= tensor(y.dtype, [this.#there.length, ...y.shape.slice(1)]);
    scatterRows(y, indices, this.#labels);
    for (const index of indices) this.#there[index] = 1;
  }
}
