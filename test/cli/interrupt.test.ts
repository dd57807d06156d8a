/** Stopping a training and going on with it: by Ctrl-C, twice, and by a kill. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunRecord } from '../../src/cli/run_folder.ts';
import { load } from '../../src/training/build.ts';
import { childrenOf } from '../support/processes.ts';
import { jsonOf, makeMirror, makeWorkplace, type Workplace } from './support.ts';

/** Dropout, batch normalization, trained backbone layers, an optimizer with state, a schedule: all must go on. */
const options = [
  ...[
    'train',
    '--data',
    'cifar10',
    '--weights',
    'none',
    '--image-size',
    '32',
    '--backbone-output',
    'conv2_block1_out',
  ],
  ...[
    '--unfreeze-from',
    'conv2_block1_2_conv',
    '--head',
    'gap,bn,dense:16,dropout:0.5',
    '--optimizer',
    'adam',
  ],
  ...['--schedule', 'cosine', '--learning-rate', '0.01', '--limit', '400', '--validation-limit', '40'],
  ...['--batch-size', '8', '--epochs', '4', '--seed', '3', '--threads', '1'],
];

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  await makeMirror(join(workplace.folder, 'mirror'));
  const { code } = await start('--out', 'runs/whole').finished;
  expect(code).toBe(0);
}, 120_000);
afterAll(() => workplace.remove());

const inside = (...names: string[]) => join(workplace.folder, ...names);
const env = () => ({ GRAFT_MIRROR: inside('mirror') });
const start = (...more: string[]) => workplace.start([...options, ...more], env());
const resume = (run: string, ...more: string[]) => workplace.run(['train', '--resume', run, ...more], env());
const recordOf = async (run: string) =>
  JSON.parse(await readFile(inside(run, 'run.json'), 'utf8')) as RunRecord;

async function expectSameAsWhole(run: string): Promise<void> {
  const history = (of: string) => readFile(inside(of, 'history.csv'), 'utf8');
  expect(await history(run)).toBe(await history('runs/whole'));
  const weights = async (of: string) => (await load(inside(of, 'cifar10.h5'))).getWeights();
  const [mine, whole] = [await weights(run), await weights('runs/whole')];
  expect(mine.length).toBe(whole.length);
  for (const [i, values] of whole.entries()) expect(mine[i]).toEqual(values);
  const { metrics, status } = await recordOf(run);
  const expected = (await recordOf('runs/whole')).metrics!;
  for (const key of ['accuracy', 'loss', 'valAccuracy', 'valLoss', 'epochs', 'bestEpoch'] as const) {
    expect(metrics![key]).toBe(expected[key]);
  }
  expect(status).toBe('finished');
  expect(existsSync(inside(run, 'checkpoint.safetensors'))).toBe(false);
}

describe('Ctrl-C', () => {
  it('ends training after the step, saves, says how to go on; the rest gives the same numbers bit for bit', async () => {
    const { child, finished, seen } = start('--out', 'runs/stopped', '--json');
    await seen('Epoch 1/4');
    child.kill('SIGINT');
    const stopped = await finished;
    expect(stopped.stderr).toContain(
      'Stopping after this step, then saving. Ctrl-C once more stops at once.',
    );
    expect(stopped.stderr).toMatch(
      /\nStopped after [123] of 4 epochs\. Saved:\n {2}runs\/stopped\/checkpoint\.safetensors/,
    );
    expect(stopped.stderr).toMatch(/\nContinue with: node .*main\.js train --resume runs\/stopped\n/);
    expect(stopped.code).toBe(130);
    expect(jsonOf(stopped)).toMatchObject({ command: 'train', status: 'stopped', run: 'runs/stopped' });
    expect((await recordOf('runs/stopped')).status).toBe('stopped');
    expect(existsSync(inside('runs/stopped/cifar10.h5'))).toBe(true);

    const continued = await resume('runs/stopped', '--json');
    expect(continued.stderr).not.toContain('error');
    expect(continued.code).toBe(0);
    expect(jsonOf(continued)).toMatchObject({ status: 'finished', epochs: 4 });
    await expectSameAsWhole('runs/stopped');
    expect((await recordOf('runs/stopped')).sessions).toHaveLength(2);
  });

  it.each([0, 300, 700])(
    'at any other moment loses nothing either: %d ms after the run began',
    async (delay) => {
      const run = `runs/after-${delay}`;
      const { child, finished } = start('--out', run);
      while (!existsSync(inside(run, 'run.json'))) await wait(5);
      await wait(delay);
      child.kill('SIGINT');
      const { code, stdout, stderr } = await finished;
      expect(stdout + stderr).toMatch(/Continue with: node .*main\.js train --resume runs\/after-/);
      expect(code).toBe(130);
      expect((await resume(run)).code).toBe(0);
      await expectSameAsWhole(run);
    },
  );

  it('a second one stops at once', async () => {
    const { child, finished, seen } = start('--out', 'runs/twice');
    await seen('Epoch 1/4');
    child.kill('SIGINT');
    await seen('Stopping after this step');
    child.kill('SIGINT');
    const { code, stderr } = await finished;
    expect(code).toBe(130);
    // The first may have been quicker.
    if (!stderr.includes('Stopped at once.')) expect((await recordOf('runs/twice')).status).toBe('stopped');
    await resume('runs/twice');
    await expectSameAsWhole('runs/twice');
  });

  it('before anything has begun leaves nothing behind', async () => {
    // A mirror that never answers.
    const server = createServer().listen(0, '127.0.0.1');
    const asked = once(server, 'request');
    await once(server, 'listening');
    const mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { child, finished } = start('--out', 'runs/nothing', '--mirror', mirror);
    await asked;
    child.kill('SIGINT');
    const { code, stderr } = await finished;
    server.closeAllConnections();
    server.close();
    expect(stderr).toBe('\nStopped before training began; nothing was written.\n');
    expect(code).toBe(130);
    expect(existsSync(inside('runs/nothing'))).toBe(false);
  });
});

