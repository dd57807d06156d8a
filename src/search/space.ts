/**
 * What a search tries: a space of options, all of its points in order (grid), or points drawn from it (random). It
 * owns values as text, as they are typed; what they mean is the caller's.
 */
import { fail } from '../core/errors.ts';
import { Random } from '../core/random.ts';

/** Numbers between two ends, both included. */
export interface Range {
  readonly low: number;
  readonly high: number;
  /** Whole numbers only. */
  readonly whole: boolean;
}

/** What an option may be: one of some values, or anything in a range. */
export type Domain = readonly string[] | Range;

/** Options by name, in the order in which they are tried and shown. */
export type Space = Readonly<Record<string, Domain>>;

/** One value for each option of a space. */
export type Point = Readonly<Record<string, string>>;

function isRange(domain: Domain): domain is Range {
  return !Array.isArray(domain);
}

/** How many points there are; infinite with a range of fractions. */
export function sizeOfSpace(space: Space): number {
  const sizes = Object.values(space).map((domain) => {
    if (!isRange(domain)) return domain.length;
    return domain.whole ? domain.high - domain.low + 1 : Number.POSITIVE_INFINITY;
  });
  return sizes.reduce((product, size) => product * size, 1);
}

/**
 * All points: the last option changes fastest, as in nested loops.
 *
 * @throws `argument` if an option is a range
 */
export function grid(space: Space): Point[] {
  let points: Point[] = [{}];
  for (const [name, domain] of Object.entries(space)) {
    if (isRange(domain)) {
      const { low, high } = domain;
      fail('argument', `${name}=${low}..${high} is a range; a grid has every value: list some.`);
    }
    points = points.flatMap((point) => domain.map((value) => ({ ...point, [name]: value })));
  }
  return points;
}

/** So many draws in a row that bring nothing new mean that there is nothing more to find. */
const patience = 1000;

/**
 * Points drawn at random, no two alike, as long as there are new ones.
 *
 * A listed value is drawn uniformly. A range is drawn log-uniformly, low·(high/low)^u with u uniform in [0, 1), so that
 * each power of ten is as likely as the next; from a low end of 0 or less uniformly, low + (high − low)·u. Fractions
 * are rounded to three digits.
 *
 * Each draw is a function of (seed, option, number of the draw): a longer search begins with the shorter one, and one
 * more option leaves the values of the others as they were.
 */
export function* random(space: Space, seed: number): Generator<Point, void> {
  const seen = new Set<string>();
  for (let draw = 0, last = 0; draw - last < patience; draw++) {
    const values = Object.entries(space).map(([name, domain]) => {
      return [name, drawFrom(domain, new Random(seed, `search/${name}`, draw))] as const;
    });
    const key = JSON.stringify(values);
    if (seen.has(key)) continue;
    seen.add(key);
    last = draw;
    yield Object.fromEntries(values);
  }
}

function drawFrom(domain: Domain, source: Random): string {
  if (!isRange(domain)) return domain[source.below(domain.length)]!;
  const { low, high, whole } = domain;
  // A whole number has the space around it up to halves, so that both ends are as likely as they should be.
  const [from, to] = whole ? [low - (low > 0 ? 0.5 : 0), high + (low > 0 ? 0.5 : 1)] : [low, high];
  const u = source.uniform();
  const value = from > 0 ? from * (to / from) ** u : from + (to - from) * u;
  if (!whole) return String(Math.min(Math.max(Number(value.toPrecision(3)), low), high));
  return String(Math.min(low > 0 ? Math.round(value) : Math.floor(value), high));
}
