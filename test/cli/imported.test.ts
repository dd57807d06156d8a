/** Models from elsewhere, made by `fixtures/imported/make_models.py`: what Keras says of an image, Graft says too. */
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { foreignFile } from '../support/foreign.ts';
import { type Finished, jsonOf, makeWorkplace, type Workplace, words } from './support.ts';

const fixtures = fileURLToPath(new URL('fixtures/imported', import.meta.url));

let workplace: Workplace;
let expected: Record<string, Record<string, number[]>>;
beforeAll(async () => {
  workplace = await makeWorkplace();
  await cp(fixtures, workplace.folder, { recursive: true });
  await cp(foreignFile('plain.onnx'), workplace.path('plain.onnx'));
  expected = JSON.parse(await readFile(workplace.path('expected.json'), 'utf8'));
  // Folders by the names of labels.txt, whose order is not theirs; Keras takes the image for a cat.
  for (const name of ['bär', 'cat', 'dog']) {
    await mkdir(workplace.path('animals', name), { recursive: true });
    await cp(workplace.path('colours32.png'), workplace.path('animals', name, 'colours.png'));
  }
});
afterAll(() => workplace.remove());

const run = (line: string) => workplace.run(words(line));

/** Probabilities by class. */
function probabilities(finished: Finished): number[] {
  const { predictions } = jsonOf(finished) as {
    predictions: { classes: { id: number; probability: number }[] }[];
  };
  const classes = [...predictions[0]!.classes].sort((a, b) => a.id - b.id);
  return classes.map(({ probability }) => probability);
}

function expectClose(values: readonly number[], wanted: readonly number[]): void {
  expect(values).toHaveLength(wanted.length);
  values.forEach((value, i) => {
    expect(value).toBeCloseTo(wanted[i]!, 5);
  });
}

describe('graft predict on a model from elsewhere', () => {
  it.each([
    ['teachable.h5', 'colours32.png', 'tf', ' --preprocessing tf', 'Images: tf, x / 127.5 − 1'],
    ['teachable.h5', 'colours32.png', 'none', ' --preprocessing none', 'Images: none, 0 … 255 as they are'],
    ['grey.keras', 'colours28.png', 'unit', ' --preprocessing unit', 'Images: made grey; unit, x / 255'],
    [
      'binary.keras',
      'colours32.png',
      'unit',
      ' --preprocessing unit',
      'then the model\'s own Rescaling "to_signed"',
    ],
    [
      ...['open_size.keras', 'colours32.png', 'own', ' --image-size 32'],
      'Images: 0 … 255 go in, since the model scales them itself (Rescaling "rescaling").',
    ],
    [
      ...['grey_last.onnx', 'colours28.png', '0.1307/0.3081', ' --preprocessing 0.1307/0.3081'],
      'Images: made grey; 0.1307/0.3081 (--preprocessing).',
    ],
  ] as [string, string, string, string, string][])(
    '%s: %s prepared as %s is what Keras or ONNX says, and said',
    async (file, image, how, options, said) => {
      const finished = await run(`predict --model ${file} ${image}${options} --top 3 --json`);
      expect(finished.stderr).toContain(said);
      expect(finished.code).toBe(0);
      expectClose(probabilities(finished), expected[file]![how]!);
    },
  );

  it('does not guess how images are prepared: a model without scaling is an error that says how to choose', async () => {
    const { code, stderr, stdout } = await run('predict --model teachable.h5 colours32.png');
    expect(stderr).toContain('it has no layer that scales images of 0 … 255');
    expect(stderr).toContain('It looks like MobileNetV2, for which Keras has tf: --preprocessing tf');
    expect(stdout).toBe('');
    expect(code).toBe(2);
    const other = await run('predict --model binary.keras colours32.png');
    expect(other.stderr).toContain('its Rescaling "to_signed" was made for other values than 0 … 255');
    expect(other.code).toBe(2);
    const onnx = await run('predict --model plain.onnx colours32.png --image-size 32');
    expect(onnx.stderr).toContain('neither it nor a file beside it says how its images are prepared');
    expect(onnx.code).toBe(2);
  });

  it('names classes by labels.txt, and says where names may be', async () => {
    const line = 'predict --model teachable.h5 --preprocessing tf colours32.png';
    expect((await run(line)).stdout).toContain(
      'labels.txt beside it may have them: --class-names labels.txt',
    );
    const named = await run(`${line} --class-names labels.txt`);
    expect(named.stdout).toMatch(/\ncolours32\.png {2}cat 39\.7 % {2}dog 35\.9 % {2}bär 24\.4 %\n$/);
    await writeFile(workplace.path('two.txt'), 'cat\ndog\n');
    const few = await run(`${line} --class-names two.txt`);
    expect(few.stderr).toContain('two.txt: it has 2 names, but the model has 3 classes');
    expect(few.code).toBe(2);
  });

  it('says that a loss it lacks is left out, once, and that an open size needs --image-size', async () => {
    const { stdout } = await run('predict --model open_size.keras colours32.png --image-size 32');
    expect(stdout.match(/Loaded without how it was trained: .*my_loss/g)).toHaveLength(1);
    const without = await run('predict --model open_size.keras colours32.png');
    expect(without.stderr).toContain(
      'open_size.keras leaves the size of its images open; say it with --image-size',
    );
    expect(without.code).toBe(2);
    const summary = await run('summary --model open_size.keras --image-size 32');
    // 3·3·3·4 + 4 and 4·3 + 3
    expect(summary.stdout).toContain('Total params: 127');
    expect(summary.code).toBe(0);
  });

  it.each([
    ['vector.keras', /takes \(784,?\): vectors of 784 numbers, perhaps grey images of 28x28 .*Flatten/],
    ['vector.onnx', /takes vectors of 784 numbers, perhaps 28x28 grey images/],
  ])('%s takes no images, which a sentence says', async (file, text) => {
    const { code, stderr } = await run(`predict --model ${file} colours28.png`);
    expect(stderr).toMatch(text);
    expect(code).toBe(1);
  });
});

