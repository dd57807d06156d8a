/**
 * One process at a time works on a run: a file in its folder names who. It is removed at the end; what a killed
 * process left is recognised, by its process id and start time, and taken over.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fail } from '../core/errors.ts';
import { isAlive, privatePath, tryRename } from '../data/index.ts';

interface Owner {
  readonly pid: number;
  readonly host: string;
  /** When the process took the run, ISO 8601. */
  readonly since: string;
  /** When the process started, in ticks since boot; null where the system does not tell. */
  readonly start: string | null;
}

/** Takes the lock at a path until it is disposed. Throws `state`, naming the owner, if somebody else has it. */
export async function lockRun(path: string): Promise<AsyncDisposable> {
  await mkdir(dirname(path), { recursive: true });
  const since = new Date().toISOString();
  const own: Owner & { readonly id: string } = {
    ...{ pid: process.pid, host: hostname(), since, start: await startOf(process.pid) },
    id: randomUUID(),
  };
  const text = JSON.stringify(own);
  for (let tookOver = false; ; ) {
    if (await create(path, text)) {
      if (!tookOver) break;
      // Somebody who saw the same leftover may have taken this for it, and somebody else the place: see who has it.
      await wait(50);
    }
    const found = await readFile(path, 'utf8').catch(() => null);
    if (found === text) break;
    if (found === null) continue; // It was released meanwhile.
    const owner = parse(found);
    if (owner === null || (await isAtWork(owner))) refuse(path, owner);
    await removeStale(path, found);
    tookOver = true;
  }
  return { [Symbol.asyncDispose]: () => release(path, text) };
}

/** False if the file is there already. */
async function create(path: string, text: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx');
    await handle.writeFile(text).finally(() => handle.close());
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Null for a file that its owner is writing, or that is no lock. */
function parse(text: string): Owner | null {
  try {
    const owner = JSON.parse(text) as Partial<Owner> | null;
    return typeof owner?.pid === 'number' && typeof owner.host === 'string' ? (owner as Owner) : null;
  } catch {
    return null;
  }
}

/** Of another machine nobody can tell; it counts as at work. */
async function isAtWork({ host, pid, start }: Owner): Promise<boolean> {
  if (host !== hostname()) return true;
  if (!isAlive(pid)) return false;
  // The number of an ended process may be another's by now.
  const now = await startOf(pid);
  return start === null || now === null || start === now;
}

function refuse(path: string, owner: Owner | null): never {
  const who =
    owner === null
      ? 'another process'
      : `process ${owner.pid}${owner.host === hostname() ? '' : ` on ${owner.host}`}, since ${owner.since}`;
  return fail(
    'state',
    `${dirname(path)} is being trained by ${who}. Wait until it ends, or stop it; if it is gone, remove ${path}.`,
  );
}

/** Of two processes that want the same leftover, one gets it; what somebody else has put there since goes back. */
async function removeStale(path: string, found: string): Promise<void> {
  const aside = privatePath(path, '.stale');
  if (!(await tryRename(path, aside))) return;
  const taken = await readFile(aside, 'utf8');
  if (taken !== found) await create(path, taken);
  await rm(aside, { force: true });
}

async function release(path: string, text: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => null)) === text) await rm(path, { force: true });
}

/** Linux tells when a process started: field 22 of its `stat`, behind the name in parentheses. */
async function startOf(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}
