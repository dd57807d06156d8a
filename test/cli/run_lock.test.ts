/** Who may work on a run: one process at a time, and whoever comes after one that was killed. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RunFolder } from '../../src/cli/run_folder.ts';
import { lockRun } from '../../src/cli/run_lock.ts';
import { writeAtomically } from '../../src/core/files.node.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-lock-'));
  path = join(folder, 'run', 'run.lock');
  await (await lockRun(path))[Symbol.asyncDispose](); // Makes the folder.
});
afterEach(() => rm(folder, { recursive: true }));

const held = { pid: process.pid, host: hostname(), since: '2025-01-31T14:05:09.000Z', start: null };
const leave = (owner: object) => writeFile(path, JSON.stringify({ ...held, ...owner }));

it('a run that is being trained is refused with the process that does, until it ends', async () => {
  const lock = await lockRun(path);
  await expect(lockRun(path)).rejects.toMatchObject({
    code: 'state',
    message: expect.stringMatching(
      new RegExp(
        `run is being trained by process ${process.pid}, since 20\\S+Z\\. Wait until it ends, or stop it; if it is ` +
          'gone, remove .*run\\.lock\\.$',
      ),
    ),
  });
  await lock[Symbol.asyncDispose]();
  expect(existsSync(path)).toBe(false);
  await (await lockRun(path))[Symbol.asyncDispose]();
});

it('one that a process left when it was killed is taken over', async () => {
  await leave({ pid: spawnSync(process.execPath, ['-e', '']).pid });
  await using _lock = await lockRun(path);
  expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ pid: process.pid });
  expect(await readdir(join(folder, 'run'))).toEqual(['run.lock']);
});

it.skipIf(!existsSync('/proc/self/stat'))(
  'so is one whose process number belongs to a younger process by now',
  async () => {
    await leave({ start: '1' });
    await using _lock = await lockRun(path);
    expect(JSON.parse(await readFile(path, 'utf8')).start).not.toBe('1');
  },
);

it('one of another machine, or that somebody is just writing, is left alone', async () => {
  await leave({ host: 'elsewhere', pid: 1 });
  await expect(lockRun(path)).rejects.toThrow('by process 1 on elsewhere, since 2025-01-31');
  await writeFile(path, '');
  await expect(lockRun(path)).rejects.toThrow('is being trained by another process. Wait');
});

it('of many that want a leftover one gets it', async () => {
  await leave({ pid: spawnSync(process.execPath, ['-e', '']).pid });
  const ends = await Promise.allSettled(Array.from({ length: 12 }, () => lockRun(path)));
  expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect(await readdir(join(folder, 'run'))).toEqual(['run.lock']);
});

it('what a killed process was writing is removed, and nothing else', async () => {
  const run = new RunFolder(join(folder, 'run'));
  const unfinished = await writeAtomically(run.file('checkpoint.safetensors'), async (path) => {
    await writeFile(path, 'half');
    await copyFile(path, `${path}.kept`);
  }).then(async () => (await readdir(run.path)).find((name) => name.endsWith('.kept'))!);
  await rename(run.file(unfinished), run.file(unfinished.replace('.kept', '')));
  await writeFile(run.file('.notes.tmp'), '');
  await using _lock = await run.lock();
  expect((await readdir(run.path)).sort()).toEqual(['.notes.tmp', 'checkpoint.safetensors', 'run.lock']);
});

it('a lock that was taken away is not removed when its former owner ends', async () => {
  const lock = await lockRun(path);
  await leave({ host: 'elsewhere' });
  await lock[Symbol.asyncDispose]();
  expect(existsSync(path)).toBe(true);
});
