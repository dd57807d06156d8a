/** The console may go away: a pipe closes, a disk is full, a terminal hangs up. That never decides about a job. */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import type { Writable } from 'node:stream';
import { isatty } from 'node:tty';

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

/** Writes to the console, if somebody is still there. */
export function tell(stream: Writable, text: string): void {
  guard(stream);
  stream.write(text);
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
