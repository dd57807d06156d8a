/** `graft sweep` on pictures made here: what it keeps, what it says, and that it goes on after a kill. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SearchRecord } from '../../src/cli/search_folder.ts';
import {
  classNames,
  type Finished,
  jsonOf,
  makeWorkplace,
  type Workplace,
  words,
  writePicture,
} from './support.ts';

/** A batch normalization learns these colours at a rate of 0.02, and hardly at one of 0.00001. */
const fixed =
  '--data pets --weights none --image-size 32 --backbone-output conv2_block1_out --head gap,bn --recipe probe ' +
  '--optimizer adam --schedule constant --batch-size 8 --epochs 4 --seed 5 --threads 1';
const sweep = `sweep ${fixed} --grid learning-rate=1e-5,0.02 --grid label-smoothing=0,0.1 --jobs 2`;
/** Two of its trials. */
const few = `sweep ${fixed} --grid learning-rate=1e-5,0.02 --jobs 2`;

let workplace: Workplace;
let swept: Finished;
beforeAll(async () => {
  workplace = await makeWorkplace();
  for (const label of [1, 3, 5]) {
    const name = classNames[label]!;
    await mkdir(workplace.path('pets', name), { recursive: true });
    for (let i = 0; i < 20; i++) await writePicture(workplace.path('pets', name, `${i}.png`), label, i);
  }
  swept = await run(`${sweep} --out runs/whole --json`);
}, 600_000);
afterAll(() => workplace.remove());

const run = (line: string, env = {}) => workplace.run(words(line), env);
const recordOf = async (folder: string) =>
  JSON.parse(await readFile(workplace.path(folder, 'sweep.json'), 'utf8')) as SearchRecord;
const text = (...names: string[]) => readFile(workplace.path(...names), 'utf8');

/** A sweep of `few` has come to what the same two trials of the whole one came to. */
async function expectSameAsWhole(folder: string): Promise<void> {
  const resultsOf = async (of: string) =>
    (await recordOf(of)).trials.map(({ status, result }) => ({ status, ...result, seconds: null }));
  const whole = await resultsOf('runs/whole');
  expect(await resultsOf(folder)).toEqual([whole[0], whole[2]]);
  for (const [name, same] of [['001', '001'] as const, ['002', '003'] as const]) {
    expect(await text(folder, name, 'history.csv')).toBe(await text('runs/whole', same, 'history.csv'));
  }
}

describe('graft sweep', () => {
  it('says what it will do and computes features once, before the trials', () => {
    expect(swept.code, swept.stderr).toBe(0);
    expect(swept.stderr).toContain('Sweep   4 trials on pets\n');
    expect(swept.stderr).toContain('test pictures take no part in the choice');
    expect(swept.stderr.match(/Computing frozen features of/g)).toHaveLength(2);
    expect(swept.stderr.indexOf('frozen features of pets/validation')).toBeLessThan(
      swept.stderr.indexOf('Up to 2 trials'),
    );
  });

  it('ranks trials by their validation pictures', async () => {
    const { trials, best } = await recordOf('runs/whole');
    expect(trials.map(({ options }) => options)).toEqual([
      { 'learning-rate': '1e-5', 'label-smoothing': '0' },
      { 'learning-rate': '1e-5', 'label-smoothing': '0.1' },
      { 'learning-rate': '0.02', 'label-smoothing': '0' },
      { 'learning-rate': '0.02', 'label-smoothing': '0.1' },
    ]);
    for (const { name, result, status } of trials) {
      const { valAccuracy, valLoss } = (await workplace.record(`runs/whole/${name}`)).metrics!;
      expect({ status, valAccuracy, valLoss }).toEqual({
        ...{ status: 'finished', valAccuracy: result!.valAccuracy, valLoss: result!.valLoss },
      });
    }
    expect(['003', '004']).toContain(best);
    const table = swept.stderr.slice(swept.stderr.indexOf('Trial  Accuracy  Loss'));
    expect(table.split('\n')[1]).toMatch(new RegExp(`^${best} .* % .* 0\\.02 .* best$`));
    expect(table).toMatch(/\nBest +runs\/whole\/00[34]: [\d.]+ % of 12 validation pictures\n +95 % interval/);
    const order = table.split('\n').slice(1, 4);
    const names = order.map((row) => `runs/whole/${row.slice(0, 3)}`);
    expect(table).toContain(`main.js compare ${names.join(' ')}\n`);
    expect((await run(`compare ${names.join(' ')}`)).code).toBe(0);
    expect(jsonOf(swept)).toMatchObject({
      status: 'finished',
      best: `runs/whole/${best}`,
      trials: { length: 4 },
    });
  });

  it('keeps the weights of the best trial, and the books of all', async () => {
    const { best } = await recordOf('runs/whole');
    const books = ['history.csv', 'predictions.safetensors', 'report.html', 'run.json'];
    for (const name of ['001', '002', '003', '004']) {
      const files = await readdir(workplace.path('runs/whole', name));
      expect(files.sort()).toEqual(name === best ? [...books, 'pets.h5'].sort() : books);
    }
    const other = best === '003' ? '004' : '003';
    expect((await run(`report runs/whole/${other}`)).code).toBe(0);
    const evaluated = await run(`evaluate --model runs/whole/${best} --json`);
    expect(jsonOf(evaluated)).toMatchObject({ images: 12, accuracy: 1 });
    const refused = await run(`evaluate --model runs/whole/${other}`);
    expect(refused.stderr).toContain('the weights of this run were removed');
  });

  it('ran what its records say: the command of a trial gives the same history', async () => {
    const { command } = await workplace.record('runs/whole/003');
    expect(command!.join(' ')).toBe(
      `train ${fixed} --learning-rate 0.02 --label-smoothing 0 --out runs/whole/003`,
    );
    const again = [...command!.slice(0, -1), 'runs/again'];
    expect((await workplace.run(again)).code).toBe(0);
    expect(await text('runs/again/history.csv')).toBe(await text('runs/whole/003/history.csv'));
  });

  it('that is finished has nothing to do', async () => {
    const before = (await stat(workplace.path('runs/whole/003/run.json'))).mtimeMs;
    const { code, stdout, stderr } = await run(`${sweep} --out runs/whole`);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain('4 trials on pets, 4 done already');
    expect(stdout).toMatch(/\nTrial {2}Accuracy/);
    expect((await stat(workplace.path('runs/whole/003/run.json'))).mtimeMs).toBe(before);
  });

  it('believes the folders of its trials where a kill kept it from its books', async () => {
    const record = await recordOf('runs/whole');
    const trials = record.trials.map((trial) =>
      trial.name === '002' ? { ...trial, status: 'waiting', result: null } : trial,
    );
    await writeFile(workplace.path('runs/whole/sweep.json'), JSON.stringify({ ...record, trials }));
    const before = await text('runs/whole/002/run.json');
    const { code, stdout, stderr } = await run(`${sweep} --out runs/whole`);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain('4 trials on pets, 3 done already');
    expect(await text('runs/whole/002/run.json')).toBe(before);
    expect((await recordOf('runs/whole')).trials).toEqual(record.trials);
  });

  it('does not mix with another sweep in its folder', async () => {
    const { code, stderr } = await run(`sweep ${fixed} --grid accumulate=1,2 --out runs/whole`);
    expect(stderr).toContain('--out runs/whole: this folder holds another sweep');
    expect(code).toBe(2);
  });
});

