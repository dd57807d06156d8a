/** What every command loads before it does anything. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

/** The packages that a file and all files that it imports need at once; `import()` is not followed. */
async function packagesOf(url: URL, seen = new Set<string>()): Promise<Set<string>> {
  const packages = new Set<string>();
  if (seen.has(url.href)) return packages;
  seen.add(url.href);
  const source = await readFile(fileURLToPath(url), 'utf8');
  for (const [, specifier] of source.matchAll(/^(?:import|export)\s(?!type\s)[^;]*?from\s+'([^']+)'/gm)) {
    if (!specifier!.startsWith('.')) packages.add(specifier!);
    else for (const name of await packagesOf(new URL(specifier!, url), seen)) packages.add(name);
  }
  return packages;
}

it('the command line starts without the libraries that draw reports', async () => {
  const packages = await packagesOf(new URL('../../src/cli/main.ts', import.meta.url));
  expect([...packages]).toContain('commander');
  expect([...packages].filter((name) => /plot|linkedom/.test(name))).toEqual([]);
});
