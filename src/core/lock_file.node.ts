/**
 * Locks that die with their holder. A lock is a file that the system itself keeps locked for an open descriptor: it does
 * not matter how a process ends, in which container it was, or who has its number by now. In the file stands whose it
 * is, for people, and for file systems whose locks do not reach beyond a machine or that have none: there the file's
 * time, which its holder renews, has to tell.
 */
import { randomUUID } from 'node:crypto';
import { fstatSync, readFileSync, readlinkSync, statSync, unlinkSync } from 'node:fs';
import { constants, type FileHandle, open, stat, unlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { fail } from './errors.ts';

/** Who holds a lock. */
export interface Owner {
  readonly pid: number;
  readonly host: string;
  /** One start of one machine: what locks of its kernel can be trusted for. */
  readonly machine: string;
  /** Where its process number counts, such as a container; null where the system does not tell. */
  readonly pidNamespace: string | null;
  /** When it took the lock, ISO 8601. */
  readonly since: string;
}

/** How often a holder renews the time of its lock, and how long others wait for that. */
const beatMs = 5000;
const patienceMs = 3 * beatMs;

/** Beyond the text, which others have to be able to read: on Windows locked bytes cannot be. */
const lockedByte = 2 ** 30;

/** Taken locks; those of a process that exits in the middle of something are removed. */
const held = new Set<LockFile>();
process.on('exit', () => {
  for (const lock of held) lock.removeNow();
});

export class LockFile implements AsyncDisposable {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #id = randomUUID();
  #beat: NodeJS.Timeout | null = null;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
    held.add(this);
  }

  /** Locks a file, which is made if it is not there; null if it is locked, by this process or another. */
  static async tryLock(path: string): Promise<{ lock: LockFile; isSupported: boolean } | null> {
    for (;;) {
      const handle = await openOwn(path);
      try {
        const locked = tryLock(handle.fd);
        if (locked !== 'taken' && (await isAt(handle, path))) {
          return { lock: new LockFile(path, handle), isSupported: locked === 'locked' };
        }
        await handle.close();
        if (locked === 'taken') return null;
        // Its holder has removed it since it was opened: once more.
      } catch (error) {
        await handle.close();
        throw error;
      }
    }
  }

  /**
   * Takes the lock for as long as this process lives. Gives its owner instead (null: unknown) if it is held, or if it is
   * another machine's and `isGone` does not find that one gone.
   */
  static async take(
    path: string,
    isGone: (path: string) => Promise<boolean> = isSilent,
  ): Promise<{ readonly lock: LockFile } | { readonly lock: null; readonly owner: Owner | null }> {
    const taken = await LockFile.tryLock(path);
    if (taken === null) return { lock: null, owner: await ownerOf(path) };
    const { lock, isSupported } = taken;
    const owner = await ownerOf(path);
    const isTrusted = owner === null || (isSupported && owner.machine === machine());
    if (!isTrusted && !(await isGone(path))) {
      await lock.leave();
      return { lock: null, owner };
    }
    await lock.#sign(isSupported);
    const now = isSupported ? null : await ownerOf(path);
    if (now === null || now.id === lock.#id) return { lock };
    await lock.leave();
    return { lock: null, owner: now };
  }

  async #sign(isSupported: boolean): Promise<void> {
    const own: Owner & { readonly id: string } = {
      pid: process.pid,
      host: hostname(),
      machine: machine(),
      pidNamespace: pidNamespace(),
      since: new Date().toISOString(),
      id: this.#id,
    };
    await this.#handle.truncate();
    await this.#handle.write(`${JSON.stringify(own)}\n`, 0);
    this.#beat = setInterval(() => {
      const now = new Date();
      // A disk that fails will be noticed by what is written in earnest.
      this.#handle.utimes(now, now).catch(() => undefined);
    }, beatMs).unref();
    // Without locks two may write at once: whose text stays has it.
    if (!isSupported) await wait(100);
  }

  /** Gives the lock up and leaves its file. */
  async leave(): Promise<void> {
    if (!held.delete(this)) return;
    if (this.#beat !== null) clearInterval(this.#beat);
    await this.#handle.close();
  }

  /** Gives the lock up; its file goes first, so that nobody finds it without its lock. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (held.has(this) && (await isAt(this.#handle, this.path))) await unlink(this.path).catch(ifGone);
    await this.leave();
  }

  /** For a process that ends. */
  removeNow(): void {
    try {
      if (statSync(this.path).ino === fstatSync(this.#handle.fd).ino) unlinkSync(this.path);
    } catch {
      // It was removed, or cannot be; without its holder it locks nothing.
    }
  }
}

/**
 * Opens a lock's file, which is made if it is not there. Its holder writes into it, so it must not be another file that
 * whoever made the folder has linked to.
 */
async function openOwn(path: string): Promise<FileHandle> {
  // Windows has no such flags and no such files.
  const flags = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT | flags).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ELOOP') refuse('a link');
      if (error.code === 'EISDIR') refuse('a folder');
      throw error;
    },
  );
  const stats = await handle.stat();
  if (stats.isFile() && stats.nlink <= 1) return handle;
  await handle.close();
  return refuse(stats.isFile() ? 'a link' : stats.isFIFO() ? 'a pipe' : 'a device');

  function refuse(found: string): never {
    return fail(
      'file',
      `${path} is ${found}; expected a file that Graft made to lock this folder. Remove it.`,
    );
  }
}

