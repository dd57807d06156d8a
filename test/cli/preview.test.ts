/** `graft data --preview`: what an augmentation makes of pictures. */
import { mkdir } from 'node:fs/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeMirror, makeWorkplace, type Workplace } from './support.ts';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  // Dark above, bright below.
  const pixels = Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => (i < 16 * 32 * 3 ? 20 : 220));
  for (const name of ['shades/one', 'shades/two']) {
    await mkdir(workplace.path(name), { recursive: true });
    for (let i = 0; i < 3; i++)
      await sharp(pixels, { raw: { width: 32, height: 32, channels: 3 } })
        .png()
        .toFile(workplace.path(name, `${i}.png`));
  }
});
afterAll(() => workplace.remove());

describe('a preview of an augmentation', () => {
  it('puts each picture beside what training steps make of it', async () => {
    const args = [
      'data',
      'shades',
      '--preview',
      'preview.png',
      '--augment',
      'flip-vertical',
      '--seed',
      '1',
      '--image-size',
      '32',
    ];
    const { code, stdout, stderr } = await workplace.run(args);
    expect(stderr).not.toContain('error');
    expect(stdout).toContain('Preview of --augment flip-vertical (flip-vertical): preview.png\n');
    expect(code).toBe(0);
    const { data, info } = await sharp(workplace.path('preview.png'))
      .raw()
      .toBuffer({ resolveWithObject: true });
    // The first row of pictures lies below title, description and class: 16 + 3 x 28; ten pictures of 96, 6 apart.
    const top = 16 + 3 * 28;
    const levels = Array.from({ length: 10 }, (_, i) => {
      const level = (y: number) => data[(y * info.width + 16 + i * 102 + 48) * info.channels]!;
      return [level(top + 10), level(top + 86)];
    });
    // Dark above and bright below, as it is; turned over in some steps and not in others.
    expect(levels[0]).toEqual([20, 220]);
    for (const pair of levels)
      expect([
        [20, 220],
        [220, 20],
      ]).toContainEqual(pair);
    expect(new Set(levels.slice(1).map(([above]) => above)).size).toBe(2);
  });
});

it('shows published pictures too', async () => {
  const mirror = await makeMirror(workplace.path('mirror'));
  const args = ['data', 'cifar10', '--preview', 'cifar.html', '--augment', 'flip,cutmix', '--mirror', mirror];
  const { code, stdout } = await workplace.run([...args, '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ command: 'data', data: 'cifar10', preview: 'cifar.html' });
  expect(code).toBe(0);
});
