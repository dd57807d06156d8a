/** Which pictures go where: fair splits, orders and weights for classes of unequal size. All of it can be replayed. */
import { fail } from '../core/errors.ts';
import { Random } from '../core/random.ts';

/** A list is made for each id below the highest. */
const mostClasses = 2 ** 20;

/** The positions of each class, in order; classes that do not occur are empty. */
function positionsByClass(labels: ArrayLike<number>): number[][] {
  const classes: number[][] = [];
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!;
    if (!(Number.isInteger(label) && label >= 0 && label < mostClasses)) {
      fail(
        'data',
        `Example ${i} has label ${label}; class ids are whole numbers from 0 to ${mostClasses - 1}.`,
      );
    }
    while (classes.length <= labels[i]!) classes.push([]);
    classes[labels[i]!]!.push(i);
  }
  return classes;
}

/**
 * An order in which the classes take turns, each as often as it has pictures: the first n are a fair sample for
 * any n. Picture r of the m of its class stands at (r + 1/2) / m of the way.
 */
export function alternatingOrder(labels: ArrayLike<number>): Int32Array {
  const place = new Float64Array(labels.length);
  for (const positions of positionsByClass(labels)) {
    positions.forEach((position, rank) => {
      place[position] = (rank + 0.5) / positions.length;
    });
  }
  return Int32Array.from(place.keys()).sort((a, b) => place[a]! - place[b]! || labels[a]! - labels[b]!);
}

/**
 * Sets a share of each class aside, at least one picture and never all of a class; a class with one picture keeps it.
 * Pictures of one group (the same bytes) stay together.
 *
 * @param groups a name for each picture; pictures of a class with the same name go to the same side
 * @returns for each picture whether it is set aside
 */
export function stratifiedSplit(
  labels: ArrayLike<number>,
  groups: readonly string[],
  share: number,
  seed: number,
): boolean[] {
  const aside = new Array<boolean>(labels.length).fill(false);
  positionsByClass(labels).forEach((positions, label) => {
    const members = new Map<string, number[]>();
    for (const position of positions) {
      const group = groups[position]!;
      members.set(group, [...(members.get(group) ?? []), position]);
    }
    const units = [...members.values()];
    const wanted = Math.min(Math.max(Math.round(share * units.length), 1), units.length - 1);
    const order = new Random(seed, 'split', label).permutation(units.length);
    for (const unit of order.subarray(0, Math.max(wanted, 0))) {
      for (const position of units[unit]!) aside[position] = true;
    }
  });
  return aside;
}

/**
 * A weight for each class, n / (k * n_c): n pictures, k classes that occur, n_c of them in class c. Then every class
 * counts as much as any other, and the mean weight of a picture is 1 (scikit-learn's class_weight='balanced').
 */
export function balancedWeights(labels: ArrayLike<number>): Record<number, number> {
  const counts = positionsByClass(labels).map(({ length }) => length);
  const occurring = counts.filter((count) => count > 0).length;
  const weights: Record<number, number> = {};
  counts.forEach((count, label) => {
    if (count > 0) weights[label] = labels.length / (occurring * count);
  });
  return weights;
}

/**
 * An epoch in which every class is drawn equally often, as long as the data set. A class gives its pictures in random
 * order, each once before any comes again; what is left of a large class has its turn in other epochs.
 *
 * @param epoch another order and, of large classes, other pictures for each
 */
export function balancedOrder(labels: ArrayLike<number>, seed: number, epoch: number): Int32Array {
  const classes = positionsByClass(labels).filter(({ length }) => length > 0);
  const random = new Random(seed, 'sampler', epoch);
  // Which classes give one more where the length cannot be divided.
  const turn = random.permutation(classes.length);
  const drawn = new Int32Array(labels.length);
  let at = 0;
  turn.forEach((which, i) => {
    const positions = classes[which]!;
    const quota = Math.floor((labels.length + classes.length - 1 - i) / classes.length);
    for (let left = quota; left > 0; left -= positions.length) {
      for (const index of random.permutation(positions.length).subarray(0, left))
        drawn[at++] = positions[index]!;
    }
  });
  return random.permutation(drawn.length).map((index) => drawn[index]!);
}

/** Throws `argument` unless a share lies between 0 and 1, or is 0 for none. */
export function checkShare(name: string, value: number): void {
  if (!(value >= 0 && value < 1))
    fail('argument', `${name} is a share from 0 up to, not including, 1, got ${value}.`);
}
