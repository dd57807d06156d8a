import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cacheFolder, claim, release, removeAbandoned } from '../../src/data/cache.node.ts';
import { temporaryFolder } from './support.ts';

/** The id of a process that is surely over. */
function deadProcess(): number {
  return spawnSync(process.execPath, ['-e', '0']).pid;
}

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

describe('unfinished work', () => {
  it('that was released is found by one of two that claim it, not by both', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    const mine = await claim(target);
    await writeFile(join(mine, 'data'), 'half');
    await release(mine, target);
    const claims = await Promise.all([claim(target), claim(target)]);
    const contents = await Promise.all(claims.map((folder) => readdir(folder)));
    expect(contents.flat()).toEqual(['data']);
    expect(new Set(claims).size).toBe(2);
  });

  it('of a killed process is taken over', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    await leave(`${target}.${hostname()}-${deadProcess()}-0123abcd.part`, 'orphan');
    expect(await readFile(join(await claim(target), 'data'), 'utf8')).toBe('orphan');
  });

  it('of a living process, another machine or another file is left alone', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    await leave(`${target}.${hostname()}-${process.pid}-0123abcd.part`, 'alive');
    await leave(`${target}.elsewhere-${deadProcess()}-0123abcd.part`, 'other machine');
    await leave(`${target}2.${hostname()}-${deadProcess()}-0123abcd.part`, 'other file');
    expect(await readdir(await claim(target))).toEqual([]);
  });

  it('of another machine is taken over once nothing was written for an hour', async () => {
    const target = join(await temporaryFolder(), 'file.bin');
    const old = await leave(`${target}.elsewhere-1-0123abcd.part`, 'old');
    const longAgo = Date.now() / 1000 - 3700;
    await utimes(join(old, 'data'), longAgo, longAgo);
    await utimes(old, longAgo, longAgo);
    expect(await readFile(join(await claim(target), 'data'), 'utf8')).toBe('old');
  });

  it('that is empty is not kept', async () => {
    const folder = await temporaryFolder();
    await release(await claim(join(folder, 'file.bin')), join(folder, 'file.bin'));
    expect(await readdir(folder)).toEqual([]);
  });

  it('that cannot be used is removed', async () => {
    const target = join(await temporaryFolder(), 'set');
    const dead = await leave(`${target}.${hostname()}-${deadProcess()}-0123abcd.tmp`, '');
    const alive = await leave(`${target}.${hostname()}-${process.pid}-0123abcd.tmp`, '');
    await removeAbandoned(target, '.tmp');
    expect([existsSync(dead), existsSync(alive)]).toEqual([false, true]);
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
