/**
 * The HDF5 library (compiled to WebAssembly) and everything needed to survive it: its complaints are collected
 * instead of printed, an instance that crashed on a damaged file is thrown away, and no file stays open.
 * What is read and written is `hdf5_reader.node.ts`'s and `hdf5_writer.node.ts`'s business.
 */
import { closeSync, existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fail, GraftError, messageOf } from '../core/errors.ts';

/** What the library says about a data set or an attribute. `shape` is null for an empty data space. */
export interface Hdf5Metadata {
  readonly type: number;
  readonly size: number;
  readonly signed: boolean;
  readonly vlen: boolean;
  readonly strpad?: number;
  readonly shape: readonly number[] | null;
  readonly chunks: readonly number[] | null;
  readonly total_size: number;
  readonly virtual_sources?: unknown;
}

/** What is to be written: like `Hdf5Metadata`, with the fields that the library wants to be told. */
export interface Hdf5WriteMetadata {
  readonly type: number;
  readonly size: number;
  readonly signed: boolean;
  readonly littleEndian: true;
  readonly vlen: boolean;
  readonly cset?: number;
  readonly shape: readonly bigint[];
  readonly maxshape: readonly bigint[];
  readonly chunks: null;
  readonly compression: 0;
  readonly compression_opts: readonly number[];
  readonly track_order: false;
}

/** Classes of HDF5 types (`H5T_class_t`). */
export const HDF5_INTEGER = 0;
export const HDF5_FLOAT = 1;
export const HDF5_STRING = 3;
export const HDF5_ENUM = 8;

interface Stream {
  readonly fd: number;
  readonly nfd: number;
  readonly path: string;
}

/** The low-level functions of h5wasm that Graft calls; its own classes read whole data sets into its memory. */
export interface Hdf5Library {
  readonly HEAPU8: Uint8Array;
  readonly H5G_GROUP: number;
  readonly H5G_DATASET: number;
  readonly H5F_ACC_RDONLY: number;
  readonly H5F_ACC_TRUNC: number;
  readonly FS: {
    readonly streams: readonly (Stream | null | undefined)[];
    readonly ErrnoError: new (errno: number) => Error;
    open(path: string, flags: number, mode: number): Stream;
    write(stream: Stream, buffer: Int8Array, offset: number, length: number, position?: number): number;
  };
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  open(path: string, mode: number, trackOrder: boolean, low: number, high: number): bigint;
  close_file(file: bigint): number;
  flush(file: bigint): number;
  get_type(file: bigint, path: string): number;
  get_symbolic_link(file: bigint, path: string): string | null;
  get_external_link(file: bigint, path: string): { readonly filename?: string };
  get_attribute_metadata(file: bigint, path: string, name: string): Hdf5Metadata;
  get_attribute_data(file: bigint, path: string, name: string, pointer: bigint): number;
  reclaim_vlen_memory(file: bigint, path: string, name: string, pointer: bigint): number;
  get_dataset_metadata(file: bigint, path: string): Hdf5Metadata;
  get_dataset_filters(file: bigint, path: string): readonly unknown[];
  get_dataset_data(
    file: bigint,
    path: string,
    count: readonly bigint[] | null,
    offset: readonly bigint[] | null,
    strides: readonly bigint[] | null,
    pointer: bigint,
  ): number;
  set_dataset_data(
    file: bigint,
    path: string,
    count: readonly bigint[] | null,
    offset: readonly bigint[] | null,
    strides: readonly bigint[] | null,
    pointer: bigint,
  ): number;
  create_group(file: bigint, path: string, trackOrder: boolean): number;
  create_attribute(
    file: bigint,
    path: string,
    name: string,
    pointer: bigint,
    type: Hdf5WriteMetadata,
  ): number;
  create_vlen_str_attribute(
    file: bigint,
    path: string,
    name: string,
    texts: readonly string[],
    type: Hdf5WriteMetadata,
  ): number;
  create_dataset(file: bigint, path: string, pointer: bigint, type: Hdf5WriteMetadata): number;
}

/** A complaint of the library; `withHdf5` turns it into a `GraftError` that names the file. */
export class Hdf5Error extends Error {}

let instance: Promise<Hdf5Library> | null = null;
let crashes = 0;
let complaints = '';
let listening = false;
/** The one file that may be opened now, and another one that a file asked for. */
let openable: string | null = null;
let elsewhere: string | null = null;

/** The folder in which the library looks for the code of filters that it does not have, wherever it was built. */
const filters = '/lib/plugin';

/** "Permission denied", in the library's numbers. */
const EACCES = 2;

/** The library, started on first use. */
function library(): Promise<Hdf5Library> {
  instance ??= start();
  return instance;
}

/** Starts the library, so that what it lacks shows now and not when there is something to lose. Throws `state`. */
export async function startHdf5(): Promise<void> {
  await library();
}

/** The types of Node know the name, but not the class. */
const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: new (size: object) => unknown } })
  .WebAssembly;

/** The package's module, started. Throws `state` if it does not start. */
async function load(): Promise<Hdf5Library> {
  try {
    // The package hides why there is no memory for it.
    new Memory({ initial: 1 });
    // After a crash the package is imported again under another address: its memory may hold anything.
    const module: unknown =
      crashes === 0
        ? await import('h5wasm/node')
        : await import(`${import.meta.resolve('h5wasm/node')}?crashes=${crashes}`);
    return await (module as { ready: Promise<Hdf5Library> }).ready;
  } catch (error) {
    return fail(
      'state',
      `The HDF5 library, which reads and writes .h5 and .keras, cannot start: ${startAdvice(error)} ` +
        'Weights in .safetensors and models in .onnx need no HDF5.',
      error,
    );
  }
}

