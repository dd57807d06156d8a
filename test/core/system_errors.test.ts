/** What a system refuses is said in sentences that name the path and what helps. */
import { mkdir, mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { explained, GraftError, messageOf } from '../../src/core/errors.ts';
import { checkWritable, writeAtomically } from '../../src/core/files.node.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-system-'));
});
afterEach(() => rm(folder, { recursive: true }));

const thrownBy = (work: () => Promise<unknown>) =>
  work().then(
    () => null,
    (error: unknown) => error,
  );

it('real refusals become errors with a path and a remedy', async () => {
  const file = join(folder, 'file');
  await writeFile(file, '');
  await symlink('loop', join(folder, 'loop'));
  const cases: [() => Promise<unknown>, string][] = [
    [
      () => open(join(folder, 'no')),
      `Cannot open ${folder}/no: there is no such file or folder (ENOENT). Check the path.`,
    ],
    [
      () => readFile(folder),
      'Cannot read a file: it is a folder, not a file (EISDIR). Name a file, or remove that folder.',
    ],
    [
      () => readdir(join(file, 'x')),
      `Cannot list the folder ${file}/x: a part of this path is a file, not a folder (ENOTDIR). ` +
        'Remove that file, or name another path.',
    ],
    [
      () => open(join(folder, 'loop')),
      `Cannot open ${folder}/loop: its symbolic links lead in a circle (ELOOP). Mend the links, or name another path.`,
    ],
    [
      () => mkdir(join(folder, 'x'.repeat(300))),
      `Cannot make the folder ${folder}/${'x'.repeat(300)}: a name in it is too long (ENAMETOOLONG). Shorten it.`,
    ],
    [
      () => open(`${folder}/\ufffd.png`),
      `Cannot open ${folder}/\ufffd.png: its name is not valid UTF-8. Rename it, with mv or convmv.`,
    ],
  ];
  for (const [work, text] of cases) {
    const error = explained(await thrownBy(work));
    expect(error).toBeInstanceOf(GraftError);
    expect(error).toMatchObject({ code: 'file', message: text });
  }
});

it('errors of a network or of a program stay as they are', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), {
    code: 'ECONNREFUSED',
    syscall: 'connect',
  });
  const bug = new TypeError('x is undefined');
  expect(explained(refused)).toBe(refused);
  expect(explained(bug)).toBe(bug);
  expect(messageOf(refused)).toBe('connect ECONNREFUSED');
});

it('a folder that can be written to is found out without leaving anything', async () => {
  await checkWritable(join(folder, 'a', 'b'));
  await checkWritable(folder);
  expect(await readdir(folder)).toEqual([]);
  await writeFile(join(folder, 'file'), '');
  await expect(checkWritable(join(folder, 'file'))).rejects.toMatchObject({
    code: 'file',
    message: `Cannot write ${folder}/file: something else is there already (EEXIST). Remove it, or name another path.`,
  });
});

it('what cannot be written says why and what helps', async () => {
  await mkdir(join(folder, 'taken'));
  await expect(writeAtomically(join(folder, 'taken'), 'text')).rejects.toMatchObject({
    code: 'file',
    message: `Cannot write ${folder}/taken: it is a folder, not a file (EISDIR). Name a file, or remove that folder.`,
  });
  expect(await readdir(folder)).toEqual(['taken']);
});
