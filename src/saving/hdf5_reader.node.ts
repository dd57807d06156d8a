/**
 * Reading the few things of HDF5 that weight files use: groups, numeric data sets and text attributes. A large tensor
 * exists once. A file is never trusted: links are not followed, and nothing is read that is larger than the file could
 * hold.
 */
import { bytesOf, type DType, sizeOf, type Tensor, tensor } from '../core/tensor.ts';
import { withoutTrailing } from '../core/text.ts';
import {
  checked,
  complained,
  HDF5_ENUM,
  HDF5_FLOAT,
  HDF5_INTEGER,
  HDF5_STRING,
  Hdf5Error,
  type Hdf5Library,
  type Hdf5Metadata,
  quiet,
} from './hdf5_library.node.ts';
import { SLICE_BYTES, slicesOf, withBuffer } from './hdf5_slices.node.ts';

/** A compressed data set may be this many times larger than the whole file; Keras compresses nothing. */
const EXPANSION_LIMIT = 32;

/** An HDF5 file open for reading. Use it inside `withHdf5` only. */
export class Hdf5Reader {
  readonly #hdf5: Hdf5Library;
  readonly #file: bigint;
  readonly #fileBytes: number;
  readonly #plain = new Set<string>();
  #plainBytes = 0;
  #filteredBytes = 0;

  constructor(hdf5: Hdf5Library, file: bigint, fileBytes: number) {
    this.#hdf5 = hdf5;
    this.#file = file;
    this.#fileBytes = fileBytes;
  }

