/**
 * What `--augment` puts in front of a backbone: presets, which are lists themselves, and lists such as
 * `flip,rotation:0.05`. The layers change pictures in training steps only.
 */
import { fail } from '../core/errors.ts';
import { expectedName } from '../core/nearest.ts';
import * as layers from '../layers/index.ts';
import type { Layer } from '../layers/layer.ts';
import { invocation } from './output.ts';

export const augmentPresets: Readonly<Record<string, string>> = {
  none: '',
  light: 'flip,translation:0.1',
  medium: 'flip,translation:0.125,rotation:0.03,zoom:0.1,contrast:0.2,brightness:0.1',
  strong: 'flip,translation:0.125,rotation:0.05,zoom:0.2,contrast:0.3,brightness:0.2,erasing:0.25,mixup:0.2',
};

/** What a word makes; without a usual amount it takes none. */
interface Operation {
  readonly usual: number | null;
  make(amount: number, size: Size): Layer;
}

/** Of the pictures that come in. */
interface Size {
  readonly height: number;
  readonly width: number;
}

/** The middle of the value range. */
const grey = 127.5;

const operations: Readonly<Record<string, Operation>> = {
  flip: { usual: null, make: () => layers.randomFlip({ mode: 'horizontal' }) },
  'flip-vertical': { usual: null, make: () => layers.randomFlip({ mode: 'vertical' }) },
  crop: {
    usual: 0.875,
    make: (share, { height, width }) =>
      layers.randomCrop({ height: Math.ceil(share * height), width: Math.ceil(share * width) }),
  },
  translation: {
    usual: 0.1,
    make: (share) => layers.randomTranslation({ heightFactor: share, widthFactor: share }),
  },
  rotation: { usual: 0.05, make: (turn) => layers.randomRotation({ factor: turn }) },
  zoom: { usual: 0.1, make: (share) => layers.randomZoom({ heightFactor: share }) },
  // Both ways: Keras reads one number as growing contrast only.
  contrast: { usual: 0.2, make: (share) => layers.randomContrast({ factor: [share, share] }) },
  brightness: { usual: 0.1, make: (share) => layers.randomBrightness({ factor: share }) },
  erasing: {
    usual: 0.25,
    make: (chance) => layers.randomErasing({ factor: [chance, chance], fillValue: grey }),
  },
  randaugment: { usual: 0.5, make: (strength) => layers.randAugment({ factor: strength }) },
  mixup: { usual: 0.2, make: (alpha) => layers.mixUp({ alpha }) },
  cutmix: { usual: 1, make: (factor) => layers.cutMix({ factor }) },
};

const mixing = new Set(['mixup', 'cutmix']);

export interface Augmentation {
  /** In the order of the list, for pictures (height, width, channels); made anew at each call. */
  layers(shape: readonly number[]): Layer[];
  /** True if labels are mixed too, so that the loss must take rows. */
  readonly mixes: boolean;
  /** True if pictures become smaller. */
  readonly crops: boolean;
  /** The list, with all amounts: `flip, rotation 0.05`. */
  readonly description: string;
}

export const augmentWords = `${Object.keys(augmentPresets).join(', ')}, or a list such as flip,rotation:0.05`;

/** What stands below the options in the help. */
export const augmentHelp = `
Augmentation (--augment): pictures change in every training step, never in validation or prediction.
  light     ${augmentPresets['light']!}
  medium    ${augmentPresets['medium']!}
  strong    ${augmentPresets['strong']!}
  A list takes these in its order; an amount left out is the one shown.
  flip               left and right, every second picture; flip-vertical: top and bottom
  crop:0.875         seven eighths of height and width, at a place that each step draws
  translation:0.1    shifted by up to a tenth of its height and width
  rotation:0.05      turned by up to this share of a full turn, either way (0.05 = 18 degrees)
  zoom:0.1           larger or smaller by up to a tenth
  contrast:0.2       contrast from 0.8 to 1.2
  brightness:0.1     brighter or darker by up to a tenth of 0 ... 255
  erasing:0.25       a grey rectangle, with this chance
  randaugment:0.5    two of eleven changes of place and shade, up to this strength (Keras's RandAugment)
  mixup:0.2          blended with another picture, labels too; Beta(0.2, 0.2) says how far
  cutmix:1           a rectangle from another picture, labels too
`;

/** Reads a list. Throws `argument` naming the word that does not fit and what does. */
export function parseAugment(text: string): Augmentation {
  const list = augmentPresets[text] ?? text;
  const words = list === '' ? [] : list.split(',').map((word) => parseWord(word.trim(), text));
  return {
    layers: ([height = 0, width = 0]) =>
      words.map(({ name, amount }) => operations[name]!.make(amount ?? 0, { height, width })),
    crops: words.some(({ name }) => name === 'crop'),
    mixes: words.some(({ name }) => mixing.has(name)),
    description: words.map(({ name, amount }) => (amount === null ? name : `${name} ${amount}`)).join(', '),
  };
}

function parseWord(word: string, text: string): { readonly name: string; readonly amount: number | null } {
  // `rotation:0.05` as in --head, `rotation=0.05` as many type it.
  const [name = '', value, ...more] = word.split(/[:=]/);
  const operation = operations[name];
  if (operation === undefined || more.length > 0) {
    const known = [...Object.keys(augmentPresets), ...Object.keys(operations)];
    const hint = expectedName(name, known, `${invocation()} train --help lists what there is.`);
    return fail('argument', `--augment ${text}: cannot read "${word}". ${hint}`);
  }
  if (operation.usual === null) {
    if (value === undefined) return { name, amount: null };
    return fail('argument', `--augment ${text}: ${name} takes no amount, got "${word}".`);
  }
  const amount = value === undefined ? operation.usual : Number(value === '' ? Number.NaN : value);
  if (amount > 0 && amount <= 1) return { name, amount };
  return fail(
    'argument',
    `--augment ${text}: ${name} takes an amount above 0 and at most 1, such as ${name}:${operation.usual}; got "${word}".`,
  );
}
