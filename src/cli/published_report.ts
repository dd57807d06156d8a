/** What `graft data` says about published data sets: how many pictures of which class, and whose they are. */
import { type Dataset, emojiSets, type Splits, splitNames } from '../data/index.ts';
import type { DataName } from './data.ts';
import { classCounts } from './data_findings.ts';
import { columnsTable, count, invocation, plural } from './output.ts';

/** A published data set, and where its pictures come from. */
export interface PublishedReview {
  readonly name: DataName;
  readonly classNames: readonly string[];
  /** Pictures of each class. */
  readonly counts: readonly (readonly [split: string, ofClass: readonly number[]])[];
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
    'Emoji, unchanged drawings of the sets below, turned, scaled and recoloured on random backgrounds when they are ' +
    'loaded. Nobody who drew validation or test pictures drew training pictures.',
};

export async function reviewPublished(name: DataName, splits: Splits): Promise<PublishedReview> {
  const counts = datasetsOf(splits).map(
    async ([split, dataset]) => [split, await classCounts(dataset)] as const,
  );
  return {
    name,
    classNames: splits.train.classNames!,
    counts: await Promise.all(counts),
    sources: name === 'emoji10' ? await emojiSources() : [],
  };
}

/** Those that there are, by name. */
export function datasetsOf(splits: Splits): (readonly [split: string, dataset: Dataset])[] {
  return splitNames.flatMap((name) => {
    const dataset = splits[name];
    return dataset === undefined ? [] : [[name, dataset] as const];
  });
}

async function emojiSources(): Promise<Source[]> {
  return (await emojiSets()).map(({ name, designer, licence, url, part, glyphs, ...set }) => ({
    ...{ title: name, designer, licence, url, part, drawings: glyphs.length },
    from: `${set.package}@${set.version}`,
  }));
}

export function describePublished({ name, classNames, counts, sources }: PublishedReview): string {
  const sum = (of: readonly number[]) => of.reduce((total, value) => total + value, 0);
  const total = sum(counts.map(([, of]) => sum(of)));
  const classes = columnsTable([
    ['', ...counts.map(([split]) => split)],
    ...classNames.map((label, i) => [label, ...counts.map(([, of]) => count(of[i]!))]),
    ['in all', ...counts.map(([, of]) => count(sum(of)))],
  ]);
  const sections = [
    `${name}: ${plural(total, 'picture')} of 32x32 pixels, ${classNames.length} classes`,
    about[name],
    classes,
  ];
  if (sources.length > 0) {
    const rows = sources.map(({ title, designer, part, drawings, licence }) => [
      ...[title, designer, part, `${drawings} drawings`, licence],
    ]);
    const addresses = sources.map(({ title, url }) => [title, url]);
    sections.push(
      `Attribution and licences (assets/LICENSES.md)\n${columnsTable(rows, () => false)}`,
      `Where the drawings are from\n${columnsTable(addresses, () => false)}`,
    );
  }
  return sections.join('\n\n');
}

export function nextOfPublished(name: DataName): string {
  return `Next  ${invocation()} train --data ${name}${name === 'emoji10' ? ' --backbone cifar_resnet --recipe fine-tune' : ''}`;
}

export function jsonOfPublished({ name, classNames, counts, sources }: PublishedReview): object {
  const classes = (of: readonly number[]) =>
    Object.fromEntries(classNames.map((label, i) => [label, of[i]!]));
  const splits = Object.fromEntries(counts.map(([split, of]) => [split, classes(of)]));
  return { command: 'data', data: name, classNames, splits, sources };
}
