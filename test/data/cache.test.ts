import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cacheFolder, claim } from '../../src/data/cache.node.ts';
import { canUnshare } from '../support/processes.ts';
import { temporaryFolder } from './support.ts';

async function leave(path: string, text: string): Promise<string> {
  await mkdir(path);
  await writeFile(join(path, 'data'), text);
  return path;
}

describe('the cache folder', () => {
  const home = '/home/ada';
  const at = (env: Record<string, string>, platform = 'linux') =>
    cacheFolder(undefined, { env, platform, home });

  it('is what was asked for, then GRAFT_CACHE, then XDG_CACHE_HOME, then the custom of the platform', () => {
    const env = { GRAFT_CACHE: '/graft', XDG_CACHE_HOME: '/xdg' };
    expect(cacheFolder('/asked', { env, platform: 'linux', home })).toBe(resolve('/asked'));
    expect(at(env)).toBe(resolve('/graft'));
    expect(at({ XDG_CACHE_HOME: '/xdg' }, 'darwin')).toBe(resolve('/xdg/graft'));
    expect(at({})).toBe(join(home, '.cache', 'graft'));
    expect(at({}, 'darwin')).toBe(join(home, 'Library', 'Caches', 'graft'));
    expect(at({ LOCALAPPDATA: '/local' }, 'win32')).toBe(join('/local', 'graft', 'Cache'));
    expect(at({}, 'win32')).toBe(join(home, 'AppData', 'Local', 'graft', 'Cache'));
  });

  it('takes an empty variable for one that is not set', () => {
    expect(at({ GRAFT_CACHE: '', XDG_CACHE_HOME: '' })).toBe(join(home, '.cache', 'graft'));
  });
});

/** Claims a folder in another process, writes into it, and stays until it is killed. */
async function claimElsewhere(target: string, ...command: readonly string[]): Promise<ChildProcess> {
  const script = `const { claim } = await import(process.argv[1]);
    const { folder } = await claim(process.argv[2]);
    (await import('node:fs')).writeFileSync(folder + '/data', 'theirs');
    console.log('there');
    setInterval(() => undefined, 1000);`;
  const [program, ...args] = [...command, process.execPath, '--input-type=module', '-e', script];
  const module = new URL('../../dist/data/cache.node.js', import.meta.url).href;
  const child = spawn(program!, [...args, module, target], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  return child;
}

describe('unfinished work', () => {
  it('that was released is found by one of two that claim it, not by both', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    const mine = await claim(target);
    await writeFile(join(mine.folder, 'data'), 'half');
    await mine.release();
    const claims = await Promise.all([claim(target), claim(target)]);
    const contents = await Promise.all(claims.map(({ folder }) => readdir(folder)));
    expect(contents.flat().sort()).toEqual(['data', 'lock', 'lock']);
    expect(new Set(claims.map(({ folder }) => folder)).size).toBe(2);
    for (const each of claims) await each.remove();
    expect(await readdir(dirname(target))).toEqual([]);
  });

  it('of a living process is left alone, of a killed one taken over', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    const child = await claimElsewhere(target);
    const mine = await claim(target);
    expect(await readdir(mine.folder)).toEqual(['lock']);
    await mine.remove();
    child.kill('SIGKILL');
    await once(child, 'exit');
    const theirs = await claim(target);
    expect(await readFile(join(theirs.folder, 'data'), 'utf8')).toBe('theirs');
    await theirs.remove();
  });

  it.skipIf(!canUnshare)('of a living process in another container is left alone', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    const child = await claimElsewhere(target, 'unshare', '--pid', '--fork', '--kill-child', '--mount-proc');
    const mine = await claim(target);
    expect(await readdir(mine.folder)).toEqual(['lock']);
    await mine.remove();
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  it('of another file is left alone', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    await leave(`${target}2.0123abcd.part`, 'other file');
    const mine = await claim(target);
    expect(await readdir(mine.folder)).toEqual(['lock']);
    await mine.remove();
  });

  it('of another machine, which no lock tells of, is taken over once nothing was written for an hour', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    const old = await leave(`${target}.0123abcd.part`, 'old');
    await writeFile(join(old, 'lock'), JSON.stringify({ pid: 1, host: 'elsewhere', machine: 'another' }));
    const first = await claim(target);
    expect(await readdir(first.folder)).toEqual(['lock']);
    await first.remove();
    const longAgo = Date.now() / 1000 - 3700;
    for (const name of ['data', 'lock']) await utimes(join(old, name), longAgo, longAgo);
    const second = await claim(target);
    expect(await readFile(join(second.folder, 'data'), 'utf8')).toBe('old');
    await second.remove();
  });

  it('that is empty is not kept', async () => {
    const folder = await temporaryFolder();
    await (await claim(join(folder, 'file.bin'))).release();
    expect(await readdir(folder)).toEqual([]);
  });

  it('needs a folder that can be made, or the error names GRAFT_CACHE', async () => {
    const blocked = join(await temporaryFolder(), 'file');
    await writeFile(blocked, '');
    await expect(claim(join(blocked, 'assets', 'a'))).rejects.toMatchObject({
      code: 'file',
      message: expect.stringMatching(
        /Could not make the cache folder .*Set GRAFT_CACHE to a folder that can be/,
      ),
    });
  });
});
