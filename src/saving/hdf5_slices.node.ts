/** What reading and writing HDF5 share: paths, and the small buffer of the library that data goes through. */
import { sizeOf } from '../core/tensor.ts';
import { Hdf5Error, type Hdf5Library, quiet } from './hdf5_library.node.ts';

/** Bytes that go through the library's memory at once: it never gives memory back. */
export const SLICE_BYTES = 16 << 20;

/** The path of something in a group. */
export function join(group: string, name: string): string {
  return group === '/' ? `/${name}` : `${group}/${name}`;
}

type Dims = readonly bigint[] | null;

/** Some rows of a data set; `extent` is their count, offset and strides as the library takes them, null for all. */
export interface Slice {
  readonly row: number;
  readonly count: number;
  readonly extent: readonly [count: Dims, offset: Dims, strides: Dims];
}

/** A data set of some size, by the rows that fit into the buffer. */
export function slicesOf(shape: readonly number[], elementBytes: number): Slice[] {
  const [rows = 1, ...rest] = shape;
  const most = Math.max(1, Math.floor(SLICE_BYTES / (sizeOf(rest) * elementBytes)));
  if (most >= rows) return [{ row: 0, count: rows, extent: [null, null, null] }];
  const inner = rest.map(BigInt);
  const strides = shape.map(() => 1n);
  const slices: Slice[] = [];
  for (let row = 0; row < rows; row += most) {
    const count = Math.min(most, rows - row);
    const offset = [BigInt(row), ...inner.map(() => 0n)];
    slices.push({ row, count, extent: [[BigInt(count), ...inner], offset, strides] });
  }
  return slices;
}

/** Memory of the library while `use` runs. */
export function withBuffer<T>(hdf5: Hdf5Library, bytes: number, use: (pointer: number) => T): T {
  const pointer = quiet(() => hdf5._malloc(Math.max(bytes, 1)));
  if (pointer === 0) throw new Hdf5Error(`there is no memory for ${bytes} bytes`);
  try {
    return use(pointer);
  } finally {
    hdf5._free(pointer);
  }
}
