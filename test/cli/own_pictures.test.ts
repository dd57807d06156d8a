/** The command line on a person's own pictures: looking at them, training, using the model. */
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load } from '../../src/training/build.ts';
import {
  classNames,
  type Finished,
  jsonOf,
  makeWorkplace,
  type Workplace,
  words,
  writePicture,
} from './support.ts';

/** As much of ResNet50 as tells colours apart. */
const small =
  '--weights none --image-size 32 --backbone-output conv2_block1_out --head gap,bn --recipe probe ' +
  '--optimizer adam --schedule constant --learning-rate 0.02 --batch-size 8 --threads 1 --seed 5';
const classes = [1, 3, 5];
const names = classes.map((label) => classNames[label]!);

let workplace: Workplace;
let trained: Finished;
beforeAll(async () => {
  workplace = await makeWorkplace();
  for (const label of classes) {
    await mkdir(workplace.path('my pets', classNames[label]!), { recursive: true });
    for (let i = 0; i < 20; i++)
      await writePicture(workplace.path('my pets', classNames[label]!, `${i}.png`), label, i);
  }
  await writeFile(workplace.path('my pets/cat/notes.txt'), 'no picture');
  trained = await run([
    'train',
    '--data',
    'my pets',
    ...words(small),
    '--epochs',
    '4',
    '--out',
    'runs/pets',
    '--json',
  ]);
}, 120_000);
afterAll(() => workplace.remove());

const run = (args: readonly string[]) => workplace.run(args);

