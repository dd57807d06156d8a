/**
 * Small pictures in a terminal: each character is a half block whose two halves are two pixels, one above the
 * other. It draws; what stands below a picture is the caller's.
 */
import { control } from '../core/console.node.ts';
import type { Tensor } from '../core/tensor.ts';
import { areaSampler, type Colour } from '../data/index.ts';

/** One line for each two rows of pixels, `width` characters wide. `depth` is 24 or 8. */
export function drawPicture(image: Tensor<'uint8'>, width: number, depth: number): string[] {
  const rows = 2 * Math.round((width * image.shape[0]!) / image.shape[1]! / 2);
  const pixel = areaSampler(image, rows, width);
  return Array.from({ length: rows / 2 }, (_, line) => {
    const cells = Array.from({ length: width }, (__, column) => {
      const upper = colourCode(38, pixel(2 * line, column), depth);
      return `${upper}${colourCode(48, pixel(2 * line + 1, column), depth)}▀`;
    });
    return `${cells.join('')}${control('[0m')}`;
  });
}

/** Sets the colour of the letter (38) or of what is behind it (48). */
function colourCode(what: 38 | 48, [red, green, blue]: Colour, depth: number): string {
  if (depth >= 24) return control(`[${what};2;${red};${green};${blue}m`);
  // The 6x6x6 cube of 256-colour terminals; its levels are 0, 95, 135, ..., 255.
  const level = (value: number) => (value < 48 ? 0 : value < 115 ? 1 : Math.floor((value - 35) / 40));
  return control(`[${what};5;${16 + 36 * level(red) + 6 * level(green) + level(blue)}m`);
}

/** A picture with the lines that stand below it. */
export interface Card {
  readonly picture: readonly string[];
  readonly captions: readonly string[];
}

/** Cards side by side, as many as fit, in rows. `width` is that of a picture in characters. */
export function layoutCards(cards: readonly Card[], width: number, columns: number): string {
  const gap = '  ';
  const across = Math.max(1, Math.floor((columns + gap.length) / (width + gap.length)));
  const rows: string[] = [];
  for (let first = 0; first < cards.length; first += across) {
    const row = cards.slice(first, first + across);
    const pictures = row[0]!.picture.map((_, i) => row.map(({ picture }) => picture[i]!).join(gap));
    const captions = row[0]!.captions.map((_, i) =>
      row
        .map(({ captions: lines }) => lines[i]!.slice(0, width).padEnd(width))
        .join(gap)
        .trimEnd(),
    );
    rows.push([...pictures, ...captions].join('\n'));
  }
  return rows.join('\n\n');
}
