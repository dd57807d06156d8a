// Runs the TypeScript examples of README.md and docs/: each ```ts block is a program of its own. A comment
// <!-- check: types --> above a block says that it takes too long to run and is only type-checked.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const folder = join(root, 'build/docs');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });

const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)];
const programs = [];
for (const page of pages.filter((name) => name.endsWith('.md'))) {
  const text = readFileSync(join(root, page), 'utf8');
  for (const [whole, mark, code] of text.matchAll(/(<!-- check: types -->\s*)?```ts\n(.*?)```/gs)) {
    const line = text.slice(0, text.indexOf(whole)).split('\n').length;
    const name = `${page.replace(/\W+/g, '_')}_${line}`;
    writeFileSync(join(folder, `${name}.ts`), `${code}\nexport {};\n`);
    programs.push({ name, from: `${page}:${line}`, run: mark === undefined });
  }
}

const config = {
  extends: '../../tsconfig.json',
  compilerOptions: { noEmit: false, rootDir: '.', outDir: 'out', noUnusedLocals: false },
  include: ['*.ts'],
};
writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
execFileSync('npx', ['tsc', '-p', folder], { stdio: 'inherit', cwd: root });

for (const { name, from, run } of programs) {
  console.log(`${from}: ${run ? 'run' : 'type-checked'}`);
  if (run)
    execFileSync(process.execPath, [join(folder, 'out', `${name}.js`)], { stdio: 'inherit', cwd: folder });
}
console.log(`${programs.length} examples`);
