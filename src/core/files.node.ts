/**
 * Files that are either there whole or not there at all. It owns the way a result reaches the disk; it knows
 * nothing of formats.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fail, GraftError, messageOf } from './errors.ts';
import { parseJson } from './json.ts';
import { byteLimits, readRegularFile, withRegularFile } from './regular_file.node.ts';
import { systemRemedy } from './system_errors.ts';

/** What a file is to hold: bytes, text, or a function that writes them to the path it is given. */
export type FileContent = Uint8Array | string | ((tempPath: string) => Promise<void>);

/**
 * Writes a file so that a reader sees the old one or the new one, never half of one: into a temporary file in
 * the same folder, flushed to the disk, then renamed. Parent folders are made. When anything fails, the
 * temporary file is removed and the old file stays as it was.
 *
 * A `GraftError` thrown by a content function passes through; any other failure becomes one with code `file`.
 */
export async function writeAtomically(path: string, content: FileContent): Promise<void> {
  const target = resolve(path);
  const folder = dirname(target);
  const tag = randomBytes(6).toString('hex');
  // The name is cut because a folder limits names to 255 bytes.
  const temp = join(folder, `.${basename(target).slice(0, 48)}.${process.pid}-${tag}.tmp`);
  try {
    await makeFolders(folder);
    if (typeof content === 'function') await content(temp);
    await flush(temp, typeof content === 'function' ? null : content);
    await rename(temp, target);
  } catch (error) {
    // What made writing fail may make this fail too; a name like this one is cleared away by the next run.
    await rm(temp, { force: true }).catch(() => undefined);
    if (error instanceof GraftError) throw error;
    refuseToWrite(path, error);
  }
  await flushFolder(folder);
}

function refuseToWrite(path: string, error: unknown): never {
  const remedy = systemRemedy(error);
  fail('file', `Cannot write ${path}: ${messageOf(error)}.${remedy === null ? '' : ` ${remedy}`}`, error);
}

/**
 * Makes sure, before any work, that files can be written into a folder, there or not: by writing one. Leaves nothing.
 * Throws `file`, saying why not.
 */
export async function checkWritable(folder: string): Promise<void> {
  try {
    const made = await makeFolders(resolve(folder));
    try {
      const probe = join(resolve(folder), `.${process.pid}-${randomBytes(6).toString('hex')}.tmp`);
      await writeFile(probe, 'graft').finally(() => rm(probe, { force: true }));
    } finally {
      if (made !== undefined) await removeEmpty(resolve(folder), made);
    }
  } catch (error) {
    refuseToWrite(folder, error);
  }
}

/** Removes a folder and those above it, up to a last one, as far as they are empty. */
async function removeEmpty(folder: string, last: string): Promise<void> {
  for (let path = folder; path.startsWith(last); path = dirname(path)) {
    try {
      await rmdir(path);
    } catch {
      return; // Somebody else has put something there meanwhile.
    }
  }
}

/** Makes a folder and those above it; returns the first that it had to make. Throws what the system says. */
export async function makeFolders(path: string): Promise<string | undefined> {
  try {
    return await mkdir(path, { recursive: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    // So Node says of a read-only file system too. The system's own call says it as it is.
    let missing = resolve(path);
    while (!existsSync(dirname(missing))) missing = dirname(missing);
    await mkdir(missing);
    await mkdir(path, { recursive: true });
    return missing;
  }
}

/** Whether `writeAtomically` gives such names to files that it has not finished. */
export function isUnfinished(name: string): boolean {
  return /^\..*\.\d+-[0-9a-f]{12}\.tmp$/.test(name);
}

/** Writes `content`, if any, to a file and waits until the disk has it all. */
async function flush(path: string, content: Uint8Array | string | null): Promise<void> {
  const handle = await open(path, content === null ? 'r+' : 'wx');
  try {
    if (content !== null) await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a rename survive a power cut. Some systems cannot open a folder; there the rename is as safe as it gets. */
async function flushFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch {
    // Nothing is lost: the file is complete and in place.
  }
}

/** The SHA-256 of a file as 64 lower-case hexadecimal digits, read in pieces. Throws `file`. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  await withRegularFile(path, { limit: Number.MAX_SAFE_INTEGER, kind: 'bytes' }, async (file) => {
    for await (const piece of file.pieces()) hash.update(piece);
  });
  return hash.digest('hex');
}

/**
 * The value in a JSON file. Throws `file` when the file cannot be read, is no regular file or a larger one than records
 * are, is not UTF-8 or not JSON, has a key twice or nests too deeply.
 */
export async function readJson(path: string): Promise<unknown> {
  return parseJson(await readText(path), path);
}

/** The text of a file in UTF-8. Throws `file` as `readJson` does. */
export async function readText(path: string): Promise<string> {
  const bytes = await readRegularFile(path, { limit: byteLimits.record, kind: 'a text file' });
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    return fail('file', `${path} is not text in UTF-8.`, error);
  }
}

/** Writes a value as indented JSON, atomically. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeAtomically(path, `${JSON.stringify(value, null, 2)}\n`);
}
