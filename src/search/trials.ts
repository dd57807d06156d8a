/** The books of a search: what became of each trial, which one is the best, and how many run at a time. */
import type { Point } from './space.ts';

/** What a finished trial came to, on the validation pictures. */
export interface TrialResult {
  readonly valAccuracy: number;
  readonly valLoss: number;
  readonly seconds: number;
  readonly epochs: number;
  readonly bestEpoch: number;
}

export interface Trial {
  /** Also of its folder: `001`. */
  readonly name: string;
  readonly options: Point;
  /** `failed`: its loss was no number, and would be none again. `broken`: something else went wrong. */
  readonly status: 'waiting' | 'finished' | 'failed' | 'broken';
  /** Of a finished trial. */
  readonly result: TrialResult | null;
  /** Why it failed or broke. */
  readonly problem: string | null;
}

/** New trials, numbered from 1 with as many digits as the last one has, at least three. */
export function newTrials(points: readonly Point[]): Trial[] {
  const digits = Math.max(3, String(points.length).length);
  return points.map((options, i) => ({
    name: String(i + 1).padStart(digits, '0'),
    options,
    status: 'waiting',
    result: null,
    problem: null,
  }));
}

/** Those that a search still has to run: a broken one gets another chance when the search is continued. */
export function remaining<T extends Trial>(trials: readonly T[]): T[] {
  return trials.filter(({ status }) => status === 'waiting' || status === 'broken');
}

type Finished<T extends Trial> = T & { readonly result: TrialResult };

function isFinished<T extends Trial>(trial: T): trial is Finished<T> {
  return trial.status === 'finished' && trial.result !== null;
}

/** The finished ones, best first: by validation accuracy, then by smaller loss, then in the order of the search. */
export function ranking<T extends Trial>(trials: readonly T[]): Finished<T>[] {
  return trials
    .filter((trial) => isFinished(trial))
    .sort((a, b) => b.result.valAccuracy - a.result.valAccuracy || a.result.valLoss - b.result.valLoss);
}

/** What decides how many trials run at a time. */
export interface Means {
  /** The most that are wanted. */
  readonly most: number;
  /** Bytes that are free before any of them runs, and that one of them takes. */
  readonly free: number;
  readonly need: number;
}

/** Some memory stays free for everything else on the machine. */
const shareOfMemory = 0.8;

/** How many trials run at a time: at least one. */
export function slots({ most, free, need }: Means): number {
  return Math.max(1, Math.min(most, Math.floor((shareOfMemory * free) / need)));
}
