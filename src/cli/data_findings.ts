/** What is known of the pictures of a training, for notes before it and for its report. */
import { type Dataset, duplicatesOf, type ImageData, labelsOf, lonelyClasses } from '../data/index.ts';
import type { DataSummary, Findings } from '../report/data_summary.ts';
import type { LoadedData } from './data.ts';
import { factsOf } from './data_report.ts';
import { count, plural } from './output.ts';

/** What a report says of the data. */
export async function summaryOf(data: LoadedData): Promise<DataSummary> {
  const splits = [
    { name: 'train', pictures: data.train },
    { name: data.validatesOn, pictures: data.validation },
    ...(data.test === null ? [] : [{ name: 'test', pictures: data.test }]),
  ];
  const counted = splits.map(async ({ name, pictures }) => ({ name, counts: await classCounts(pictures) }));
  return { ...data.findings, splits: await Promise.all(counted) };
}

/** Pictures of each class. */
export async function classCounts(dataset: Dataset): Promise<number[]> {
  const counts = dataset.classNames!.map(() => 0);
  for (const label of await labelsOf(dataset)) counts[label]!++;
  return counts;
}

/** What is known of a person's own pictures, and what of it may spoil a training. */
export function findingsOf(opened: ImageData, splitSeed: number): Findings {
  const notes: string[] = [];
  const { skipped, pictures } = opened;
  const duplicates = duplicatesOf(pictures);
  const groups = (kind: string) => duplicates.filter((group) => group.kind === kind).length;
  if (groups('classes') > 0) notes.push(`${plural(groups('classes'), 'picture')} in more than one class`);
  if (groups('splits') > 0) notes.push(`${plural(groups('splits'), 'picture')} in more than one split`);
  const lonely = lonelyClasses(opened).length;
  if (lonely > 0) notes.push(`a single picture in ${count(lonely)} of the classes`);
  return {
    facts: factsOf(opened, splitSeed),
    notes,
    skipped: skipped.map(({ name, reason }) => ({ name, reason })),
  };
}
