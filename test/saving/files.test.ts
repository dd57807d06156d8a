import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fail } from '../../src/core/errors.ts';
import { readJson, sha256File, writeAtomically, writeJson } from '../../src/core/files.node.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-files-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

describe('writeAtomically', () => {
  it('makes the folders above the file and leaves nothing else there', async () => {
    const path = join(folder, 'a', 'b', 'text.txt');
    await writeAtomically(path, 'one');
    await writeAtomically(path, Uint8Array.of(0x32));
    expect(await readFile(path, 'utf8')).toBe('2');
    expect(await readdir(join(folder, 'a', 'b'))).toEqual(['text.txt']);
  });

  it('keeps the old file and removes the temporary one when the content fails', async () => {
    const path = join(folder, 'kept', 'text.txt');
    await writeAtomically(path, 'old');
    const failing = async (temp: string) => {
      await writeFile(temp, 'half');
      throw new Error('the disk is full');
    };
    await expect(writeAtomically(path, failing)).rejects.toMatchObject({
      code: 'file',
      message: `Cannot write ${path}: the disk is full.`,
    });
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(join(folder, 'kept'))).toEqual(['text.txt']);
  });

  it('lets an error of Graft through as it is', async () => {
    const failing = async () => fail('argument', 'no such layer');
    await expect(writeAtomically(join(folder, 'x'), failing)).rejects.toMatchObject({
      code: 'argument',
      message: 'no such layer',
    });
  });

  it('says so when a folder is in the way', async () => {
    await writeAtomically(join(folder, 'taken', 'inside'), '');
    await expect(writeAtomically(join(folder, 'taken'), 'text')).rejects.toMatchObject({ code: 'file' });
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('lets writers of one file come in any order without mixing them', async () => {
    const path = join(folder, 'race.txt');
    const texts = Array.from({ length: 8 }, (_, i) => String(i).repeat(10_000));
    await Promise.all(texts.map((text) => writeAtomically(path, text)));
    expect(texts).toContain(await readFile(path, 'utf8'));
  });
});

describe('JSON and checksums', () => {
  it('reads back what it wrote', async () => {
    const path = join(folder, 'value.json');
    await writeJson(path, { classes: ['cat', 'dog'] });
    expect(await readJson(path)).toEqual({ classes: ['cat', 'dog'] });
  });

  it('names the file that is missing or not JSON', async () => {
    await expect(readJson(join(folder, 'none.json'))).rejects.toMatchObject({ code: 'file' });
    await writeAtomically(join(folder, 'bad.json'), '{');
    await expect(readJson(join(folder, 'bad.json'))).rejects.toThrow('bad.json is not valid JSON');
  });

  it('computes the SHA-256 of a file', async () => {
    const path = join(folder, 'abc');
    await writeAtomically(path, 'abc');
    // FIPS 180-2, appendix B.1.
    expect(await sha256File(path)).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    await expect(sha256File(join(folder, 'none'))).rejects.toMatchObject({ code: 'file' });
  });
});
