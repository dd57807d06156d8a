/** Records from elsewhere: whatever stands in them, commands end with a sentence, or read what is still readable. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeProgram } from '../../src/cli/program.ts';
import { runRecord, searchRecord } from '../../src/cli/record_schema.ts';
import { RunFolder } from '../../src/cli/run_folder.ts';
import { SearchFolder } from '../../src/cli/search_folder.ts';
import { checked } from '../../src/core/checked.ts';
import { GraftError } from '../../src/core/errors.ts';
import { tensor } from '../../src/core/tensor.ts';
import { listCaches, verifyCache } from '../../src/features/index.ts';
import { readSafetensors, writeSafetensors } from '../../src/saving/safetensors.node.ts';
import { loadCheckpoint, saveCheckpoint } from '../../src/training/checkpoint.node.ts';

const intact = fileURLToPath(new URL('fixtures/run', import.meta.url));

let folder: string;
let json: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-damaged-'));
  json = await readFile(join(intact, 'run.json'), 'utf8');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A copy of the intact run. */
async function copyOfRun(name: string): Promise<string> {
  const path = join(folder, name);
  await cp(intact, path, { recursive: true });
  return path;
}

/** The error of a promise that has to fail on purpose. */
async function refusal(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = await promise.then(
    () => new Error('It was read.'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof GraftError)) throw error;
  return { code: error.code, message: error.message };
}

const graft = async (...words: string[]) =>
  (await makeProgram()).parseAsync([...words, '--quiet'], { from: 'user' });

function errorOf(read: () => unknown): unknown {
  try {
    read();
    return null;
  } catch (error) {
    return error;
  }
}

type Container = Record<string, unknown>;

/** Every place of a record, `data.summary.splits.0.counts.3`, and how to replace what stands there. */
function placesOf(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [
    [...path, key],
    ...placesOf(inner, [...path, key]),
  ]);
}

function replaced(text: string, path: readonly string[], value: unknown): string {
  const record = JSON.parse(text) as Container;
  const container = path.slice(0, -1).reduce((inner, key) => inner[key] as Container, record);
  const last = path.at(-1)!;
  if (value === undefined) delete container[last];
  else container[last] = value;
  return JSON.stringify(record);
}

const strange = [
  undefined,
  null,
  true,
  -1,
  0.5,
  1e308,
  '',
  '../x',
  '<script>alert(1)</script>',
  [],
  ['x'],
  {},
];