/** V8 sets addresses aside around the memory of WebAssembly, so that it need not check bounds. */
function startAdvice(error: unknown): string {
  const limits = '/proc/self/limits';
  const text = existsSync(limits) ? readFileSync(limits, 'utf8') : '';
  const [, limit] = /^Max address space +(\d+)/m.exec(text) ?? [];
  if (limit === undefined) return `${messageOf(error)}.`;
  return (
    'as WebAssembly it needs 10 GB of address space (not of memory) beside what is taken, and the limit (ulimit -v) is ' +
    `${(Number(limit) / 1e9).toFixed(1)} GB. Raise it, or set NODE_OPTIONS=--disable-wasm-trap-handler, which needs no more ` +
    'than the memory.'
  );
}

async function start(): Promise<Hdf5Library> {
  const started = await load();
  const write = started.FS.write;
  // The library reports nearly all failures on stderr only: the return codes do not carry them.
  started.FS.write = (stream, buffer, offset, length, position) => {
    if (!listening || stream.fd !== 2) return write(stream, buffer, offset, length, position);
    if (complaints.length < 1 << 14) {
      complaints += Buffer.from(buffer.buffer, buffer.byteOffset + offset, length).toString('utf8');
    }
    return length;
  };
  // A data set may say that its values lie in another file, and a filter that its code does. What is wrong with the
  // latter the library says itself: it looks for the code of filters in damaged files too.
  const open = started.FS.open;
  started.FS.open = (path, flags, mode) => {
    if (openable === null || resolve(path) === resolve(openable)) return open(path, flags, mode);
    if (!path.endsWith(filters)) elsewhere = path;
    throw new started.FS.ErrnoError(EACCES);
  };
  return started;
}

/** Runs a call of the library, with its complaints kept quiet, and throws what it complained about. */
export function checked<T>(call: () => T): T {
  let result: T;
  try {
    result = quiet(call);
  } catch (error) {
    if (elsewhere !== null) throw new Hdf5Error(`it refers to another file, ${elsewhere}`, { cause: error });
    // What the library said is closer to the cause than what its wrapper threw.
    if (complaints === '' || isCrash(error)) throw error;
    throw new Hdf5Error(reasonOf(complaints), { cause: error });
  }
  if (elsewhere !== null) throw new Hdf5Error(`it refers to another file, ${elsewhere}`);
  if (complaints !== '') throw new Hdf5Error(reasonOf(complaints));
  return result;
}

/** Runs a call of the library whose failure is an answer: complaints are dropped. */
export function quiet<T>(call: () => T): T {
  complaints = '';
  elsewhere = null;
  listening = true;
  const { now } = Date;
  // The library writes the time into every object, and has no call here that forbids it: two files of the same model
  // would differ. Nothing but the library runs meanwhile.
  Date.now = () => 0;
  try {
    return call();
  } finally {
    Date.now = now;
    listening = false;
  }
}

/** True if the last call was complained about. */
export function complained(): boolean {
  return complaints !== '';
}

/**
 * What went wrong, from the library's error stack: what the system said, if it did, or else the innermost line,
 * as in `#006: ... in H5F__super_read(): file signature not found`.
 */
function reasonOf(text: string): string {
  const system = /error message = '([^']*)'/.exec(text)?.[1];
  const lines = [...text.matchAll(/^\s*#\d+: .*? in \S+\(\): (.*)$/gm)];
  return system ?? lines.at(-1)?.[1] ?? text.split('\n', 1)[0] ?? '';
}

/**
 * Opens an HDF5 file, hands it to a synchronous function and closes it, whatever happens. Every failure becomes
 * a `GraftError` with code `file` that calls the file `shownAs`; the ones that `use` throws pass through.
 */
export async function withHdf5<T>(
  path: string,
  mode: 'read' | 'write',
  use: (hdf5: Hdf5Library, file: bigint) => T,
  shownAs = path,
): Promise<T> {
  const hdf5 = await library();
  const before = new Set(hdf5.FS.streams);
  let healthy = true;
  openable = path;
  try {
    const access = mode === 'read' ? hdf5.H5F_ACC_RDONLY : hdf5.H5F_ACC_TRUNC;
    const file = checked(() => hdf5.open(path, access, false, -1, -1));
    if (file < 0n) throw new Hdf5Error('it cannot be opened');
    let result: T;
    try {
      result = use(hdf5, file);
    } catch (error) {
      if (!isCrash(error)) quiet(() => hdf5.close_file(file));
      throw error;
    }
    // Closing writes what is still in memory, so a full disk may show only here.
    if (mode === 'write') checked(() => hdf5.close_file(file));
    else quiet(() => hdf5.close_file(file));
    return result;
  } catch (error) {
    if (isCrash(error)) healthy = false;
    if (error instanceof GraftError) throw error;
    const doing =
      mode === 'read' ? `${shownAs} is damaged or not a Keras .h5 file` : `Cannot write ${shownAs}`;
    return fail(
      'file',
      `${doing}: ${isCrash(error) ? 'the HDF5 library broke off' : messageOf(error)}.`,
      error,
    );
  } finally {
    openable = null;
    const left = hdf5.FS.streams.filter((stream) => stream && !before.has(stream));
    if (!healthy || left.length > 0) discard(left);
  }
}

/** True for a trap or an abort inside WebAssembly: whatever the instance holds is no longer to be trusted. */
function isCrash(error: unknown): boolean {
  return error instanceof Error && (error.name === 'RuntimeError' || error instanceof RangeError);
}

/** Forgets the instance and closes the files that it can no longer close itself. */
function discard(open: readonly (Stream | null | undefined)[]): void {
  instance = null;
  crashes += 1;
  for (const stream of open) {
    if (!stream) continue;
    try {
      closeSync(stream.nfd);
    } catch {
      // It was closed already.
    }
  }
}
