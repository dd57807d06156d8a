/** Names of files and classes that a terminal or a drawing would obey. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeWorkplace, type Workplace, writePicture } from './support.ts';

const name = 'c\x1b[31mat\x07\u202e<&\n';
const shown = 'c\\x1b[31mat\\x07\\u202e<&\\n';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  for (const [id, label] of [name, 'dog'].entries()) {
    await mkdir(workplace.path('pets', label), { recursive: true });
    for (let i = 0; i < 5; i++) await writePicture(workplace.path('pets', label, `${i}.png`), 3 + id, i);
  }
  await writeFile(workplace.path('pets', name, `${name}.png`), 'text');
});
afterAll(() => workplace.remove());

const isPlain = /^[\n\x20-\x7e]*$/;

it('are shown in tables and errors, and not obeyed', async () => {
  const { stdout, stderr, code } = await workplace.run(['data', 'pets']);
  expect(stdout).toMatch(isPlain);
  expect(stdout).toMatch(new RegExp(`^${shown.replace(/[\\[]/g, '\\$&')} +4 +1$`, 'm'));
  expect(stdout).toContain(`  ${shown}/${shown}.png `);
  expect([stderr, code]).toEqual(['', 0]);
  const refused = await workplace.run(['train', '--data', 'pets', '--weights', 'none']);
  expect(refused.stderr).toMatch(isPlain);
  expect(refused.stderr).toContain(`\n  ${shown}/${shown}.png: not an image in a known format`);
  expect(refused.code).toBe(2);
  const { stderr: unread } = await workplace.run(['predict', '--model', `${name}.h5`, 'x.png']);
  expect(unread).toContain('\\x1b[31m');
  expect(unread).toMatch(isPlain);
});

it('are what they are in JSON', async () => {
  const { stdout } = await workplace.run(['data', 'pets', '--json']);
  expect(stdout).toMatch(isPlain);
  expect(JSON.parse(stdout)).toMatchObject({ classNames: [name, 'dog'] });
});

it('are drawn in contact sheets', async () => {
  await workplace.run(['data', 'pets', '--contact-sheet', 'sheet.png']);
  expect(await sharp(await readFile(workplace.path('sheet.png'))).metadata()).toMatchObject({
    format: 'png',
  });
  await workplace.run(['data', 'pets', '--contact-sheet', 'sheet.html']);
  expect(await readFile(workplace.path('sheet.html'), 'utf8')).toContain(
    '<h2>c\\x1b[31mat\\x07\\u202e&lt;&amp;\\n (5)</h2>',
  );
});
