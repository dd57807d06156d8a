/**
 * A mirror: a folder or a web address with a `manifest.json` that lists files by asset id. What the manifest
 * records is what is verified, so a mirror may hold a repacked file.
 */
import { stat } from 'node:fs/promises';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { fail, messageOf } from '../core/errors.ts';
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

interface Entry {
  readonly id: string;
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number | null;
}

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
  const found = { checksum: { algorithm: 'sha256', digest: entry.sha256 }, bytes: entry.bytes } as const;
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
  const text = remote ? await fetchText(manifest, { signal }) : await readManifest(manifest);
  return { base, remote, entries: parseManifest(text, manifest) };
}

async function readManifest(path: string): Promise<string> {
  try {
    return (await readRegularFile(path, { limit: byteLimits.list, kind: 'a manifest' })).toString('utf8');
  } catch (error) {
    const expected = 'A mirror is a folder or an http(s) address that holds a manifest.json';
    fail('file', `${messageOf(error)} ${expected}.`, error);
  }
}

function parseManifest(text: string, where: string): Entry[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    fail('file', `${where} is no JSON: ${messageOf(error)}.`, error);
  }
  if (!isRecord(json) || json['format'] !== 1 || !Array.isArray(json['assets'])) {
    fail('file', `${where} is no mirror manifest: expected { "format": 1, "assets": [ … ] }.`);
  }
  return json['assets'].map((asset: unknown, i) => parseEntry(asset, `${where}, asset ${i}`));
}

function parseEntry(asset: unknown, where: string): Entry {
  if (!isRecord(asset)) fail('file', `${where}: expected an object.`);
  const { id, file, sha256, bytes } = asset;
  if (typeof id !== 'string') fail('file', `${where}: "id" has to be a string.`);
  if (typeof file !== 'string' || !staysInside(file)) {
    fail('file', `${where} (${id}): "file" has to be a path inside the mirror, got ${JSON.stringify(file)}.`);
  }
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/i.test(sha256)) {
    fail(
      'file',
      `${where} (${id}): "sha256" has to be 64 hexadecimal digits, got ${JSON.stringify(sha256)}.`,
    );
  }
  if (bytes !== undefined && !(Number.isSafeInteger(bytes) && Number(bytes) >= 0)) {
    fail('file', `${where} (${id}): "bytes" has to be a whole number, got ${JSON.stringify(bytes)}.`);
  }
  return { id, file, sha256: sha256.toLowerCase(), bytes: bytes === undefined ? null : Number(bytes) };
}

/** A manifest may come from elsewhere: it must not point at other files or other servers. */
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