describe('graft train --data FOLDER', () => {
  it('says what it will do with the pictures', () => {
    expect(trained.stderr).toContain(
      'Data    my-pets: train (48, 32, 32, 3), validation (12, 32, 32, 3), 3 classes (automobile, cat, dog)\n' +
        '        all 48 to train, all 12 validation pictures to validate (0.2 of each class, drawn by --split-seed 0)\n' +
        '        each picture stretched to 32x32\n',
    );
    expect(trained.code).toBe(0);
  });

  it('learns, and records the names of the classes', async () => {
    const result = jsonOf(trained);
    expect(result).toMatchObject({ status: 'finished', model: 'runs/pets/my-pets.h5' });
    expect(result['valAccuracy']).toBeGreaterThan(0.8);
    const { data, config } = await workplace.record('runs/pets');
    expect(data).toMatchObject({
      classNames: names,
      trainingImages: 48,
      validationImages: 12,
      testImages: null,
    });
    expect(config).toMatchObject({ data: workplace.path('my pets'), splitSeed: 0, balance: 'none' });
    const model = await load(workplace.path('runs/pets/my-pets.h5'));
    expect(model.input.shape).toEqual([32, 32, 3]);
    expect(model.layers.some((layer) => layer.className === 'Resizing')).toBe(false);
  });

  it('is evaluated on the pictures that were held back', async () => {
    const finished = await run(['evaluate', '--model', 'runs/pets', '--json']);
    const metrics = (await workplace.record('runs/pets')).metrics!;
    expect(jsonOf(finished)).toMatchObject({ images: 12, accuracy: metrics.valAccuracy });
    expect(finished.stderr).toMatch(/ % of 12 validation pictures of my-pets \(loss /);
  });

  it('is evaluated on all pictures of another folder, whose classes have to be the same', async () => {
    for (const label of classes) {
      await mkdir(workplace.path('more', classNames[label]!), { recursive: true });
      for (const i of [50, 51])
        await writePicture(workplace.path('more', classNames[label]!, `${i}.png`), label, i);
    }
    const { stdout } = await run(['evaluate', '--model', 'runs/pets', '--data', 'more', '-q']);
    expect(stdout).toMatch(/^[\d.]+ % of 6 pictures of more \(loss [\d.]+\)\n$/);
    await mkdir(workplace.path('others/bird'), { recursive: true });
    await mkdir(workplace.path('others/cat'));
    for (const name of ['bird', 'cat']) await writePicture(workplace.path('others', name, '1.png'), 3, 1);
    const { stderr, code } = await run(['evaluate', '--model', 'runs/pets', '--data', 'others']);
    expect(stderr).toContain(
      `error: ${workplace.path('others')}: the model does not know bird; it knows automobile, cat, dog.\n`,
    );
    expect(code).toBe(2);
  });

  it('is evaluated on images of some of its classes, with the ids that they have in the model', async () => {
    await mkdir(workplace.path('cats/test/cat'), { recursive: true });
    for (const i of [60, 61, 62, 63]) await writePicture(workplace.path('cats/test/cat', `${i}.png`), 3, i);
    await writeFile(
      workplace.path('cats/cats.csv'),
      [60, 61, 62, 63].map((i) => `test/cat/${i}.png,cat`).join('\n'),
    );
    const predicted = await run(['predict', '--model', 'runs/pets', '--json', 'cats/test/cat']);
    const { predictions } = jsonOf(predicted) as { predictions: { classes: { class: string }[] }[] };
    const accuracy = predictions.filter(({ classes: [first] }) => first!.class === 'cat').length / 4;
    expect(accuracy).toBeGreaterThan(0.5);
    for (const source of ['cats', 'cats/test', 'cats/cats.csv']) {
      const finished = await run(['evaluate', '--model', 'runs/pets', '--data', source, '--json']);
      expect(finished.stderr).toContain('Note: no images of 2 of the 3 classes are there: automobile, dog\n');
      expect(jsonOf(finished)).toMatchObject({ images: 4, accuracy });
    }
  });

  it('names the classes of pictures and of all pictures in a folder', async () => {
    const finished = await run(['predict', '--model', 'runs/pets', '--json', 'more', 'more/dog/50.png']);
    const { predictions } = jsonOf(finished) as {
      predictions: { image: string; classes: { class: string }[] }[];
    };
    expect(predictions.map(({ image }) => image)).toEqual([
      ...names.flatMap((name) => [`more/${name}/50.png`, `more/${name}/51.png`]),
      'more/dog/50.png',
    ]);
    const right = predictions.filter(({ image, classes: [best] }) => image.split('/')[1] === best!.class);
    expect(right.length).toBeGreaterThanOrEqual(6);
  });

  it('says that a folder has no pictures to predict', async () => {
    await mkdir(workplace.path('nothing'));
    const { stderr, code } = await run(['predict', '--model', 'runs/pets', 'nothing']);
    expect(stderr).toContain('nothing: this folder holds no pictures (JPEG, PNG, WebP, GIF, AVIF and TIFF).');
    expect(code).toBe(2);
  });

  it('refuses broken pictures, and leaves them out on demand', async () => {
    await copyFile(workplace.path('my pets/cat/0.png'), workplace.path('more/dog/cat.png'));
    await copyFile(workplace.path('my pets/cat/0.png'), workplace.path('more/cat/0.png'));
    await writeFile(workplace.path('more/dog/broken.jpg'), '');
    const refused = await run(['train', '--data', 'more', ...words(small), '--out', 'runs/no']);
    expect(refused.stderr).toContain(
      '1 of 9 files cannot be used.\n  dog/broken.jpg: the file is empty.\nMend',
    );
    expect(refused.code).toBe(2);
    const { code, stdout } = await run([
      ...['train', '--data', 'more', '--skip-broken', '--validation-split', '0.4', '--crop-to-aspect-ratio'],
      ...['--balance', 'sampler', '--epochs', '1', '--out', 'runs/more', ...words(small)],
    ]);
    expect(stdout).toContain(
      'Note: 1 file that cannot be used left out; 1 picture in more than one class. See which: ',
    );
    expect(stdout).toContain('each picture cut to 32x32');
    expect(stdout).toContain('classes drawn equally often');
    expect(code).toBe(0);
  });

  it('goes on after Ctrl-C bit for bit, sampler and all, and not with other pictures', async () => {
    const options = ['train', '--data', 'my pets', ...words(small), '--balance', 'sampler', '--epochs', '40'];
    expect((await run([...options, '--out', 'runs/whole'])).code).toBe(0);
    const { child, finished, seen } = workplace.start([...options, '--out', 'runs/part']);
    await seen('Epoch 3/40');
    child.kill('SIGINT');
    expect((await finished).code).toBe(130);
    const extra = workplace.path('my pets/cat/extra.png');
    await writePicture(extra, 3, 99);
    const other = await run(['train', '--resume', 'runs/part']);
    expect(other.stderr).toContain('The run was trained on other pictures: pictures:');
    expect(other.code).toBe(2);
    await rm(extra);
    expect((await run(['train', '--resume', 'runs/part'])).code).toBe(0);
    const history = (name: string) => readFile(workplace.path(name, 'history.csv'), 'utf8');
    expect(await history('runs/part')).toBe(await history('runs/whole'));
  });

  it('validates on test pictures where there is no val, and tests on them where there is', async () => {
    for (const split of ['train', 'val', 'test']) {
      for (const label of classes) {
        const folder = workplace.path('split', split, classNames[label]!);
        await mkdir(folder, { recursive: true });
        const first = 100 * split.length + 10 * label;
        for (let i = first; i < first + 4; i++) await writePicture(`${folder}/${i}.png`, label, i);
      }
    }
    const { stdout } = await run([
      'train',
      '--data',
      'split',
      ...words(small),
      '--epochs',
      '1',
      '--out',
      'runs/split',
    ]);
    expect(stdout).toContain(
      'all 12 to train, all 12 validation pictures to validate, all 12 test pictures at the end',
    );
    expect(stdout).toMatch(/\nTest {6}[\d.]+ % of 12 test pictures\n/);
    const evaluated = await run(['evaluate', '--model', 'runs/split', '-q']);
    expect(evaluated.stdout).toContain(' of 12 test pictures of split ');
  });

  it('takes a CSV file', async () => {
    const rows = classes.flatMap((label) =>
      [0, 1, 2, 3].map((i) => `my pets/${classNames[label]}/${i}.png,${label === 1 ? 'car' : 'pet'}`),
    );
    await writeFile(workplace.path('labels.csv'), ['path,label', ...rows].join('\n'));
    const { stdout, code } = await run([
      ...['train', '--data', 'labels.csv', ...words(small), '--epochs', '1', '--out', 'runs/csv'],
    ]);
    expect(stdout).toContain(
      'Data    labels: train (9, 32, 32, 3), validation (3, 32, 32, 3), 2 classes (car, pet)',
    );
    expect(code).toBe(0);
  });

  it('counts the classes of a folder for summary', async () => {
    const { stdout } = await run(['summary', '--backbone', 'resnet50', '--data', 'my pets', '--head', 'gap']);
    expect(stdout).toMatch(/│ dense \(Dense\) +│ \(None, 3\)/);
  });
});

describe('graft data', () => {
  beforeAll(async () => {
    for (const name of ['owl', '<Käuzchen>'])
      await mkdir(workplace.path('mixed', 'train', name), { recursive: true });
    for (const name of ['owl', '<Käuzchen>'])
      await mkdir(workplace.path('mixed', 'test', name), { recursive: true });
    const at = (name: string) => workplace.path('mixed', name);
    for (let i = 0; i < 3; i++) await writePicture(at(`train/owl/${i}.png`), 2, i);
    await writePicture(at('train/<Käuzchen>/1.png'), 4, 7);
    await copyFile(at('train/owl/0.png'), at('train/<Käuzchen>/stray.png'));
    await copyFile(at('train/owl/1.png'), at('test/owl/leak.png'));
    // The same picture once more, larger and as a JPEG.
    const stripes = Uint8Array.from(
      { length: 60 * 40 * 3 },
      (_, i) => (Math.floor(i / 3) % 60) * 4 + (i % 3),
    );
    const image = () => sharp(stripes, { raw: { width: 60, height: 40, channels: 3 } });
    await image().png().toFile(at('train/owl/stripes.png'));
    await image().resize(120, 80).jpeg().toFile(at('test/owl/large.jpg'));
    await writePicture(at('test/<Käuzchen>/9.png'), 9, 5);
    await writeFile(at('test/owl/broken.gif'), 'GIF');
    await writeFile(at('test/owl/readme.txt'), '');
  });

  it('shows counts, sizes, formats and what is wrong', async () => {
    const { code, stdout } = await run(['data', 'mixed']);
    expect(stdout).toContain('mixed: 9 pictures of 2 classes, ');
    expect(stdout).toContain(
      '            train  test\n' +
        '<Käuzchen>      2     1\n' +
        'owl             4     2\n' +
        'in all          6     3\n',
    );
    expect(stdout).toContain('Width    32 to 120 pixels, median 32\nHeight   32 to 80 pixels, median 32\n');
    expect(stdout).toContain('Formats  8 png, 1 jpeg\nIgnored  other files: 1 .txt\n');
    expect(stdout).toMatch(/\n\nproblem +where +what\ncannot be used +test\/owl\/broken\.gif +\S/);
    const rows = stdout.split('\n').map((line) => line.split(/ {2,}/));
    expect(rows).toContainEqual([
      'same picture in two classes',
      'train/<Käuzchen>/stray.png',
      '= train/owl/0.png',
    ]);
    expect(rows).toContainEqual(['same picture in two splits', 'test/owl/leak.png', '= train/owl/1.png']);
    const alike = rows.find(([problem]) => problem === 'looks the same in two splits')!;
    expect(alike[1]).toBe('train/owl/stripes.png');
    expect(alike[2]).toMatch(/^~ test\/owl\/large\.jpg \(\d bits? of 64 differ\)$/);
    expect(stdout).toMatch(/\n\nNext {2}node .*main\.js train --data .*mixed --skip-broken\n/);
    expect(code).toBe(0);
  });

  it('has all of it as JSON', async () => {
    expect(jsonOf(await run(['data', 'mixed', '--json']))).toMatchObject({
      command: 'data',
      pictures: 9,
      classNames: ['<Käuzchen>', 'owl'],
      splits: { train: { '<Käuzchen>': 2, owl: 4 }, test: { '<Käuzchen>': 1, owl: 2 } },
      sizes: { width: { min: 32, median: 32, max: 120 } },
      formats: { png: 8, jpeg: 1 },
      ignored: { '.txt': 1 },
      problems: [{ name: 'test/owl/broken.gif', kind: 'broken' }],
      duplicates: [{ kind: 'classes' }, { kind: 'splits' }],
      singlePictureClasses: [],
      nearDuplicates: [{ pictures: [{ name: 'train/owl/stripes.png' }, { name: 'test/owl/large.jpg' }] }],
    });
  });

  it('draws a contact sheet as a page that needs nothing else', async () => {
    const { stdout } = await run(['data', 'mixed', '--contact-sheet', 'sheets/all.html']);
    expect(stdout).toContain('\nContact sheet: sheets/all.html\n');
    const page = await readFile(workplace.path('sheets/all.html'), 'utf8');
    expect(page).toContain('<h2>&lt;Käuzchen&gt; (3)</h2>');
    expect(page).not.toMatch(/(src|href)="(?!data:(image\/jpeg;base64)?,)/);
    // 3 and 6 pictures of the classes, 2 twins in classes, 2 in splits, 2 that look alike.
    const images = [...page.matchAll(/<img src="data:image\/jpeg;base64,([^"]+)"/g)];
    expect(images).toHaveLength(3 + 6 + 2 + 2 + 2);
    const { width, height, format } = await sharp(Buffer.from(images[0]![1]!, 'base64')).metadata();
    expect({ width, height, format }).toEqual({ width: 96, height: 96, format: 'jpeg' });
  });

  it('draws a contact sheet as a picture', async () => {
    await run(['data', 'mixed', '--contact-sheet', 'sheets/all.png']);
    const image = sharp(workplace.path('sheets/all.png'));
    const { width, height } = await image.metadata();
    // A title and 5 rows, each a line of text and pictures of 96 pixels with gaps.
    expect({ width, height }).toEqual({ width: 32 + 10 * 102 - 6, height: 32 + 28 + 5 * (28 + 102) });
    // The first row is <Käuzchen>: its first picture lies at (16, 16 + 2 * 28) and shows the colours of class 9.
    const { data } = await image
      .extract({ left: 16 + 40, top: 16 + 56 + 40, width: 1, height: 1 })
      .raw()
      .toBuffer({ resolveWithObject: true });
    const [shown] = [
      await sharp(workplace.path('mixed/test/<Käuzchen>/9.png'))
        .extract({ left: 13, top: 13, width: 1, height: 1 })
        .raw()
        .toBuffer(),
    ];
    for (const channel of [0, 1, 2]) expect(Math.abs(data[channel]! - shown![channel]!)).toBeLessThan(30);
  });
});
