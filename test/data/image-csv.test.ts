/** CSV files of paths and labels as data sets. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { type ImageOptions, imageCsv } from '../../src/data/image-data.node.ts';
import { solid } from './pictures.ts';
import { temporaryFolder } from './support.ts';

let root: string;
let cacheDir: string;
beforeEach(async () => {
  root = await temporaryFolder();
  cacheDir = await temporaryFolder();
  for (let i = 0; i < 6; i++) await solid(join(root, `pictures/${i}.png`), [10 * i, 0, 0]);
});

async function open(content: string, options: ImageOptions = {}) {
  const file = join(root, 'my labels.csv');
  await writeFile(file, content);
  return imageCsv(file, { imageSize: [4, 4], cacheDir, validationSplit: 0, ...options });
}

const lines = (...names: string[]) => names.join('\n');

describe('imageCsv', () => {
  it.each([
    ['without a header', lines('pictures/3.png,dog', 'pictures/1.png,cat')],
    ['with a header', lines('path,label', 'pictures/3.png,dog', 'pictures/1.png,cat', '')],
    [
      'with columns in another order',
      lines('Label,id,Filename', 'dog,7,pictures/3.png', 'cat,8,pictures/1.png'),
    ],
    ['from a spreadsheet', '\ufeffpath,label\r\n"pictures/3.png","dog"\r\n\r\npictures/1.png, cat \r\n'],
  ])('reads paths and labels %s', async (_, content) => {
    const { train, classNames, name } = await open(content);
    expect(name).toBe('my labels');
    expect(classNames).toEqual(['cat', 'dog']);
    const { x, y } = await train.read([0, 1]);
    expect([...y.data]).toEqual([0, 1]);
    expect([x.data[0], x.data[48]]).toEqual([10, 30]);
  });

  it('reads quoted cells with commas, quotation marks and line ends', async () => {
    const { classNames } = await open(
      lines('pictures/1.png,"cat, ""tabby"""', '"pictures/2.png","two\nlines"', ''),
    );
    expect(classNames).toEqual(['cat, "tabby"', 'two\nlines']);
  });

  it('reads splits', async () => {
    const data = await open(
      lines(
        ...[
          'path,label,split',
          'pictures/0.png,cat,train',
          'pictures/1.png,dog,train',
          'pictures/2.png,cat,val',
        ],
        ...['pictures/3.png,dog,Valid', 'pictures/4.png,dog,validation', 'pictures/5.png,cat,test'],
      ),
    );
    expect([data.train, data.validation!, data.test!].map(({ shape }) => shape[0])).toEqual([2, 3, 1]);
  });

  it('draws a split where there is none', async () => {
    const rows = [0, 1, 2, 3, 4, 5].map((i) => `pictures/${i}.png,${i % 2 ? 'odd' : 'even'}`);
    const data = await open(lines(...rows), { validationSplit: 1 / 3 });
    expect([data.train.shape[0], data.validation!.shape[0]]).toEqual([4, 2]);
  });

  it('takes absolute paths', async () => {
    const { train } = await open(lines(`${join(root, 'pictures/0.png')},a`, 'pictures/1.png,b'));
    expect((await train.read([0])).x.data[0]).toBe(0);
  });

  it.each([
    [
      'pictures/0.png',
      'my labels.csv, line 1: expected path,label or path,label,split, got "pictures/0.png".',
    ],
    [
      lines('path,label', 'pictures/0.png,'),
      'line 2: expected path,label or path,label,split, got "pictures/0.png,".',
    ],
    ['pictures/0.png,a,dev', 'line 1: split "dev"; expected train, val (valid, validation) or test.'],
    [
      lines('pictures/0.png,a,train', 'pictures/1.png,a'),
      'some lines have a split and pictures/1.png has none.',
    ],
    [lines('pictures/0.png,a,test', 'pictures/1.png,b,test'), 'no line has the split train.'],
    [lines('"a\nb",c', 'pictures/0.png,do"g'), 'line 3: a quotation mark stands where none can be.'],
    ['', 'is empty; expected lines of path,label.'],
    [
      lines('pictures/0.png,a', 'pictures/9.png,b'),
      'pictures/9.png: there is no such file (line 2); paths are relative to the folder of the CSV file.',
    ],
  ])('says which line cannot be read: %j', async (content, message) => {
    await expect(open(content)).rejects.toMatchObject({
      code: 'data',
      message: expect.stringContaining(message),
    });
  });

  it('says that there is no such file', async () => {
    await mkdir(join(root, 'empty'));
    await expect(imageCsv(join(root, 'empty/none.csv'))).rejects.toMatchObject({ code: 'argument' });
  });
});
