/** Contact sheets: rows of small pictures on one page, each with a title. */
import sharp from 'sharp';
import { writeAtomically } from '../core/files.node.ts';
import { oneLine } from '../core/text.ts';
import { html, imageUri } from '../report/html.ts';
import { renderDocument } from '../report/page.node.ts';
import { wrap } from './output.ts';

/** Pixels of a thumbnail's side. */
export const side = 96;
const gap = 6;

/** A picture, already small enough, as an encoded file (JPEG or PNG). */
export interface Thumbnail {
  readonly name: string;
  readonly image: Buffer;
}

export interface SheetRow {
  readonly title: string;
  readonly pictures: readonly Thumbnail[];
}

/** Writes a page that needs no other file (`.html`), or a picture (`.png`). */
export async function writeContactSheet(
  path: string,
  title: string,
  rows: readonly SheetRow[],
): Promise<void> {
  await writeAtomically(path, /\.png$/i.test(path) ? await asPicture(title, rows) : asPage(title, rows));
}

const style = `
:root { color-scheme: light dark }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: CanvasText; background: Canvas }
h1 { font-size: 1.4em } h2 { font-size: 1em; margin: 1.2em 0 .3em; overflow-wrap: anywhere }
img { margin: 0 ${gap}px ${gap}px 0; vertical-align: top }
`;

function asPage(title: string, rows: readonly SheetRow[]): string {
  const sections = rows.map((row) => {
    const images = row.pictures.map(({ name, image }) => {
      const text = oneLine(name);
      const source = `data:image/${isPng(image) ? 'png' : 'jpeg'};base64,${image.toString('base64')}`;
      return html`<img src="${imageUri(source)}" alt="${text}" title="${text}" width="${side}" height="${side}">\n`;
    });
    return html`<section><h2>${oneLine(row.title, 1000)}</h2>\n${images}</section>\n`;
  });
  return renderDocument({ title, style, script: '', body: html`<h1>${title}</h1>\n${sections}` });
}

const margin = 16;
const lineHeight = 28;
/** A letter of the usual sans serifs at this size, rather too wide. */
const letterWidth = 8;
/** Pictures in a row for which there is room at least: titles need it. */
const least = 10;

async function asPicture(title: string, rows: readonly SheetRow[]): Promise<Buffer> {
  const tiles: { input: Buffer; left: number; top: number }[] = [];
  const texts: string[] = [];
  const across = Math.max(least, ...rows.map(({ pictures }) => pictures.length));
  const width = 2 * margin + across * (side + gap) - gap;
  let y = margin;
  const write = (text: string, weight: string) => {
    for (const line of wrap(text, Math.floor((width - 2 * margin) / letterWidth))) {
      texts.push(`<text x="${margin}" y="${y + 18}" font-weight="${weight}">${escapeXml(line)}</text>`);
      y += lineHeight;
    }
  };
  write(title, 'bold');
  for (const row of rows) {
    write(oneLine(row.title), 'normal');
    for (const [i, { image }] of row.pictures.entries()) {
      tiles.push({ input: image, left: margin + i * (side + gap), top: y });
    }
    if (row.pictures.length > 0) y += side + gap;
  }
  const height = y + margin;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" ` +
    `font-size="15" fill="#222">${texts.join('')}</svg>`;
  const canvas = sharp({ create: { width, height, channels: 3, background: '#ffffff' } });
  return canvas
    .composite([...tiles, { input: Buffer.from(svg), left: 0, top: 0 }])
    .png()
    .toBuffer();
}

/** XML has no way to write control characters, so they are made visible first. */
function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return oneLine(text, 1000).replace(/[&<>"]/g, (letter) => entities[letter]!);
}

function isPng(file: Buffer): boolean {
  return file[0] === 0x89;
}
