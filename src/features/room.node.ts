/** Whether features fit: on the disk, under the limit, in memory. Asked before anything is computed. */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatBytes, formatImages } from './format.ts';

/** What the machine has, in bytes. Tests put their own. */
export interface Room {
  disk(folder: string): Promise<number>;
  memory(): number;
}

export const machine: Room = {
  /** Free for this user on the disk of a folder that may not be there yet. */
  async disk(folder) {
    for (let path = folder; ; path = dirname(path)) {
      const found = await statfs(path).catch(() => null);
      if (found !== null) return found.bavail * found.bsize;
      if (path === dirname(path)) return Number.POSITIVE_INFINITY;
    }
  },
  /** Also minds the limit of a container. */
  memory: () => process.availableMemory(),
};

/** A cache leaves some of the disk to others. */
const shareOfDisk = 0.9;
/** Features in memory leave some to the training. */
const shareOfMemory = 0.5;

export interface Wanted {
  readonly name: string;
  readonly rows: number;
  readonly bytes: number;
}

const ways =
  "freeze less wide layers (up to a pooling), keep eight bits (cache precision 'uint8'), or compute them anew in " +
  'each epoch (cache off)';

/**
 * Why features cannot go to the disk, and how to mend it; null if they can.
 *
 * @param missing bytes of them that are not there yet
 * @param others bytes that other kept features take
 */
export async function whyNotOnDisk(
  { name, rows, bytes }: Wanted,
  missing: number,
  { folder, limit, others }: { folder: string; limit: number | undefined; others: number },
  room: Room,
): Promise<string | null> {
  if (missing === 0) return null;
  const what = `The features of ${name} (${formatImages(rows)}) take ${formatBytes(bytes)}`;
  if (limit !== undefined && bytes + others > limit) {
    const beside = others > 0 ? `, other kept features ${formatBytes(others)}` : '';
    return `${what}${beside}, and the limit is ${formatBytes(limit)}. Raise the limit, remove others (graft cache prune), ${ways}.`;
  }
  const free = await room.disk(folder);
  if (missing <= free * shareOfDisk) return null;
  const lacking = missing < bytes ? `, ${formatBytes(missing)} of them not there yet` : '';
  return `${what}${lacking}, and ${folder} has ${formatBytes(free)} free. Make room (graft cache prune), name another folder (GRAFT_CACHE), ${ways}.`;
}

export function fitsInMemory(bytes: number, room: Room): boolean {
  return bytes <= room.memory() * shareOfMemory;
}

/** For somebody who insists on memory: refused only if it cannot work. */
export function whyNotInMemory({ name, rows, bytes }: Wanted, room: Room): string | null {
  const free = room.memory();
  if (bytes <= free) return null;
  const what = `The features of ${name} (${formatImages(rows)}) take ${formatBytes(bytes)}`;
  return `${what}, and ${formatBytes(free)} of memory are free. Keep them on disk (cache disk), ${ways}.`;
}
