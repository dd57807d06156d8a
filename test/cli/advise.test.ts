/** `graft advise` on pictures made here: what it tries, what it says, and that its advice can be followed. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Cost } from '../../src/cli/advise_costs.ts';
import { loadWarning } from '../../src/cli/advise_report.ts';
import {
  classNames,
  type Finished,
  jsonOf,
  makeWorkplace,
  type Workplace,
  words,
  writePicture,
} from './support.ts';

const line =
  'advise --data pets --weights none --backbone-output conv2_block1_out --images 50 --sizes 32 --seed 5 --threads 1 ' +
  '--out runs/advice';

let workplace: Workplace;
let advised: Finished;
beforeAll(async () => {
  workplace = await makeWorkplace();
  for (const label of [1, 3, 5]) {
    const name = classNames[label]!;
    await mkdir(workplace.path('pets', name), { recursive: true });
    for (let i = 0; i < 20; i++) await writePicture(workplace.path('pets', name, `${i}.png`), label, i);
  }
  advised = await run(`${line} --json`);
}, 600_000);
afterAll(() => workplace.remove());

const run = (text: string) => workplace.run(words(text));
const waysOf = (finished: Finished) => jsonOf(finished)['ways'] as readonly Cost[];

it('tries the head and the last stage on a sample that is split for them', async () => {
  expect(advised.code, advised.stderr).toBe(0);
  expect(advised.stderr).toContain('Advice  2 ways to train, on 50 of 60 pictures of pets\n');
  const records = [await workplace.record('runs/advice/001'), await workplace.record('runs/advice/002')];
  expect(records.map(({ config }) => [config.recipe, config.imageSize, config.unfreezeFrom])).toEqual([
    ['probe', 32, null],
    ['last-block', 32, 'conv2_block1_1_conv'],
  ]);
  for (const { data } of records) {
    expect(data).toMatchObject({ trainingImages: 40, validationImages: 10, testImages: null });
  }
});

it('works out what all pictures cost', async () => {
  const measured = await readFile(workplace.path('runs/advice/frozen.json'), 'utf8');
  const frozen = JSON.parse(measured) as Record<string, { imagesPerSecond: number }>;
  for (const cost of waysOf(advised)) {
    const { metrics, sessions } = await workplace.record(`runs/advice/${cost.name}`);
    expect(cost.accuracy).toMatchObject({ count: 10, right: Math.round(10 * metrics!.valAccuracy) });
    const phase = (wanted: string) => sessions[0]!.phases!.find(({ name }) => name === wanted)!.seconds;
    // Of 40 training pictures of the sample to the 48 there are; 12 more validate.
    const growing = (phase('training') + phase('validation')) / metrics!.epochs;
    expect(cost.epochSeconds).toBeCloseTo(growing * (48 / 40) + phase('saving') / metrics!.epochs, 9);
    expect(cost.featureSeconds).toBeCloseTo(60 / frozen[cost.name]!.imagesPerSecond, 9);
    expect(cost.seconds).toBeCloseTo(cost.featureSeconds + cost.epochs * cost.epochSeconds, 9);
  }
  // Pooled to 256 numbers in float16 and a label of 4 bytes, in shards of 4 kB pages.
  expect(waysOf(advised)[0]!.disk / 60).toBeGreaterThanOrEqual(2 * 256 + 4);
  expect(waysOf(advised)[0]!.disk / 60).toBeLessThan(2 * 256 + 4 + 100);
});

it('recommends a command that can be run', async () => {
  const { recommended, train } = jsonOf(advised) as { recommended: string; train: string };
  const recipe = recommended === '001' ? 'probe' : 'last-block';
  expect(train).toMatch(new RegExp(` train --data pets .* --recipe ${recipe} --image-size 32$`));
  expect(advised.stderr).toContain(`\n\n  ${train}\n`);
  const typed = train.slice(train.indexOf(' train ') + 1);
  const trained = await run(`${typed} --epochs 1 --out runs/followed --quiet`);
  expect(trained.code, trained.stderr).toBe(0);
});

it('answers at once the second time, and keeps no weights but those of the best', async () => {
  const again = await run(`${line} --json --time 1s`);
  expect(again.code, again.stderr).toBe(0);
  expect(again.stderr).not.toContain('Computing frozen features');
  expect(waysOf(again).map(({ accuracy }) => accuracy)).toEqual(
    waysOf(advised).map(({ accuracy }) => accuracy),
  );
  const kept = await Promise.all(
    ['001', '002'].map(async (name) =>
      (await readdir(workplace.path('runs/advice', name))).includes('pets.h5'),
    ),
  );
  expect(kept.filter(Boolean)).toHaveLength(1);
});

it('says that times are unreliable where other programs were at work, also when it answers later', async () => {
  expect(loadWarning(0.5, 2)).toBeNull();
  expect(loadWarning(0.51, 2)).toContain('the load was 0.5 on 2 cores when measuring began');
  expect(loadWarning(3, 16)).toBeNull();
  const path = workplace.path('runs/advice/sweep.json');
  const record = JSON.parse(await readFile(path, 'utf8')) as { load: number };
  // Tests run one after the other, so this machine has at least something to do.
  expect(record.load).toBeGreaterThan(0);
  await writeFile(path, JSON.stringify({ ...record, load: 0 }));
  const quiet = await run(`${line} --json`);
  expect(quiet.stderr).not.toContain('unreliable');
  expect(jsonOf(quiet)).toMatchObject({ load: 0, timesReliable: true });
  await writeFile(path, JSON.stringify({ ...record, load: 1000 }));
  const busy = await run(`${line} --json`);
  expect(busy.stderr).toContain('\nLoad    Times are unreliable: the load was 1000.0 on ');
  expect(busy.stderr).toMatch(/\n\nTimes are unreliable: .* remove runs\/advice and ask again/);
  expect(jsonOf(busy)).toMatchObject({ load: 1000, timesReliable: false });
});

it('needs pictures', async () => {
  const { code, stderr } = await run('advise');
  expect(stderr).toContain('No pictures named: give --data FOLDER');
  expect(code).toBe(2);
});
