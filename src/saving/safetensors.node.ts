/**
 * Safetensors files on disk. Only the header and the tensors that are asked for are read, and a tensor is
 * written from the memory it lies in.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { bytesOf, type Tensor } from '../core/tensor.ts';
import {
  decodeTensor,
  encodeHeader,
  entryOf,
  headerEnd,
  parseHeader,
  type SafetensorsHeader,
} from './safetensors.ts';
import type { NamedTensor } from './tensors.ts';

/** An open file: its header is in memory, its tensors are not. Close it, or open it with `await using`. */
export interface SafetensorsFile extends SafetensorsHeader, AsyncDisposable {
  /** Reads one tensor. Throws `weights` if there is no such tensor, `file` if it cannot be read. */
  read(name: string): Promise<Tensor>;
  close(): Promise<void>;
}

/** Most bytes that one system call moves. */
const READ_BYTES = 1 << 30;

/**
 * Opens a file and reads its header. Throws `file` when it is missing or breaks a rule of the format, and
 * `unsupported` for an element type that Graft does not have.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const handle = await open(path, 'r').catch((error: unknown) => cannotRead(path, error));
  try {
    const bytes = (await handle.stat()).size;
    const dataStart = headerEnd(await readAt(handle, path, 0, Math.min(8, bytes)), bytes, path);
    const header = parseHeader(await readAt(handle, path, 8, dataStart - 8), bytes - dataStart, path);
    const read = async (name: string): Promise<Tensor> => {
      const entry = entryOf(header, name, path);
      return decodeTensor(
        entry,
        await readAt(handle, path, dataStart + entry.begin, entry.end - entry.begin),
      );
    };
    const close = () => handle.close();
    return { ...header, read, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Reads tensors of a file by name, or all of them. Errors are those of `openSafetensors`, and `weights` for a
 * name that is not there.
 */
export async function readSafetensors(path: string, names?: readonly string[]): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(path);
  try {
    const tensors = new Map<string, Tensor>();
    for (const name of names ?? file.entries.keys()) tensors.set(name, await file.read(name));
    return tensors;
  } finally {
    await file.close();
  }
}

/** Writes tensors and text metadata, atomically. Throws `argument` for two tensors of one name, `file` otherwise. */
export async function writeSafetensors(
  path: string,
  tensors: readonly NamedTensor[],
  metadata: { readonly [key: string]: string } = {},
): Promise<void> {
  const { start, order } = encodeHeader(tensors, metadata);
  await writeAtomically(path, async (temp) => {
    const handle = await open(temp, 'wx');
    try {
      await handle.writeFile(start);
      for (const { tensor } of order) await handle.writeFile(bytesOf(tensor));
    } finally {
      await handle.close();
    }
  });
}

/** Exactly `length` bytes from an offset. */
async function readAt(handle: FileHandle, path: string, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  try {
    while (done < length) {
      const { bytesRead } = await handle.read(
        bytes,
        done,
        Math.min(length - done, READ_BYTES),
        offset + done,
      );
      if (bytesRead === 0)
        fail('file', `${path} ended while it was read; expected ${length - done} bytes more.`);
      done += bytesRead;
    }
  } catch (error) {
    return cannotRead(path, error);
  }
  return bytes;
}

function cannotRead(path: string, error: unknown): never {
  if (error instanceof GraftError) throw error;
  return fail('file', `Cannot read ${path}: ${messageOf(error)}`, error);
}
