/**
 * The folder of one cache: its shards, each written aside and renamed when it is complete. There are no locks:
 * the unfinished file of a shard tells other processes that somebody is at work on it. If two compute the same
 * shard after all, they write the same and the later rename wins.
 */
import { type FileHandle, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fail, messageOf } from '../core/errors.ts';
import { makeFolder, privatePath, removeAbandoned } from '../data/cache.node.ts';
import type { Plan } from './plan.ts';

const partSuffix = '.part';

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
      if (begun.has(shard)) await removeAbandoned(this.path(shard), partSuffix);
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

  /** Begins a shard: the path of its unfinished file. */
  async begin(shard: number): Promise<string> {
    await makeFolder(this.folder);
    const part = privatePath(this.path(shard), partSuffix);
    const handle = await open(part, 'wx').catch((error: unknown) => this.#refuse(error));
    await handle.close();
    return part;
  }

  /** Writes a shard into its unfinished file, waits until the disk has it, and lets it appear. */
  async finish(shard: number, part: string, image: Uint8Array): Promise<void> {
    try {
      await writeAll(part, image);
      await rename(part, this.path(shard));
    } catch (error) {
      await this.abandon(part);
      this.#refuse(error);
    }
  }

  async abandon(part: string): Promise<void> {
    await rm(part, { force: true });
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
