/** Whether the processor multiplies tiles of integers, as the runtime can on Linux (Intel AMX). */
import { existsSync, readFileSync } from 'node:fs';

const description = '/proc/cpuinfo';

/** True if it does. */
export function hasIntegerTiles(): boolean {
  if (process.platform !== 'linux' || process.arch !== 'x64' || !existsSync(description)) return false;
  return listsIntegerTiles(readFileSync(description, 'utf8'));
}

/** The same from what Linux writes of a processor. */
export function listsIntegerTiles(cpuinfo: string): boolean {
  return /^flags\s*:.*\bamx_int8\b/m.test(cpuinfo);
}
