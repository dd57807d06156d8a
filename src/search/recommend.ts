/** Which of several ways to train is worth its time. */
import type { Share } from '../report/scores.ts';

/** What a way of training costs and how good it is. */
export interface Way {
  /** On the validation pictures. */
  readonly accuracy: Share;
  /** Of the whole training. */
  readonly seconds: number;
}

export interface Recommendation<T extends Way> {
  readonly way: T;
  /** The most accurate one that there is time for. */
  readonly best: T;
  /** False if all of them take longer than there is time; then the quickest is recommended. */
  readonly inTime: boolean;
}

/**
 * The quickest way whose accuracy lies within the 95 % interval of the best one's: what is better by less than that may
 * be better by chance.
 *
 * @param seconds the time that there is
 */
export function recommend<T extends Way>(
  ways: readonly T[],
  seconds: number = Number.POSITIVE_INFINITY,
): Recommendation<T> {
  const quickest = [...ways].sort((a, b) => a.seconds - b.seconds);
  const possible = quickest.filter((way) => way.seconds <= seconds);
  if (possible.length === 0) return { way: quickest[0]!, best: quickest[0]!, inTime: false };
  const best = possible.reduce((top, way) => (way.accuracy.value > top.accuracy.value ? way : top));
  const way = possible.find(({ accuracy }) => accuracy.value >= best.accuracy.low)!;
  return { way, best, inTime: true };
}
