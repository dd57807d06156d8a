/** What features are: named tensors, row by row. What the numbers mean is the compiler's business. */
import { bytesPerElement, type DType, sizeOf, type Tensor } from '../core/tensor.ts';
import type { Rows } from '../data/dataset.ts';

/** How values are kept: as they were computed, or as eight bits with a scale for each channel. */
export type Encoding = 'plain' | 'uint8';

/** Named tensors whose first axis is the row. */
export type Columns = Readonly<Record<string, Tensor>>;

export interface ColumnSpec {
  readonly name: string;
  /** Without the row axis; the last axis is the channel. */
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** `uint8` takes float32. */
  readonly encoding: Encoding;
}

/** Features with random access, wherever they lie. */
export interface Features extends Rows<{ readonly features: Columns }> {
  /** True if they lie in memory: nothing will be read or computed for them any more. */
  readonly inMemory: boolean;
}

/** Bytes of one row as it is computed. */
export function rowBytes(specs: readonly ColumnSpec[]): number {
  return specs.reduce((total, { shape, dtype }) => total + sizeOf(shape) * bytesPerElement(dtype), 0);
}
