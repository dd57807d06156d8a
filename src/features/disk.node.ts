/**
 * Features on disk, read row by row: nothing but the checksums stays in memory. What is missing or damaged is
 * computed again, that shard alone.
 */
import type { FileHandle } from 'node:fs/promises';
import { fail } from '../core/errors.ts';
import type { LockFile } from '../core/lock_file.node.ts';
import { bytesOf, type Tensor } from '../core/tensor.ts';
import { checkIndices } from '../data/dataset.ts';
import type { Columns, Features } from './columns.ts';
import { computeShard } from './compute.ts';
import type { Shard } from './memory.ts';
import { type Plan, type Run, runsOf } from './plan.ts';
import { areIntact, deliver, emptyRows, type Footer, inspect, readFooter } from './shard.ts';
import { readExactly, ShardFiles } from './shard_files.node.ts';

/** Neighbouring rows are read at once, up to this many bytes. */
const longestRead = 4 * 2 ** 20;
/** Reads on their way to the disk at a time: as many as Node has threads for them. */
const lanes = 4;

/** Hears how far an extraction is, and what a person should know. */
export interface Listener {
  /** Rows that are there. */
  onRows(done: number): void;
  note(text: string): void;
}

export class DiskFeatures implements Features {
  readonly name: string;
  readonly shape: readonly number[];
  readonly inMemory = false;
  readonly files: ShardFiles;
  readonly #plan: Plan;
  readonly #listener: Listener;
  readonly #footers = new Map<number, Footer>();
  readonly #repairs = new Map<number, Promise<void>>();

  constructor(plan: Plan, folder: string, listener: Listener) {
    this.name = plan.name;
    this.shape = [plan.length];
    this.files = new ShardFiles(plan, folder);
    this.#plan = plan;
    this.#listener = listener;
  }

  /** Computes shards that are missing. What is complete stays, whatever happens to the others. */
  async fill(missing: readonly number[]): Promise<void> {
    const plan = this.#plan;
    await this.files.prepare(missing);
    const left = new Set(missing);
    let done = plan.length - missing.reduce((rows, shard) => rows + plan.rows(shard), 0);
    const onRows = (count: number) => {
      done += count;
      this.#listener.onRows(done);
    };
    // While one shard is on its way to the disk, the next is computed.
    const images = [0, 1].map(() => new Uint8Array(plan.layout(0).bytes));
    let writing: Promise<void> = Promise.resolve();
    let part: LockFile | null = null;
    try {
      for (let turn = 0; left.size > 0; turn ^= 1) {
        const shard = await this.#choose(left, onRows);
        if (shard === null) break;
        part = await this.files.begin(shard);
        const { image } = await computeShard(plan, shard, onRows, images[turn]);
        await writing;
        writing = this.files.finish(shard, part, image);
        part = null;
        writing.catch(() => undefined); // It is awaited below.
      }
    } finally {
      if (part !== null) await this.files.abandon(part);
      await writing;
    }
  }

  /** Takes a shard out of `left`: one that nobody has begun, if there is such a one. */
  async #choose(left: Set<number>, onRows: (count: number) => void): Promise<number | null> {
    const { there, begun } = await this.files.contents();
    for (const shard of left) {
      if (there.has(shard)) {
        left.delete(shard);
        onRows(this.#plan.rows(shard));
      }
    }
    const [first = null] = left;
    const chosen = [...left].find((shard) => !begun.has(shard)) ?? first;
    if (chosen !== null) left.delete(chosen);
    return chosen;
  }

