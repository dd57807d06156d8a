/** CSV files of paths and labels as data sets. */
import { execFileSync } from 'node:child_process';
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

async function open(content: string | Buffer, options: ImageOptions = {}) {
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
    ['in UTF-16', Buffer.from('\ufeffpath,label\npictures/3.png,dog\npictures/1.png,cat', 'utf16le')],
    ['with semicolons', lines('path;label;note', 'pictures/3.png;dog;old, grey', 'pictures/1.png;cat;')],
    ['with tabs', lines('path\tlabel\tnote', 'pictures/3.png\tdog\t', 'pictures/1.png\tcat\tnew; black')],
    ['with semicolons, commas and no header', lines('pictures/3.png;dog', 'pictures/1.png;cat')],
    ['with backslashes', lines('path,label', 'pictures\\3.png,dog', '.\\pictures\\1.png,cat')],
    ['of Windows and of old Macs', lines('path,label\r\npictures/3.png,dog\rpictures/1.png,cat\r')],
    ['by bare names', lines('image_id,label', '3.png,dog', '1.png,cat')],
    ['by ids', lines('id,breed', '3,dog', '1,cat')],
    ['by ids without a header', lines('3,dog', '1,cat')],
    ['by the end of a path', lines('file_name,species', './pictures/3,dog', 'PICTURES/1.PNG,cat')],
    ['beside an index', lines(',filename,category', '0,pictures/3.png,dog', '1,pictures/1.png,cat')],
    [
      'beside numbers that mean the same',
      lines('image,class,target', 'pictures/3.png,dog,7', 'pictures/1.png,cat,8'),
    ],
    ['of a column of which only its place is known', lines('filename,animal', '3.png,dog', '1.png,cat')],
    ['that are said twice', lines('pictures/3.png,dog', 'pictures/1.png,cat', '3.png,dog')],
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
      'my labels.csv, line 1: the label is missing; expected path,label or path,label,split, got "pictures/0.png".',
    ],
    [
      lines('path,label', 'pictures/0.png,'),
      'line 2: the label is missing; expected path,label or path,label,split, got "pictures/0.png,".',
    ],
    [lines('path,label', ',cat'), 'line 2: the path is missing; expected path,label'],
    ['pictures/0.png,a,dev', 'line 1: split "dev"; expected train, val (valid, validation) or test.'],
    [
      lines('pictures/0.png,a,train', 'pictures/1.png,a'),
      'some lines have a split and pictures/1.png has none.',
    ],
    [lines('pictures/0.png,a,test', 'pictures/1.png,b,test'), 'no line has the split train.'],
    [lines('"a\nb",c', 'pictures/0.png,do"g'), 'line 3: a quotation mark stands where none can be.'],
    [lines('path,label', 'pictures/0.png,"dog'), 'line 2: a quotation mark is opened and not closed'],
    [
      lines('path,label', '', '"pictures/0.png,dog', 'pictures/1.png,dog', 'pictures/2.png,dog'),
      'line 3: a quotation mark is opened and not closed. Close it',
    ],
    [
      lines('path,label', '"pictures/0.png,dog', '"pictures/1.png",dog'),
      'line 3: a quotation mark stands where none can be, in a row that begins in line 2.',
    ],
    [
      lines('path,label', 'pictures/0.png,cat, tabby'),
      'my labels.csv, line 2: 3 columns where the first line has 2. Quote a cell that holds ",": "a,b".',
    ],
    [
      lines('what,where', 'pictures/0.png,cat'),
      'my labels.csv, line 1: "what,where" is no header with known columns, and what is no image that is there. ' +
        'Expected a header with a column of paths (path, filename, image, image_id, id) and one of classes (label, ' +
        'class, category, species, target), or lines of path,label.',
    ],
    [
      lines('label,pixel0,pixel1,pixel2', '7,0,0,255'),
      'line 1: no column of label,pixel0,pixel1,pixel2 is known to hold the paths of images.',
    ],
    [
      lines('image_id,healthy,rust,scab', '1,1,0,0'),
      'line 1: no column of image_id,healthy,rust,scab is known to hold their classes.',
    ],
    [
      lines('path,class,species', 'pictures/0.png,cat,a', 'pictures/1.png,cat,b'),
      'the columns class and species could both be the classes, and they differ (line 3).',
    ],
    [
      lines('path,label', 'pictures/0.png,cat', 'pictures/1.png,cat', '0,dog'),
      'lines 2 and 4: pictures/0.png is cat and dog. Expected one of them.',
    ],
    [lines('path,label'), 'has a header and no lines below it.'],
    [
      lines('path,label', 'https://example.org/0.png,cat', 'pictures/0.png,dog'),
      'this is an address; fetch the images first (line 2)',
    ],
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

  it('keeps letters apart that Latin-1 writes in a byte, and says so where it cannot', async () => {
    const text = lines('path,label', 'pictures/0.png,b\u00e4r', 'pictures/1.png,b\u00f6r', '');
    expect((await open(text)).classNames).toEqual(['b\u00e4r', 'b\u00f6r']);
    await expect(open(Buffer.from(text, 'latin1'))).rejects.toThrow(
      /my labels\.csv, line 2: byte 0xe4 is not UTF-8; .* such as Latin-1 .* Save it as UTF-8/,
    );
  });

  it('does not guess which of two images an id means', async () => {
    await solid(join(root, 'test/1.jpg'), [1, 2, 3]);
    await expect(open(lines('id,breed', '1,cat', '2,dog'))).rejects.toThrow(
      /1: (pictures\/1\.png and test\/1\.jpg|test\/1\.jpg and pictures\/1\.png) are both called so \(line 2\)/,
    );
  });

  it('counts lines that repeat another one', async () => {
    const { train, repeatedRows } = await open(
      lines('pictures/0.png,cat', 'pictures/1.png,dog', 'pictures/0.png,cat', '"pictures\\0.png",cat'),
    );
    expect([train.files.length, repeatedRows]).toEqual([2, 2]);
  });

  it('takes one class and no training images for a model that knows it', async () => {
    const { test } = await open(lines('path,label,split', 'pictures/0.png,dog,test'), {
      modelClassNames: ['cat', 'dog'],
    });
    expect(test!.files.map(({ name, label }) => [name, label])).toEqual([['pictures/0.png', 1]]);
  });

  it('does not wait for a pipe', { timeout: 5000 }, async () => {
    const pipe = join(root, 'pipe.csv');
    execFileSync('mkfifo', [pipe]);
    await expect(imageCsv(pipe)).rejects.toMatchObject({
      code: 'argument',
      message: `${pipe}: it is a pipe; expected a file.`,
    });
  });

  it('says that there is no such file', async () => {
    await mkdir(join(root, 'empty'));
    await expect(imageCsv(join(root, 'empty/none.csv'))).rejects.toMatchObject({ code: 'argument' });
  });
});
