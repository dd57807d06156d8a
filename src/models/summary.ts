/** The table that Keras's `model.summary()` prints. */

import { type Entries, fields, flag, optional, wholeNumber } from '../core/checked.ts';
import { formatShape } from '../core/tensor.ts';
import { oneLine } from '../core/text.ts';
import type { Layer } from '../layers/layer.ts';
import { Network } from './network.ts';

export interface SummaryOptions {
  /** Characters of a line, at least 40; defaults to Keras's 88, or 108 with the "Connected to" column. */
  readonly lineLength?: number;
  /** Lists the layers of nested models too. */
  readonly expandNested?: boolean;
  /** Adds a column that says which layers train. */
  readonly showTrainable?: boolean;
}

export const summaryOptions = fields({
  // Narrower, and a column has no room for a letter.
  lineLength: optional(wholeNumber(40)),
  expandNested: optional(flag, false),
  showTrainable: optional(flag, false),
} satisfies Entries<SummaryOptions>);

interface Column {
  readonly title: string;
  readonly width: number;
  readonly align: 'left' | 'right' | 'center';
}

/** Renders the summary, each line ending with a newline. */
export function summary(network: Network, options: SummaryOptions = {}): string {
  const plain = isSequentialLike(network);
  const columns = layout(plain, options);
  const rows = network.layers.flatMap((layer) => layerRows(network, layer, options, plain, 0));
  const total = network.countParams();
  const trainable = network.trainableVariables.reduce((sum, { size }) => sum + size, 0);
  return [
    `Model: "${oneLine(network.name)}"`,
    ...table(columns, rows),
    ` Total params: ${amount(total)}`,
    ` Trainable params: ${amount(trainable)}`,
    ` Non-trainable params: ${amount(total - trainable)}`,
    '',
  ].join('\n');
}

function layout(plain: boolean, { lineLength, showTrainable = false }: SummaryOptions): Column[] {
  const length = lineLength ?? (plain ? 88 : 108) + (showTrainable ? 12 : 0);
  const shares = plain ? [0.45, 0.8, 1] : [0.3, 0.56, 0.74, 1];
  const ends = showTrainable ? [...shares.map((share) => share * 0.9), 1] : shares;
  const titles = ['Layer (type)', 'Output Shape', 'Param #', ...(plain ? [] : ['Connected to'])];
  if (showTrainable) titles.push('Trainable');
  const wanted = ends.map((end, i) => Math.floor(end * length) - Math.floor((ends[i - 1] ?? 0) * length));
  // Keras's widths leave no room for rules and padding; its table library takes the excess off column by column.
  let excess = wanted.reduce((total, width) => total + width + 3, 1) - length;
  return titles.map((title, i) => {
    const share = roundHalfEven(excess / (titles.length - i));
    excess -= share;
    const align = title === 'Param #' ? 'right' : title === 'Trainable' ? 'center' : 'left';
    return { title, width: wanted[i]! - share, align };
  });
}

function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** True for a chain of layers, whose connections need no column. */
function isSequentialLike(network: Network): boolean {
  if (network.className === 'Sequential') return true;
  const uses = new Map<Layer, number>();
  for (const { inputs, output } of network.steps) {
    if (inputs.length > 1) return false;
    uses.set(output.layer, (uses.get(output.layer) ?? 0) + 1);
  }
  const sources = network.steps.map(({ inputs }) => inputs[0]!);
  return new Set(sources).size === sources.length && [...uses.values()].every((times) => times === 1);
}

function layerRows(
  network: Network,
  layer: Layer,
  options: SummaryOptions,
  plain: boolean,
  level: number,
): string[][] {
  const own = network.steps.filter(({ output }) => output.layer === layer);
  const shape = own[0]?.output.shape ?? network.input.shape;
  const prefix = level === 0 ? '' : `${'   '.repeat(level)}└ `;
  const row = [
    `${prefix}${oneLine(layer.name)} (${layer.className})`,
    formatShape([null, ...shape]),
    layer.countParams().toLocaleString('en'),
  ];
  if (!plain) {
    const links = own.flatMap(({ inputs }) => inputs.map((input) => `${oneLine(input.layer.name)}[0][0]`));
    row.push(links.length > 0 ? links.join(', ') : '-');
  }
  if (options.showTrainable) row.push(layer.countParams() === 0 ? '-' : layer.trainable ? 'Y' : 'N');
  const inside =
    options.expandNested && layer instanceof Network
      ? layer.layers.flatMap((inner) => layerRows(layer, inner, options, plain, level + 1))
      : [];
  return [row, ...inside];
}

function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const rule = (left: string, line: string, middle: string, right: string) =>
    left + columns.map(({ width }) => line.repeat(width + 2)).join(middle) + right;
  const draw = (cells: readonly string[], bar: string) => {
    const wrapped = columns.map((column, i) => wrap(cells[i] ?? '', column.width));
    const height = Math.max(...wrapped.map((lines) => lines.length));
    return Array.from({ length: height }, (_, line) =>
      [bar, ...columns.flatMap((column, i) => [` ${align(wrapped[i]![line] ?? '', column)} `, bar])].join(''),
    );
  };
  const body = rows.flatMap((row, i) => [...(i > 0 ? [rule('├', '─', '┼', '┤')] : []), ...draw(row, '│')]);
  return [
    rule('┏', '━', '┳', '┓'),
    ...draw(
      columns.map(({ title }) => title),
      '┃',
    ),
    rule('┡', '━', '╇', '┩'),
    ...body,
    rule('└', '─', '┴', '┘'),
  ];
}

function align(text: string, { width, align: side }: Column): string {
  if (side === 'left') return text.padEnd(width);
  if (side === 'right') return text.padStart(width);
  const left = Math.floor((width - text.length) / 2);
  return `${' '.repeat(left)}${text}`.padEnd(width);
}

/** Breaks between words; a word longer than the column is cut. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.match(/\s*\S+/g) ?? ['']) {
    let rest = line === '' ? word : line + word;
    if (rest.length > width && line !== '') {
      lines.push(line);
      rest = word.trimStart();
    }
    while (rest.length > width) {
      lines.push(rest.slice(0, width));
      rest = rest.slice(width);
    }
    line = rest;
  }
  return [...lines, line];
}

/** `613 (2.39 KB)`: weights are float32. */
function amount(params: number): string {
  let size = params * 4;
  let unit = 'B';
  for (const next of ['KB', 'MB', 'GB', 'TB']) {
    if (size < 1024) break;
    size /= 1024;
    unit = next;
  }
  return `${params.toLocaleString('en')} (${size.toFixed(2)} ${unit})`;
}
