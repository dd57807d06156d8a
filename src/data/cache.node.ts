/**
 * Where Graft keeps what it downloaded, and how several processes share that folder without waiting for each other:
 * unfinished work lies in a folder of its own with a lock, finished work appears by one rename. What a killed process
 * left behind is taken over.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fail, messageOf } from '../core/errors.ts';
import { makeFolders } from '../core/files.node.ts';
import { LockFile } from '../core/lock_file.node.ts';

/** What the choice of the cache folder depends on. */
export interface System {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform: string;
  readonly home: string;
}

/**
 * The cache folder, absolute: `cacheDir` if given, else `GRAFT_CACHE`, else `$XDG_CACHE_HOME/graft`, else the
 * platform's custom: `~/.cache/graft`, `~/Library/Caches/graft` (macOS), `%LOCALAPPDATA%\graft\Cache`
 * (Windows). An empty variable counts as not set.
 */
export function cacheFolder(cacheDir?: string, system?: System): string {
  const { env, platform, home } = system ?? { env: process.env, platform: process.platform, home: homedir() };
  const chosen = cacheDir || env['GRAFT_CACHE'];
  if (chosen) return resolve(chosen);
  if (env['XDG_CACHE_HOME']) return resolve(env['XDG_CACHE_HOME'], 'graft');
  if (platform === 'win32') {
    return join(env['LOCALAPPDATA'] || join(home, 'AppData', 'Local'), 'graft', 'Cache');
  }
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'graft');
  return join(home, '.cache', 'graft');
}

/** Makes a folder of the cache and those above it. Throws `file`, saying how to choose another cache. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await makeFolders(path);
  } catch (error) {
    const remedy = 'Set GRAFT_CACHE to a folder that can be written to.';
    fail('file', `Could not make the cache folder ${path}: ${messageOf(error)}. ${remedy}`, error);
  }
}

/** A path beside `target` that no other process or call uses. */
export function privatePath(target: string, suffix: string): string {
  return `${target}.${randomBytes(8).toString('hex')}${suffix}`;
}

/** A folder for the unfinished form of something, which belongs to one call alone. */
export interface Claim {
  readonly folder: string;
  /** Leaves unfinished work where the next `claim` finds it; an empty folder is no work. */
  release(): Promise<void>;
  /** Removes the folder with all that is in it. */
  remove(): Promise<void>;
}

const lockName = 'lock';

/**
 * A folder for the unfinished form of `target`. It holds what an earlier attempt left, if there was one. Whose a folder
 * is, a lock inside it says, which ends with its process.
 */
export async function claim(target: string): Promise<Claim> {
  await makeFolder(dirname(target));
  for (const folder of [...(await leftovers(target)), `${target}${partSuffix}`]) {
    const claimed = await claimFolder(folder, target);
    if (claimed !== null) return claimed;
  }
  for (;;) {
    const claimed = await claimFolder(privatePath(target, partSuffix), target);
    if (claimed !== null) return claimed;
  }
}

const partSuffix = '.part';

/** Folders of unfinished work beside `target`, in use or not. */
async function leftovers(target: string): Promise<string[]> {
  const folder = dirname(target);
  return (await readdir(folder))
    .filter((name) => name.startsWith(`${basename(target)}.`) && name.endsWith(partSuffix))
    .sort((a, b) => a.length - b.length)
    .map((name) => join(folder, name));
}

/** Null if somebody else is at work in it. */
async function claimFolder(folder: string, target: string): Promise<Claim | null> {
  await mkdir(folder, { recursive: true });
  const taken = await LockFile.take(join(folder, lockName), untouchedForAnHour).catch(
    (error: NodeJS.ErrnoException) => {
      // Whoever was at work in it has just removed it.
      if (error.code === 'ENOENT') return { lock: null };
      throw error;
    },
  );
  const { lock } = taken;
  if (lock === null) return null;
  const remove = async () => {
    // First out of the way in one go: nobody shall make a lock of its own in what is left of it.
    const aside = privatePath(target, partSuffix);
    const path = (await tryRename(folder, aside)) ? aside : folder;
    await rm(path, { recursive: true, force: true });
    await lock.leave();
  };
  const release = async () => {
    const names = await readdir(folder).catch(() => []);
    if (names.every((name) => name === lockName)) return remove();
    await lock[Symbol.asyncDispose]();
  };
  return { folder, release, remove };
}

/** True if renaming worked; false if the source is gone or the target is taken. */
export async function tryRename(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (['ENOENT', 'ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES', 'EBUSY'].includes(code)) return false;
    throw error;
  }
}

/** Of another machine's work, by the lock inside it: a download that stalls that long was given up long before. */
async function untouchedForAnHour(lock: string): Promise<boolean> {
  try {
    const folder = dirname(lock);
    const paths = (await readdir(folder)).map((name) => join(folder, name));
    const times = await Promise.all(paths.map(async (path) => (await stat(path)).mtimeMs));
    return Date.now() - Math.max(...times) > 3_600_000;
  } catch {
    return false; // It vanished meanwhile: somebody is at work on it.
  }
}
