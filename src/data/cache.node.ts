/**
 * Where Graft keeps what it downloaded, and how several processes share that folder without locks: unfinished
 * work lies in a folder of its own under a private name, finished work appears by one rename. What a killed
 * process left behind is taken over or removed.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir, hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fail, messageOf } from '../core/errors.ts';

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
    await mkdir(path, { recursive: true });
  } catch (error) {
    const remedy = 'Set GRAFT_CACHE to a folder that can be written to.';
    fail('file', `Could not make the cache folder ${path}: ${messageOf(error)}. ${remedy}`, error);
  }
}

/** A path beside `target` that no other process or call uses; it names its owner. */
export function privatePath(target: string, suffix: string): string {
  return `${target}.${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}${suffix}`;
}

/**
 * A folder for the unfinished form of `target` that belongs to this call alone. It holds what an earlier
 * attempt left, if there was one. Give it back with `release`, or remove it.
 */
export async function claim(target: string): Promise<string> {
  await makeFolder(dirname(target));
  const mine = privatePath(target, '.part');
  for (const candidate of [`${target}.part`, ...(await abandoned(target, '.part'))]) {
    // A rename is atomic, so of two processes that want the same leftovers one gets them.
    if (await tryRename(candidate, mine)) return mine;
  }
  await mkdir(mine);
  return mine;
}

/** Leaves unfinished work where the next `claim` finds it; an empty folder is no work. */
export async function release(mine: string, target: string): Promise<void> {
  if ((await readdir(mine).catch(() => [])).length === 0) {
    await rm(mine, { recursive: true, force: true });
    return;
  }
  // Somebody else's leftovers may lie there already: one is enough.
  if (!(await tryRename(mine, `${target}.part`))) await rm(mine, { recursive: true, force: true });
}

/** Removes what killed processes left beside `target`. */
export async function removeAbandoned(target: string, suffix: string): Promise<void> {
  for (const path of await abandoned(target, suffix)) await rm(path, { recursive: true, force: true });
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

async function abandoned(target: string, suffix: string): Promise<string[]> {
  const folder = dirname(target);
  const prefix = `${basename(target)}.`;
  const found: string[] = [];
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix) || !name.endsWith(suffix)) continue;
    const owner = /^(.+)-(\d+)-[0-9a-f]{8}$/.exec(name.slice(prefix.length, -suffix.length));
    if (owner === null) continue;
    const path = join(folder, name);
    const ownerIsGone = owner[1] === hostname() && !isAlive(Number(owner[2]));
    if (ownerIsGone || (await untouchedForAnHour(path))) found.push(path);
  }
  return found;
}

/** Whether a process of this machine is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Covers other machines and reused process ids: a download that stalls that long was given up long before. */
async function untouchedForAnHour(folder: string): Promise<boolean> {
  try {
    const paths = [folder, ...(await readdir(folder)).map((name) => join(folder, name))];
    const times = await Promise.all(paths.map(async (path) => (await stat(path)).mtimeMs));
    return Date.now() - Math.max(...times) > 3_600_000;
  } catch {
    return false; // It vanished meanwhile: somebody is at work on it.
  }
}
