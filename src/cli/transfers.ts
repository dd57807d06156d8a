/** Shows downloads, checks and unpacking on stderr: one line that moves, or a few plain ones in a log. */
import type { Progress } from '../data/index.ts';
import { duration } from '../training/progress.ts';
import { StatusLine } from '../training/status_line.ts';
import { megabytes } from './output.ts';

const verbs = { download: 'Downloading', verify: 'Checking', extract: 'Unpacking' };

/** What takes less time than this is not worth a line. */
const patienceMs = 400;
/** Before the first word comes, that nothing came. */
const waitMs = 1000;

export interface Transfers {
  readonly onProgress: (progress: Progress) => void;
  /** Ends the line that is being written. */
  end(): void;
}

export function showTransfers(verbose: boolean): Transfers {
  let title = '';
  let start = performance.now();
  let startBytes = 0;
  let latest: Progress | null = null;
  let line: StatusLine | null = null;
  const text = () => {
    const seconds = (performance.now() - start) / 1000;
    if (latest === null) return `Waiting for an answer ${duration(seconds)}`;
    return render(title, latest, (latest.done - startBytes) / seconds, seconds);
  };
  // An address may take its time, or be tried several times.
  const timer = verbose ? setTimeout(() => (line ??= new StatusLine(text)), waitMs).unref() : undefined;
  const end = () => {
    clearTimeout(timer);
    line?.end();
    line = null;
    title = '';
  };
  const onProgress = (progress: Progress) => {
    if (!verbose) return;
    const from = progress.from === undefined ? '' : ` from ${progress.from}`;
    const next = `${verbs[progress.phase]} ${progress.id}${from}`;
    if (next !== title) {
      if (latest !== null) end();
      [title, start, startBytes] = [next, performance.now(), progress.done];
    }
    latest = progress;
    // Whom a download connects to is said however quick it is.
    const shown = progress.phase === 'download' || performance.now() - start >= patienceMs;
    if (line === null && shown) line = new StatusLine(text);
    line?.update();
  };
  return { onProgress, end };
}

/** `Downloading cifar10/binary from HOST: 45 MB of 170 MB (26 %), 12 MB/s, 10s left`; at the end the time that it took. */
function render(title: string, { done, total }: Progress, rate: number, seconds: number): string {
  const amount =
    total === null
      ? megabytes(done)
      : `${megabytes(done)} of ${megabytes(total)} (${Math.floor((100 * done) / Math.max(total, 1))} %)`;
  const left =
    total === null || done >= total ? duration(seconds) : `${duration((total - done) / rate)} left`;
  return `${title}: ${amount}, ${megabytes(rate)}/s, ${left}`;
}