it('a run that was killed goes on from its last checkpoint, whatever rows it had written since', async () => {
  const { child, finished, seen } = start('--out', 'runs/killed');
  await seen('Epoch 2/4');
  child.kill('SIGKILL');
  await finished;
  expect((await recordOf('runs/killed')).status).toBe('running');
  await appendFile(inside('runs/killed/history.csv'), '3,1,0,1,0\n');
  expect((await resume('runs/killed')).code).toBe(0);
  await expectSameAsWhole('runs/killed');
});

it.runIf(process.platform === 'linux')(
  'a run whose engine was killed has failed, says why, and goes on from its last checkpoint',
  async () => {
    const { child, finished, seen } = start('--out', 'runs/broken', '--json');
    await seen('Epoch 2/4');
    for (const pid of childrenOf(child.pid!)) process.kill(pid, 'SIGKILL');
    const { code, stderr } = await finished;
    expect(code).toBe(1);
    expect(stderr).toContain("The engine's process ended (SIGKILL)");
    expect(stderr).toMatch(/Continue with: node .*main\.js train --resume runs\/broken\n/);
    expect(await recordOf('runs/broken')).toMatchObject({
      status: 'failed',
      problem: expect.stringContaining("The engine's process ended (SIGKILL)"),
    });
    expect(existsSync(inside('runs/broken/run.lock'))).toBe(false);
    expect((await resume('runs/broken')).code).toBe(0);
    await expectSameAsWhole('runs/broken');
    expect(await recordOf('runs/broken')).not.toHaveProperty('problem');
  },
);

it('a run that was killed while it computed features begins again, and ends the same', async () => {
  // Without the features of the other runs.
  const apart = { ...env(), GRAFT_CACHE: inside('another-cache') };
  const { child, finished } = workplace.start([...options, '--out', 'runs/early'], apart);
  while (!existsSync(inside('runs/early/run.json'))) await wait(5);
  child.kill('SIGKILL');
  const { stderr } = await finished;
  expect(stderr).not.toContain('Epoch 1/4');
  expect((await workplace.run(['train', '--resume', 'runs/early'], apart)).code).toBe(0);
  await expectSameAsWhole('runs/early');
});

it('a run that is being trained cannot be continued by a second process, and is not disturbed', async () => {
  const { finished, seen } = start('--out', 'runs/busy');
  await seen('Epoch 1/4');
  const second = await resume('runs/busy');
  expect(second.stderr).toMatch(
    /error: runs\/busy is being trained by process \d+, since 20\S+Z\. Wait until/,
  );
  expect(second.code).toBe(1);
  expect((await finished).code).toBe(0);
  await expectSameAsWhole('runs/busy');
  expect(existsSync(inside('runs/busy/run.lock'))).toBe(false);
});

it('a run does not go on with other data', async () => {
  const { child, finished, seen } = start('--out', 'runs/moved');
  await seen('Epoch 1/4');
  child.kill('SIGINT');
  await finished;
  const record = await recordOf('runs/moved');
  const moved = { ...record, data: { ...record.data, fingerprint: 'cifar10/train:other' } };
  await writeFile(inside('runs/moved/run.json'), JSON.stringify(moved));
  const { code, stderr } = await resume('runs/moved');
  expect(stderr).toContain('The run was trained on other pictures: cifar10/train:other, now cifar10/train');
  expect(code).toBe(2);
});
