/**
 * What `--head` builds on a backbone: presets, which are lists themselves, and lists such as `gap,dropout:0.3`.
 * Every head ends in a dense layer with softmax, which the list leaves out.
 */
import { fail } from '../core/errors.ts';
import * as layers from '../layers/index.ts';
import type { Layer } from '../layers/layer.ts';

export const headPresets: Readonly<Record<string, string>> = {
  reference: 'flatten,bn,dense:256,dropout:0.5,bn,dense:128,dropout:0.5,bn,dense:64,dropout:0.5,bn',
  pooled: 'gap,dropout:0.2',
  linear: 'gap,standardize',
};

/** One part of a head: a layer, or the standardization whose statistics have to be measured first. */
type Part = { readonly kind: 'layer'; make(): Layer } | { readonly kind: 'standardize' };

export interface Head {
  /** From a feature map to a vector. */
  readonly reduce: () => Layer;
  /** True if features are standardized with statistics of the training pictures. */
  readonly standardized: boolean;
  /** What follows; the classifier is not part of it. */
  readonly rest: readonly (() => Layer)[];
}

export const headWords =
  `${Object.keys(headPresets).join(', ')}, or a list of gap, gmp or flatten first, then any of ` +
  'standardize, bn, dropout:RATE and dense:UNITS (with ReLU)';

const reducers: Readonly<Record<string, () => Layer>> = {
  gap: () => layers.globalAveragePooling2d(),
  gmp: () => layers.globalMaxPooling2d(),
  flatten: () => layers.flatten(),
};

/** Reads a head. Throws `argument` naming the word that does not fit and what does. */
export function parseHead(text: string): Head {
  const [first, ...others] = (headPresets[text] ?? text).split(',').map((word) => word.trim());
  const reduce =
    reducers[first ?? ''] ??
    fail('argument', `--head ${text}: "${first}" is no preset and no beginning. Expected ${headWords}.`);
  const parts = others.map((word) => parsePart(word, text));
  const standardized = parts[0]?.kind === 'standardize';
  const rest = (standardized ? parts.slice(1) : parts).map((part) => {
    if (part.kind === 'layer') return part.make;
    return fail('argument', `--head ${text}: standardize has to come right after ${first}.`);
  });
  return { reduce, standardized, rest };
}

function parsePart(word: string, text: string): Part {
  const [name, value, ...more] = word.split(':');
  const number = value === undefined || value === '' ? Number.NaN : Number(value);
  if (more.length === 0) {
    if (word === 'standardize') return { kind: 'standardize' };
    if (word === 'bn') return { kind: 'layer', make: () => layers.batchNormalization() };
    if (name === 'dropout' && number >= 0 && number < 1) {
      return { kind: 'layer', make: () => layers.dropout({ rate: number }) };
    }
    if (name === 'dense' && Number.isInteger(number) && number >= 1) {
      return { kind: 'layer', make: () => layers.dense({ units: number, activation: 'relu' }) };
    }
  }
  return fail('argument', `--head ${text}: cannot read "${word}". Expected ${headWords}.`);
}
