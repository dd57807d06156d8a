/** How features are kept: what a caller may choose. */
import * as v from 'valibot';
import {
  checked,
  type Entries,
  fields,
  notNegative,
  oneOf,
  optional,
  text,
  wholeNumber,
} from '../core/checked.ts';

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

/** A mode alone, or options. */
export const cacheSchema = v.union([
  v.pipe(
    oneOf(...modes),
    v.transform((mode): ResolvedCache => ({ mode })),
  ),
  v.pipe(
    fields({
      mode: optional(oneOf(...modes), 'auto'),
      precision: optional(oneOf(...precisions)),
      limit: optional(notNegative),
      views: optional(wholeNumber(1)),
      folder: optional(text),
    } satisfies Entries<CacheOptions>),
    v.check(
      ({ mode, views }) => views === undefined || mode !== 'off',
      'takes no views while it is off: views says how many versions to keep; leave one of them out',
    ),
  ),
]);

/** A mode alone, or options; checked. Throws `argument`. */
export function cacheOptions(cache: CacheMode | CacheOptions = {}): ResolvedCache {
  return checked(cacheSchema, cache, 'cache');
}
