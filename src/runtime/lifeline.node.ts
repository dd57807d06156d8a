/**
 * A thread of the engine's process that ends the process when its parent is gone, however that ended and whatever the
 * main thread is doing: a run blocks it, some for ever.
 *
 * The parent holds the other end of a pipe into which nobody writes; the system closes it with the parent.
 */
import { Socket } from 'node:net';
import { workerData } from 'node:worker_threads';

const { fd } = workerData as { readonly fd: number };
new Socket({ fd, readable: true, writable: false })
  .on('error', () => undefined) // It is closed after that, too.
  .on('close', () => process.kill(process.pid, 'SIGKILL'))
  .resume();
