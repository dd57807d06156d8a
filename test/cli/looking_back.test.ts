/** What the command line shows of finished runs: explanations of pictures, comparisons, TensorBoard's logs. */
import { readdir, readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSafetensors } from '../../src/saving/safetensors.node.ts';
import { jsonOf, makeWorkplace, tiny, trainColours, type Workplace, words, writePicture } from './support.ts';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  await trainColours(workplace);
  await run(
    `train ${tiny} --head gap,bn --learning-rate 0.001 --epochs 1 --seed 5 --tensorboard --out runs/brief`,
  );
  await writePicture(workplace.path('cat.png'), 3, 0);
  await sharp(workplace.path('cat.png')).resize(60, 40, { fit: 'fill' }).toFile(workplace.path('wide.png'));
}, 120_000);
afterAll(() => workplace.remove());

const run = (line: string) => workplace.run(words(line), { GRAFT_MIRROR: workplace.path('mirror') });

/** For each test picture, whether a run has it right, from what the run has kept. */
async function rightOnes(name: string): Promise<boolean[]> {
  const tensors = await readSafetensors(workplace.path('runs', name, 'predictions.safetensors'));
  const [labels, probabilities] = [tensors.get('labels')!, tensors.get('probabilities')!];
  const [count, classes] = probabilities.shape as [number, number];
  const values = Array.from(probabilities.data as Float32Array);
  return Array.from({ length: count }, (_, i) => {
    const row = values.slice(i * classes, (i + 1) * classes);
    return row.indexOf(Math.max(...row)) === labels.data[i];
  });
}

describe('graft compare', () => {
  it('counts the pictures that changed sides, and names the options that differ', async () => {
    const finished = await run('compare runs/brief runs/colours --output both.html --json');
    expect(finished.code, finished.stderr).toBe(0);
    const [before, after] = [await rightOnes('brief'), await rightOnes('colours')];
    const mended = after.filter((right, i) => right && !before[i]).length;
    const broken = after.filter((right, i) => !right && before[i]).length;
    expect(mended, 'three epochs at a tenfold rate change something').toBeGreaterThan(0);
    const { runs } = jsonOf(finished) as { runs: Record<string, unknown>[] };
    expect(runs[0]).toMatchObject({ run: 'runs/brief', mended: null, broken: null });
    expect(runs[1]).toMatchObject({ run: 'runs/colours', mended, broken });
    const page = await readFile(workplace.path('both.html'), 'utf8');
    expect(page).toContain(`Wrong in brief, right in colours: ${mended}`);
    const table = page.split('Options that differ')[1]!.split('</table>')[0]!;
    const options = [...table.matchAll(/<tr><t[dh][^>]*>(\w+)</g)].map(([, name]) => name);
    expect(options.sort()).toEqual(['epochs', 'learningRate', 'option', 'tensorboard']);
  });

  it('wants two runs', async () => {
    const { code, stderr } = await run('compare runs/brief');
    expect(stderr).toContain('compare takes 2 to 6 runs, got 1.');
    expect(code).toBe(2);
  });
});

describe('graft explain', () => {
  it('writes the picture with its heat map, in the proportions of the picture', async () => {
    const finished = await run('explain runs/colours wide.png --class dog --output why.png --json');
    expect(finished.code, finished.stderr).toBe(0);
    expect(jsonOf(finished)).toMatchObject({ class: 'dog', id: 5, layer: 'conv2_block1_out' });
    const { format, width, height } = await sharp(workplace.path('why.png')).metadata();
    // 60 x 40 pixels, enlarged to 256: 256 * 40 / 60 = 170.7.
    expect({ format, width, height }).toEqual({ format: 'png', width: 256, height: 171 });
  });

  it('says which classes there are', async () => {
    const { code, stderr } = await run('explain runs/colours cat.png --class catt');
    expect(stderr).toContain('--class catt: expected a number from 0 to 9 or airplane, ');
    expect(stderr).toContain('Did you mean cat?');
    expect(code).toBe(2);
  });
});

it('train --tensorboard leaves event files of training and validation, other runs none', async () => {
  for (const part of ['train', 'validation']) {
    const files = await readdir(workplace.path('runs/brief/tensorboard', part));
    expect(files).toEqual([expect.stringMatching(/^events\.out\.tfevents\.\d+\..+/)]);
  }
  expect(await readdir(workplace.path('runs/colours'))).not.toContain('tensorboard');
});
