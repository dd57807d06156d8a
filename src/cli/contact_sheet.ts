/** A contact sheet: some pictures of each class on one page, and pairs that deserve a look. */
import { readFile } from 'node:fs/promises';
import sharp, { type Sharp } from 'sharp';
import { writeAtomically } from '../core/files.node.ts';
import { type Dataset, labelsOf, lengthOf, type Picture } from '../data/index.ts';
import type { Review } from './data_report.ts';
import { count, plural } from './output.ts';

/** Pixels of a thumbnail's side. */
const side = 96;
const gap = 6;
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

/** Writes a page that needs no other file (`.html`), or a picture (`.png`), of a person's own pictures. */
export async function writeContactSheet(path: string, review: Review): Promise<void> {
  const title = `${review.data.name}: ${plural(review.data.pictures.length, 'picture')}`;
  await write(path, title, rowsOf(review));
}

/** The same of data sets that share their classes; a row for each class of each. */
export async function writeDatasetSheet(
  path: string,
  title: string,
  datasets: readonly Dataset[],
): Promise<void> {
  const rows = await Promise.all(datasets.map(datasetRows));
  await write(path, title, rows.flat());
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
  return { name, open: async () => sharp(await readFile(path)).autoOrient() };
}

/** Some of many, from all over them. */
function spread<Item>(items: readonly Item[]): Item[] {
  const shown = Math.min(across, items.length);
  return Array.from({ length: shown }, (_, i) => items[Math.floor((i * items.length) / shown)]!);
}

async function write(path: string, title: string, rows: readonly Row[]): Promise<void> {
  await writeAtomically(
    path,
    /\.png$/i.test(path) ? await asPicture(title, rows) : await asPage(title, rows),
  );
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

async function asPage(title: string, rows: readonly Row[]): Promise<string> {
  const sections: string[] = [];
  for (const row of rows) {
    const images: string[] = [];
    for (const picture of row.pictures) {
      const source = `data:image/jpeg;base64,${(await thumbnail(picture)).toString('base64')}`;
      const name = escapeXml(picture.name);
      images.push(`<img src="${source}" alt="${name}" title="${name}" width="${side}" height="${side}">`);
    }
    sections.push(`<section><h2>${escapeXml(row.title)}</h2>\n${images.join('\n')}</section>`);
  }
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeXml(title)}</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
h1 { font-size: 1.4em } h2 { font-size: 1em; margin: 1.2em 0 .3em }
img { margin: 0 ${gap}px ${gap}px 0; vertical-align: top }
</style></head><body>
<h1>${escapeXml(title)}</h1>
${sections.join('\n')}
</body></html>
`;
}

const margin = 16;
const lineHeight = 28;

async function asPicture(title: string, rows: readonly Row[]): Promise<Buffer> {
  const tiles: { input: Buffer; left: number; top: number }[] = [];
  const texts: string[] = [];
  let y = margin;
  const write = (text: string, weight: string) => {
    texts.push(`<text x="${margin}" y="${y + 18}" font-weight="${weight}">${escapeXml(text)}</text>`);
    y += lineHeight;
  };
  write(title, 'bold');
  for (const row of rows) {
    write(row.title, 'normal');
    for (const [i, picture] of row.pictures.entries()) {
      tiles.push({ input: await thumbnail(picture), left: margin + i * (side + gap), top: y });
    }
    if (row.pictures.length > 0) y += side + gap;
  }
  const [width, height] = [2 * margin + across * (side + gap) - gap, y + margin];
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" ` +
    `font-size="15" fill="#222">${texts.join('')}</svg>`;
  const canvas = sharp({ create: { width, height, channels: 3, background: '#ffffff' } });
  return canvas
    .composite([...tiles, { input: Buffer.from(svg), left: 0, top: 0 }])
    .png()
    .toBuffer();
}

function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return text.replace(/[&<>"]/g, (letter) => entities[letter]!);
}
