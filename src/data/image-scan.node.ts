/**
 * What is in picture files: each is read and decoded once, so that a damaged one is found before a training and not
 * in the middle of it. What was found is remembered by path, size and times, as the index of git does: a data set
 * that did not change costs no more than looking at its files.
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { writeAtomically } from '../core/files.node.ts';
import { cacheFolder, makeFolder } from './cache.node.ts';
import { backdrop, openImage, pixelsOf, readImage, troubleOf } from './image.node.ts';
import type { ImageFormat } from './image_format.ts';
import type { ImageEntry, ImageProblem } from './image-listing.node.ts';
import { differenceHash } from './near-duplicates.ts';
import { readIfThere } from './verify.node.ts';

/** What a readable picture is. */
export interface ImageFacts {
  /** Of the file, in hexadecimal. */
  readonly sha256: string;
  readonly bytes: number;
  readonly format: ImageFormat;
  /** Pixels, upright. */
  readonly width: number;
  readonly height: number;
  /** What it looks like, in 64 bits: see `differenceHash`. */
  readonly look: string;
  /** Its mean colour. */
  readonly colour: readonly [red: number, green: number, blue: number];
}

export type Examined = ImageFacts | Pick<ImageProblem, 'kind' | 'reason'>;

export interface ScanOptions {
  /** Pictures that were looked at so far. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Default `GRAFT_CACHE`, else the platform's cache folder. */
  readonly cacheDir?: string | undefined;
}

/** Raise it when `Examined` changes. */
const format = 3;

/** What was found is kept so often, for scans that are stopped. */
const saveEveryMs = 30_000;

/** Work on its way at a time; libuv has four threads unless told otherwise. */
export const lanes = Math.max(8, availableParallelism());

/** Looks into files, in their order. */
export async function scanImages(
  source: string,
  entries: readonly ImageEntry[],
  { onProgress, cacheDir }: ScanOptions,
): Promise<Examined[]> {
  const memory = await Memory.open(source, cacheDir);
  const results = new Array<Examined>(entries.length);
  const failed: number[] = [];
  const lookAt = async (i: number, stamp: string | null) => {
    results[i] = memory.note(entries[i]!.path, stamp, await examine(entries[i]!.path));
  };
  let done = 0;
  let saved = performance.now();
  await inLanes(entries.length, async (i) => {
    const stamp = await stampOf(entries[i]!.path);
    const known = memory.recall(entries[i]!.path, stamp);
    if (known !== null) results[i] = known;
    else {
      await lookAt(i, stamp);
      if ('kind' in results[i]!) failed.push(i);
    }
    onProgress?.(++done, entries.length);
    if (performance.now() - saved > saveEveryMs) {
      saved = performance.now();
      await memory.save('unfinished');
    }
  });
  // The threads of libvips share one place for what went wrong, so a reason may be another picture's: ask alone.
  for (const i of failed) await lookAt(i, await stampOf(entries[i]!.path));
  await memory.save('finished');
  return results;
}

/** Does something for 0 … count-1, several at a time. */
export async function inLanes(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  // Settled, not raced: nothing may still work when the caller goes on.
  const ends = await Promise.allSettled(Array.from({ length: Math.min(lanes, count) }, lane));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function examine(path: string): Promise<Examined> {
  try {
    const file = await readImage(path);
    const { format, whole, image } = await openImage(file);
    // Decodes everything there is of a file: one that was cut off does not get through.
    const picture = image().flatten({ background: backdrop });
    // For a small image, resizing costs three times what decoding does.
    const isSmall = Math.max(whole.width, whole.height) <= 96;
    const small = await pixelsOf(isSmall ? picture : picture.resize(72, 64, { fit: 'fill' }));
    return { sha256: sha256Of(file), bytes: file.length, format, ...whole, ...differenceHash(small) };
  } catch (error) {
    return troubleOf(error);
  }
}

/** Changes whenever a file is written to, also by programs that set back the time of change. */
async function stampOf(path: string): Promise<string | null> {
  const stats = await stat(path, { bigint: true }).catch(() => null);
  return stats && `${stats.size} ${stats.mtimeNs} ${stats.ctimeNs} ${stats.ino}`;
}

/** Clocks of file systems are coarse: what changed so shortly before may change again under the same stamp. */
const recentNs = 2_000_000_000n;

type Known = ReadonlyMap<string, readonly [stamp: string, examined: Examined]>;

/** What earlier scans of a source found. */
class Memory {
  readonly #path: string;
  readonly #base: string;
  readonly #known: Known;
  readonly #now = new Map<string, readonly [stamp: string, examined: Examined]>();
  readonly #start = BigInt(Date.now()) * 1_000_000n;
  #changed = false;

  private constructor(path: string, base: string, known: Known) {
    this.#path = path;
    this.#base = base;
    this.#known = known;
  }

  static async open(source: string, cacheDir: string | undefined): Promise<Memory> {
    const root = resolve(source);
    const path = join(cacheFolder(cacheDir), 'pictures', `${sha256Of(Buffer.from(root)).slice(0, 32)}.json`);
    return new Memory(path, dirname(root), new Map(parse(await readIfThere(path))));
  }

  recall(path: string, stamp: string | null): Examined | null {
    const [known, examined] = this.#known.get(this.#key(path)) ?? [];
    if (stamp === null || known !== stamp || examined === undefined) return null;
    this.#now.set(this.#key(path), [stamp, examined]);
    return examined;
  }

  note(path: string, stamp: string | null, examined: Examined): Examined {
    const changed = BigInt(stamp?.split(' ')[2] ?? this.#start);
    if (stamp !== null && changed + recentNs < this.#start) this.#now.set(this.#key(path), [stamp, examined]);
    this.#changed = true;
    return examined;
  }

  /** A finished scan forgets files that are gone. */
  async save(scan: 'unfinished' | 'finished'): Promise<void> {
    if (!this.#changed && this.#now.size === this.#known.size) return;
    const files = scan === 'finished' ? this.#now : new Map([...this.#known, ...this.#now]);
    await makeFolder(dirname(this.#path));
    await writeAtomically(this.#path, JSON.stringify({ format, files: [...files] }));
  }

  #key(path: string): string {
    return relative(this.#base, path);
  }
}

/** The content of a memory; none if it is damaged or of another version, since it only saves time. */
function parse(text: string | null): [string, readonly [string, Examined]][] {
  try {
    const json = JSON.parse(text ?? '{}') as {
      format?: number;
      files?: [string, readonly [string, Examined]][];
    };
    return json.format === format && Array.isArray(json.files) ? json.files : [];
  } catch {
    return [];
  }
}
