/** Folders of pictures as data sets: structure, classes, splits, and files that cannot be used. */
import {
  chmod,
  copyFile,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { beforeEach, describe, expect, it } from 'vitest';
import { sourcesOf } from '../../src/data/dataset.ts';
import { type ImageOptions, imageFolder, reviewImages } from '../../src/data/image-data.node.ts';
import type { ImageDataset } from '../../src/data/image-dataset.node.ts';
import { countsOf, duplicatesOf, lonelyClasses } from '../../src/data/image-review.ts';
import { bomb, type Colour, pixels, solid, text } from './pictures.ts';
import { datasetContract, noise, temporaryFolder } from './support.ts';

let root: string;
let cacheDir: string;
beforeEach(async () => {
  root = join(await temporaryFolder(), 'my pets');
  cacheDir = await temporaryFolder();
});

const open = (options: ImageOptions = {}, folder = root) =>
  imageFolder(folder, { imageSize: [4, 4], cacheDir, ...options });

const red: Colour = [200, 10, 20];
const green: Colour = [10, 200, 20];

/** `count` pictures of each class, of different levels of red and green. */
async function twoClasses(count: number, prefix = ''): Promise<void> {
  for (let i = 0; i < count; i++) {
    await solid(join(root, prefix, `cat/${i}.png`), [200 - i, 10, 20]);
    await solid(join(root, prefix, `dog/${i}.png`), [10, 200 - i, 20]);
  }
}

/** Names and labels, in the order of the data set. */
const rowsOf = ({ files }: ImageDataset) => files.map(({ name, label }) => `${name} ${label}`);

/** The first pixel of each picture. */
async function coloursOf(dataset: ImageDataset): Promise<Record<string, number[]>> {
  const { x } = await dataset.read(dataset.files.map((_, i) => i));
  const bytes = x.data.length / dataset.files.length;
  return Object.fromEntries(
    dataset.files.map(({ name }, i) => [name, [...x.data.slice(i * bytes, i * bytes + 3)]]),
  );
}

describe('a folder with one folder a class', () => {
  datasetContract(async () => {
    await twoClasses(3);
    return (await open({ validationSplit: 0 })).train;
  });

  it('is a data set whose classes are the folders, by code points as Python sorts', async () => {
    // In UTF-16 the pictograph (D83D...) would come before the letter FF21.
    for (const name of ['b', 'B', 'ä', '10', '9', '\u{1f43f}', '\uff21'])
      await solid(join(root, name, '1.png'), red);
    const { classNames } = await open({ validationSplit: 0 });
    expect(classNames).toEqual(['10', '9', 'B', 'b', 'ä', '\uff21', '\u{1f43f}']);
  });

  it('writes one letter in one way, whichever way the file system took it', async () => {
    await solid(join(root, 'train', 'Ka\u0308tzchen', '1.png'), red);
    await solid(join(root, 'val', 'K\u00e4tzchen', '1.png'), red);
    for (const split of ['train', 'val']) await solid(join(root, split, 'dog', '1.png'), green);
    expect((await open()).classNames).toEqual(['K\u00e4tzchen', 'dog'].sort());
  });

  it('gives pixels and class ids', async () => {
    await solid(join(root, 'dog/1.png'), green);
    await solid(join(root, 'cat/1.png'), red);
    const { train, validation, test } = await open({ validationSplit: 0 });
    const { x, y } = await train.read([0, 1]);
    expect(x.data).toEqual(
      Uint8Array.from([red, green].flatMap((colour) => new Array(16).fill(colour).flat())),
    );
    expect([...y.data]).toEqual([0, 1]);
    expect(train).toMatchObject({ name: 'my pets/train', shape: [2, 4, 4, 3], classNames: ['cat', 'dog'] });
    expect([validation, test]).toEqual([null, null]);
  });

  it('reads every format, upright, in 8-bit RGB', async () => {
    const exact = {
      'a.png': 'png',
      'b.gif': 'gif',
      'c.tiff': 'tiff',
      'd.tif': 'tiff',
      'e.PNG': 'png',
    } as const;
    for (const [name, format] of Object.entries(exact)) {
      await solid(join(root, 'cat', name), red, { finish: (image) => image.toFormat(format) });
    }
    await solid(join(root, 'cat/f.webp'), red, { finish: (image) => image.webp({ lossless: true }) });
    // A wrong ending does not matter.
    await solid(join(root, 'cat/g.jpg'), red, { finish: (image) => image.png() });
    const deep = new Uint16Array(16).fill(257 * 77);
    await sharp(deep, { raw: { width: 4, height: 4, channels: 1 } })
      .toColourspace('grey16')
      .png()
      .toFile(join(root, 'cat/h.png'));
    for (const name of ['i.jpg', 'j.jpeg', 'k.avif'])
      await solid(join(root, 'dog', name), green, { width: 16, height: 16 });
    await solid(join(root, 'dog/l.jpg'), red, {
      width: 16,
      height: 16,
      finish: (image) => image.toColourspace('cmyk'),
    });
    // Orientation 6 turns the stored left column into the top row.
    const sideways = Array.from({ length: 4 }, () => [...red, ...red, ...green, ...green]).flat();
    await pixels(join(root, 'dog/m.png'), sideways, 4, (image) => image.withMetadata({ orientation: 6 }));
    const { train } = await open({ validationSplit: 0 });
    const colours = await coloursOf(train);
    for (const name of ['a.png', 'b.gif', 'c.tiff', 'd.tif', 'e.PNG', 'f.webp', 'g.jpg']) {
      expect(colours[`cat/${name}`], name).toEqual([...red]);
    }
    expect(colours['cat/h.png']).toEqual([77, 77, 77]);
    for (const name of ['i.jpg', 'j.jpeg', 'k.avif']) {
      const stored = await sharp(join(root, 'dog', name))
        .raw()
        .toBuffer();
      expect(colours[`dog/${name}`], name).toEqual([...stored.subarray(0, 3)]);
      for (const channel of [0, 1, 2])
        expect(Math.abs(stored[channel]! - green[channel]!), name).toBeLessThan(6);
    }
    expect(colours['dog/l.jpg']![0]).toBeGreaterThan(150);
    const upright = await train.read([train.files.findIndex(({ name }) => name === 'dog/m.png')]);
    expect([...upright.x.data.slice(0, 12)]).toEqual([...red, ...red, ...red, ...red]);
    expect([...upright.x.data.slice(36)]).toEqual([...green, ...green, ...green, ...green]);
  });

  it('sees nested folders and links, and no hidden or other files', async () => {
    await twoClasses(1);
    await solid(join(root, 'cat/more/deeper/2.png'), red);
    await solid(join(root, 'elsewhere.png'), green);
    await rename(join(root, 'elsewhere.png'), join(root, '../elsewhere.png'));
    await symlink(join(root, '../elsewhere.png'), join(root, 'dog/link.png'));
    await symlink(join(root, 'cat/more'), join(root, 'dog/linked'));
    for (const name of [
      '.DS_Store',
      'cat/.DS_Store',
      'cat/.hidden.png',
      'cat/Thumbs.db',
      'cat/a.txt',
      'notes.txt',
    ]) {
      await text(join(root, name));
    }
    await solid(join(root, '.thumbnails/1.png'), red);
    const { train, ignored, classNames } = await open({ validationSplit: 0 });
    expect(classNames).toEqual(['cat', 'dog']);
    expect(rowsOf(train).sort()).toEqual([
      'cat/0.png 0',
      'cat/more/deeper/2.png 0',
      'dog/0.png 1',
      'dog/link.png 1',
      'dog/linked/deeper/2.png 1',
    ]);
    expect(ignored).toEqual({ '.db': 1, '.txt': 2 });
  });

  it('refuses a link that leads in a circle', async () => {
    await twoClasses(1);
    await symlink(join(root, 'cat'), join(root, 'cat/again'));
    await expect(open()).rejects.toThrow(
      `${root}: cat/again/ is a link to a folder that it lies in. Remove the link.`,
    );
  });

  it('refuses folders that lie in one another without end', async () => {
    await twoClasses(1);
    await mkdir(join(root, 'cat', ...new Array<string>(70).fill('a')), { recursive: true });
    await expect(open()).rejects.toMatchObject({
      code: 'data',
      message: `${root}: below cat/a/a/ folders lie more than 64 deep in one another.`,
    });
  });

  it('alternates between classes, so that the first pictures are a fair sample', async () => {
    for (let i = 0; i < 6; i++) await solid(join(root, `cat/${i}.png`), [100 + i, 0, 0]);
    for (let i = 0; i < 2; i++) await solid(join(root, `dog/${i}.png`), [0, 100 + i, 0]);
    const { train } = await open({ validationSplit: 0 });
    // Cats at 1/12, 3/12, ..., dogs at 1/4 and 3/4; where both stand at a quarter, the lower id comes first.
    expect([...train.labels]).toEqual([0, 0, 1, 0, 0, 0, 1, 0]);
  });

  it('stretches, crops or pads to the size, as Keras names it', async () => {
    // Left to right: red, green, blue, white; 4 wide and 2 high.
    const row = [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255];
    for (const name of ['cat/1.png', 'dog/1.png']) await pixels(join(root, name), [...row, ...row], 4);
    const first = async (options: ImageOptions) => {
      const { train } = await open({ imageSize: [2, 2], validationSplit: 0, ...options });
      return [...(await train.read([0])).x.data];
    };
    const cropped = [0, 255, 0, 0, 0, 255];
    expect(await first({ cropToAspectRatio: true })).toEqual([...cropped, ...cropped]);
    const stretched = await first({});
    expect(stretched.slice(0, 6)).toEqual(stretched.slice(6));
    // The left half is red and green, the right half blue and white.
    expect(stretched[0]).toBeGreaterThan(100);
    expect(stretched[3]! - stretched[0]!).toBeLessThan(60);
    expect(stretched[5]).toBeGreaterThan(200);
    const padded = await first({ imageSize: [4, 4], padToAspectRatio: true });
    const black = new Array(12).fill(0);
    expect(padded).toEqual([...black, ...row, ...row, ...black]);
    await expect(first({ cropToAspectRatio: true, padToAspectRatio: true })).rejects.toThrow('not both');
  });

  it('takes the classes that are named, in that order', async () => {
    for (const name of ['cat', 'dog', 'owl']) await solid(join(root, name, '1.png'), red);
    const { train, classNames } = await open({ classNames: ['owl', 'cat'], validationSplit: 0 });
    expect(classNames).toEqual(['owl', 'cat']);
    expect(rowsOf(train)).toEqual(['owl/1.png 0', 'cat/1.png 1']);
    await expect(open({ classNames: ['owl', 'cow'] })).rejects.toThrow(
      `${root} has no class cow; its classes are cat, dog, owl.`,
    );
  });

  it.each(['@eaDir', '__MACOSX', '.ipynb_checkpoints', '#recycle', 'lost+found', '$RECYCLE.BIN'])(
    'does not look into %s, neither as a class nor within one',
    async (name) => {
      await twoClasses(2);
      await solid(join(root, name, '1.png'), red);
      await solid(join(root, 'cat', name, 'SYNOPHOTO_THUMB_M.jpg'), red);
      const { classNames, pictures, skipped } = await open({ validationSplit: 0 });
      expect([classNames, pictures.length, skipped]).toEqual([['cat', 'dog'], 4, []]);
    },
  );

  it('says which names are not UTF-8, of files and of classes', async () => {
    await twoClasses(2);
    const raw = (name: string) => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')]);
    await writeFile(raw('cat/b\xe4r.png'), 'text');
    await mkdir(raw('b\xf6r'));
    await expect(open()).rejects.toMatchObject({
      code: 'data',
      message: expect.stringContaining(
        '  b\ufffdr: its name is not valid UTF-8; rename it.\n  cat/b\ufffdr.png: its name is not valid UTF-8; rename it.\n',
      ),
    });
    // A name may really hold the letter that stands for lost ones.
    await rm(raw('cat/b\xe4r.png'));
    await rm(raw('b\xf6r'), { recursive: true });
    await solid(join(root, 'cat/b\ufffdr.png'), red);
    expect((await open()).pictures).toHaveLength(5);
  });

  it('gives classes the ids that a model has for them, also if it lacks some or has one alone', async () => {
    const modelClassNames = ['owl', 'cat', 'ant'];
    await solid(join(root, 'cat/1.png'), red);
    const { train, classNames, validation } = await open({ modelClassNames });
    expect([classNames, rowsOf(train), validation]).toEqual([modelClassNames, ['cat/1.png 1'], null]);
    await solid(join(root, 'Cat/1.png'), red);
    await solid(join(root, 'dog/1.png'), red);
    await expect(open({ modelClassNames })).rejects.toMatchObject({
      code: 'data',
      message: `${root}: the model does not know Cat, dog; it knows owl, cat, ant.`,
    });
    await expect(open({ modelClassNames, classNames: ['cat'] })).rejects.toThrow('not both');
  });

  it('needs no training images where a model is evaluated', async () => {
    await solid(join(root, 'test/cat/1.png'), red);
    await expect(open()).rejects.toThrow('has test/ but no train/.');
    const { train, test } = await open({ modelClassNames: ['ant', 'cat'] });
    expect([train.shape[0], rowsOf(test!)]).toEqual([0, ['test/cat/1.png 1']]);
  });

  it('leaves the folder as it was, also one that cannot be written to', async () => {
    await twoClasses(2);
    for (const name of ['cat', 'dog', '.']) await chmod(join(root, name), 0o555);
    const { train } = await open();
    await train.read([0]);
    expect((await readdir(root, { recursive: true })).sort()).toEqual([
      ...['cat', 'cat/0.png', 'cat/1.png', 'dog', 'dog/0.png', 'dog/1.png'],
    ]);
    for (const name of ['.', 'cat', 'dog']) await chmod(join(root, name), 0o755);
  });
});

describe('splits', () => {
  it.each(['val', 'valid', 'validation', 'Val'])('are the folders train, %s and test', async (name) => {
    await twoClasses(3, 'train');
    await twoClasses(2, name);
    await twoClasses(1, 'test');
    const data = await open();
    expect([data.train, data.validation!, data.test!].map(({ shape }) => shape[0])).toEqual([6, 4, 2]);
    expect(data.validation!.classNames).toEqual(['cat', 'dog']);
    expect(data.validationSplit).toBeNull();
    expect(countsOf(data, 'validation')).toEqual([2, 2]);
  });

  it('are drawn class by class where the folder has none', async () => {
    await twoClasses(20);
    for (let i = 0; i < 20; i++) await solid(join(root, `cat/more${i}.png`), [100 - i, 60, 60]);
    const data = await open();
    expect(data.validationSplit).toBe(0.2);
    expect([countsOf(data, 'train'), countsOf(data, 'validation')]).toEqual([
      [32, 16],
      [8, 4],
    ]);
    const held = (await open()).validation!;
    expect(rowsOf(held)).toEqual(rowsOf(data.validation!));
    expect(held.fingerprint).toBe(data.validation!.fingerprint);
    const other = (await open({ seed: 1 })).validation!;
    expect(other.shape).toEqual(held.shape);
    expect(rowsOf(other)).not.toEqual(rowsOf(held));
    expect((await open({ validationSplit: 0.5 })).validation!.shape[0]).toBe(30);
  });

  it('keep files with the same bytes on one side', async () => {
    await twoClasses(10);
    for (let i = 0; i < 10; i++)
      await copyFile(join(root, `cat/${i}.png`), join(root, `cat/copy of ${i}.png`));
    for (const seed of [0, 1, 2, 3]) {
      const data = await open({ seed });
      expect(duplicatesOf(data.pictures).map(({ kind }) => kind)).toEqual(new Array(10).fill('same'));
      expect(countsOf(data, 'validation')).toEqual([4, 2]);
    }
  });

  it('leave a class with a single picture to training', async () => {
    await twoClasses(3);
    await solid(join(root, 'owl/1.png'), red);
    const data = await open({ validationSplit: 0.9 });
    expect([countsOf(data, 'train'), countsOf(data, 'validation')]).toEqual([
      [1, 1, 1],
      [2, 2, 0],
    ]);
    expect(lonelyClasses(data)).toEqual(['owl']);
  });

  it('are drawn from train where there is a test, if asked', async () => {
    await twoClasses(5, 'train');
    await twoClasses(2, 'test');
    expect((await open()).validation).toBeNull();
    const data = await open({ validationSplit: 0.2 });
    expect([data.train, data.validation!, data.test!].map(({ shape }) => shape[0])).toEqual([8, 2, 4]);
  });

  it('may be names of classes', async () => {
    for (const name of ['car', 'train', 'test']) await solid(join(root, name, '1.png'), red);
    expect((await open({ validationSplit: 0 })).classNames).toEqual(['car', 'test', 'train']);
  });
});

describe('a folder of another structure', () => {
  type Case = readonly [what: string, names: readonly string[], message: string, options?: ImageOptions];
  const cases: readonly Case[] = [
    [
      'nothing',
      ['notes.txt'],
      'has no folders of classes. Expected one folder a class with its pictures inside',
    ],
    [
      'loose pictures',
      ['1.png', '2.png'],
      'has 2 pictures, but no folders of classes. Expected one folder a class',
    ],
    ['a CSV file beside', ['1.png', 'all.csv'], ', or name the file with the labels: '],
    [
      'one class',
      ['pets/cat/1.png', 'pets/dog/1.png'],
      'has a single class, pets, and nothing to tell it from.',
    ],
    [
      'an empty class',
      ['cat/1.png', 'dog/a.txt'],
      'there are no images of dog that can be used.\nMend the files, add others, or remove the class.',
    ],
    [
      'a class that is empty in a split',
      ['train/a/1.png', 'train/b/1.png', 'val/a/1.png', 'val/b/x.txt'],
      'there are no images of b (validation) that can be used.',
    ],
    [
      'a class that is not trained',
      ['train/a/1.png', 'train/b/1.png', 'test/c/1.png'],
      'the class c of test has no training pictures.',
    ],
    [
      'no train',
      ['val/a/1.png', 'val/b/1.png'],
      'has val/ but no train/. Add it, or name the folder with the classes: ',
    ],
    [
      'splits and classes side by side',
      ['train/a/1.png', 'train/b/1.png', 'cat/1.png'],
      'has train/ which look like splits, and cat/ beside them.',
    ],
    [
      'val twice',
      ['train/a/1.png', 'val/a/1.png', 'valid/a/1.png'],
      'has val/ and valid/: keep one of them.',
    ],
    [
      'pictures beside the classes',
      ['cat/1.png', 'dog/1.png', 'loose.png'],
      '1 of 3 files cannot be used.\n  loose.png: it lies beside the folders of the classes, so it has no class.',
    ],
    [
      'its own validation and a share as well',
      ['train/a/1.png', 'train/b/1.png', 'val/a/1.png'],
      'has validation pictures of its own; leave out validationSplit.',
      { validationSplit: 0.1 },
    ],
  ];
  it.each(cases.map((one) => ({ what: one[0], one })))('is refused: $what', async ({ one }) => {
    const [, names, message, options = {}] = one;
    for (const name of names)
      await (name.endsWith('.png') ? solid(join(root, name), red) : text(join(root, name)));
    await expect(open(options)).rejects.toMatchObject({ message: expect.stringContaining(message) });
    await expect(open(options)).rejects.toThrow(root);
  });

  it('is refused: one that is not there, or a file', async () => {
    await expect(open()).rejects.toMatchObject({
      code: 'argument',
      message: `${root}: there is no such folder.`,
    });
    await text(root);
    await expect(open()).rejects.toThrow(`${root} is a file; expected a folder with one folder a class.`);
  });
});

describe('files that cannot be used', () => {
  beforeEach(async () => {
    await twoClasses(2);
    await text(join(root, 'cat/empty.jpg'), '');
    await text(join(root, 'cat/text.png'));
    await bomb(join(root, 'dog/bomb.png'));
    await symlink(join(root, 'gone.png'), join(root, 'dog/link.png'));
    await text(join(root, 'dog/old.bmp'));
    const raw = { width: 90, height: 90, channels: 3 } as const;
    const image = sharp(noise(90 * 90 * 3), { raw });
    const whole = await image.jpeg().toBuffer();
    await writeFile(join(root, 'dog/whole.jpg'), whole);
    await writeFile(join(root, 'dog/truncated.jpg'), whole.subarray(0, whole.length - 300));
  });

  it('are named with the reason', async () => {
    await expect(open()).rejects.toMatchObject({
      code: 'data',
      message: expect.stringMatching(
        new RegExp(
          `^${root}: 6 of 11 files cannot be used\\.
  dog/link\\.png: a link to something that is not there\\.
  dog/old\\.bmp: \\.bmp cannot be read; convert it to one of JPEG, PNG, WebP, GIF, AVIF and TIFF\\.
  cat/empty\\.jpg: the file is empty\\.
  cat/text\\.png: not an image in a known format .*
  dog/bomb\\.png: the image has more than 268,402,689 pixels\\.
  dog/truncated\\.jpg: the image cannot be decoded: .*premature end.*
Mend or remove them, or leave them out with skipBroken \\(--skip-broken\\)\\.$`,
        ),
      ),
    });
  });

  it('are left out on demand, and counted', async () => {
    const { train, skipped } = await open({ skipBroken: true, validationSplit: 0 });
    expect(train.files.map(({ name }) => name).sort()).toEqual([
      ...['cat/0.png', 'cat/1.png', 'dog/0.png', 'dog/1.png', 'dog/whole.jpg'],
    ]);
    expect(skipped.map(({ name, kind }) => `${kind} ${name}`)).toEqual([
      'missing dog/link.png',
      'unsupported dog/old.bmp',
      'empty cat/empty.jpg',
      'broken cat/text.png',
      'enormous dog/bomb.png',
      'broken dog/truncated.jpg',
    ]);
  });

  it('do not fill the message', async () => {
    for (let i = 0; i < 20; i++) await text(join(root, `cat/z${i}.png`));
    await expect(open()).rejects.toThrow(/ 26 of 31 files .*(\n {2}\S.*){10}\n {2}and 16 more\nMend/);
  });

  it('leave a class without pictures, which is an error that no option hides', async () => {
    await text(join(root, 'owl/1.png'));
    await expect(open({ skipBroken: true })).rejects.toThrow(
      `${root}: there are no images of owl that can be used.\n` +
        '  owl: its one file cannot be used. owl/1.png: not an image in a known format (JPEG, PNG, WebP, GIF, AVIF ' +
        'and TIFF).\nMend the files, add others, or remove the class.',
    );
  });

  it('are shown in a review, also where a whole class has nothing else', async () => {
    for (let i = 0; i < 3; i++) await text(join(root, `owl/${i}.HEIC`));
    const { classNames, train, skipped } = await reviewImages(root, { cacheDir, validationSplit: 0 });
    expect(classNames).toEqual(['cat', 'dog', 'owl']);
    expect(train.files).toHaveLength(5);
    const reason = '.heic cannot be read; convert it to one of JPEG, PNG, WebP, GIF, AVIF and TIFF.';
    expect(skipped.filter(({ label }) => label === 'owl')).toEqual(
      [0, 1, 2].map((i) => ({
        name: `owl/${i}.HEIC`,
        label: 'owl',
        split: null,
        kind: 'unsupported',
        reason,
      })),
    );
    const only = join(root, 'owl/..', '..', 'owls');
    await text(join(only, 'a/1.bmp'));
    await text(join(only, 'b/1.bmp'));
    await expect(reviewImages(only, { cacheDir })).rejects.toThrow(
      /2 of 2 files cannot be used\.\n {2}a\/1\.bmp: /,
    );
  });
});

describe('duplicates', () => {
  it('are told apart: in two classes, in two splits, side by side', async () => {
    await twoClasses(3, 'train');
    await twoClasses(1, 'val');
    // val/cat/0.png is train/cat/0.png already, and so are the dogs.
    await copyFile(join(root, 'train/cat/1.png'), join(root, 'train/dog/stray.png'));
    await copyFile(join(root, 'train/cat/2.png'), join(root, 'train/cat/twice.png'));
    const found = duplicatesOf((await open()).pictures);
    expect(found.map(({ kind, pictures }) => [kind, ...pictures.map(({ name }) => name)])).toEqual([
      ['classes', 'train/cat/1.png', 'train/dog/stray.png'],
      ['splits', 'train/cat/0.png', 'val/cat/0.png'],
      ['splits', 'train/dog/0.png', 'val/dog/0.png'],
      ['same', 'train/cat/2.png', 'train/cat/twice.png'],
    ]);
  });
});

describe('the fingerprint', () => {
  it('the same pictures at another size have the same sources, other pictures have not', async () => {
    await twoClasses(4);
    const at = async (side: number) => {
      const { train, validation } = await open({ imageSize: [side, side], validationSplit: 0.5 });
      return { train: sourcesOf(train), validation: sourcesOf(validation!) };
    };
    const small = await at(8);
    expect(await at(16)).toEqual(small);
    expect(small.train).not.toBe(small.validation);
  });

  const fingerprint = async (folder = root, options: ImageOptions = {}) =>
    (await open({ validationSplit: 0, ...options }, folder)).train.fingerprint;

  it('is the same when nothing changed, and when the folder moved', async () => {
    await twoClasses(2);
    const before = await fingerprint();
    expect(await fingerprint()).toBe(before);
    const moved = join(root, '../elsewhere');
    await cp(root, moved, { recursive: true });
    expect(await fingerprint(moved)).toBe(before);
    await rename(moved, `${moved} again`);
    expect(await fingerprint(`${moved} again`)).toBe(before);
  });

  it('changes with a byte, under the same size and time', async () => {
    await twoClasses(2);
    const path = join(root, 'cat/plain.tiff');
    const plain = { finish: (image: Sharp) => image.tiff({ compression: 'none' }) };
    const old = new Date('2020-01-01');
    const write = async (level: number) => {
      await solid(path, [level, 0, 0], plain);
      await utimes(path, old, old);
      return { fingerprint: await fingerprint(), size: (await readFile(path)).length };
    };
    const [before, after] = [await write(1), await write(2)];
    expect(after.size).toBe(before.size);
    expect(after.fingerprint).not.toBe(before.fingerprint);
  });

  it('changes when a file comes, goes or changes its class, and with the size', async () => {
    await twoClasses(3);
    const seen = new Set([await fingerprint()]);
    await solid(join(root, 'cat/new.png'), green);
    seen.add(await fingerprint());
    await rename(join(root, 'cat/new.png'), join(root, 'dog/new.png'));
    seen.add(await fingerprint());
    seen.add(await fingerprint(root, { imageSize: [5, 4] }));
    seen.add(await fingerprint(root, { cropToAspectRatio: true }));
    seen.add(await fingerprint(root, { classNames: ['dog', 'cat'] }));
    expect(seen.size).toBe(6);
  });

  it('changes when two classes change places, although the pictures stay in their order', async () => {
    // One class stands at 1/4 and 3/4 of the way, the other at 1/2, whatever they are called.
    for (const name of ['cat/1', 'cat/2', 'dog/3'])
      await solid(join(root, `${name}.png`), [Number(name.at(-1)), 0, 0]);
    const before = await fingerprint();
    await rename(join(root, 'cat'), join(root, 'x'));
    await rename(join(root, 'dog'), join(root, 'cat'));
    await rename(join(root, 'x'), join(root, 'dog'));
    expect(await fingerprint()).not.toBe(before);
  });

  it('holds while a data set is open: a file that changes meanwhile is an error', async () => {
    await twoClasses(2);
    const { train } = await open({ validationSplit: 0 });
    await solid(join(root, 'cat/1.png'), green);
    const index = train.files.findIndex(({ name }) => name === 'cat/1.png');
    await expect(train.read([index])).rejects.toMatchObject({
      code: 'data',
      message: 'cat/1.png has changed since the data set was opened. Start again.',
    });
  });
});
