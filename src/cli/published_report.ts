/** What `graft data` says about published data sets: how many pictures of which class, and whose they are. */
import { type Dataset, emojiSets, labelsOf, type Splits } from '../data/index.ts';
import type { DataName } from './data.ts';
import { columnsTable, count, invocation, plural } from './output.ts';

/** A published data set, and where its pictures come from. */
export interface PublishedReview {
  readonly name: DataName;
  readonly classNames: readonly string[];
  /** Pictures of each class. */
  readonly counts: Readonly<Record<keyof Splits, readonly number[]>>;
  readonly sources: readonly Source[];
}

/** Somebody's work that is part of the data, and on which terms. */
interface Source {
  readonly title: string;
  readonly designer: string;
  readonly licence: string;
  readonly url: string;
  /** `train`, `validation` or `test`, where the sources are split. */
  readonly part: string;
  readonly drawings: number;
  /** Where the drawings were taken from. */
  readonly from: string;
}

const cifar = 'Photographs collected by Alex Krizhevsky, 2009: https://www.cs.toronto.edu/~kriz/cifar.html';

const about: Readonly<Record<DataName, string>> = {
  cifar10: cifar,
  cifar100: cifar,
  emoji10:
    'Emoji, unchanged drawings of the sets below, turned, scaled and recoloured on random backgrounds when they are\n' +
    'loaded. No designer of a test picture drew a training picture; the validation pictures, which are the last\n' +
    'fifth of the training pictures (--validation-split 0.2), are of one more designer.',
};

export async function reviewPublished(name: DataName, { train, test }: Splits): Promise<PublishedReview> {
  return {
    name,
    classNames: train.classNames!,
    counts: { train: await countsOf(train), test: await countsOf(test) },
    sources: name === 'emoji10' ? await emojiSources() : [],
  };
}

async function countsOf(dataset: Dataset): Promise<number[]> {
  const counts = dataset.classNames!.map(() => 0);
  for (const label of await labelsOf(dataset)) counts[label]!++;
  return counts;
}

async function emojiSources(): Promise<Source[]> {
  return (await emojiSets()).map(({ name, designer, licence, url, part, glyphs, ...set }) => ({
    ...{ title: name, designer, licence, url, part, drawings: glyphs.length },
    from: `${set.package}@${set.version}`,
  }));
}

export function describePublished({ name, classNames, counts, sources }: PublishedReview): string {
  const sum = (of: readonly number[]) => of.reduce((total, value) => total + value, 0);
  const total = sum(counts.train) + sum(counts.test);
  const classes = columnsTable([
    ['', 'train', 'test'],
    ...classNames.map((label, i) => [label, count(counts.train[i]!), count(counts.test[i]!)]),
    ['in all', count(sum(counts.train)), count(sum(counts.test))],
  ]);
  const sections = [
    `${name}: ${plural(total, 'picture')} of 32x32 pixels, ${classNames.length} classes`,
    about[name],
    classes,
  ];
  if (sources.length > 0) {
    const rows = sources.map(({ title, designer, part, drawings, licence, url }) => [
      ...[title, designer, part, `${drawings} drawings`, licence, url],
    ]);
    sections.push(`Attribution and licences (assets/LICENSES.md)\n${columnsTable(rows, () => false)}`);
  }
  return sections.join('\n\n');
}

export function nextOfPublished(name: DataName): string {
  return `Next  ${invocation()} train --data ${name}${name === 'emoji10' ? ' --backbone cifar_resnet --head gap' : ''}`;
}

export function jsonOfPublished({ name, classNames, counts, sources }: PublishedReview): object {
  const classes = (of: readonly number[]) =>
    Object.fromEntries(classNames.map((label, i) => [label, of[i]!]));
  const splits = { train: classes(counts.train), test: classes(counts.test) };
  return { command: 'data', data: name, classNames, splits, sources };
}
