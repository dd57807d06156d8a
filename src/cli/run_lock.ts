/** One process at a time works on a run: a lock in its folder, which ends with that process. */
import { dirname } from 'node:path';
import { fail } from '../core/errors.ts';
import { makeFolders } from '../core/files.node.ts';
import { describeOwner, LockFile } from '../core/lock_file.node.ts';

/** Takes the lock at a path until it is disposed. Throws `state`, naming the owner, if somebody else has it. */
export async function lockRun(path: string): Promise<AsyncDisposable> {
  const folder = dirname(path);
  await makeFolders(folder);
  const taken = await LockFile.take(path);
  if (taken.lock !== null) return taken.lock;
  return fail(
    'state',
    `${folder} is being trained by ${describeOwner(taken.owner)}. Wait until it ends, or stop it.`,
  );
}
