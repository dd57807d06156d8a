/**
 * The door for every file that comes from outside: images, tables, models, records. A path may name a pipe that never
 * answers, a device that never ends or a file of more bytes than there is memory; what is opened here is a regular
 * file of a size that its kind may have. What is in it is others' business.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { GraftError, messageOf } from './errors.ts';

/** What a file may be, and what errors call it. */
export interface RegularFileOptions {
  /** Most bytes that the file may have; see `byteLimits`. */
  readonly limit: number;
  /** The kind of file, for errors about its size: `an image`, `a CSV file`. */
  readonly kind: string;
  /** What errors call the file. Defaults to its path. */
  readonly shownAs?: string | undefined;
}

const MB = 2 ** 20;

/** Most bytes of a file, by what it holds. */
export const byteLimits = {
  /** A photo of 80 million pixels that is not compressed. */
  image: 256 * MB,
  /** A CSV file of some five million rows. */
  table: 256 * MB,
  /** Records that Graft writes: a run, its predictions, a cache's books. */
  record: 256 * MB,
  /** Class names and other short lists. */
  list: 4 * MB,
  /** Weights in HDF5, safetensors or an archive, with the state of an optimizer. */
  weights: 16 * 1024 * MB,
} as const;

/** A file that cannot be read; code `file`. */
export class UnreadableFileError extends GraftError {
  /** Why, as a sentence that does not name the file. */
  readonly reason: string;

  constructor(shownAs: string, reason: string, cause?: unknown) {
    super('file', `Cannot read ${shownAs}: ${reason}`, cause === undefined ? undefined : { cause });
    this.reason = reason;
  }
}

/** An open regular file. Close it, or open it with `await using`. */
export class RegularFile implements AsyncDisposable {
  readonly handle: FileHandle;
  /** Its size when it was opened. */
  readonly bytes: number;
  readonly #shownAs: string;

  private constructor(handle: FileHandle, bytes: number, shownAs: string) {
    this.handle = handle;
    this.bytes = bytes;
    this.#shownAs = shownAs;
  }

  /**
   * Opens a file to read it. What it is gets asked of the open file, so that nobody can exchange it in between.
   *
   * @throws {UnreadableFileError} if it is missing, no regular file, or larger than `limit`
   */
  static async open(path: string, { limit, kind, shownAs = path }: RegularFileOptions): Promise<RegularFile> {
    // Without the first flag, opening a pipe waits for somebody who writes to it; without the second, a terminal
    // becomes the process's own. Systems that lack one of them have no such files.
    const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
    const handle = await open(path, flags).catch((error: unknown) => refuse(shownAs, error));
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) {
        const found = stats.isDirectory() ? 'a folder' : stats.isFIFO() ? 'a pipe' : 'a device';
        throw new UnreadableFileError(shownAs, `it is ${found}; expected a file.`);
      }
      if (stats.size > limit) {
        const [has, most] = [stats.size.toLocaleString('en'), limit.toLocaleString('en')];
        throw new UnreadableFileError(shownAs, `it has ${has} bytes; ${kind} may have at most ${most}.`);
      }
      return new RegularFile(handle, stats.size, shownAs);
    } catch (error) {
      await handle.close();
      return refuse(shownAs, error);
    }
  }

  /**
   * Reads exactly `length` bytes, in as many pieces as the system wants.
   *
   * @throws {UnreadableFileError} if the file ends before
   */
  async read(offset: number, length: number): Promise<Buffer<ArrayBuffer>> {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let done = 0; done < length; ) {
      const most = Math.min(length - done, largestPiece);
      const { bytesRead } = await this.handle
        .read(bytes, done, most, offset + done)
        .catch((error: unknown) => refuse(this.#shownAs, error));
      if (bytesRead === 0) {
        const missing = (length - done).toLocaleString('en');
        throw new UnreadableFileError(
          this.#shownAs,
          `it ended while it was read; expected ${missing} bytes more.`,
        );
      }
      done += bytesRead;
    }
    return bytes;
  }

  /** Reads all bytes that the file had when it was opened. Throws as `read`. */
  readAll(): Promise<Buffer<ArrayBuffer>> {
    return this.read(0, this.bytes);
  }

  /** The bytes from `start` to before `end`, which are all by default, a piece at a time. Throws as `read`. */
  async *pieces(start = 0, end = this.bytes): AsyncGenerator<Buffer<ArrayBuffer>> {
    for (let at = start; at < end; at += comfortablePiece) {
      yield await this.read(at, Math.min(comfortablePiece, end - at));
    }
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Most bytes that one system call moves. */
const largestPiece = 2 ** 30;

/** Bytes of a piece when all are read in turn. */
const comfortablePiece = 2 ** 20;

/** Opens a file, hands it to a function and closes it. Throws as `RegularFile.open`. */
export async function withRegularFile<T>(
  path: string,
  options: RegularFileOptions,
  use: (file: RegularFile) => Promise<T>,
): Promise<T> {
  const file = await RegularFile.open(path, options);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** The bytes of a file. Throws as `RegularFile.open`. */
export function readRegularFile(path: string, options: RegularFileOptions): Promise<Buffer<ArrayBuffer>> {
  return withRegularFile(path, options, (file) => file.readAll());
}

/** The bytes of a file, or null if there is no such file. Throws as `RegularFile.open`. */
export async function readRegularFileIfThere(
  path: string,
  options: RegularFileOptions,
): Promise<Buffer<ArrayBuffer> | null> {
  try {
    return await readRegularFile(path, options);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Whether an error says that there is no such file. */
export function isMissing(error: unknown): boolean {
  const code = codeOf(error instanceof UnreadableFileError ? error.cause : error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** What a system's code for a failure means, as a sentence. */
const meanings: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file.',
  ENOTDIR: 'there is no such file: a part of its path is not a folder.',
  EACCES: 'its permissions forbid it.',
  EPERM: 'the system forbids it.',
  ELOOP: 'its links lead in a circle.',
  ENAMETOOLONG: 'its name is longer than the system allows.',
  EIO: 'the disk reports an error.',
  ENXIO: 'it is a socket or a device that nobody serves.',
  EMFILE: 'this process has too many files open (see ulimit -n).',
};

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null | undefined)?.code;
}

function refuse(shownAs: string, error: unknown): never {
  if (error instanceof UnreadableFileError) throw error;
  const code = codeOf(error) ?? '';
  // Windows does not open folders at all.
  if (code === 'EISDIR') throw new UnreadableFileError(shownAs, 'it is a folder; expected a file.', error);
  // Node reads names as UTF-8, and what is none comes out as this sign.
  if (code === 'ENOENT' && shownAs.includes('\ufffd')) {
    throw new UnreadableFileError(
      shownAs,
      'its name is not valid UTF-8. Rename it, with mv or convmv.',
      error,
    );
  }
  throw new UnreadableFileError(shownAs, meanings[code] ?? `${messageOf(error)}.`, error);
}
