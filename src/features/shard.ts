/**
 * The bytes of one shard, in a file or in memory (little-endian):
 *
 * | part | bytes |
 * |---|---|
 * | for each column: its rows, one after the other | rows × row |
 * | for each column: CRC-32 of each row | 4 × rows |
 * | for each column, uint8 only: scale of each channel | 4 × channels |
 * | key of the cache | 16 |
 * | number of the shard, rows | 4 + 4 |
 * | CRC-32 of everything behind the rows so far | 4 |
 *
 * A checksum for each row means that a shuffled read proves what it reads, and nothing has to be read first.
 */
import { crc32 } from 'node:zlib';
import { bytesOf, bytesPerElement, sizeOf, type Tensor, tensor } from '../core/tensor.ts';
import type { ColumnSpec, Columns } from './columns.ts';
import { decode, encode, observe, scalesFor } from './eight_bit.ts';

/** Part of every key: changes whenever the bytes mean something else. */
export const shardFormat = 1;

/** What distinguishes a shard from its neighbours and from those of other caches. */
export interface Seal {
  /** 32 hexadecimal digits. */
  readonly key: string;
  readonly shard: number;
}

export interface ColumnLayout {
  readonly spec: ColumnSpec;
  /** Elements of a row. */
  readonly width: number;
  /** Bytes of a row as it is kept. */
  readonly bytes: number;
  /** Offset of the first row. */
  readonly at: number;
  /** Scales; 0 unless the encoding has them. */
  readonly channels: number;
}

/** Where everything is in a shard of so many rows. */
export interface ShardLayout {
  readonly rows: number;
  readonly columns: readonly ColumnLayout[];
  readonly footerAt: number;
  readonly bytes: number;
}

/** What is needed to check and decode rows. */
export interface Footer {
  readonly checksums: readonly Uint32Array[];
  readonly scales: readonly Float32Array[];
}

const tailBytes = 28;

export function layoutOf(specs: readonly ColumnSpec[], rows: number): ShardLayout {
  const columns: ColumnLayout[] = [];
  let at = 0;
  for (const spec of specs) {
    const width = sizeOf(spec.shape);
    const eight = spec.encoding === 'uint8';
    const bytes = width * (eight ? 1 : bytesPerElement(spec.dtype));
    columns.push({ spec, width, bytes, at, channels: eight ? (spec.shape.at(-1) ?? 1) : 0 });
    at += rows * bytes;
  }
  const footer = columns.reduce((total, { channels }) => total + 4 * rows + 4 * channels, tailBytes);
  return { rows, columns, footerAt: at, bytes: at + footer };
}

/** Fills the bytes of one shard, in order. Eight-bit values wait as float32 until their scales are known. */
export class ShardWriter {
  readonly #layout: ShardLayout;
  readonly #image: Uint8Array;
  readonly #name: string;
  /** Of each column: values and largest values; empty for plain ones. */
  readonly #waiting: readonly Float32Array[];
  readonly #largest: readonly Float32Array[];
  #filled = 0;

  /** `image` has `layout.bytes` bytes and is overwritten; `name` is for messages. */
  constructor(layout: ShardLayout, image: Uint8Array, name: string) {
    this.#layout = layout;
    this.#image = image;
    this.#name = name;
    const { columns, rows } = layout;
    this.#waiting = columns.map(({ width, channels }) => new Float32Array(channels > 0 ? rows * width : 0));
    this.#largest = columns.map(({ channels }) => new Float32Array(channels));
  }

