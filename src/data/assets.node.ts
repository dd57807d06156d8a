/**
 * Published files by name: from a mirror or their publisher, checked against a recorded checksum, kept in the
 * cache. It owns the way from a record to a verified local path; what is in the file is others' business.
 */

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as v from 'valibot';
import { type Entries, functionOf, optional, text } from '../core/checked.ts';
import { fail } from '../core/errors.ts';
import { cacheFolder, claim, tryRename } from './cache.node.ts';
import { discard, download, mirrorHint, type Patience } from './download.node.ts';
import { findInMirror } from './mirror.node.ts';
import {
  type Checksum,
  difference,
  differenceOnce,
  type Expectation,
  type Progress,
  remember,
} from './verify.node.ts';

export type { Progress } from './verify.node.ts';

/**
 * A published file. `md5` only where its publisher gives nothing better; `checksum: null` where it gives none: then
 * size and a secure connection have to do.
 */
export type Asset = {
  /** Its name in mirrors and messages, such as `cifar10/binary`. */
  readonly id: string;
  readonly url: string;
  /** File name in the cache. */
  readonly file: string;
  /** Size, if known. */
  readonly bytes?: number;
} & ({ readonly sha256: string } | { readonly md5: string } | { readonly checksum: null });

export interface AssetOptions {
  /** A folder or http(s) address with a `manifest.json`; default `GRAFT_MIRROR`, else the publisher. */
  readonly mirror?: string | undefined;
  /** Default `GRAFT_CACHE`, else the platform's cache folder: see `cacheFolder`. */
  readonly cacheDir?: string | undefined;
  /** Called often; it must not throw. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Aborting keeps what came so far; the next call goes on from there. */
  readonly signal?: AbortSignal | undefined;
}

export const assetEntries = {
  mirror: optional(text),
  cacheDir: optional(text),
  onProgress: optional(functionOf<(progress: Progress) => void>()),
  signal: optional(v.instance(AbortSignal, 'an AbortSignal')),
} satisfies Entries<AssetOptions>;

/** Where an asset will come from, and what it has to be. */
export interface Source extends Expectation {
  readonly id: string;
  readonly file: string;
  readonly at: { readonly kind: 'path' | 'url'; readonly where: string };
}

/**
 * The path of an asset's file, verified; downloaded when it is not there yet. A mirror's local file is used in
 * place, without a copy. Safe to call from several processes at once.
 *
 * @throws `network` when it cannot be had, `checksum` when the bytes are not the recorded ones, `file` when a
 *   mirror does not have it
 */
export async function fetchAsset(asset: Asset, options: AssetOptions = {}): Promise<string> {
  return fetchSource(await resolveAsset(asset, options), options);
}

/** Decides where an asset comes from. Reads at most a mirror's manifest. */
export async function resolveAsset(asset: Asset, options: AssetOptions = {}): Promise<Source> {
  const { id, url, file } = asset;
  const mirror = options.mirror || process.env['GRAFT_MIRROR'];
  if (mirror) return { id, ...(await findInMirror(id, mirror, options.signal)) };
  const checksum = checksumOf(asset);
  return { id, file: basename(file), checksum, bytes: asset.bytes ?? null, at: { kind: 'url', where: url } };
}

function checksumOf(asset: Asset): Checksum | null {
  if ('sha256' in asset) return { algorithm: 'sha256', digest: asset.sha256 };
  return 'md5' in asset ? { algorithm: 'md5', digest: asset.md5 } : null;
}

/** The second half of `fetchAsset`, for callers that need the checksum too. */
export async function fetchSource(
  source: Source,
  options: AssetOptions = {},
  patience: Partial<Patience> = {},
): Promise<string> {
  const cache = cacheFolder(options.cacheDir);
  const { id, at, checksum } = source;
  const checking = {
    signal: options.signal,
    onBytes: (done: number, total: number) => options.onProgress?.({ phase: 'verify', id, done, total }),
  };
  if (at.kind === 'path') {
    const problem = await differenceOnce(at.where, source, cache, checking);
    if (problem === null) return at.where;
    fail(
      'checksum',
      `${at.where} is not what the mirror's manifest says of "${id}": ${problem}. Copy it again.`,
    );
  }
  const target = targetOf(source, cache);
  // A damaged file of the cache is not worth an error: it is fetched again and replaced.
  if ((await exists(target)) && (await differenceOnce(target, source, cache, checking)) === null)
    return target;

  const claimed = await claim(target);
  const part = claimed.folder;
  try {
    const data = join(part, 'data');
    const from = new URL(at.where).host;
    const onBytes = (done: number, total: number | null) =>
      options.onProgress?.({ phase: 'download', id, from, done, total });
    onBytes(0, source.bytes);
    const request = { bytes: source.bytes, onBytes, signal: options.signal, patience };
    const { resumed } = await download(at.where, part, request);
    let problem = await difference(data, source, checking);
    if (problem !== null && resumed) {
      // The beginning may have been another file's, or damaged on disk: once more without it.
      await discard(part);
      await download(at.where, part, request);
      problem = await difference(data, source, checking);
    }
    if (problem !== null) {
      await discard(part);
      fail('checksum', `${at.where} is not the file recorded for "${id}": ${problem}. ${changedHint}`);
    }
    await publish(data, target, source);
    await remember(target, checksum, cache);
    await claimed.remove();
    return target;
  } catch (error) {
    await claimed.release();
    throw error;
  }
}

/** Where a download lies: in a folder named by its checksum, so that a repacked file does not collide with it. */
export function targetOf({ checksum, at, file }: Source, cache: string): string {
  const folder = checksum?.digest ?? createHash('sha256').update(at.where).digest('hex');
  return join(cache, 'assets', folder.slice(0, 16), file);
}

const changedHint =
  'What came was deleted. If a second try ends the same way, the publisher changed the file or something ' +
  `on the way rewrites it. ${mirrorHint}`;

/** Renames to the final name; where another process holds that file open (Windows), its copy serves as well. */
async function publish(data: string, target: string, expected: Expectation): Promise<void> {
  if (await tryRename(data, target)) return;
  if ((await exists(target)) && (await difference(target, expected)) === null) return;
  fail('file', `Could not move the download to ${target}: something else is there. Remove it and try again.`);
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
