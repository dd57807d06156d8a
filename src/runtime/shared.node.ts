/**
 * Memory that an engine and its process share: an unlinked file in the memory file system, open in both. A stream
 * hands a batch of 2 MB over in pieces of 64 KB; without them a head-only epoch is a sixth shorter. Where there is no
 * such file system, or none that one may write to, and from the first write on that fails, messages take the stream.
 */
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const folder = '/dev/shm';
/** One message is being read while the next is written. The file is sparse. */
const places = 2;
const spacing = 2 ** 32;
/** Larger ones (weights) are rare, and what was written once stays allocated. */
const largest = 64 * 2 ** 20;
/** Smaller ones take the stream as quickly. */
const smallest = 32 * 2 ** 10;

export class SharedMemory {
  /** The file's descriptor, for the process to inherit. */
  readonly fd: number;
  readonly #free = Array.from({ length: places }, (_, place) => place);
  #failed = false;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** `null` where the machine has no memory file system, or none to write to. */
  static open(): SharedMemory | null {
    const path = join(folder, `graft-${process.pid}-${Math.random().toString(36).slice(2)}`);
    let fd: number;
    try {
      fd = openSync(path, 'wx+', 0o600);
    } catch {
      return null;
    }
    unlinkSync(path);
    return new SharedMemory(fd);
  }

  /** Writes a message's parts one after the other. Answers its place, or `null` if it must take the stream. */
  put(parts: readonly Uint8Array[]): number | null {
    const size = parts.reduce((total, { byteLength }) => total + byteLength, 0);
    const place = this.#free[0];
    if (this.#failed || place === undefined || size < smallest || size > largest) return null;
    let at = place * spacing;
    try {
      for (const part of parts) {
        writeFully(this.fd, part, at);
        at += part.byteLength;
      }
    } catch {
      // Full, over a quota, over the limit of file sizes: the stream has none of these.
      this.#failed = true;
      this.#empty();
      return null;
    }
    this.#free.shift();
    return place;
  }

  /** Gives a place back after its message has been read. */
  release(place: number): void {
    this.#free.push(place);
    this.#empty();
  }

  /** Gives the memory back of what will not be used again, once nothing in it is still to be read. */
  #empty(): void {
    if (this.#failed && this.#free.length === places) ftruncateSync(this.fd);
  }

  close(): void {
    this.#failed = true;
    closeSync(this.fd);
  }
}

/** Fills parts with a message that was put. */
export function take(fd: number, place: number, parts: readonly Uint8Array[]): void {
  let at = place * spacing;
  for (const part of parts) {
    let filled = 0;
    while (filled < part.byteLength) {
      const count = readSync(fd, part, filled, part.byteLength - filled, at + filled);
      if (count === 0) throw new Error(`The shared memory ends at ${at + filled}, inside a message.`);
      filled += count;
    }
    at += part.byteLength;
  }
}

function writeFully(fd: number, part: Uint8Array, at: number): void {
  let written = 0;
  while (written < part.byteLength) {
    written += writeSync(fd, part, written, part.byteLength - written, at + written);
  }
}
