// Packs, checks and publishes the version in package.json. CONTRIBUTING.md has what comes before. `npm run release`,
// with `-- --dry-run` all but the upload.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const run = (command, ...args) => execFileSync(command, args, { cwd: root, stdio: 'inherit' });
const { version, repository } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const dryRun = process.argv.includes('--dry-run');

const problems = [];
if (execFileSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' }) !== '')
  problems.push('there are changes that are not committed');
if (!readFileSync(join(root, 'CHANGELOG.md'), 'utf8').includes(`\n## ${version}`))
  problems.push(`CHANGELOG.md has no section "## ${version}"`);
if (repository === undefined && !dryRun) problems.push('package.json names no repository');
if (problems.length > 0) throw new Error(`Not released: ${problems.join('; ')}.`);

run(process.execPath, 'scripts/third_party_notices.mjs', '--check');
mkdirSync(join(root, 'build'), { recursive: true });
run('npm', 'pack', '--pack-destination', 'build');
const tarball = `build/graft-ml-${version}.tgz`;
run(process.execPath, 'scripts/check_package.mjs', tarball);
// Provenance and access stand in package.json (publishConfig).
run('npm', 'publish', tarball, ...(dryRun ? ['--dry-run', '--no-provenance'] : []));