  append(columns: Columns): void {
    let count = 0;
    this.#layout.columns.forEach(({ spec, at, bytes, width, channels }, i) => {
      const values = columns[spec.name]!;
      count = values.shape[0]!;
      if (channels === 0) this.#image.set(bytesOf(values), at + this.#filled * bytes);
      else {
        observe(values.data as Float32Array, this.#largest[i]!, this.#name);
        this.#waiting[i]!.set(values.data as Float32Array, this.#filled * width);
      }
    });
    this.#filled += count;
  }

  /** The finished shard. */
  finish({ key, shard }: Seal): Uint8Array {
    const { columns, rows, footerAt, bytes: total } = this.#layout;
    const image = this.#image;
    const scales = this.#largest.map(scalesFor);
    columns.forEach(({ at, bytes, channels }, i) => {
      if (channels > 0) encode(this.#waiting[i]!, scales[i]!, image.subarray(at, at + rows * bytes));
    });
    let position = footerAt;
    const put = (values: Uint32Array | Float32Array | Uint8Array) => {
      image.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), position);
      position += values.byteLength;
    };
    for (const column of columns) {
      put(checksumsOf(image.subarray(column.at, column.at + rows * column.bytes), column.bytes));
    }
    for (const values of scales) put(values);
    put(Buffer.from(key, 'hex'));
    put(Uint32Array.of(shard, rows));
    put(Uint32Array.of(crc32(image.subarray(footerAt, total - 4))));
    return image;
  }
}

/** CRC-32 of each row. */
function checksumsOf(bytes: Uint8Array, row: number): Uint32Array {
  return Uint32Array.from({ length: bytes.length / row }, (_, i) =>
    crc32(bytes.subarray(i * row, (i + 1) * row)),
  );
}

/** Reads what lies behind the rows; null if it is damaged or belongs to another shard. */
export function readFooter(bytes: Uint8Array, layout: ShardLayout, { key, shard }: Seal): Footer | null {
  // Not slice: a Buffer's shares its memory.
  const copy = new Uint8Array(bytes);
  const view = new DataView(copy.buffer);
  const tail = copy.length - tailBytes;
  if (copy.length !== layout.bytes - layout.footerAt) return null;
  if (view.getUint32(copy.length - 4, true) !== crc32(copy.subarray(0, -4))) return null;
  if (Buffer.from(copy.subarray(tail, tail + 16)).toString('hex') !== key) return null;
  if (view.getUint32(tail + 16, true) !== shard || view.getUint32(tail + 20, true) !== layout.rows)
    return null;
  const { columns, rows } = layout;
  const checksums = columns.map((_, i) => new Uint32Array(copy.buffer, 4 * rows * i, rows));
  let at = 4 * rows * columns.length;
  const scales = columns.map(({ channels }) => {
    const values = new Float32Array(copy.buffer, at, channels);
    at += values.byteLength;
    return values;
  });
  return { checksums, scales };
}

/** Whether rows of a column, from `first` on, are what was written. */
export function areIntact(bytes: Uint8Array, row: number, checksums: Uint32Array, first: number): boolean {
  for (let i = 0; i * row < bytes.length; i++) {
    if (crc32(bytes.subarray(i * row, (i + 1) * row)) !== checksums[first + i]) return false;
  }
  return true;
}

/** The footer of a whole shard if every byte of it is right, else null. */
export function inspect(image: Uint8Array, layout: ShardLayout, seal: Seal): Footer | null {
  if (image.length !== layout.bytes) return null;
  const footer = readFooter(image.subarray(layout.footerAt), layout, seal);
  const intact = layout.columns.every(
    ({ at, bytes }, i) =>
      footer && areIntact(image.subarray(at, at + layout.rows * bytes), bytes, footer.checksums[i]!, 0),
  );
  return intact ? footer : null;
}

/** Tensors for so many rows. */
export function emptyRows(layout: ShardLayout, count: number): Tensor[] {
  return layout.columns.map(({ spec }) => tensor(spec.dtype, [count, ...spec.shape]));
}

/** Puts kept rows of a column into a tensor, from row `at` on. */
export function deliver(
  bytes: Uint8Array,
  column: ColumnLayout,
  scales: Float32Array,
  to: Tensor,
  at: number,
) {
  if (column.channels === 0) return bytesOf(to).set(bytes, at * column.bytes);
  const values = (to.data as Float32Array).subarray(at * column.width, at * column.width + bytes.length);
  decode(bytes, scales, values);
}
