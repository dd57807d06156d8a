/** How features are kept: what a caller may choose. */
import { fail } from '../core/errors.ts';

/**
 * - `auto`: on disk, so that the next run starts at once. Read from there, but small rows (under 32 KB, as pooled
 *   features are) from memory where they fit into half of what is free; in memory alone if the disk has no room.
 * - `memory`: in memory, gone with the process.
 * - `disk`: on disk, and read from there.
 * - `off`: computed whenever they are read.
 */
export type CacheMode = 'auto' | 'memory' | 'disk' | 'off';

/** `uint8` keeps features of at least 0 (after ReLU) in eight bits, with a scale for each channel. */
export type CachePrecision = 'float16' | 'float32' | 'uint8';

/** How the features of a frozen part are kept. */
export interface CacheOptions {
  /** Default `auto`. */
  readonly mode?: CacheMode;
  /** Default `float16`; `float32` on devices other than `cpu`. */
  readonly precision?: CachePrecision;
  /** Most bytes that all kept features together may take on disk. Default: nine tenths of what is free. */
  readonly limit?: number;
  /**
   * Where random layers stand in front of the frozen part: so many versions of each picture are kept, and epoch e
   * trains on version e mod views. Default: none are kept, each epoch computes its own.
   */
  readonly views?: number;
  /** The cache folder. Default `GRAFT_CACHE`, else the platform's custom. */
  readonly folder?: string;
}

const modes: readonly CacheMode[] = ['auto', 'memory', 'disk', 'off'];
const precisions: readonly CachePrecision[] = ['float16', 'float32', 'uint8'];

export const cacheChoices = { modes, precisions } as const;

export type ResolvedCache = CacheOptions & { readonly mode: CacheMode };

/** A mode alone, or options; checked. Throws `argument`. */
export function cacheOptions(cache: CacheMode | CacheOptions = {}): ResolvedCache {
  const { mode = 'auto', ...rest } = typeof cache === 'string' ? { mode: cache } : cache;
  const { precision, limit, views } = rest as CacheOptions;
  if (!modes.includes(mode)) fail('argument', `cache is one of ${modes.join(', ')}, got ${String(mode)}.`);
  if (precision !== undefined && !precisions.includes(precision)) {
    fail('argument', `cache.precision is one of ${precisions.join(', ')}, got ${String(precision)}.`);
  }
  if (limit !== undefined && !(limit >= 0)) {
    fail('argument', `cache.limit is a number of bytes, got ${String(limit)}.`);
  }
  if (views !== undefined && !(Number.isInteger(views) && views >= 1)) {
    fail('argument', `cache.views is a whole number of at least 1, got ${String(views)}.`);
  }
  if (views !== undefined && mode === 'off') {
    fail(
      'argument',
      'cache.views says how many versions to keep, but the cache is off; leave one of them out.',
    );
  }
  return { mode, ...rest };
}
