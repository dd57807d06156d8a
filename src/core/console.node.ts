/** The console may go away: a pipe closes, a disk is full, a terminal hangs up. That never decides about a job. */
import type { Writable } from 'node:stream';

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
