/** How texts come to a terminal. */
import { WriteStream } from 'node:tty';
import { afterEach, expect, it, vi } from 'vitest';
import { fitted, invocation } from '../../src/cli/output.ts';

/** A terminal of so many columns; nothing is written to it. */
function terminal(columns: number): WriteStream {
  return Object.assign(Object.create(WriteStream.prototype) as WriteStream, { isTTY: true, columns });
}

it('a line that is wider than the terminal is broken between words, below its beginning', () => {
  const text = 'one two three\n  cat.jpg: it is broken';
  expect(fitted(terminal(13), text)).toBe('one two three\n  cat.jpg:\n    it is\n    broken');
  expect(fitted(terminal(25), text)).toBe(text);
});

afterEach(() => {
  vi.unstubAllEnvs();
});

it.each([
  ['', '/usr/bin/graft', 'graft'],
  ['exec', '/home/ada/pets/node_modules/.bin/graft', 'npx graft'],
  ['exec', '/home/ada/.npm/_npx/4f2/node_modules/.bin/graft', 'npx graft-ml'],
])('the program is named as it was called (npm_command "%s", %s)', (command, script, name) => {
  const before = process.argv[1]!;
  vi.stubEnv('npm_command', command);
  process.argv[1] = script;
  try {
    expect(invocation()).toBe(name);
  } finally {
    process.argv[1] = before;
  }
});

it('a command stays in one piece, so that it can be copied', () => {
  const command = `${invocation()} train --data pets`;
  expect(fitted(terminal(20), `Go on with: ${command}`)).toBe(`Go on with:\n${command}`);
  expect(fitted(terminal(20), `  ${command}`)).toBe(`  ${command}`);
});

it('what goes into a file or a pipe is left as it is', () => {
  const file = Object.assign(terminal(10), { isTTY: false });
  expect(fitted(file, 'one two three')).toBe('one two three');
});
