/**
 * The one way to the console. It may go away: a pipe closes, a disk is full, a terminal hangs up. That never decides
 * about a job. And a terminal obeys what it is sent: names of files, classes and tensors are strangers' text, so
 * control characters are shown instead of sent, except those that Graft itself marks as its own.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import type { Writable } from 'node:stream';
import { isatty } from 'node:tty';
import { visible, visibleJson } from './text.ts';

const guarded = new WeakSet<Writable>();

/** Lets writes to a stream of the console fail without ending the process. */
export function guard(...streams: readonly Writable[]): void {
  for (const stream of streams) {
    if (guarded.has(stream)) continue;
    guarded.add(stream);
    // There is nowhere left to say it.
    stream.on('error', () => undefined);
  }
}

/** Stands for ESC in front of our own sequences until they are written; drawn anew in each process, so nobody else's text has it. */
const own = `\x1b${randomBytes(9).toString('base64url')}`;

/** A control sequence to be put into a text for `tell`: `control('[31m')` for red letters. */
export function control(sequence: string): string {
  return own + sequence;
}

/** What `tell` sends: our own sequences as such, all other control characters to be read. */
export function rendered(text: string): string {
  return text.split(own).map(visible).join('\x1b');
}

/** Writes to the console, if somebody is still there. */
export function tell(stream: Writable, text: string): void {
  guard(stream);
  stream.write(rendered(text));
}

/** Writes a value as one line of JSON. */
export function tellJson(stream: Writable, value: object): void {
  guard(stream);
  stream.write(`${visibleJson(value)}\n`);
}

/** Writes over the line that the cursor is in, of a terminal; lines that follow are new. */
export function overwrite(stream: Writable, text: string): void {
  guard(stream);
  stream.write(`\r${rendered(text).replaceAll('\n', '\x1b[K\n')}\x1b[K`);
}

/** Clears the line that the cursor is in. */
export function clearLine(stream: Writable): void {
  guard(stream);
  stream.write('\r\x1b[2K');
}

/**
 * Lets the process end with its own exit code after its terminal has closed. As it ends, Node resets the terminals that
 * it began with and aborts where the system refuses that, but leaves descriptors alone that are something else by then.
 */
export function outliveTerminal(): void {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
  if (terminals.length === 0) return;
  process.on('exit', () => {
    for (const descriptor of terminals) {
      // A terminal that has closed is none any more.
      if (isatty(descriptor)) continue;
      closeSync(descriptor);
      // The system gives the lowest free number, which is this one.
      openSync(devNull, 'r+');
    }
  });
}