  async read(indices: ArrayLike<number>): Promise<{ readonly features: Columns }> {
    const plan = this.#plan;
    checkIndices(indices, plan.length, plan.name);
    const layout = plan.layout(0);
    const tensors = emptyRows(layout, indices.length);
    const widest = Math.max(...layout.columns.map(({ bytes }) => bytes));
    let runs = runsOf(indices, plan.shardRows, Math.max(1, Math.floor(longestRead / widest)));
    for (let attempt = 0; runs.length > 0; attempt++) {
      const damaged = await this.#readRuns(runs, tensors);
      await settle([...damaged].map((shard) => this.#mend(shard, attempt)));
      runs = runs.filter(({ shard }) => damaged.has(shard));
    }
    return plan.named(tensors);
  }

  /** A whole shard, every byte of it checked. */
  async load(shard: number): Promise<Shard> {
    for (let attempt = 0; ; attempt++) {
      const whole = await this.#inspect(shard);
      if (whole !== null) return whole;
      await this.#mend(shard, attempt);
    }
  }

  /** Reads rows into place; the shards in which something was not right. */
  async #readRuns(runs: readonly Run[], tensors: readonly Tensor[]): Promise<Set<number>> {
    const damaged = new Set<number>();
    const handles = new Map<number, FileHandle>();
    const open = async (shard: number) => {
      const handle = await this.files.open(shard);
      if (handle !== null) handles.set(shard, handle);
      if (handle === null || !(await this.#readFooter(shard, handle))) damaged.add(shard);
    };
    let next = 0;
    const lane = async () => {
      for (let run = runs[next++]; run !== undefined; run = runs[next++]) {
        const { shard } = run;
        if (damaged.has(shard)) continue;
        if (!(await this.#readRun(run, handles.get(shard)!, tensors))) damaged.add(shard);
      }
    };
    try {
      await settle([...new Set(runs.map(({ shard }) => shard))].map(open));
      await settle(Array.from({ length: Math.min(lanes, runs.length) }, lane));
    } finally {
      for (const handle of handles.values()) await handle.close();
    }
    return damaged;
  }

  async #readFooter(shard: number, handle: FileHandle): Promise<boolean> {
    if (this.#footers.has(shard)) return true;
    const layout = this.#plan.layout(shard);
    const bytes = new Uint8Array(layout.bytes - layout.footerAt);
    if (!(await readExactly(handle, bytes, layout.footerAt))) return false;
    const footer = readFooter(bytes, layout, this.#plan.seal(shard));
    if (footer === null) return false;
    this.#footers.set(shard, footer);
    return true;
  }

  async #readRun(run: Run, handle: FileHandle, tensors: readonly Tensor[]): Promise<boolean> {
    const { shard, row, count, at } = run;
    const footer = this.#footers.get(shard);
    if (footer === undefined) return false; // A read that overlaps has found damage.
    for (const [i, column] of this.#plan.layout(shard).columns.entries()) {
      const size = count * column.bytes;
      const start = at * column.bytes;
      const plain = column.channels === 0;
      const bytes = plain ? bytesOf(tensors[i]!).subarray(start, start + size) : new Uint8Array(size);
      if (!(await readExactly(handle, bytes, column.at + row * column.bytes))) return false;
      if (!areIntact(bytes, column.bytes, footer.checksums[i]!, row)) return false;
      if (!plain) deliver(bytes, column, footer.scales[i]!, tensors[i]!, at);
    }
    return true;
  }

  /**
   * After a shard was not right: first look again, since another process may have replaced the file between
   * its checksums and its rows; then compute it again; then give up.
   */
  async #mend(shard: number, attempt: number): Promise<void> {
    this.#footers.delete(shard);
    if (attempt === 0) return;
    if (attempt > 1) {
      const path = this.files.path(shard);
      fail('checksum', `${path} was written anew and is damaged again: the disk or the memory is faulty.`);
    }
    const begun = this.#repairs.get(shard);
    const repair = begun ?? this.#repair(shard).finally(() => this.#repairs.delete(shard));
    this.#repairs.set(shard, repair);
    await repair;
  }

  async #repair(shard: number): Promise<void> {
    // Somebody else may have been faster.
    if ((await this.#inspect(shard)) !== null) return;
    this.#listener.note(`${this.files.path(shard)} is missing or damaged; it is computed again.`);
    const part = await this.files.begin(shard);
    try {
      const { image } = await computeShard(this.#plan, shard, () => undefined);
      await this.files.finish(shard, part, image);
    } catch (error) {
      await this.files.abandon(part);
      throw error;
    }
  }

  async #inspect(shard: number): Promise<Shard | null> {
    const image = await this.files.read(shard);
    const footer = inspect(image, this.#plan.layout(shard), this.#plan.seal(shard));
    return footer && { image, footer };
  }
}

/** Waits for all, so that none is still at work when one has failed. */
async function settle(promises: readonly Promise<void>[]): Promise<void> {
  for (const end of await Promise.allSettled(promises)) if (end.status === 'rejected') throw end.reason;
}