describe('graft evaluate on a model from elsewhere', () => {
  it('pairs classes by name, whatever their order, and gives accuracy without a loss of classes', async () => {
    const line = 'evaluate --model teachable.h5 --preprocessing tf --class-names labels.txt --json --data';
    // Keras takes the image for class 1, which is a cat by labels.txt; by its folder alone each would be class 0.
    const [dog, cat] = expected['teachable.h5']!['tf']! as [number, number];
    for (const [name, accuracy, probability] of [
      ['cat', 1, cat],
      ['dog', 0, dog],
    ] as const) {
      await cp(workplace.path('animals', name), workplace.path(`only-${name}`, name), { recursive: true });
      const found = jsonOf(await run(`${line} only-${name}`));
      expect(found).toMatchObject({ images: 1, accuracy, preprocessing: 'tf' });
      expect(found['loss']).toBeCloseTo(-Math.log(probability), 4);
    }
  });

  it('takes classes in the order of their names where nobody names them, and says so', async () => {
    const { stdout } = await run('evaluate --model teachable.h5 --preprocessing tf --data animals');
    expect(stdout).toContain('The file does not name its classes; taken as bär, cat, dog');
    expect(stdout).toContain('33.3 % of 3 ');
  });

  it('refuses names that the model does not know', async () => {
    await writeFile(workplace.path('other.txt'), 'dog\ncat\nbird\n');
    const { code, stderr } = await run(
      'evaluate --model teachable.h5 --preprocessing tf --data animals --class-names other.txt',
    );
    expect(stderr).toContain('the model does not know bär');
    expect(code).toBeGreaterThan(0);
  });
});

describe('graft explain and export on a model from elsewhere', () => {
  it('explains a grey model', async () => {
    const { code, stdout } = await run('explain grey.keras colours28.png --preprocessing unit');
    expect(stdout).toMatch(/Explained {2}class 0 57\.9 %, by max_pooling2d \(13x13\)/);
    expect(code).toBe(0);
  });

  it('writes ONNX with preprocessing and names inside, which predicts from its own metadata', async () => {
    const refused = await run('export --model teachable.h5 --out t.onnx');
    expect(refused.stderr).toContain('Say it with --preprocessing');
    await run('export --model teachable.h5 --out t.onnx --preprocessing tf --class-names labels.txt');
    const finished = await run('predict --model t.onnx colours32.png --json');
    expect(finished.stderr).toContain('Images: none, 0 … 255 as they are (Graft wrote the file');
    expectClose(probabilities(finished), expected['teachable.h5']!['tf']!);
    expect(finished.stdout).toContain('"class":"cat"');
  });
});

describe('a file that is no model', () => {
  it.each([
    ['predict --model labels.txt colours32.png', 'labels.txt is of no kind that Graft knows'],
    ['predict --model colours32.png colours32.png', 'colours32.png is an image; expected'],
    ['inspect teachable.h5', 'is an HDF5 file, such as Keras writes (.h5); expected an ONNX model'],
    ['summary --model plain.onnx', 'plain.onnx is an ONNX model; expected a model in a .keras or .h5 file'],
  ])('%s says what it is', async (line, text) => {
    const { code, stderr } = await run(line);
    expect(stderr).toContain(text);
    expect(code).toBeGreaterThan(0);
  });
});
