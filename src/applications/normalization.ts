/** How pictures are normalised for a network that is not Graft's own: words for it, and the layer that does it. */
import * as v from 'valibot';
import { fail } from '../core/errors.ts';
import { isRecord } from '../core/records.ts';
import * as layers from '../layers/index.ts';
import type { Layer } from '../layers/layer.ts';
import { type PreprocessingMode, preprocessing } from './preprocessing.ts';

/** Mean and standard deviation of red, green and blue, or of grey alone, of values from 0 to 1. */
export interface MeanAndStd {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/**
 * What becomes of RGB values 0 … 255: one of Keras's conventions (`caffe`, `tf`: −1 … 1, `torch`: ImageNet's mean
 * and deviation), `unit` for 0 … 1, `none` to leave them, or `(x / 255 − mean) / std`.
 */
export type Normalization = PreprocessingMode | 'unit' | 'none' | MeanAndStd;

const words = ['caffe', 'tf', 'torch', 'unit', 'none'] as const;

/** A `Normalization`. */
export const normalizationSchema = v.custom<Normalization>(
  (value) =>
    words.some((word) => word === value) ||
    (isRecord(value) &&
      Array.isArray(value['mean']) &&
      Array.isArray(value['std']) &&
      isMeanAndStd({ mean: value['mean'], std: value['std'] })),
  `${words.join(', ')}, or { mean, std } of values from 0 to 1`,
);

/** What `parseNormalization` reads, for messages. */
export const normalizationWords = `${words.join(', ')}, or MEAN/STD of values 0 to 1 (0.5,0.5,0.5/0.25,0.25,0.25)`;

/** Reads a word or `MEAN/STD`. Throws `argument`. */
export function parseNormalization(text: string): Normalization {
  const word = words.find((each) => each === text);
  if (word !== undefined) return word;
  const [mean, std, ...rest] = text.split('/').map((list) => list.split(',').map(numberIn));
  const good = mean && std && rest.length === 0 && isMeanAndStd({ mean, std });
  return good ? { mean, std } : fail('argument', `Cannot read "${text}"; expected ${normalizationWords}.`);
}

/** Blanks are no zero. */
function numberIn(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

/** The text that `parseNormalization` reads as this. */
export function normalizationText(normalization: Normalization): string {
  if (typeof normalization === 'string') return normalization;
  return `${normalization.mean.join(',')}/${normalization.std.join(',')}`;
}

/** How many channels it is about; null for any number. */
function channelsOf(normalization: Normalization): number | null {
  if (typeof normalization !== 'string') return normalization.mean.length;
  return normalization === 'torch' || normalization === 'caffe' ? 3 : null;
}

export function isMeanAndStd({ mean, std }: MeanAndStd): boolean {
  const channels = mean.length === 1 || mean.length === 3 ? mean.length : 0;
  const good = (list: readonly number[]) => list.length === channels && list.every(Number.isFinite);
  return good(mean) && good(std) && std.every((value) => value > 0);
}

/**
 * The layer that normalises images so, or `null` for `none`. Throws `argument` for statistics of colours where images
 * have one channel, and the reverse.
 */
export function normalizationLayer(normalization: Normalization, channels: 1 | 3 = 3): Layer | null {
  const made = channelsOf(normalization);
  if (made !== null && made !== channels) {
    fail(
      'argument',
      `The preprocessing ${normalizationText(normalization)} is for ${made === 3 ? 'colour' : 'grey'} images; the model ` +
        `takes ${channels === 3 ? 'three channels' : 'one channel'}. Expected ${channels === 3 ? words.join(', ') : 'tf, unit, none'}, ` +
        `or MEAN/STD of ${channels === 3 ? 'three numbers each (0.5,0.5,0.5/0.25,0.25,0.25)' : 'one number each (0.1307/0.3081)'}.`,
    );
  }
  if (normalization === 'none') return null;
  if (normalization === 'unit') return layers.rescaling({ scale: 1 / 255, name: 'unit_preprocessing' });
  if (typeof normalization === 'string') return preprocessing(normalization);
  const { mean, std } = normalization;
  return layers.rescaling({
    scale: std.map((value) => 1 / (255 * value)),
    offset: mean.map((value, i) => -value / std[i]!),
    name: 'preprocessing',
  });
}