it('a sweep that was killed ends its trials, and the same command goes on to the same results', async () => {
  const line = `${few} --jobs 1 --out runs/killed --json`;
  const { child, finished, seen } = workplace.start(words(line));
  await seen('001  learning-rate=1e-5');
  while (!existsSync(workplace.path('runs/killed/002/run.json'))) await wait(5);
  const { pid } = JSON.parse(await text('runs/killed/002/run.lock')) as { pid: number };
  child.kill('SIGKILL');
  await finished;
  const { trials } = await recordOf('runs/killed');
  expect(trials.map(({ status }) => status)).toEqual(['finished', 'waiting']);
  const first = await text('runs/killed/001/run.json');
  const again = await run(line);
  expect(again.code, again.stderr).toBe(0);
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  expect(again.stderr).toContain('2 trials on pets, 1 done already');
  expect(again.stderr).not.toContain('Computing frozen features');
  expect(await text('runs/killed/001/run.json')).toBe(first);
  await expectSameAsWhole('runs/killed');
});

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s stops the trials, which can continue', async (signal, code) => {
  const folder = `runs/stopped-${signal}`;
  const { child, finished, seen } = workplace.start(words(`${few} --epochs 20 --out ${folder} --json`));
  await seen('Up to 2 trials');
  while (!existsSync(workplace.path(folder, '001/run.json'))) await wait(5);
  child.kill(signal);
  const stopped = await finished;
  expect(stopped.code, stopped.stderr).toBe(code);
  expect(stopped.stderr).toContain('Continue with: ');
  expect(jsonOf(stopped)).toMatchObject({ status: 'unfinished' });
  const again = await run(`sweep --resume ${folder} --quiet`);
  expect(again.code, again.stderr).toBe(0);
  const { trials } = await recordOf(folder);
  expect(trials.map(({ status, result }) => [status, result?.epochs])).toEqual(
    new Array(2).fill(['finished', 20]),
  );
});

it('two sweeps at once share an empty cache and come to the same', async () => {
  const env = { GRAFT_CACHE: workplace.path('empty') };
  const line = `${few} --quiet --out`;
  const [a, b] = await Promise.all([run(`${line} runs/left`, env), run(`${line} runs/right`, env)]);
  expect([a.code, b.code], a.stderr + b.stderr).toEqual([0, 0]);
  for (const folder of ['runs/left', 'runs/right']) await expectSameAsWhole(folder);
  const verified = await run('cache verify --json', env);
  expect(verified.code).toBe(0);
  expect(jsonOf(verified)['caches']).toHaveLength(2);
});

it('validates on some of the training pictures where a folder has test pictures alone', async () => {
  for (const [split, count] of [['train', 10] as const, ['test', 3] as const]) {
    for (const label of [1, 3]) {
      await mkdir(workplace.path('parts', split, classNames[label]!), { recursive: true });
      for (let i = 0; i < count; i++) {
        const seen = split === 'train' ? i : 100 + i;
        await writePicture(workplace.path('parts', split, classNames[label]!, `${i}.png`), label, seen);
      }
    }
  }
  const finished = await run(`${few.replace('pets', 'parts')} --epochs 1 --out runs/parts --json`);
  expect(finished.code, finished.stderr).toBe(0);
  const { best, fixed: words } = await recordOf('runs/parts');
  expect(words.slice(-2)).toEqual(['--validation-split', '0.2']);
  const { data, metrics } = await workplace.record(`runs/parts/${best}`);
  expect(data).toMatchObject({
    validatesOn: 'validation',
    trainingImages: 16,
    validationImages: 4,
    testImages: 6,
  });
  expect(jsonOf(finished)['testAccuracy']).toBe(metrics!.testAccuracy);
  expect(finished.stderr).toContain('of 6 test pictures, which took no part in the choice');
});
