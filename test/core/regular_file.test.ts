import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  isMissing,
  RegularFile,
  readRegularFile,
  readRegularFileIfThere,
} from '../../src/core/regular_file.node.ts';

const options = { limit: 1000, kind: 'a table' };

describe('regular files', () => {
  let folder: string;
  const at = (name: string) => join(folder, name);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'graft-regular-'));
    await writeFile(at('short'), 'a,b\n');
    await writeFile(at('empty'), '');
    await writeFile(at('long'), '');
    await truncate(at('long'), 2 ** 40);
    await mkdir(at('folder'));
    await symlink('short', at('link'));
    await symlink('circle', at('circle'));
    execFileSync('mkfifo', [at('pipe')]);
    await symlink('pipe', at('link to a pipe'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('are read whole, through links too', async () => {
    expect((await readRegularFile(at('short'), options)).toString()).toBe('a,b\n');
    expect((await readRegularFile(at('link'), options)).toString()).toBe('a,b\n');
    expect(await readRegularFile(at('empty'), options)).toHaveLength(0);
  });

  it('may have as many bytes as the limit says and no more', async () => {
    expect(await readRegularFile(at('short'), { ...options, limit: 4 })).toHaveLength(4);
    await expect(readRegularFile(at('short'), { ...options, limit: 3 })).rejects.toThrow(
      `Cannot read ${at('short')}: it has 4 bytes; a table may have at most 3.`,
    );
  });

  // Opening a pipe that nobody writes to would wait for ever.
  it.each([
    ['pipe', 'it is a pipe; expected a file.'],
    ['link to a pipe', 'it is a pipe; expected a file.'],
    ['folder', 'it is a folder; expected a file.'],
    ['circle', 'its links lead in a circle.'],
    ['gone', 'there is no such file.'],
    ['short/inside', 'there is no such file: a part of its path is not a folder.'],
    ['long', 'it has 1,099,511,627,776 bytes; a table may have at most 1,000.'],
    ['n'.repeat(300), 'its name is longer than the system allows.'],
  ])('%s is refused with a sentence', { timeout: 5000 }, async (name, reason) => {
    await expect(readRegularFile(at(name), options)).rejects.toMatchObject({
      code: 'file',
      reason,
      message: `Cannot read ${at(name)}: ${reason}`,
    });
  });

  it.each(['/dev/zero', '/dev/tty'])('%s is not read', { timeout: 5000 }, async (path) => {
    await expect(readRegularFile(path, options)).rejects.toMatchObject({ code: 'file' });
  });

  it('a socket is refused', async () => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(at('socket'), done));
    try {
      await expect(readRegularFile(at('socket'), options)).rejects.toThrow(
        'it is a socket or a device that nobody serves.',
      );
    } finally {
      await new Promise((done) => server.close(done));
    }
  });

  it('say so when they end before they should, and read pieces from where they lie', async () => {
    await writeFile(at('shrinking'), '0123456789');
    await using file = await RegularFile.open(at('shrinking'), { ...options, shownAs: 'the file' });
    expect((await file.read(3, 4)).toString()).toBe('3456');
    await truncate(at('shrinking'), 6);
    await expect(file.readAll()).rejects.toThrow(
      'Cannot read the file: it ended while it was read; expected 4 bytes more.',
    );
  });

  it('that are not there are null if one asks so; a pipe is an error all the same', async () => {
    expect(await readRegularFileIfThere(at('gone'), options)).toBeNull();
    expect(await readRegularFileIfThere(at('short/inside'), options)).toBeNull();
    await expect(readRegularFileIfThere(at('pipe'), options)).rejects.toThrow('it is a pipe');
    expect(isMissing(await readRegularFile(at('gone'), options).catch((error) => error))).toBe(true);
    expect(isMissing(await readRegularFile(at('pipe'), options).catch((error) => error))).toBe(false);
  });
});
