/**
 * A mirror: a folder or a web address with a `manifest.json` that lists files by asset id. What the manifest
 * records is what is verified, so a mirror may hold a repacked file.
 */
import { stat } from 'node:fs/promises';
import { basename, isAbsolute, join, resolve } from 'node:path';
import * as v from 'valibot';
import { checked, text, wholeNumber } from '../core/checked.ts';
import { fail, messageOf } from '../core/errors.ts';
import { parseJson } from '../core/json.ts';
import { isRecord } from '../core/records.ts';
import { byteLimits, readRegularFile } from '../core/regular_file.node.ts';
import { withoutTrailing } from '../core/text.ts';
import { checkAddress, fetchText } from './download.node.ts';
import type { Expectation } from './verify.node.ts';

/** One file of a mirror, and where it is: a local path, or a web address to download from. */
export interface MirrorFile extends Expectation {
  readonly file: string;
  readonly at: { readonly kind: 'path' | 'url'; readonly where: string };
}

const assetSchema = v.object({
  id: text,
  // A manifest may come from elsewhere: it must not point at other files or other servers.
  file: v.custom<string>(
    (value) => typeof value === 'string' && staysInside(value),
    'a path inside the mirror, such as "cifar/archive.tar.gz"',
  ),
  sha256: v.pipe(
    v.custom<string>(
      (value) => typeof value === 'string' && /^[0-9a-f]{64}$/i.test(value),
      '64 hexadecimal digits',
    ),
    v.toLowerCase(),
  ),
  bytes: v.optional(wholeNumber(0)),
});

/** Notes and whatever else stands beside these is for people. */
const manifestSchema = v.pipe(
  v.custom<unknown>(
    (value) => isRecord(value) && value['format'] === 1 && Array.isArray(value['assets']),
    'the manifest of a mirror, { "format": 1, "assets": [ … ] }',
  ),
  v.object({ format: v.literal(1), assets: v.array(assetSchema) }),
);

/**
 * Looks an asset up in a mirror.
 *
 * @param mirror a folder, or an address that begins with http:// or https://
 * @throws `file` if there is no usable manifest, or it does not list the asset, or its file is missing;
 *   `network` if the manifest cannot be fetched
 */
export async function findInMirror(id: string, mirror: string, signal?: AbortSignal): Promise<MirrorFile> {
  const { base, remote, entries } = await openMirror(mirror, signal);
  const entry = entries.find((candidate) => candidate.id === id);
  if (entry === undefined) {
    const ids = entries.map((candidate) => candidate.id).join(', ') || 'none';
    fail(
      'file',
      `The mirror ${mirror} has no asset "${id}"; its manifest lists: ${ids}. ` +
        'Add the asset to manifest.json, or leave out --mirror and GRAFT_MIRROR to download from the publisher.',
    );
  }
  const found = {
    checksum: { algorithm: 'sha256', digest: entry.sha256 },
    bytes: entry.bytes ?? null,
  } as const;
  const file = basename(entry.file);
  if (remote) return { ...found, file, at: { kind: 'url', where: new URL(entry.file, base).href } };
  const path = join(base, entry.file);
  if (!(await isFile(path))) {
    fail(
      'file',
      `The mirror's manifest lists ${entry.file} for "${id}", but ${path} is not there. Copy it again.`,
    );
  }
  return { ...found, file, at: { kind: 'path', where: path } };
}

/** The ids of the assets that a mirror lists. Throws as `findInMirror` does. */
export async function idsInMirror(mirror: string): Promise<readonly string[]> {
  return (await openMirror(mirror, undefined)).entries.map(({ id }) => id);
}

async function openMirror(mirror: string, signal: AbortSignal | undefined) {
  const remote = /^https?:\/\//i.test(mirror);
  if (remote) checkAddress(mirror);
  const base = remote ? `${withoutTrailing(mirror, '/')}/` : resolve(mirror);
  const manifest = remote ? `${base}manifest.json` : join(base, 'manifest.json');
  const json = remote ? await fetchText(manifest, { signal }) : await readManifest(manifest);
  const { assets } = checked(manifestSchema, parseJson(json, manifest), manifest, 'file');
  return { base, remote, entries: assets };
}

async function readManifest(path: string): Promise<string> {
  try {
    return (await readRegularFile(path, { limit: byteLimits.list, kind: 'a manifest' })).toString('utf8');
  } catch (error) {
    const expected = 'A mirror is a folder or an http(s) address that holds a manifest.json';
    fail('file', `${messageOf(error)} ${expected}.`, error);
  }
}

function staysInside(file: string): boolean {
  return file !== '' && !isAbsolute(file) && !/^[\\/]|[:\\]/.test(file) && !file.split('/').includes('..');
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