describe('a run folder in which anything may be anything', () => {
  it('is refused by field and file, or reported on as far as it still is a run', async () => {
    const path = await copyOfRun('any');
    const read: string[] = [];
    for (const place of placesOf(JSON.parse(json))) {
      for (const value of strange) {
        const what = `${place.join('.')} = ${JSON.stringify(value)}`;
        const error = errorOf(() =>
          checked(runRecord, JSON.parse(replaced(json, place, value)), 'run.json', 'file'),
        );
        if (error === null) read.push(what);
        else expect(error, what).toMatchObject({ name: 'GraftError', code: 'file' });
      }
    }
    // What a text or a number of the same kind replaced is read; drawing the page is slow, so only some of them are.
    for (const what of read.filter((_, i) => i % 25 === 0)) {
      const [place, value] = what.split(' = ') as [string, string];
      const changed = value === 'undefined' ? undefined : (JSON.parse(value) as unknown);
      await writeFile(join(path, 'run.json'), replaced(json, place.split('.'), changed));
      const error = await graft('report', path, '--no-pictures').then(
        () => null,
        (thrown: unknown) => thrown,
      );
      if (error !== null) expect(error, what).toMatchObject({ name: 'GraftError' });
    }
  }, 60_000);

  it.each([
    ['metrics', 14, 'metrics must be'],
    ['data.testImages', undefined, 'data.testImages'],
    ['data.summary', '<script>alert(1)</script>', 'data.summary must be'],
    ['data.summary.facts', 'NaN', 'data.summary.facts must be a list, got "NaN"'],
    ['data.classNames.8', ['ship'], 'data.classNames[8] must be text, got ["ship"]'],
    ['plan.2', 3, 'plan[2] must be two texts, got 3'],
    [
      'sessions.0.phases.1.seconds',
      '\u001b[2J',
      'sessions[0].phases[1].seconds must be a number of at least 0, got "\\u001b[2J"',
    ],
    ['data.summary.splits.0.counts', [1], 'data has a summary of another number of classes'],
    ['metrics.bestEpoch', 9, 'metrics has a bestEpoch after the last of its epochs'],
    ['metrics', null, 'says that the run is finished, but has no metrics'],
    [
      'predictions.file',
      '../../etc/passwd',
      'predictions.file must be the name of a .safetensors file in this folder',
    ],
    ['model.file', 'a/b.h5', 'model.file must be the name of a .h5 file in this folder'],
    ['format', 2, 'format must be 1, the format that this version of Graft reads, got 2'],
  ])('says that %s cannot be %j', async (place, value, sentence) => {
    const path = await copyOfRun(`one-${place}`);
    await writeFile(join(path, 'run.json'), replaced(json, place.split('.'), value));
    for (const words of [
      ['report', path, '--no-pictures'],
      ['compare', intact, path, '--no-pictures', '--output', join(folder, 'c.html')],
      ['evaluate', '--model', path],
      ['predict', '--model', path, join(folder, 'x.png')],
      ['explain', path, join(folder, 'x.png')],
      ['export', '--model', path],
      ['summary', '--model', path],
      ['train', '--resume', path],
    ]) {
      const { code, message } = await refusal(graft(...words));
      expect(message, words[0]).toContain('run.json');
      expect(message, words[0]).toContain(sentence);
      expect(code).toBe('file');
    }
  });

  it.each([
    ['', 'the first line has to name its columns'],
    ['epoch,loss\n', 'has no epoch'],
    ['epoch,loss\n0,1\n1,x\n', 'line 3: expected 2 numbers, got "1,x"'],
    ['epoch,loss\n0,1,2\n', 'line 2: expected 2 numbers'],
    ['epoch,<b>\n0,1\n', 'the first line has to name its columns'],
  ])('says what is wrong with the history %j', async (history, sentence) => {
    const path = await copyOfRun('history');
    await writeFile(join(path, 'history.csv'), history);
    const { code, message } = await refusal(graft('report', path, '--no-pictures'));
    expect(message).toContain(sentence);
    expect(code).toBe('file');
  });

  it.each([
    ['a label beyond the classes', 10, 0.1],
    ['a label below 0', -1, 0.1],
    ['a probability that is no number', 0, Number.NaN],
    ['a probability above 1', 0, 7],
  ])('refuses predictions with %s', async (_, label, probability) => {
    const path = await copyOfRun('predictions');
    const file = join(path, 'predictions.safetensors');
    const tensors = await readSafetensors(file);
    tensors.get('labels')!.data[3] = label;
    tensors.get('probabilities')!.data[5] = probability;
    await writeSafetensors(
      file,
      [...tensors].map(([name, values]) => ({ name, tensor: values })),
    );
    const { code, message } = await refusal(graft('report', path, '--no-pictures'));
    expect(message).toContain('does not fit the run');
    expect(code).toBe('file');
  });

  it('refuses heat maps of pictures that were not predicted', async () => {
    const path = await copyOfRun('maps');
    const file = join(path, 'predictions.safetensors');
    const tensors = await readSafetensors(file);
    tensors.get('saliencyIndices')!.data[0] = 100;
    await writeSafetensors(
      file,
      [...tensors].map(([name, values]) => ({ name, tensor: values })),
    );
    expect((await refusal(graft('report', path, '--no-pictures'))).message).toContain(
      'heat maps do not belong',
    );
  });

  it('refuses JSON that nests deeply, before anything walks through it', async () => {
    const path = await copyOfRun('deep');
    const depth = 34_500;
    await writeFile(join(path, 'run.json'), '['.repeat(depth) + ']'.repeat(depth));
    expect((await refusal(new RunFolder(path).read())).message).toContain('it nests deeper than 200');
  });
});

describe('the books of a sweep', () => {
  it('are refused by field, or read', async () => {
    const path = await copyOfRun('sweep');
    const { config, metrics } = JSON.parse(json) as { config: object; metrics: Container };
    const { valAccuracy, valLoss, seconds, epochs, bestEpoch } = metrics;
    const result = { valAccuracy, valLoss, seconds, epochs, bestEpoch };
    const trial = { options: { epochs: '2' }, status: 'finished', result, problem: null, config };
    const books = {
      ...{ format: 1, fixed: ['--data', 'emoji10'], keepAll: false, best: '001' },
      trials: [
        { name: '001', ...trial },
        { name: '002', ...trial },
      ],
    };
    const text = JSON.stringify(books);
    const folderOf = new SearchFolder(path);
    await writeFile(folderOf.recordPath, text);
    expect((await folderOf.read()).trials).toHaveLength(2);
    for (const place of placesOf(books)) {
      for (const value of strange) {
        const error = errorOf(() =>
          checked(searchRecord, JSON.parse(replaced(text, place, value)), 'sweep.json', 'file'),
        );
        const what = `${place.join('.')} = ${JSON.stringify(value)}`;
        if (error !== null) expect(error, what).toMatchObject({ name: 'GraftError', code: 'file' });
      }
    }
    for (const [place, value, sentence] of [
      ['trials.0.name', '../../x', 'trials[0].name must be the number of a trial'],
      ['trials.1.name', '001', 'lists a trial twice'],
      ['best', '003', 'names a best trial that it does not list'],
      ['trials.0.result', null, 'trials[0] is finished, but has no result'],
      ['trials.0.options', {}, 'has trials that differ in the options that they try'],
    ] as const) {
      await writeFile(folderOf.recordPath, replaced(text, place.split('.'), value));
      expect((await refusal(folderOf.read())).message).toContain(sentence);
    }
  });
});

