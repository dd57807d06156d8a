/** Who may work on a run: one process at a time, and whoever comes after one that was killed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import {
  copyFile,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RunFolder } from '../../src/cli/run_folder.ts';
import { lockRun } from '../../src/cli/run_lock.ts';
import { writeAtomically } from '../../src/core/files.node.ts';
import { canUnshare } from '../support/processes.ts';
import { repository } from './support.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-lock-'));
  path = join(folder, 'run', 'run.lock');
  await (await lockRun(path))[Symbol.asyncDispose](); // Makes the folder.
});
afterEach(() => rm(folder, { recursive: true }));

/** Takes a lock in another process, says so, and waits. */
const holder = `
  const { lockRun } = await import(process.argv[1]);
  await lockRun(process.argv[2]);
  console.log(JSON.stringify({ pid: process.pid }));
  setInterval(() => undefined, 1000);`;

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

async function hold(...command: readonly string[]): Promise<ChildProcess> {
  const [program, ...args] = [...command, process.execPath, '--input-type=module', '-e', holder];
  const lockModule = pathToFileURL(join(repository, 'dist/cli/run_lock.js')).href;
  const child = spawn(program!, [...args, lockModule, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child.stdout!, 'data');
  return child;
}

it('a run that is being trained is refused with the process that does, until it ends', async () => {
  const lock = await lockRun(path);
  await expect(lockRun(path)).rejects.toMatchObject({
    code: 'state',
    message: expect.stringMatching(
      new RegExp(
        `run is being trained by process ${process.pid}, since 20\\S+Z\\. Wait until it ends, or stop it\\.$`,
      ),
    ),
  });
  await lock[Symbol.asyncDispose]();
  expect(existsSync(path)).toBe(false);
  await (await lockRun(path))[Symbol.asyncDispose]();
});

it('one that a process left when it was killed is taken over', async () => {
  const child = await hold();
  await expect(lockRun(path)).rejects.toThrow(`is being trained by process ${child.pid}, since`);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(existsSync(path)).toBe(true);
  await using _lock = await lockRun(path);
  expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ pid: process.pid });
  expect(await readdir(join(folder, 'run'))).toEqual(['run.lock']);
});

it.skipIf(process.platform === 'win32').each([
  ['a link', (other: string) => symlink(other, path)],
  ['a link', (other: string) => link(other, path)],
  ['a folder', () => mkdir(path)],
  ['a pipe', async () => void spawnSync('mkfifo', [path])],
])('one that is %s is refused, and what it leads to stays as it is', async (what, make) => {
  const other = join(folder, 'other');
  await writeFile(other, 'precious');
  await make(other);
  await expect(lockRun(path)).rejects.toMatchObject({
    code: 'file',
    message: `${path} is ${what}; expected a file that Graft made to lock this folder. Remove it.`,
  });
  expect(await readFile(other, 'utf8')).toBe('precious');
  expect(existsSync(path)).toBe(true);
});

it.each([
  ['is empty', ''],
  ['is something else', 'lock'],
  ['names a living process that does not hold it', JSON.stringify({ pid: process.pid, host: hostname() })],
])("one that %s stands in nobody's way", async (_what, text) => {
  await writeFile(path, text);
  await using _lock = await lockRun(path);
  expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ pid: process.pid });
});

it('a process that exits in the middle of something leaves none', async () => {
  const lockModule = pathToFileURL(join(repository, 'dist/cli/run_lock.js')).href;
  const script = `const { lockRun } = await import(process.argv[1]); await lockRun(process.argv[2]); process.exit(3);`;
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', script, lockModule, path]);
  expect(status).toBe(3);
  expect(await readdir(join(folder, 'run'))).toEqual([]);
});

describe.skipIf(!canUnshare)(
  'two containers with one host name, whose processes have the same numbers',
  () => {
    const container = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

    it('do not take each other for dead', async () => {
      await hold(...container);
      expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ pid: 1, host: hostname() });
      await expect(lockRun(path)).rejects.toThrow(
        'is being trained by process 1 in another container, since',
      );
      const script = `const { lockRun } = await import(process.argv[1]);
      await lockRun(process.argv[2]).catch(({ message }) => console.log(process.pid, message));`;
      const lockModule = pathToFileURL(join(repository, 'dist/cli/run_lock.js')).href;
      const [program, ...args] = [...container, process.execPath, '--input-type=module', '-e', script];
      const { stdout } = spawnSync(program!, [...args, lockModule, path]);
      expect(String(stdout)).toContain('1 ');
      expect(String(stdout)).toContain('is being trained by process 1 in another container, since');
    });

    it('and a restarted one goes on where it was killed', async () => {
      const first = await hold(...container);
      first.kill('SIGKILL');
      await once(first, 'exit');
      // The process in the container ends a moment after the one that made it.
      await expect
        .poll(() =>
          lockRun(path).then(
            (lock) => lock[Symbol.asyncDispose]().then(() => true),
            () => false,
          ),
        )
        .toBe(true);
      const second = await hold(...container);
      expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ pid: 1 });
      second.kill('SIGKILL');
    });
  },
);

describe('a lock of another machine, where locks may not reach', () => {
  const foreign = JSON.stringify({
    pid: 1,
    host: 'elsewhere',
    machine: 'another',
    since: '2025-01-31T14:05:09.000Z',
  });

  it('counts while its time is renewed', async () => {
    await writeFile(path, foreign);
    const beat = setInterval(() => void utimes(path, new Date(), new Date()), 300);
    await expect(lockRun(path)).rejects.toThrow('by process 1 on elsewhere, since 2025-01-31');
    clearInterval(beat);
    expect(await readFile(path, 'utf8')).toBe(foreign);
  });

  it('is taken over when it is not, after a while', async () => {
    await writeFile(path, foreign);
    const start = performance.now();
    await using _lock = await lockRun(path);
    // Three beats of a holder.
    expect(performance.now() - start).toBeGreaterThan(14_000);
  }, 60_000);
});

it('of many that want a leftover one gets it', async () => {
  await writeFile(path, '');
  const ends = await Promise.allSettled(Array.from({ length: 12 }, () => lockRun(path)));
  const winners = ends.filter((end) => end.status === 'fulfilled');
  expect(winners).toHaveLength(1);
  expect(await readdir(join(folder, 'run'))).toEqual(['run.lock']);
  await winners[0]!.value[Symbol.asyncDispose]();
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

it('a lock that was replaced is not removed when its former owner ends', async () => {
  const lock = await lockRun(path);
  await writeFile(`${path}.new`, '');
  await rename(`${path}.new`, path);
  await lock[Symbol.asyncDispose]();
  expect(existsSync(path)).toBe(true);
});
