/** How many cores this process may keep busy. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

/**
 * Threads that can run at the same time, at least 1: the cores that the scheduler gives this process, or fewer where a
 * container limits its time. Node before 24 does not see that limit, and threads beyond it are stopped in turns.
 */
export function usableCores(): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(coreQuota() ?? Number.POSITIVE_INFINITY)));
}

/**
 * Cores' worth of time that control groups allow, such as 1.5; null where they set no limit, and off Linux.
 * A limit counts for everything below its group, so the least of those above the process holds.
 *
 * @param root where control groups are mounted
 * @param own the group of this process, as /proc/self/cgroup tells
 */
export function coreQuota(root = '/sys/fs/cgroup', own = textOf('/proc/self/cgroup') ?? ''): number | null {
  const limits = own.split('\n').flatMap((line) => {
    const [, controllers, group] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (group === undefined) return [];
    if (controllers === '') return above(group).map((folder) => unified(join(root, folder)));
    if (!controllers!.split(',').includes('cpu')) return [];
    return above(group).map((folder) => divided(join(root, 'cpu', folder)));
  });
  const known = limits.filter((limit) => limit !== null);
  return known.length === 0 ? null : Math.min(...known);
}

/** A group and those that it lies in. */
function above(group: string): string[] {
  return group === '/' ? ['/'] : [group, ...above(dirname(group))];
}

/** Version 2: `150000 100000`, or `max 100000`. */
function unified(folder: string): number | null {
  const [quota, period] = (textOf(join(folder, 'cpu.max')) ?? 'max').trim().split(' ');
  return quota === 'max' ? null : Number(quota) / Number(period);
}

/** Version 1: a file each; −1 for no limit. */
function divided(folder: string): number | null {
  const quota = Number(textOf(join(folder, 'cpu.cfs_quota_us')) ?? -1);
  return quota < 0 ? null : quota / Number(textOf(join(folder, 'cpu.cfs_period_us')));
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null; // Most systems have only one of these files, or none.
  }
}
