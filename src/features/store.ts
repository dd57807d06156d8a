/**
 * Features in memory: what the frozen part made of each picture, computed once. It knows tensors and rows; what
 * the numbers mean is the compiler's business.
 */

import { bytesPerElement, type DType, gatherRows, sizeOf, type Tensor, tensor } from '../core/tensor.ts';
import type { Rows } from '../data/dataset.ts';

/** Named tensors whose first axis is the row. */
export type Columns = Readonly<Record<string, Tensor>>;

export interface ColumnSpec {
  readonly name: string;
  /** Without the row axis. */
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Bytes of one row. */
export function rowBytes(specs: readonly ColumnSpec[]): number {
  return specs.reduce((total, { shape, dtype }) => total + sizeOf(shape) * bytesPerElement(dtype), 0);
}

/** Rows of one piece of memory; a typed array has its limits, so a column is kept in pieces. */
const pieceBytes = 64 * 2 ** 20;

/** Columns of `length` rows, filled in order and read in any. */
export class FeatureStore implements Rows<{ readonly features: Columns }> {
  readonly name: string;
  readonly shape: readonly number[];
  readonly #specs: readonly ColumnSpec[];
  readonly #pieceRows: number;
  readonly #pieces: Columns[] = [];
  #filled = 0;

  constructor(name: string, length: number, specs: readonly ColumnSpec[]) {
    this.name = name;
    this.shape = [length];
    this.#specs = specs;
    this.#pieceRows = Math.max(1, Math.floor(pieceBytes / rowBytes(specs)));
  }

  /** Rows written so far. */
  get filled(): number {
    return this.#filled;
  }

  /** Adds the next rows. */
  append(columns: Columns): void {
    const count = columns[this.#specs[0]!.name]!.shape[0]!;
    let taken = 0;
    while (taken < count) {
      const at = this.#filled % this.#pieceRows;
      if (at === 0)
        this.#pieces.push(this.#newPiece(Math.min(this.#pieceRows, this.shape[0]! - this.#filled)));
      const rows = Math.min(count - taken, this.#pieceRows - at);
      const piece = this.#pieces.at(-1)!;
      for (const { name, shape } of this.#specs) {
        const width = sizeOf(shape);
        const source = columns[name]!.data as Float32Array;
        (piece[name]!.data as Float32Array).set(
          source.subarray(taken * width, (taken + rows) * width),
          at * width,
        );
      }
      taken += rows;
      this.#filled += rows;
    }
  }

  async read(indices: ArrayLike<number>): Promise<{ readonly features: Columns }> {
    return {
      features: Object.fromEntries(this.#specs.map((spec) => [spec.name, this.#gather(spec, indices)])),
    };
  }

  #gather({ name, shape, dtype }: ColumnSpec, indices: ArrayLike<number>): Tensor {
    if (this.#pieces.length === 1) return gatherRows(this.#pieces[0]![name]!, indices);
    const width = sizeOf(shape);
    const result = tensor(dtype, [indices.length, ...shape]);
    const target = result.data as Float32Array;
    for (let i = 0; i < indices.length; i++) {
      const row = indices[i]!;
      const source = this.#pieces[Math.floor(row / this.#pieceRows)]![name]!.data as Float32Array;
      const at = (row % this.#pieceRows) * width;
      target.set(source.subarray(at, at + width), i * width);
    }
    return result;
  }

  #newPiece(rows: number): Columns {
    return Object.fromEntries(
      this.#specs.map(({ name, shape, dtype }) => [name, tensor(dtype, [rows, ...shape])]),
    );
  }
}
