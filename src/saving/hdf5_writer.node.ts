/** Writing the few things of HDF5 that weight files use: groups, numeric data sets and text attributes. */
import { bytesOf, bytesPerElement, type Tensor } from '../core/tensor.ts';
import {
  checked,
  HDF5_FLOAT,
  HDF5_INTEGER,
  HDF5_STRING,
  type Hdf5Library,
  type Hdf5WriteMetadata,
  quiet,
} from './hdf5_library.node.ts';
import { type Slice, slicesOf, withBuffer } from './hdf5_slices.node.ts';
import { asFloat32 } from './tensors.ts';

/** HDF5 keeps an attribute in its object's header, which ends at 64 KB; Keras cuts lists at this size. */
export const ATTRIBUTE_LIMIT = 64512;

/** An HDF5 file being written. Use it inside `withHdf5` only. */
export class Hdf5Writer {
  readonly #hdf5: Hdf5Library;
  readonly #file: bigint;
  readonly #groups = new Set<string>(['']);

  constructor(hdf5: Hdf5Library, file: bigint) {
    this.#hdf5 = hdf5;
    this.#file = file;
  }

  /** Makes a group and those above it. */
  group(path: string): void {
    if (this.#groups.has(path)) return;
    this.group(path.slice(0, path.lastIndexOf('/')));
    checked(() => this.#hdf5.create_group(this.#file, path, false));
    this.#groups.add(path);
  }

  /** Writes one text of any length, as h5py does: variable-length, ASCII. */
  text(path: string, name: string, text: string): void {
    const type = typeOf(HDF5_STRING, 4, [], { vlen: true });
    checked(() => this.#hdf5.create_vlen_str_attribute(this.#file, path, name, [text], type));
  }

  /** Writes a list of byte strings of one fixed length; an empty list is written as Keras writes it. */
  texts(path: string, name: string, texts: readonly Uint8Array[], width: number): void {
    const type =
      texts.length === 0
        ? typeOf(HDF5_FLOAT, 8, [0], {})
        : typeOf(HDF5_STRING, width, [texts.length], { cset: 0 });
    withBuffer(this.#hdf5, texts.length * width, (pointer) => {
      this.#hdf5.HEAPU8.fill(0, pointer, pointer + texts.length * width);
      for (const [i, text] of texts.entries()) this.#hdf5.HEAPU8.set(text, pointer + i * width);
      checked(() => this.#hdf5.create_attribute(this.#file, path, name, BigInt(pointer), type));
    });
  }

  /** Writes a tensor. float16 is widened to float32 and bool is stored as uint8: the library writes neither. */
  dataset(path: string, values: Tensor): void {
    this.group(path.slice(0, path.lastIndexOf('/')));
    const stored = values.dtype === 'float16' ? asFloat32(values) : values;
    const bytes = bytesOf(stored);
    const kind = stored.dtype === 'float32' ? HDF5_FLOAT : HDF5_INTEGER;
    const signed = stored.dtype !== 'uint8' && stored.dtype !== 'bool';
    const type = typeOf(kind, bytesPerElement(stored.dtype), stored.shape, { signed });
    const slices = slicesOf(stored.shape, bytesPerElement(stored.dtype));
    const rowBytes = bytes.length / (stored.shape[0] ?? 1);
    withBuffer(this.#hdf5, Math.min(bytes.length, slices[0]!.count * rowBytes), (pointer) => {
      const put = ({ row, count }: Slice) =>
        this.#hdf5.HEAPU8.set(bytes.subarray(row * rowBytes, (row + count) * rowBytes), pointer);
      if (slices.length === 1) {
        put(slices[0]!);
        checked(() => this.#hdf5.create_dataset(this.#file, path, BigInt(pointer), type));
        return;
      }
      // Made without values: the library complains that there are none, and what is really wrong shows below.
      quiet(() => this.#hdf5.create_dataset(this.#file, path, 0n, type));
      for (const slice of slices) {
        put(slice);
        checked(() => this.#hdf5.set_dataset_data(this.#file, path, ...slice.extent, BigInt(pointer)));
      }
    });
  }
}

function typeOf(
  type: number,
  size: number,
  shape: readonly number[],
  options: { readonly vlen?: boolean; readonly signed?: boolean; readonly cset?: 0 },
): Hdf5WriteMetadata {
  const { vlen = false, signed = false } = options;
  const dims = shape.map(BigInt);
  const layout = { chunks: null, compression: 0, compression_opts: [], track_order: false } as const;
  return { type, size, signed, littleEndian: true, vlen, cset: 0, shape: dims, maxshape: dims, ...layout };
}
