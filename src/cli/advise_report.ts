/** What advice looks like: a table of costs and accuracies, a recommendation in words, a command. */
import { availableParallelism } from 'node:os';
import { recommend } from '../search/recommend.ts';
import { duration } from '../training/progress.ts';
import type { Amounts, Cost } from './advise_costs.ts';
import { columns, count, megabytes, type Output, percent, plural } from './output.ts';

export interface Advice {
  readonly folder: string;
  readonly amounts: Amounts;
  /** The time that there is. */
  readonly seconds: number | undefined;
  /** Of the machine, before anything was measured. */
  readonly load: number;
  readonly commandOf: (cost: Cost) => string;
}

export function reportAdvice(costs: readonly Cost[], advice: Advice, out: Output): void {
  const { folder, amounts, seconds, load, commandOf } = advice;
  const warning = loadWarning(load);
  const recommendation = recommend(costs, seconds);
  const { way } = recommendation;
  const command = commandOf(way);
  out.result(`\n${costTable(costs)}`);
  out.say(
    `\nAccuracy is of the ${costs[0]!.accuracy.count} validation pictures of the sample, with its 95 % interval; test pictures ` +
      `took no part.\nCosts are worked out for all ${count(amounts.all)} pictures; with more pictures accuracy rises.`,
  );
  out.result(`\n${words(recommendation, seconds)}\n\n  ${command}`);
  if (warning !== null) {
    out.result(`\n${warning} For better ones remove ${folder} and ask again on a quiet machine.`);
  }
  out.json({
    ...{ command: 'advise', folder, recommended: way.name, train: command },
    ...{ load, timesReliable: warning === null, ways: costs },
  });
}

/** What other programs may take of all cores before times say little. */
const quietShare = 0.25;

/**
 * Says that times are not to be relied on, or null.
 *
 * @param load programs that ran or waited for a core, on average over the minute before measuring began
 */
export function loadWarning(load: number, cores = availableParallelism()): string | null {
  if (load <= quietShare * cores) return null;
  return (
    `Times are unreliable: the load was ${load.toFixed(1)} on ${plural(cores, 'core')} when measuring began, so ` +
    'other programs were at work, or had just been.'
  );
}

function costTable(costs: readonly Cost[]): string {
  const rows = costs.map(({ accuracy: { value, low, high }, ...cost }) => [
    titleOf(cost),
    `${percent(value)} (${(100 * low).toFixed(0)}-${(100 * high).toFixed(0)})`,
    ...[
      duration(cost.featureSeconds),
      duration(cost.epochSeconds),
      String(cost.epochs),
      duration(cost.seconds),
    ],
    ...[megabytes(cost.disk), megabytes(cost.memory)],
  ]);
  const head = ['Trains', 'Accuracy', 'Features', 'Epoch', 'Epochs', 'In all', 'Disk', 'Memory'];
  return columns([head, ...rows]);
}

/** `head at 96 px`, `last stage at 224 px` */
export function titleOf({ trainsBackbone, imageSize }: Pick<Cost, 'trainsBackbone' | 'imageSize'>): string {
  return `${trainsBackbone ? 'last stage' : 'head'} at ${imageSize} px`;
}

function words(
  { way, best, inTime }: ReturnType<typeof recommend<Cost>>,
  seconds: number | undefined,
): string {
  const about = `about ${duration(way.seconds)}`;
  const what = way.trainsBackbone
    ? "the backbone's last stage and a new head"
    : 'a head on the frozen backbone';
  const how = `Train ${what} at ${way.imageSize} px: ${about} in all.`;
  if (!inTime) return `Nothing is done in ${duration(seconds!)}; this is the quickest. ${how}`;
  const within = seconds === undefined ? '' : ` of what is done in ${duration(seconds)}`;
  if (way === best) return `${how} Nothing that was tried${within} is better.`;
  const gain = 100 * (best.accuracy.value - way.accuracy.value);
  return (
    `${how} The best${within}, the ${titleOf(best)}, got ${gain.toFixed(1)} points more in the sample, which may be ` +
    `chance, and takes ${duration(best.seconds)}.`
  );
}
