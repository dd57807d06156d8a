/**
 * Safetensors files on disk. Only the header and the tensors that are asked for are read, and a tensor is
 * written from the memory it lies in.
 */
import { open } from 'node:fs/promises';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { writeAtomically } from '../core/files.node.ts';
import { byteLimits, RegularFile } from '../core/regular_file.node.ts';
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

/**
 * Opens a file and reads its header. Throws `file` when it is missing or breaks a rule of the format, and
 * `unsupported` for an element type that Graft does not have.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await RegularFile.open(path, { limit: byteLimits.weights, kind: 'weights' });
  try {
    const { bytes } = file;
    const dataStart = headerEnd(await file.read(0, Math.min(8, bytes)), bytes, path);
    const header = parseHeader(await file.read(8, dataStart - 8), bytes - dataStart, path);
    const read = async (name: string): Promise<Tensor> => {
      const entry = entryOf(header, name, path);
      return decodeTensor(entry, await file.read(dataStart + entry.begin, entry.end - entry.begin));
    };
    const close = () => file.close();
    return { ...header, read, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await file.close();
    const kind = await kindOf(path);
    // Of a file that is damaged the reader knows more.
    const damaged = kind === 'safetensors' || (typeof kind === 'object' && kind.unknown);
    return damaged ? Promise.reject(error) : refuseKind(path, kind, 'a .safetensors file');
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