describe('a checkpoint', () => {
  const state = {
    ...{
      epoch: 1,
      batch: 2,
      finished: false,
      step: 9,
      learningRate: 0.5,
      totals: { loss: Number.NaN, count: 4 },
    },
    history: [{ loss: 1, valLoss: Number.POSITIVE_INFINITY }],
    callbacks: {
      '0/modelCheckpoint': { values: { best: null, wait: Number.NEGATIVE_INFINITY }, weights: null },
    },
    weights: [Float32Array.of(1, 2)],
    slots: { 'w0/momentum': Float32Array.of(3, 4) },
  };

  it('keeps numbers that JSON does not have', async () => {
    const path = join(folder, 'whole.safetensors');
    await saveCheckpoint(path, state);
    expect(await loadCheckpoint(path)).toEqual(state);
  });

  it('is refused by field, or read', async () => {
    const path = join(folder, 'checkpoint.safetensors');
    await saveCheckpoint(path, state);
    const tensors = [...(await readSafetensors(path))].map(([name, values]) => ({ name, tensor: values }));
    const described = {
      ...{
        format: 1,
        epoch: 1,
        batch: 2,
        finished: false,
        step: 9,
        learningRate: 0.5,
        totals: { loss: '#NaN' },
      },
      history: [{ loss: 1 }],
      ...{ callbacks: { a: { values: { best: 1 }, weights: null } }, weights: 1, slots: ['w0/momentum'] },
    };
    const text = JSON.stringify(described);
    for (const place of placesOf(described)) {
      for (const value of strange) {
        await writeSafetensors(path, tensors, { training: replaced(text, place, value) });
        const error = await loadCheckpoint(path).then(
          () => null,
          (thrown: unknown) => thrown,
        );
        const what = `${place.join('.')} = ${JSON.stringify(value)}`;
        if (error !== null) expect(error, what).toMatchObject({ name: 'GraftError', code: 'file' });
      }
    }
    await writeSafetensors(path, [{ name: 'weights/0', tensor: tensor('int32', [1]) }], { training: text });
    expect((await refusal(loadCheckpoint(path))).message).toContain('its slots/w0/momentum');
  });
});

describe('the books of a cache', () => {
  it('that are damaged are as if they were missing', async () => {
    const cache = join(folder, 'cache');
    const key = '0123456789abcdef0123456789abcdef';
    const place = join(cache, 'features', key);
    await cp(intact, place, { recursive: true });
    const meta = {
      ...{ format: 1, graft: '0.1.0', dataset: 'pets', rows: 5, bytes: 100, shardRows: 2, shards: 3 },
      columns: [{ name: 'features', shape: [2], dtype: 'float32', encoding: 'plain' }],
      ...{
        origin: { model: 'x' },
        created: '2026-01-02T03:04:05.000Z',
        lastUsed: '2026-01-02T03:04:05.000Z',
      },
    };
    const text = JSON.stringify(meta);
    const write = (content: string) => writeFile(join(place, 'meta.json'), content);
    await write(text);
    const [read] = await listCaches({ folder: cache });
    expect(read).toMatchObject({ key, complete: false, meta });
    expect(await verifyCache('all', { folder: cache })).toMatchObject([{ damaged: [], missing: [0, 1, 2] }]);
    // A trillion of shards would be looked for one by one.
    const huge = { rows: 2e12, shards: 1e12 };
    for (const changed of [
      { ...meta, ...huge },
      { ...meta, shards: 4 },
      { ...meta, lastUsed: 'x' },
      { ...meta, columns: [] },
    ]) {
      await write(JSON.stringify(changed));
      expect(await listCaches({ folder: cache }), JSON.stringify(changed)).toMatchObject([
        { key, meta: null },
      ]);
    }
    for (const path of placesOf(meta)) {
      for (const value of strange) {
        await write(replaced(text, path, value));
        await listCaches({ folder: cache });
        await verifyCache('all', { folder: cache });
      }
    }
  });
});
