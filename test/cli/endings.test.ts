/** How a job ends where a file system gets in its way, or where it was killed at its very end. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jsonOf, makeWorkplace, repository, tiny, trainColours, type Workplace, words } from './support.ts';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  const { code, stderr } = await trainColours(workplace);
  expect(code, stderr).toBe(0);
}, 120_000);
afterAll(() => workplace.remove());

const run = 'runs/colours';
const mirror = () => ({ GRAFT_MIRROR: workplace.path('mirror') });
const resume = () => workplace.run(['train', '--resume', run, '--json'], mirror());
const files = async () => (await readdir(workplace.path(run))).sort();

describe('a run that was killed when it was all but done', () => {
  it('before its report was written gets it when it is continued', async () => {
    const before = await files();
    const report = await readFile(workplace.path(run, 'report.html'), 'utf8');
    await rm(workplace.path(run, 'report.html'));
    const again = await resume();
    expect(again.code, again.stderr).toBe(0);
    expect(jsonOf(again)).toMatchObject({ status: 'finished', epochs: 3 });
    expect(await readFile(workplace.path(run, 'report.html'), 'utf8')).toBe(report);
    expect(await files()).toEqual(before);
  });

  it('before its lock and its checkpoint were removed loses them', async () => {
    const before = await files();
    await writeFile(workplace.path(run, 'run.lock'), '');
    await copyFile(workplace.path(run, 'cifar10.h5'), workplace.path(run, 'checkpoint.safetensors'));
    expect((await resume()).code).toBe(0);
    expect(await files()).toEqual(before);
  });

  it('is finished only when its report is there', async () => {
    // A folder where the report should be: it cannot be written.
    const path = workplace.path('runs/unreported');
    await mkdir(join(path, 'report.html'), { recursive: true });
    const args = words(`train ${tiny} --head gap,bn --epochs 2 --out runs/unreported`);
    const { code, stderr } = await workplace.run(args, mirror());
    expect(code).toBe(1);
    expect(stderr).toContain('error: Cannot write runs/unreported/report.html: it is a folder, not a file');
    expect(stderr).not.toContain('bug');
    expect(await workplace.record('runs/unreported')).toMatchObject({
      status: 'failed',
      problem: expect.stringContaining('Cannot write runs/unreported/report.html'),
    });
    expect(existsSync(join(path, 'run.lock'))).toBe(false);
    await rm(join(path, 'report.html'), { recursive: true });
    expect((await workplace.run(words('train --resume runs/unreported'), mirror())).code).toBe(0);
    expect((await workplace.record('runs/unreported')).status).toBe('finished');
    expect(existsSync(join(path, 'report.html'))).toBe(true);
  });
});

describe('a folder for the run that cannot be written to', () => {
  const refused = async (out: string, command = 'train') => {
    const grid = command === 'sweep' ? ' --grid learning-rate=0.1,0.01' : '';
    const { code, stderr } = await workplace.run(words(`${command} ${tiny}${grid} --out ${out}`), mirror());
    expect(code).toBe(1);
    expect(stderr).not.toContain('bug');
    // Nothing was loaded or begun before.
    expect(stderr.trim().split('\n')).toHaveLength(1);
    return stderr;
  };

  it.each(['train', 'sweep'])('is refused by %s before anything else happens', async (command) => {
    await writeFile(workplace.path('file'), '');
    expect(await refused('file', command)).toContain(
      'Cannot write file: something else is there already (EEXIST)',
    );
    expect(await refused('file/run', command)).toContain(
      'Cannot write file/run: a part of this path is a file, not a folder (ENOTDIR). Remove that file',
    );
  });

  it('as is a read-only or a full file system', async (context) => {
    const mount = (name: string, options: string) => {
      spawnSync('mkdir', [workplace.path(name)]);
      return spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', workplace.path(name)]).status === 0;
    };
    if (!mount('read-only', 'ro') || !mount('full', 'size=64k')) {
      return context.skip('Mounting file systems takes rights that this user does not have.');
    }
    try {
      await writeFile(workplace.path('full/fill'), Buffer.alloc(65_536));
      expect(await refused('read-only/run')).toContain('the file system is read-only (EROFS)');
      expect(await refused('full/run')).toContain('the disk is full (ENOSPC)');
      expect(await readdir(workplace.path('full'))).toEqual(['fill']);
    } finally {
      for (const name of ['read-only', 'full']) spawnSync('umount', [workplace.path(name)]);
    }
  });
});

it('a cache that is a file is named, with the remedy', async () => {
  await writeFile(workplace.path('no-cache'), '');
  const env = { ...mirror(), GRAFT_CACHE: workplace.path('no-cache') };
  const { code, stderr } = await workplace.run(words(`train ${tiny} --out runs/none`), env);
  expect(code).toBe(1);
  expect(stderr).toMatch(/error: Could not make the cache folder .*no-cache.*\. Set GRAFT_CACHE to a folder/);
  expect(existsSync(workplace.path('runs/none'))).toBe(false);
});

it.skipIf(process.platform === 'win32')('a current folder that was removed is said', () => {
  const script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"';
  const args = [
    '-c',
    script,
    'sh',
    process.execPath,
    join(repository, 'dist/cli/main.js'),
    'models',
    '--json',
  ];
  const { status, stderr, stdout } = spawnSync('sh', args, { cwd: workplace.folder, encoding: 'utf8' });
  expect(status).toBe(1);
  const message = 'The current folder is no longer there. Change to another one (cd) and try again.';
  expect(stderr).toBe(`error: ${message}\n`);
  expect(JSON.parse(stdout)).toEqual({ error: { code: 'file', message }, exitCode: 1 });
});
