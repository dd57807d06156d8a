import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/data/image.node.ts';
import { bomb, grayTiff } from './pictures.ts';
import { temporaryFolder } from './support.ts';

/** Writes a picture of raw values and gives its path. */
async function picture(
  values: readonly number[],
  { width, channels, name = 'x.png' }: { width: number; channels: 1 | 2 | 3 | 4; name?: string },
  finish: (image: Sharp) => Sharp = (image) => image,
): Promise<string> {
  const height = values.length / width / channels;
  const image = sharp(Uint8Array.from(values), { raw: { width, height, channels } });
  const path = join(await temporaryFolder(), name);
  await finish(image).toFile(path);
  return path;
}

async function fileOf(content: Uint8Array | string, name = 'x.jpg'): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeFile(path, content);
  return path;
}

describe('decodeImage', () => {
  it('gives 8-bit RGB rows, channels last', async () => {
    const values = [1, 2, 3, 40, 50, 60, 7, 8, 9, 100, 110, 120, 250, 251, 252, 0, 128, 255];
    const image = await decodeImage(await picture(values, { width: 3, channels: 3 }));
    expect(image).toEqual({ dtype: 'uint8', shape: [2, 3, 3], data: Uint8Array.from(values) });
  });

  it('makes three equal channels of grey', async () => {
    const path = await picture([0, 77, 255], { width: 3, channels: 1 }, (image) =>
      image.toColourspace('b-w'),
    );
    expect((await sharp(path).metadata()).channels).toBe(1);
    const { shape, data } = await decodeImage(path);
    expect([shape, [...data]]).toEqual([
      [1, 3, 3],
      [0, 0, 0, 77, 77, 77, 255, 255, 255],
    ]);
  });

  it('lays transparency on white', async () => {
    const values = [10, 20, 30, 255, 10, 20, 30, 0, 0, 0, 0, 51];
    const { shape, data } = await decodeImage(await picture(values, { width: 3, channels: 4 }));
    expect(shape).toEqual([1, 3, 3]);
    // The last: 0 * 51/255 + 255 * 204/255 = 204.
    expect([...data]).toEqual([10, 20, 30, 255, 255, 255, 204, 204, 204]);
  });

  it('lays transparent grey on white too', async () => {
    const path = await picture([100, 255, 100, 0], { width: 2, channels: 2 }, (image) =>
      image.toColourspace('b-w'),
    );
    expect((await sharp(path).metadata()).channels).toBe(2);
    expect([...(await decodeImage(path)).data]).toEqual([100, 100, 100, 255, 255, 255]);
  });

  it.each([
    ['rgb16', 3],
    ['grey16', 1],
  ] as const)('scales 16 bits down to 8: %s', async (space, channels) => {
    const values = Uint16Array.from(
      { length: 4 * channels },
      (_, i) => 257 * (60 + 10 * Math.floor(i / channels)),
    );
    const path = join(await temporaryFolder(), 'deep.png');
    await sharp(values, { raw: { width: 4, height: 1, channels } })
      .toColourspace(space)
      .png()
      .toFile(path);
    expect((await sharp(path).metadata()).depth).toBe('ushort');
    expect([...(await decodeImage(path)).data]).toEqual([60, 70, 80, 90].flatMap((v) => [v, v, v]));
  });

  it('turns CMYK into RGB', async () => {
    const red = Array.from({ length: 64 }, () => [255, 0, 0]).flat();
    const path = await picture(red, { width: 8, channels: 3, name: 'x.jpg' }, (image) =>
      image.toColourspace('cmyk'),
    );
    expect((await sharp(path).metadata()).space).toBe('cmyk');
    const { shape, data } = await decodeImage(path);
    expect(shape).toEqual([8, 8, 3]);
    // Print cannot show full red: only that red dominates is certain.
    expect(data[0]).toBeGreaterThan(200);
    expect(Math.max(data[1]!, data[2]!)).toBeLessThan(80);
  });

  it('puts a picture upright by its EXIF orientation', async () => {
    // Orientation 6: the stored left column is the top row, so a black | white pair becomes black over white.
    const stored = [0, 0, 0, 255, 255, 255];
    const path = await picture(stored, { width: 2, channels: 3 }, (image) =>
      image.withMetadata({ orientation: 6 }),
    );
    const { shape, data } = await decodeImage(path);
    expect([shape, [...data]]).toEqual([[2, 1, 3], stored]);
    expect((await decodeImage(path, { height: 4, width: 1 })).shape).toEqual([4, 1, 3]);
  });

  it('enlarges to exactly the size that was asked for, between pixel centres', async () => {
    const values = [0, 0, 0, 200, 200, 200, 100, 100, 100, 0, 0, 0];
    const { shape, data } = await decodeImage(await picture(values, { width: 2, channels: 3 }), {
      height: 2,
      width: 4,
    });
    expect(shape).toEqual([2, 4, 3]);
    // Columns of the result lie at -0.25, 0.25, 0.75 and 1.25 of the old ones.
    expect(Array.from({ length: 8 }, (_, i) => data[3 * i])).toEqual([0, 50, 150, 200, 100, 75, 25, 0]);
  });

  it('enlarges rows as it does columns', async () => {
    const path = await picture([0, 10, 20, 80, 90, 100], { width: 1, channels: 3 });
    const { data } = await decodeImage(path, { height: 4, width: 1 });
    expect([...data]).toEqual([0, 10, 20, 20, 30, 40, 60, 70, 80, 80, 90, 100]);
  });

  it('weighs all pixels when it shrinks', async () => {
    const values = [0, 0, 0, 200, 200, 0, 0, 0].flatMap((value) => [value, value, value]);
    const { data } = await decodeImage(await picture(values, { width: 8, channels: 3 }), {
      height: 1,
      width: 1,
    });
    // The mean is 50; picking the pixels around the centre would give 200.
    expect(Math.abs(data[0]! - 50)).toBeLessThanOrEqual(3);
  });

  it('shrinks each side by its own factor', async () => {
    const values = [...new Array<number>(8 * 3).fill(0), ...new Array<number>(8 * 3).fill(200)];
    const { shape, data } = await decodeImage(await picture(values, { width: 8, channels: 3 }), {
      height: 2,
      width: 2,
    });
    expect([shape, [...data]]).toEqual([
      [2, 2, 3],
      [0, 0, 0, 0, 0, 0, 200, 200, 200, 200, 200, 200],
    ]);
  });

  it('shrinks one side while it enlarges the other', async () => {
    const path = await picture(new Array<number>(6 * 3).fill(90), { width: 6, channels: 3 });
    const { shape, data } = await decodeImage(path, { height: 3, width: 2 });
    expect([shape, new Set(data)]).toEqual([[3, 2, 3], new Set([90])]);
  });

  it('reads the file anew after it changed', async () => {
    const path = await picture([1, 2, 3], { width: 1, channels: 3 });
    await decodeImage(path);
    await sharp(Uint8Array.of(9, 8, 7), { raw: { width: 1, height: 1, channels: 3 } }).toFile(path);
    expect([...(await decodeImage(path)).data]).toEqual([9, 8, 7]);
  });

  it('names the file when it is not there, a folder, empty or no picture', async () => {
    const folder = await temporaryFolder();
    const cases = [
      [join(folder, 'none.png'), 'there is no such file.'],
      [folder, 'it is a folder; expected a file.'],
      [await fileOf(''), 'the file is empty.'],
      [
        await fileOf('hello, I am a text'),
        'not an image in a known format (JPEG, PNG, WebP, GIF, AVIF and TIFF).',
      ],
    ] as const;
    await mkdir(folder, { recursive: true });
    for (const [path, reason] of cases) {
      await expect(decodeImage(path)).rejects.toMatchObject({ code: 'data', message: `${path}: ${reason}` });
    }
  });

  it.each(['png', 'jpeg', 'webp'] as const)('refuses a %s that is cut off', async (format) => {
    const noisy = sharp({
      create: {
        width: 64,
        height: 64,
        channels: 3,
        background: '#888',
        noise: { type: 'gaussian', mean: 128, sigma: 50 },
      },
    });
    const whole = await noisy.toFormat(format).toBuffer();
    const path = await fileOf(whole.subarray(0, Math.floor(whole.length / 2)), `cut.${format}`);
    await expect(decodeImage(path)).rejects.toMatchObject({
      code: 'data',
      message: expect.stringMatching(/cut\.\w+: the image cannot be decoded: .+ Replace or remove it\.$/s),
    });
  });

  it('refuses a picture of absurd size before it fills the memory', async () => {
    const path = join(await temporaryFolder(), 'huge.png');
    await bomb(path);
    await expect(decodeImage(path)).rejects.toThrow(`${path}: the image has more than 268,402,689 pixels.`);
  });

  // A drawing is a program: this one asks for 2^30 rectangles, others for files and addresses.
  it('refuses a drawing under the name of an image before anything reads it', { timeout: 5000 }, async () => {
    const uses = Array.from(
      { length: 30 },
      (_, i) => `<g id="u${i + 1}"><use href="#u${i}"/><use href="#u${i}"/></g>`,
    );
    const start = '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64">';
    const drawing = `${start}<defs><rect id="u0" width="1" height="1"/>${uses.join('')}</defs><use href="#u30"/></svg>`;
    const utf16 = Buffer.from(`\ufeff${drawing}`, 'utf16le');
    for (const content of [drawing, `\ufeff \n<?xml version="1.0"?>${drawing}`, utf16]) {
      const path = await fileOf(content, 'x.png');
      await expect(decodeImage(path)).rejects.toMatchObject({
        code: 'data',
        message: `${path}: it is an SVG drawing, or other XML; convert it to one of JPEG, PNG, WebP, GIF, AVIF and TIFF.`,
      });
    }
  });

  it.each(['png', 'jpeg', 'webp', 'gif', 'avif', 'tiff'] as const)(
    'reads %s whatever its name',
    async (format) => {
      const path = await picture(
        new Array<number>(16 * 16 * 3).fill(200),
        { width: 16, channels: 3 },
        (image) => image.toFormat(format),
      );
      expect((await decodeImage(path)).data[0]).toBeGreaterThan(190);
    },
  );

  it('reads no endless device and no file of more bytes than an image has', { timeout: 5000 }, async () => {
    await expect(decodeImage('/dev/zero')).rejects.toThrow('/dev/zero: it is a device; expected a file.');
    const path = await fileOf('\xff\xd8\xff');
    await truncate(path, 2 ** 32);
    await expect(decodeImage(path)).rejects.toThrow(
      `${path}: it has 4,294,967,296 bytes; an image may have at most 268,435,456.`,
    );
  });

  // White is 1 for some programs and 255 for others; sharp would make 0, 188, 255 of the colours 0, ½, 1, and black
  // of grey ones.
  it('refuses a TIFF whose values have no known range, and reads one of 16 bits', async () => {
    const float = await fileOf(grayTiff(Buffer.from(Float32Array.of(0, 0.5).buffer), 32, 3), 'x.tif');
    await expect(decodeImage(float)).rejects.toThrow(
      `${float}: its values are floating-point numbers, of which nobody knows the range; ` +
        'save it with 8 or 16 bits a channel.',
    );
    const long = await fileOf(grayTiff(Buffer.from(Uint32Array.of(0, 2 ** 31).buffer), 32, 1), 'x.tif');
    await expect(decodeImage(long)).rejects.toThrow('its values are of type uint');
    const signed = await fileOf(grayTiff(Buffer.from(Int16Array.of(-1, 255).buffer), 16, 2), 'x.tif');
    await expect(decodeImage(signed)).rejects.toThrow('its values are of type short');
    // 257 · v is v of 255.
    const short = await fileOf(grayTiff(Buffer.from(Uint16Array.of(257 * 7, 65_535).buffer), 16, 1), 'x.tif');
    expect([...(await decodeImage(short)).data]).toEqual([7, 7, 7, 255, 255, 255]);
  });

  it('refuses a size that is no size', async () => {
    await expect(decodeImage('never read', { height: 0, width: 5 })).rejects.toMatchObject({
      code: 'argument',
      message: 'decodeImage: height and width are whole numbers from 1 to 16383, got 0 and 5.',
    });
  });
});