function ifGone(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

/** Whether an open file is still the one at a path. */
async function isAt(handle: FileHandle, path: string): Promise<boolean> {
  const [own, there] = await Promise.all([
    handle.stat({ bigint: true }),
    stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
      ifGone(error);
      return null;
    }),
  ]);
  return there !== null && own.ino === there.ino && own.dev === there.dev;
}

/** Some file systems have no locks, and some systems no library for them. */
function tryLock(descriptor: number): 'locked' | 'taken' | 'unsupported' {
  if (library === null) return 'unsupported';
  try {
    return library.tryLock(descriptor, lockedByte, 1) ? 'locked' : 'taken';
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'EACCES') return 'taken';
    if (['ENOLCK', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL'].includes(code)) return 'unsupported';
    throw error;
  }
}

const library = loadLibrary();

function loadLibrary(): typeof import('fs-native-extensions') | null {
  try {
    return createRequire(import.meta.url)('fs-native-extensions') as typeof import('fs-native-extensions');
  } catch {
    return null; // There is none for this platform.
  }
}

/** What a lock's file says; null for one that its holder is writing, or that is no lock. */
async function ownerOf(path: string): Promise<(Owner & { readonly id?: string }) | null> {
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    ifGone(error);
    return null;
  });
  if (handle === null) return null;
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, 0);
    const owner = JSON.parse(buffer.toString('utf8', 0, bytesRead)) as Partial<Owner> | null;
    const isOwner =
      typeof owner?.pid === 'number' && typeof owner.host === 'string' && typeof owner.machine === 'string';
    return isOwner ? (owner as Owner) : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  } finally {
    await handle.close();
  }
}

/** True if nobody renews the time of a file. It is opened anew each time: file systems of networks look only then. */
async function isSilent(path: string): Promise<boolean> {
  const timeOf = async () => {
    const handle = await open(path, 'r');
    try {
      return (await handle.stat()).mtimeMs;
    } finally {
      await handle.close();
    }
  };
  const before = await timeOf();
  for (let waited = 0; waited < patienceMs; waited += 500) {
    await wait(500);
    if ((await timeOf()) !== before) return false;
  }
  return true;
}

/** Who holds a lock, in words: `process 12 in another container, since 2025-01-31T14:05:09.000Z`. */
export function describeOwner(owner: Owner | null): string {
  if (owner === null) return 'another process';
  const { pid, host, since } = owner;
  const where =
    host !== hostname()
      ? ` on ${host}`
      : owner.machine !== machine()
        ? ' on another machine of this name'
        : owner.pidNamespace !== pidNamespace()
          ? ' in another container'
          : '';
  return `process ${pid}${where}, since ${since}`;
}

let ownMachine: string | null = null;

/** Linux names each start of a machine; elsewhere its name has to do. */
function machine(): string {
  ownMachine ??= textOf(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()) ?? hostname();
  return ownMachine;
}

function pidNamespace(): string | null {
  return textOf(() => readlinkSync('/proc/self/ns/pid'));
}

/** Null where the system does not tell. */
function textOf(read: () => string): string | null {
  try {
    return read();
  } catch {
    return null;
  }
}
