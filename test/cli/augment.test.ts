/** What `--augment` understands. */
import { describe, expect, it } from 'vitest';
import { augmentPresets, parseAugment } from '../../src/cli/augment.ts';
import { makeLoss, type TrainConfig } from '../../src/cli/config.ts';

const classes = (text: string) =>
  parseAugment(text)
    .layers([32, 24, 3])
    .map((layer) => layer.className);
const configOf = (word: string) => parseAugment(word).layers([32, 24, 3])[0]!.config();

describe('a list of augmentations', () => {
  it('becomes layers in its order', () => {
    expect(classes('flip,rotation:0.1,erasing, cutmix')).toEqual([
      'RandomFlip',
      'RandomRotation',
      'RandomErasing',
      'CutMix',
    ]);
    expect(classes('none')).toEqual([]);
  });

  it('gives amounts, with a colon or an equals sign, and fills in the usual ones', () => {
    expect(configOf('rotation:0.03')).toMatchObject({ factor: [-0.03, 0.03], fill_mode: 'reflect' });
    expect(configOf('rotation=0.03')).toEqual(configOf('rotation:0.03'));
    expect(configOf('rotation')).toMatchObject({ factor: [-0.05, 0.05] });
    expect(configOf('flip')).toMatchObject({ mode: 'horizontal' });
    expect(configOf('flip-vertical')).toMatchObject({ mode: 'vertical' });
    expect(configOf('crop')).toMatchObject({ height: 28, width: 21 });
    expect(configOf('translation:0.2')).toMatchObject({ height_factor: 0.2, width_factor: 0.2 });
    expect(configOf('zoom')).toMatchObject({ height_factor: 0.1, width_factor: null });
    expect(configOf('contrast:0.3')).toMatchObject({ factor: [0.3, 0.3], value_range: [0, 255] });
    expect(configOf('brightness:0.3')).toMatchObject({ factor: [-0.3, 0.3] });
    expect(configOf('erasing:0.5')).toMatchObject({ factor: [0.5, 0.5], fill_value: 127.5 });
    expect(configOf('randaugment:0.4')).toMatchObject({ factor: [0, 0.4], num_ops: 2 });
    expect(configOf('mixup:0.4')).toMatchObject({ alpha: 0.4 });
    expect(configOf('cutmix')).toMatchObject({ factor: [0, 1] });
  });

  it('says what it is, and whether labels are mixed', () => {
    expect(parseAugment('flip,zoom')).toMatchObject({ description: 'flip, zoom 0.1', mixes: false });
    expect(parseAugment('flip,mixup')).toMatchObject({
      ...{ description: 'flip, mixup 0.2', mixes: true, crops: false },
    });
    expect(parseAugment('crop').crops).toBe(true);
    for (const preset of Object.keys(augmentPresets)) {
      expect(parseAugment(preset).mixes).toBe(preset === 'strong');
    }
  });

  it('that mixes labels is trained with a loss that takes rows', () => {
    const lossOf = (augment: string) => makeLoss({ labelSmoothing: 0, augment } as TrainConfig).name;
    expect(lossOf('flip')).toBe('sparse_categorical_crossentropy');
    expect(lossOf('flip,cutmix')).toBe('categorical_crossentropy');
  });

  it.each([
    ['twirl', '--augment twirl: cannot read "twirl". '],
    ['flip,,zoom', 'cannot read ""'],
    ['rotation:0.1:0.2', 'cannot read "rotation:0.1:0.2"'],
    ['flip:3', 'flip takes no amount, got "flip:3"'],
    ['rotation:2', 'rotation takes an amount above 0 and at most 1, such as rotation:0.05; got "rotation:2"'],
    ['mixup:', 'got "mixup:"'],
    ['zoom:x', 'got "zoom:x"'],
  ])('is refused with the word that does not fit: %s', (text, message) => {
    expect(() => parseAugment(text)).toThrow(message);
  });
});
