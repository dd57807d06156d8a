// Runs the TypeScript examples of README.md and docs/: each ```ts block is a program of its own. A comment above a
// block says otherwise:
//   <!-- check: types -->   it takes too long, or needs files of yours: it is only type-checked
//   <!-- check: mirror -->  all such blocks of a page are one program, which needs CIFAR-10 and ResNet50's weights: it
//                           runs where GRAFT_MIRROR names them, and is only type-checked elsewhere
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const folder = join(root, 'build/docs');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });

const mirror = process.env['GRAFT_MIRROR'];
const pages = ['README.md', 'FEATURES.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)];
const programs = [];
for (const page of pages.filter((name) => name.endsWith('.md'))) {
  const text = readFileSync(join(root, page), 'utf8');
  const joined = [];
  for (const { index, 1: mark, 2: code } of text.matchAll(/(?:<!-- check: (\w+) -->\s*)?```ts\n(.*?)```/gs)) {
    const from = `${page}:${text.slice(0, index).split('\n').length}`;
    if (mark === 'mirror') joined.push(code);
    else if (mark === undefined || mark === 'types') programs.push({ from, code, run: mark === undefined });
    else throw new Error(`${from}: check: ${mark} is not known; expected types or mirror.`);
  }
  if (joined.length > 0)
    programs.push({ from: page, code: joined.join('\n'), run: Boolean(mirror), needs: 'GRAFT_MIRROR' });
}
for (const program of programs) {
  program.name = program.from.replace(/\W+/g, '_');
  writeFileSync(join(folder, `${program.name}.ts`), `${program.code}\nexport {};\n`);
}

const config = {
  extends: '../../tsconfig.json',
  compilerOptions: { noEmit: false, rootDir: '.', outDir: 'out', noUnusedLocals: false },
  include: ['*.ts'],
};
writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
execFileSync('npx', ['tsc', '-p', folder], { stdio: 'inherit', cwd: root });

for (const { name, from, run, needs } of programs) {
  console.log(`${from}: ${run ? 'run' : `type-checked${needs ? `, not run: it needs ${needs}` : ''}`}`);
  if (run)
    execFileSync(process.execPath, [join(folder, 'out', `${name}.js`)], { stdio: 'inherit', cwd: folder });
}
console.log(`${programs.length} programs`);
