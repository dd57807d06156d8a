/** What `graft data` says about pictures, for people and as JSON. */
import {
  countsOf,
  type Duplicates,
  type ImageData,
  type ImageProblem,
  type NearDuplicate,
  type Picture,
  splitNames,
} from '../data/index.ts';
import { columnsTable, count, invocation, megabytes, plural, type Row, shellWord, table } from './output.ts';

/** Pictures and what was found among them. */
export interface Review {
  readonly source: string;
  readonly data: ImageData;
  readonly splitSeed: number;
  readonly duplicates: readonly Duplicates[];
  readonly nearDuplicates: readonly NearDuplicate[];
  /** Classes with one picture. */
  readonly lonely: readonly string[];
}

/** Lines of a list that are printed; JSON has all. */
const mostLines = 20;
const mostClasses = 50;

const duplicateTitles = {
  classes: 'same picture in two classes',
  splits: 'same picture in two splits',
  same: 'same picture twice in a class',
} as const;

export function describeData(review: Review): string {
  const { data } = review;
  const { pictures } = data;
  const bytes = pictures.reduce((sum, picture) => sum + picture.bytes, 0);
  const title = `${data.name}: ${plural(pictures.length, 'picture')} of ${count(data.classNames.length)} classes, ${megabytes(bytes)}`;
  const sections = [title, classTable(data), table(factsOf(data, review.splitSeed)), problemTable(review)];
  return sections.filter((section) => section !== '').join('\n\n');
}

/** A row for each thing that is wrong: the problem, the file or class, and the particulars. */
function problemTable({ data, duplicates, nearDuplicates, lonely }: Review): string {
  const sames = (['classes', 'splits', 'same'] as const).map((kind) =>
    problems(
      duplicateTitles[kind],
      duplicates
        .filter((group) => group.kind === kind)
        .map(({ pictures: [first, ...others] }) => [placeOf(first!), `= ${others.map(placeOf).join(' = ')}`]),
    ),
  );
  const rows = [
    ...problems('cannot be used', unusable(data.skipped)),
    ...problems(
      'no image of its class',
      emptyClasses(data).map((name) => [name, 'no file of it can be used']),
    ),
    ...sames.flat(),
    ...problems(
      'only picture of its class',
      lonely.map((name) => [name, 'nothing is left to validate on']),
    ),
    ...problems(
      'looks the same in two splits',
      nearDuplicates.map(({ first, second, distance }) => [
        placeOf(first),
        `~ ${placeOf(second)} (${plural(distance, 'bit')} of 64 differ)`,
      ]),
    ),
  ];
  return rows.length === 0 ? '' : columnsTable([['problem', 'where', 'what'], ...rows], () => false);
}

/** Up to so many files of a class that have the same kind of problem are named one by one. */
const mostAlike = 3;

/** A row for each file; one row for many of a class that have the same kind of problem. */
function unusable(skipped: ImageData['skipped']): [where: string, what: string][] {
  const groups = new Map<string, ImageProblem[]>();
  for (const problem of skipped) {
    const key = JSON.stringify([problem.label, problem.kind]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [problem]);
    else group.push(problem);
  }
  return [...groups.values()].flatMap((group): [string, string][] => {
    if (group.length <= mostAlike) return group.map(({ name, reason }) => [name, reason]);
    const [{ name, label, reason }] = group as [ImageProblem];
    return [[`${name} and ${count(group.length - 1)} more${label === null ? '' : ` of ${label}`}`, reason]];
  });
}

/** Classes of which no file can be used. */
function emptyClasses(data: ImageData): string[] {
  const filled = new Set(data.pictures.map(({ label }) => label));
  return data.classNames.filter((name) => !filled.has(name));
}

function problems(problem: string, found: readonly (readonly [string, string])[]): string[][] {
  const more = found.length - mostLines;
  const shown = found.slice(0, mostLines).map((row) => [problem, ...row]);
  return more > 0 ? [...shown, [problem, `and ${count(more)} more`, '--json has all']] : shown;
}

/** `train cat/1.jpg`, or the name alone where it begins with the split. */
function placeOf({ name, split }: Picture): string {
  return name.toLowerCase().startsWith(`${split}/`) ? name : `${name} (${split})`;
}

