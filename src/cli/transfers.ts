/** Shows downloads, checks and unpacking on stderr: one line that moves, or a few plain ones in a log. */
import type { Progress } from '../data/index.ts';
import { duration } from '../training/progress.ts';
import { megabytes } from './output.ts';

const verbs = { download: 'Downloading', verify: 'Checking', extract: 'Unpacking' };

/** What takes less time than this is not worth a line. */
const patienceMs = 400;
const logEveryMs = 10_000;

export interface Transfers {
  readonly onProgress: (progress: Progress) => void;
  /** Ends the line that is being written. */
  end(): void;
}

export function showTransfers(verbose: boolean): Transfers {
  const stream = process.stderr;
  let phase = '';
  let start = 0;
  let startBytes = 0;
  let last = 0;
  let drawn = false;
  const end = () => {
    if (drawn && stream.isTTY) stream.write('\n');
    drawn = false;
    phase = '';
  };
  const onProgress = (progress: Progress) => {
    if (!verbose) return;
    const now = performance.now();
    const title = `${verbs[progress.phase]} ${progress.id}`;
    if (title !== phase) {
      end();
      [phase, start, startBytes, last] = [title, now, progress.done, stream.isTTY ? now : 0];
    }
    if (now - start < patienceMs || now - last < (stream.isTTY ? 100 : logEveryMs)) return;
    last = now;
    drawn = true;
    const text = render(title, progress, (progress.done - startBytes) / ((now - start) / 1000));
    stream.write(stream.isTTY ? `\r\x1b[2K${text.slice(0, (stream.columns ?? 80) - 1)}` : `${text}\n`);
  };
  return { onProgress, end };
}

/** `Downloading cifar10/binary: 45 MB of 170 MB (26 %), 12 MB/s, 10s left` */
function render(title: string, { done, total }: Progress, rate: number): string {
  const amount =
    total === null
      ? megabytes(done)
      : `${megabytes(done)} of ${megabytes(total)} (${Math.floor((100 * done) / Math.max(total, 1))} %)`;
  const left = total === null ? '' : `, ${duration((total - done) / rate)} left`;
  return `${title}: ${amount}, ${megabytes(rate)}/s${left}`;
}
