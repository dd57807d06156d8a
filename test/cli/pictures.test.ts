/** Pictures in a terminal. */
import { describe, expect, it } from 'vitest';
import { drawPicture, layoutCards } from '../../src/cli/pictures.ts';
import { rendered } from '../../src/core/console.node.ts';
import { tensor } from '../../src/core/tensor.ts';

describe('a picture in a terminal', () => {
  const two = tensor('uint8', [2, 2, 3], Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30));

  it('shows two rows of pixels in one line, the upper one in front', () => {
    expect(drawPicture(two, 2, 24).map(rendered)).toEqual([
      '\x1b[38;2;255;0;0m\x1b[48;2;0;0;255m▀\x1b[38;2;0;255;0m\x1b[48;2;10;20;30m▀\x1b[0m',
    ]);
  });

  it('takes the nearest of 256 colours where there are no more', () => {
    expect(drawPicture(two, 2, 8).map(rendered)).toEqual([
      '\x1b[38;5;196m\x1b[48;5;21m▀\x1b[38;5;46m\x1b[48;5;16m▀\x1b[0m',
    ]);
  });

  it('is shrunk by averages, by area', () => {
    const values = Uint8Array.from({ length: 3 * 3 * 3 }, (_, i) => 10 * Math.floor(i / 3));
    // Of 3x3 pixels 0 … 80 one is left in each direction for 1.5.
    const [line] = drawPicture(tensor('uint8', [3, 3, 3], values), 2, 24).map(rendered);
    const mean = (weights: readonly number[]) =>
      Math.round(weights.reduce((total, weight, i) => total + weight * 10 * i, 0) / 2.25);
    const upperLeft = mean([1, 0.5, 0, 0.5, 0.25, 0, 0, 0, 0]);
    const lowerLeft = mean([0, 0, 0, 0.5, 0.25, 0, 1, 0.5, 0]);
    expect(line).toContain(`\x1b[38;2;${upperLeft};${upperLeft};${upperLeft}m`);
    expect(line).toContain(`\x1b[48;2;${lowerLeft};${lowerLeft};${lowerLeft}m▀`);
  });

  it('keeps its proportions', () => {
    expect(drawPicture(tensor('uint8', [32, 32, 3]), 24, 24)).toHaveLength(12);
    expect(drawPicture(tensor('uint8', [16, 32, 3]), 24, 24)).toHaveLength(6);
  });
});

describe('cards', () => {
  const card = (name: string) => ({ picture: [`${name}${name}`, `${name}${name}`], captions: [name] });
  const cards = ['a', 'b', 'c'].map(card);

  it('lie side by side as far as the terminal is wide', () => {
    expect(layoutCards(cards, 2, 6)).toBe('aa  bb\naa  bb\na   b\n\ncc\ncc\nc');
    expect(layoutCards(cards, 2, 80)).toBe('aa  bb  cc\naa  bb  cc\na   b   c');
  });

  it('lie one below the other where there is no room for two', () => {
    expect(layoutCards(cards.slice(0, 2), 2, 1)).toBe('aa\naa\na\n\nbb\nbb\nb');
  });
});
