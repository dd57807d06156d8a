/**
 * Whether a file is the one that was recorded. Hashing 170 MB takes a good part of a second, so a success is
 * remembered by path, size and time of change.
 */
import { createHash } from 'node:crypto';
import { rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { byteLimits, readRegularFileIfThere, withRegularFile } from '../core/regular_file.node.ts';
import { makeFolder, privatePath } from './cache.node.ts';

/** What is going on, for a progress bar. `total` is null while nobody knows it; both count bytes. */
export interface Progress {
  readonly phase: 'download' | 'verify' | 'extract';
  readonly id: string;
  /** The host that a download comes from, said before it is connected to. */
  readonly from?: string;
  readonly done: number;
  readonly total: number | null;
}

/** A digest in lowercase hexadecimal. */
export interface Checksum {
  readonly algorithm: 'sha256' | 'md5';
  readonly digest: string;
}

/** What a file has to be. */
export interface Expectation {
  /** null: its publisher gives none. */
  readonly checksum: Checksum | null;
  /** null: not recorded. */
  readonly bytes: number | null;
}

export interface VerifyOptions {
  readonly onBytes?: (done: number, total: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Hashes a file: null if it is as expected, else what differs ("sha256 came 12…, expected 34…"). */
export async function difference(
  path: string,
  expected: Expectation,
  options: VerifyOptions = {},
): Promise<string | null> {
  return withRegularFile(path, { limit: Number.MAX_SAFE_INTEGER, kind: 'data' }, async (file) => {
    const size = file.bytes;
    if (expected.bytes !== null && size !== expected.bytes) {
      return `${size} bytes came, ${expected.bytes} were expected`;
    }
    if (expected.checksum === null) return null;
    const { algorithm, digest } = expected.checksum;
    const hash = createHash(algorithm);
    let done = 0;
    for await (const bytes of file.pieces()) {
      options.signal?.throwIfAborted();
      hash.update(bytes);
      done += bytes.length;
      options.onBytes?.(done, size);
    }
    const came = hash.digest('hex');
    return came === digest ? null : `${algorithm} ${came} came, ${digest} was expected (${size} bytes)`;
  });
}

/** As `difference`, but believes a success that was remembered in the cache, and remembers one. */
export async function differenceOnce(
  path: string,
  expected: Expectation,
  cache: string,
  options: VerifyOptions = {},
): Promise<string | null> {
  // Taken before hashing: a file that changes meanwhile does not fit its stamp the next time.
  const stamp = await stampOf(path, expected.checksum);
  if ((await readIfThere(recordPath(path, cache))) === stamp) return null;
  const problem = await difference(path, expected, options);
  if (problem === null) await writeRecord(path, cache, stamp);
  return problem;
}

/** Remembers that a file was just found to be right. */
export async function remember(path: string, checksum: Checksum | null, cache: string): Promise<void> {
  await writeRecord(path, cache, await stampOf(path, checksum));
}

/** The text of a small file of ours, or null if there is no such file. */
export async function readIfThere(path: string): Promise<string | null> {
  const bytes = await readRegularFileIfThere(path, { limit: byteLimits.record, kind: 'text' });
  return bytes?.toString('utf8') ?? null;
}

async function stampOf(path: string, checksum: Checksum | null): Promise<string> {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  return `${JSON.stringify({ path, size: String(size), mtimeNs: String(mtimeNs), ...checksum })}\n`;
}

function recordPath(path: string, cache: string): string {
  const name = createHash('sha256').update(path).digest('hex').slice(0, 32);
  return join(cache, 'verified', `${name}.json`);
}

async function writeRecord(path: string, cache: string, stamp: string): Promise<void> {
  const target = recordPath(path, cache);
  const aside = privatePath(target, '.tmp');
  await makeFolder(join(cache, 'verified'));
  await writeFile(aside, stamp);
  await rename(aside, target);
}