/** A row for each class, a column for each split. */
function classTable(data: ImageData): string {
  const splits = splitNames.filter((split) => data[split] !== null);
  const counts = splits.map((split) => countsOf(data, split));
  const shown = data.classNames.slice(0, mostClasses);
  const rows = [
    ['', ...splits],
    ...shown.map((name, id) => [name, ...counts.map((of) => count(of[id]!))]),
    ['in all', ...counts.map((of) => count(of.reduce((sum, value) => sum + value, 0)))],
  ];
  const more = data.classNames.length - shown.length;
  if (more > 0) rows.splice(-1, 0, [`and ${count(more)} more (--json has all)`]);
  return columnsTable(rows);
}

/** Sizes and formats, line by line. */
export function factsOf(data: ImageData, splitSeed: number): Row[] {
  const { pictures, ignored, repeatedRows, validationSplit } = data;
  const { width, height } = sizesOf(pictures);
  const others = Object.entries(ignored).map(([ending, number]) => `${count(number)} ${ending}`);
  return [
    ['Width', describeSpread(width)],
    ['Height', describeSpread(height)],
    [
      'Formats',
      formatsOf(pictures)
        .map(([format, number]) => `${count(number)} ${format}`)
        .join(', '),
    ],
    ...(validationSplit === null
      ? []
      : [
          [
            'Split',
            `${validationSplit} of each class drawn to validate by --split-seed ${splitSeed}`,
          ] as const,
        ]),
    ...(others.length === 0 ? [] : [['Ignored', `other files: ${others.join(', ')}`] as const]),
    ...(repeatedRows === 0
      ? []
      : [['Ignored', `${plural(repeatedRows, 'line')} that repeat another one`] as const]),
  ];
}

interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

function describeSpread({ min, median, max }: Spread): string {
  return min === max ? `${min} pixels` : `${min} to ${max} pixels, median ${median}`;
}

function sizesOf(pictures: readonly Picture[]): Readonly<Record<'width' | 'height', Spread>> {
  const spread = (side: 'width' | 'height') => {
    const sorted = Float64Array.from(pictures, (picture) => picture[side]).sort();
    return { min: sorted[0]!, median: sorted[Math.floor((sorted.length - 1) / 2)]!, max: sorted.at(-1)! };
  };
  return { width: spread('width'), height: spread('height') };
}

function formatsOf(pictures: readonly Picture[]): [format: string, count: number][] {
  const counts = new Map<string, number>();
  for (const { format } of pictures) counts.set(format, (counts.get(format) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a);
}

/** What to type next. */
export function describeNext({ source, data }: Review): string {
  if (!canTrain(data)) {
    return `Next  Mend the files of ${emptyClasses(data).join(', ')} or add others: training needs images of each class.`;
  }
  const skip = data.skipped.length > 0 ? ' --skip-broken' : '';
  return `Next  ${invocation()} train --data ${shellWord(source)}${skip}`;
}

/** Whether a training would begin, if files that cannot be used are left out. */
export function canTrain(data: ImageData): boolean {
  return emptyClasses(data).length === 0;
}

export function jsonOfData({ source, data, duplicates, nearDuplicates, lonely }: Review): object {
  const splits = splitNames.filter((split) => data[split] !== null);
  const classes = (counts: readonly number[]) =>
    Object.fromEntries(data.classNames.map((name, id) => [name, counts[id]!]));
  return {
    command: 'data',
    data: source,
    pictures: data.pictures.length,
    classNames: data.classNames,
    splits: Object.fromEntries(splits.map((split) => [split, classes(countsOf(data, split))])),
    validationSplit: data.validationSplit,
    sizes: sizesOf(data.pictures),
    formats: Object.fromEntries(formatsOf(data.pictures)),
    ignored: data.ignored,
    repeatedRows: data.repeatedRows,
    problems: data.skipped,
    duplicates: duplicates.map(({ kind, pictures }) => ({ kind, pictures: pictures.map(described) })),
    singlePictureClasses: lonely,
    nearDuplicates: nearDuplicates.map(({ first, second, distance }) => ({
      pictures: [first, second].map(described),
      distance,
    })),
  };
}

function described({ name, label, split }: Picture): object {
  return { name, label, split };
}
