/** What a system says by a code such as `ENOSPC`, in words, and what helps. */

interface Meaning {
  readonly why: string;
  /** A sentence. */
  readonly remedy: string;
}

const elsewhere = 'name another place (--out for runs, GRAFT_CACHE for the cache)';

/** Of files and processes. Networks have errors of their own. */
const meanings: Readonly<Record<string, Meaning>> = {
  EACCES: { why: 'permission denied', remedy: `Change its permissions, or ${elsewhere}.` },
  EPERM: { why: 'the system does not permit it', remedy: `Change its permissions, or ${elsewhere}.` },
  EROFS: { why: 'the file system is read-only', remedy: `Mount it for writing, or ${elsewhere}.` },
  ENOSPC: { why: 'the disk is full', remedy: `Make room, or ${elsewhere}.` },
  EDQUOT: { why: 'your share of the disk is used up', remedy: `Make room, or ${elsewhere}.` },
  EFBIG: {
    why: 'the file would be larger than files may be here',
    remedy: 'See ulimit -f, or use another disk.',
  },
  ENOTDIR: {
    why: 'a part of this path is a file, not a folder',
    remedy: 'Remove that file, or name another path.',
  },
  EISDIR: { why: 'it is a folder, not a file', remedy: 'Name a file, or remove that folder.' },
  EEXIST: { why: 'something else is there already', remedy: 'Remove it, or name another path.' },
  ENOTEMPTY: { why: 'the folder is not empty', remedy: 'Empty it, or name another path.' },
  ENOENT: { why: 'there is no such file or folder', remedy: 'Check the path.' },
  ENXIO: { why: 'it is a device or a socket that nobody serves', remedy: 'Name a regular file.' },
  ENODEV: { why: 'there is no such device', remedy: 'Check the path.' },
  ELOOP: { why: 'its symbolic links lead in a circle', remedy: 'Mend the links, or name another path.' },
  ENAMETOOLONG: { why: 'a name in it is too long', remedy: 'Shorten it.' },
  EMFILE: { why: 'this process has too many files open', remedy: 'Raise the limit (ulimit -n).' },
  ENFILE: { why: 'the machine has too many files open', remedy: 'End other programs and try again.' },
  EBUSY: { why: 'another program uses it', remedy: 'End that program and try again.' },
  ETXTBSY: { why: 'another program uses it', remedy: 'End that program and try again.' },
  EXDEV: { why: 'it would have to move to another disk', remedy: 'Name another path.' },
  EIO: { why: 'the disk or its connection fails', remedy: 'Check the disk.' },
  ESTALE: { why: 'the file on the network has changed or gone', remedy: 'Mount it again, or try again.' },
  ENOLCK: { why: 'the file system has no locks left', remedy: `Try again, or ${elsewhere}.` },
  EAGAIN: {
    why: 'the system has no process or memory left for it',
    remedy: 'End other programs and try again.',
  },
  ENOMEM: { why: 'there is not enough memory', remedy: 'End other programs and try again.' },
};

/** What the system was asked for. */
const deeds: Readonly<Record<string, string>> = {
  open: 'open',
  read: 'read',
  write: 'write',
  mkdir: 'make the folder',
  scandir: 'list the folder',
  opendir: 'list the folder',
  stat: 'look at',
  lstat: 'look at',
  access: 'look at',
  realpath: 'look at',
  rename: 'rename',
  copyfile: 'copy',
  unlink: 'remove',
  rmdir: 'remove',
  rm: 'remove',
  fsync: 'write',
  ftruncate: 'write',
};

/** An error of Node's that comes from the system. */
interface SystemError extends Error {
  readonly code: string;
  readonly syscall: string;
  readonly path?: string;
}

function isSystemError(error: unknown): error is SystemError {
  if (!(error instanceof Error)) return false;
  const { code, syscall } = error as Partial<SystemError>;
  return typeof syscall === 'string' && typeof code === 'string' && code in meanings;
}

/** Why the system refused, without a path: `the disk is full (ENOSPC)`. Null for other errors. */
export function systemReason(error: unknown): string | null {
  return isSystemError(error) ? `${meanings[error.code]!.why} (${error.code})` : null;
}

/** A sentence on what helps against what the system refused; null for other errors. */
export function systemRemedy(error: unknown): string | null {
  return isSystemError(error) ? meanings[error.code]!.remedy : null;
}

/** All that can be said of what the system refused: what, where, why, and what helps. Null for other errors. */
export function describeSystemError(error: unknown): string | null {
  if (!isSystemError(error)) return null;
  const { code, syscall, path } = error;
  const { why, remedy } = meanings[code]!;
  if (syscall === 'uv_cwd') {
    return 'The current folder is no longer there. Change to another one (cd) and try again.';
  }
  if (syscall.startsWith('spawn')) return `Cannot start ${path ?? 'a process'}: ${why} (${code}). ${remedy}`;
  const deed = deeds[syscall] ?? 'use';
  // Node reads names as UTF-8, and what is none comes out as this sign.
  if (code === 'ENOENT' && path?.includes('\ufffd')) {
    return `Cannot ${deed} ${path}: its name is not valid UTF-8. Rename it, with mv or convmv.`;
  }
  return `Cannot ${deed} ${path ?? 'a file'}: ${why} (${code}). ${remedy}`;
}