  /** What is at a path, or null. Throws on links, which could lead into other files. */
  kindOf(path: string): 'group' | 'dataset' | null {
    const parts = path.split('/').slice(1);
    if (path !== '/' && parts.includes('')) throw new Hdf5Error(`the path "${path}" has an empty part`);
    for (let depth = 1; depth <= parts.length; depth++)
      this.#refuseLink(`/${parts.slice(0, depth).join('/')}`);
    const type = path === '/' ? this.#hdf5.H5G_GROUP : quiet(() => this.#hdf5.get_type(this.#file, path));
    if (type === this.#hdf5.H5G_GROUP) return 'group';
    return type === this.#hdf5.H5G_DATASET ? 'dataset' : null;
  }

  #refuseLink(path: string): void {
    if (path === '/' || this.#plain.has(path)) return;
    const soft = quiet(() => this.#hdf5.get_symbolic_link(this.#file, path));
    const external = quiet(() => this.#hdf5.get_external_link(this.#file, path));
    if (soft !== null || external.filename !== undefined) throw new Hdf5Error(`"${path}" is a link`);
    this.#plain.add(path);
  }

  /** The strings of an attribute (one for a scalar), or null when there is no such attribute. */
  texts(path: string, name: string): string[] | null {
    const type = this.#attributeType(path, name);
    if (type === null) return null;
    // Keras writes an empty list of names as an empty list of numbers.
    if (type.shape === null || type.total_size === 0) return [];
    if (type.type !== HDF5_STRING) throw new Hdf5Error(`the attribute "${name}" of "${path}" is not text`);
    const bytes = type.size * type.total_size;
    if (!(bytes <= this.#fileBytes)) throw new Hdf5Error(`the attribute "${name}" of "${path}" is too large`);
    return withBuffer(this.#hdf5, bytes, (pointer) => {
      checked(() => this.#hdf5.get_attribute_data(this.#file, path, name, BigInt(pointer)));
      if (!type.vlen) return fixedTexts(this.#hdf5.HEAPU8.slice(pointer, pointer + bytes), type);
      const pointers = new Uint32Array(this.#hdf5.HEAPU8.slice(pointer, pointer + bytes).buffer);
      const texts = Array.from(pointers, (at) => textAt(this.#hdf5.HEAPU8, at));
      checked(() => this.#hdf5.reclaim_vlen_memory(this.#file, path, name, BigInt(pointer)));
      return texts;
    });
  }

  /** The only or first text of an attribute, or null when there is no such attribute. */
  attributeText(path: string, name: string): string | null {
    return this.texts(path, name)?.[0] ?? null;
  }

  #attributeType(path: string, name: string): Hdf5Metadata | null {
    try {
      return checked(() => this.#hdf5.get_attribute_metadata(this.#file, path, name));
    } catch (error) {
      // "name not defined" without a complaint means that the attribute is not there.
      if (error instanceof Error && error.message.includes('not defined') && !complained()) return null;
      throw error;
    }
  }

  /** The tensor in a data set. Throws when it cannot be one, or cannot fit into the file. */
  dataset(path: string): Tensor {
    if (this.kindOf(path) !== 'dataset') throw new Hdf5Error(`there is no data set "${path}"`);
    const type = checked(() => this.#hdf5.get_dataset_metadata(this.#file, path));
    if (type.shape === null || type.virtual_sources !== undefined) {
      throw new Hdf5Error(`the data set "${path}" holds no values of its own`);
    }
    this.#spend(path, type, type.shape);
    const form = formOf(path, type);
    const result = tensor(form.dtype, type.shape);
    this.#readSlices(path, type, result, form.convert);
    return result;
  }

  /** Refuses a data set that, with all those before it, is larger than this file can be. */
  #spend(path: string, type: Hdf5Metadata, shape: readonly number[]): void {
    const filtered = checked(() => this.#hdf5.get_dataset_filters(this.#file, path)).length > 0;
    const bytes = sizeOf(shape) * type.size;
    if (filtered) this.#filteredBytes += bytes;
    else this.#plainBytes += bytes;
    const allowed = this.#fileBytes * EXPANSION_LIMIT;
    const chunkBytes = sizeOf(type.chunks ?? []) * type.size;
    // Written so that NaN and infinity, the products of absurd shapes, are refused too.
    const fits = this.#plainBytes <= this.#fileBytes && this.#filteredBytes <= allowed;
    if (!(fits && chunkBytes <= Math.max(allowed, SLICE_BYTES))) {
      throw new Hdf5Error(
        `the data set "${path}" of shape (${shape.join(', ')}) is larger than the file can hold`,
      );
    }
  }

  #readSlices(path: string, type: Hdf5Metadata, into: Tensor, convert: Conversion | null): void {
    const size = sizeOf(into.shape);
    if (size === 0) return;
    const rowSize = size / (into.shape[0] ?? 1);
    const target = bytesOf(into);
    const slices = slicesOf(into.shape, type.size);
    withBuffer(this.#hdf5, slices[0]!.count * rowSize * type.size, (pointer) => {
      for (const { row, count, extent } of slices) {
        checked(() => this.#hdf5.get_dataset_data(this.#file, path, ...extent, BigInt(pointer)));
        const heap = this.#hdf5.HEAPU8;
        if (convert) convert(heap.buffer as ArrayBuffer, pointer, count * rowSize, into, row * rowSize);
        else {
          const rowBytes = rowSize * type.size;
          target.set(heap.subarray(pointer, pointer + count * rowBytes), row * rowBytes);
        }
      }
    });
  }
}

/** The zero-terminated text at an address of the library's memory; a null pointer is an empty text. */
function textAt(heap: Uint8Array, pointer: number): string {
  return pointer === 0 ? '' : Buffer.from(heap.subarray(pointer, heap.indexOf(0, pointer))).toString('utf8');
}

function fixedTexts(bytes: Uint8Array, type: Hdf5Metadata): string[] {
  const texts: string[] = [];
  for (let start = 0; start < bytes.length; start += type.size) {
    const end = bytes.subarray(start, start + type.size).indexOf(0);
    const text = Buffer.from(bytes.subarray(start, start + (end < 0 ? type.size : end))).toString('utf8');
    texts.push(type.strpad === SPACE_PADDED ? withoutTrailing(text, ' ') : text);
  }
  return texts;
}

const SPACE_PADDED = 2;

type Conversion = (source: ArrayBuffer, pointer: number, count: number, into: Tensor, at: number) => void;

/** How a stored type becomes a tensor: directly, or through a conversion of the slices. */
function formOf(path: string, type: Hdf5Metadata): { dtype: DType; convert: Conversion | null } {
  const key = `${type.type}/${type.size}${type.type === HDF5_INTEGER && type.signed ? 's' : ''}`;
  const form = forms[key];
  if (!form) throw new Hdf5Error(`the data set "${path}" has a type that is not supported (${key})`);
  return { dtype: form[0], convert: form[1] ?? null };
}

const forms: { readonly [key: string]: readonly [DType, Conversion?] } = {
  [`${HDF5_FLOAT}/4`]: ['float32'],
  [`${HDF5_FLOAT}/2`]: ['float16'],
  [`${HDF5_FLOAT}/8`]: [
    'float32',
    (source, pointer, count, into, at) =>
      (into.data as Float32Array).set(new Float64Array(source, pointer, count), at),
  ],
  [`${HDF5_INTEGER}/1`]: ['uint8'],
  [`${HDF5_INTEGER}/1s`]: ['int8'],
  [`${HDF5_INTEGER}/2`]: [
    'int32',
    (source, pointer, count, into, at) =>
      (into.data as Int32Array).set(new Uint16Array(source, pointer, count), at),
  ],
  [`${HDF5_INTEGER}/2s`]: [
    'int32',
    (source, pointer, count, into, at) =>
      (into.data as Int32Array).set(new Int16Array(source, pointer, count), at),
  ],
  [`${HDF5_INTEGER}/4s`]: ['int32'],
  [`${HDF5_INTEGER}/4`]: [
    'int64',
    (source, pointer, count, into, at) =>
      (into.data as BigInt64Array).set(Array.from(new Uint32Array(source, pointer, count), BigInt), at),
  ],
  [`${HDF5_INTEGER}/8s`]: ['int64'],
  [`${HDF5_ENUM}/1`]: ['bool'], // h5py's booleans
};
