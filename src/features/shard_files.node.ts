/**
 * The folder of one cache: its shards, each written aside and renamed when it is complete. Nobody waits for a lock: the
 * unfinished file of a shard, locked by who writes it, tells other processes that somebody is at work on it. If two
 * compute the same shard after all, they write the same and the later rename wins. If a file or the whole folder is
 * removed meanwhile, it is written again.
 */
import { type FileHandle, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fail, messageOf } from '../core/errors.ts';
import { LockFile } from '../core/lock_file.node.ts';
import { makeFolder, privatePath } from '../data/cache.node.ts';
import type { Plan } from './plan.ts';

const partSuffix = '.part';

/** After as many removals in a row something else is wrong. */
const mostAttempts = 5;

function isGone(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/** What lies in the folder. */
export interface Contents {
  /** Complete shards. */
  readonly there: ReadonlySet<number>;
  /** Shards that somebody writes. */
  readonly begun: ReadonlySet<number>;
}

export class ShardFiles {
  readonly folder: string;
  readonly #plan: Plan;

  constructor(plan: Plan, folder: string) {
    this.#plan = plan;
    this.folder = folder;
  }

  path(shard: number): string {
    return join(this.folder, `shard-${String(shard).padStart(5, '0')}`);
  }

  /** Shards whose file is not there or has the wrong size. */
  async missing(): Promise<number[]> {
    const { there } = await this.contents();
    const missing: number[] = [];
    for (const shard of this.#plan.all) {
      const size = there.has(shard) ? await sizeOfFile(this.path(shard)) : null;
      if (size !== this.#plan.layout(shard).bytes) missing.push(shard);
    }
    return missing;
  }

  /** Makes the folder, and removes what cannot be used: files of the wrong size and of killed processes. */
  async prepare(missing: readonly number[]): Promise<void> {
    await makeFolder(this.folder);
    const { there, begun } = await this.contents();
    for (const shard of missing) {
      if (there.has(shard)) await rm(this.path(shard), { recursive: true, force: true });
      if (begun.has(shard)) await this.#removeAbandoned(shard);
    }
  }

  /** What nobody holds any more. */
  async #removeAbandoned(shard: number): Promise<void> {
    const prefix = `${basename(this.path(shard))}.`;
    for (const name of await readdir(this.folder)) {
      if (!name.startsWith(prefix) || !name.endsWith(partSuffix)) continue;
      const found = await LockFile.tryLock(join(this.folder, name));
      await found?.lock[Symbol.asyncDispose]();
    }
  }

  async contents(): Promise<Contents> {
    const there = new Set<number>();
    const begun = new Set<number>();
    for (const name of await readdir(this.folder).catch(() => [])) {
      const [, shard, rest] = /^shard-(\d{5,})(.*)$/.exec(name) ?? [];
      if (rest === '') there.add(Number(shard));
      else if (rest?.endsWith(partSuffix)) begun.add(Number(shard));
    }
    return { there, begun };
  }

  /** Begins a shard: its unfinished file, which tells others that somebody is at work on it. */
  async begin(shard: number): Promise<LockFile> {
    for (let attempt = 1; ; attempt++) {
      await makeFolder(this.folder);
      try {
        const part = await LockFile.tryLock(privatePath(this.path(shard), partSuffix));
        if (part !== null) return part.lock;
      } catch (error) {
        // The folder was removed since it was made.
        if (!isGone(error) || attempt === mostAttempts) this.#refuse(error);
      }
    }
  }

  /** Writes a shard into its unfinished file, waits until the disk has it, and lets it appear. */
  async finish(shard: number, begun: LockFile, image: Uint8Array): Promise<void> {
    let part = begun;
    for (let attempt = 1; ; attempt++) {
      try {
        await writeAll(part.path, image);
        await rename(part.path, this.path(shard));
        return await part.leave();
      } catch (error) {
        await this.abandon(part);
        // `graft cache prune` may have removed it.
        if (!isGone(error) || attempt === mostAttempts) this.#refuse(error);
        part = await this.begin(shard);
      }
    }
  }

  async abandon(part: LockFile): Promise<void> {
    await part[Symbol.asyncDispose]();
  }

  /** Null if there is no such file. */
  async open(shard: number): Promise<FileHandle | null> {
    try {
      return await open(this.path(shard), 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      fail('file', `Cannot read kept features: ${messageOf(error)}`, error);
    }
  }

  /** A whole shard; empty if there is no such file. */
  async read(shard: number): Promise<Uint8Array> {
    try {
      return await readFile(this.path(shard));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Uint8Array();
      fail('file', `Cannot read kept features: ${messageOf(error)}`, error);
    }
  }

  #refuse(error: unknown): never {
    const kept = 'What is complete stays: once there is room, the same command goes on from there.';
    fail('file', `Cannot write features to ${this.folder}: ${messageOf(error)}. ${kept}`, error);
  }
}

async function sizeOfFile(path: string): Promise<number | null> {
  const found = await stat(path).catch(() => null);
  return found?.size ?? null;
}

async function writeAll(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    for (let done = 0; done < bytes.length; ) {
      done += (await handle.write(bytes, done, bytes.length - done, done)).bytesWritten;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** False if the file ends before, or the disk cannot read it any more: then a new file is a way out. */
export async function readExactly(handle: FileHandle, into: Uint8Array, position: number): Promise<boolean> {
  try {
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
      if (bytesRead === 0) return false;
      done += bytesRead;
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EIO') return false;
    fail('file', `Cannot read kept features: ${messageOf(error)}`, error);
  }
}
