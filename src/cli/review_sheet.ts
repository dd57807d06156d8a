/** What `graft data` shows: some pictures of each class, and pairs that deserve a look. */
import sharp, { type Sharp } from 'sharp';
import { type Dataset, labelsOf, lengthOf, openImage, type Picture, readImage } from '../data/index.ts';
import { progressFor } from '../training/progress.ts';
import { type SheetRow, side, writeContactSheet } from './contact_sheet.ts';
import type { Review } from './data_report.ts';
import { count, type Output, plural } from './output.ts';

/** Pictures of a class that are shown, spread evenly over it. */
const across = 10;
/** What is not shown is said. */
const mostRows = 100;

/** A picture that is read when its turn comes. */
interface Shown {
  readonly name: string;
  open(): Promise<Sharp>;
}

interface Row {
  readonly title: string;
  readonly pictures: readonly Shown[];
}

/** Writes a page (`.html`) or a picture (`.png`) of a person's own pictures. */
export async function writeReviewSheet(path: string, review: Review, out: Output): Promise<void> {
  const title = `${review.data.name}: ${plural(review.data.pictures.length, 'picture')}`;
  await write(path, title, rowsOf(review), out);
}

/** The same of data sets that share their classes; a row for each class of each. */
export async function writeDatasetSheet(
  path: string,
  title: string,
  datasets: readonly Dataset[],
  out: Output,
): Promise<void> {
  const rows = await Promise.all(datasets.map(datasetRows));
  await write(path, title, rows.flat(), out);
}

/** They take no second. */
const fewPictures = 50;

async function write(path: string, title: string, rows: readonly Row[], out: Output): Promise<void> {
  const total = rows.reduce((sum, { pictures }) => sum + pictures.length, 0);
  const verbose = out.verbose && total > fewPictures;
  const progress = progressFor(verbose, { title: `Drawing ${path}`, total, unit: 'image' });
  const drawn: SheetRow[] = [];
  let done = 0;
  for (const { title: of, pictures } of rows) {
    const images = await Promise.all(pictures.map(thumbnail));
    drawn.push({ title: of, pictures: images.map((image, i) => ({ name: pictures[i]!.name, image })) });
    done += pictures.length;
    progress.update(done, {});
  }
  progress.end({});
  await writeContactSheet(path, title, drawn);
}

async function datasetRows(dataset: Dataset): Promise<Row[]> {
  const labels = await labelsOf(dataset);
  return dataset.classNames!.map((name, label) => {
    const all = Array.from({ length: lengthOf(dataset) }, (_, i) => i).filter((i) => labels[i] === label);
    const pictures = spread(all).map((i) => ({ name: `picture ${i}`, open: () => pictureOf(dataset, i) }));
    return { title: `${dataset.name}: ${name} (${count(all.length)})`, pictures };
  });
}

async function pictureOf(dataset: Dataset, index: number): Promise<Sharp> {
  const { x } = await dataset.read([index]);
  const [, height, width] = x.shape as [number, number, number];
  return sharp(Uint8Array.from(x.data), { raw: { width, height, channels: 3 } });
}

function shownFile({ path, name }: Picture): Shown {
  return { name, open: async () => (await openImage(await readImage(path))).image() };
}

/** Some of many, from all over them. */
function spread<Item>(items: readonly Item[]): Item[] {
  const shown = Math.min(across, items.length);
  return Array.from({ length: shown }, (_, i) => items[Math.floor((i * items.length) / shown)]!);
}

function rowsOf({ data, duplicates, nearDuplicates }: Review): Row[] {
  const { classNames, pictures } = data;
  const classes = classNames.map((name) => {
    const all = pictures.filter(({ label }) => label === name);
    return { title: `${name} (${count(all.length)})`, pictures: spread(all).map(shownFile) };
  });
  const twins = duplicates
    .filter(({ kind }) => kind !== 'same')
    .map(({ kind, pictures: group }) => ({
      title: `The same picture in two ${kind}: ${namesOf(group)}`,
      pictures: group.slice(0, across).map(shownFile),
    }));
  const alike = nearDuplicates.map(({ first, second }) => ({
    title: `They look the same: ${namesOf([first, second])}`,
    pictures: [first, second].map(shownFile),
  }));
  const shown = (rows: readonly Row[], what: string) => {
    const more = rows.length - mostRows;
    return more > 0
      ? [...rows.slice(0, mostRows), { title: `and ${plural(more, what)} more`, pictures: [] }]
      : rows;
  };
  return [...shown(classes, 'row'), ...shown([...twins, ...alike], 'pair')];
}

function namesOf(pictures: readonly Picture[]): string {
  return pictures.map(({ name, split }) => `${name} (${split})`).join(', ');
}

/** A picture that fits into a square, on a light ground. */
async function thumbnail({ open }: Shown): Promise<Buffer> {
  const background = '#f2f2f2';
  const picture = (await open()).flatten({ background });
  return picture.resize(side, side, { fit: 'contain', background }).jpeg({ quality: 80 }).toBuffer();
}
