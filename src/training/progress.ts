/** Progress on the terminal: Keras's bar with time left; plain lines where nobody can see a bar move. */
import { tell } from '../core/console.node.ts';
import type { Logs } from './callback.ts';
import { isLive, StatusLine } from './status_line.ts';

export interface ProgressOptions {
  /** Printed above the bar; empty for none. */
  readonly title: string;
  readonly total: number;
  readonly unit: 'step' | 'image' | 'epoch' | 'shard';
  /** Images of a step, to say images/s. */
  readonly images?: number;
}

export interface Progress {
  update(done: number, logs: Logs): void;
  /** A part before the first step or after the last, in the same place. Its time does not count as steps'. */
  part(title: string, total: number): Pick<Progress, 'update'>;
  end(logs: Logs): void;
}

const silent: Progress = {
  update: () => undefined,
  part: () => silent,
  end: () => undefined,
};

/** A progress that writes to standard error, or one that does nothing. */
export function progressFor(verbose: boolean, options: ProgressOptions): Progress {
  if (!verbose) return silent;
  return new Bar(options);
}

/** `313/313 ━━━━━━━━━━━━━━━━━━━━ 12s 38ms/step 830 images/s - accuracy: 0.9312 - loss: 0.2011`, on two lines if wider. */
export function render(
  { total, unit, images }: ProgressOptions,
  done: number,
  seconds: number,
  logs: Logs,
  width = Number.POSITIVE_INFINITY,
): string {
  const each = seconds / Math.max(done, 1);
  const rate = unit === 'image' ? done / seconds : images ? (done * images) / seconds : 0;
  const parts = [
    drawBar(done, total),
    describeTime(done, total, seconds),
    ...(unit === 'step' && done > 0 ? [`${(each * 1000).toFixed(each < 0.01 ? 1 : 0)}ms/step`] : []),
    ...(rate > 0 && Number.isFinite(rate) ? [`${rate.toFixed(rate < 10 ? 1 : 0)} images/s`] : []),
  ];
  const bar = parts.join(' ');
  const numbers = Object.entries(logs).map(([name, value]) => `${name}: ${formatNumber(value)}`);
  const line = [bar, ...numbers].join(' - ');
  if (line.length <= width || numbers.length === 0) return line;
  return `${bar}\n${' '.repeat(bar.indexOf(' '))} ${numbers.join(' - ')}`;
}

function drawBar(done: number, total: number): string {
  const width = 20;
  const filled = total === 0 ? width : Math.floor((width * done) / total);
  const digits = String(total).length;
  return `${String(done).padStart(digits)}/${total} ${'━'.repeat(filled)}${'─'.repeat(width - filled)}`;
}

/** Time left, by what was done so far; time taken before anything is done, and at the end. */
function describeTime(done: number, total: number, seconds: number): string {
  if (done === 0 || done >= total) return duration(seconds);
  return `${duration((seconds / done) * (total - done))} left`;
}

/** As Keras prints numbers: four decimals, or powers of ten for small ones. */
export function formatNumber(value: number): string {
  return Math.abs(value) > 1e-3 || value === 0 ? value.toFixed(4) : value.toExponential(4);
}

/** `7s`, `2:05`, `1:02:05` */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

class Bar implements Progress {
  readonly #options: ProgressOptions;
  #start = performance.now();
  readonly #line: StatusLine;
  #done = 0;
  #logs: Logs = {};
  /** When the steps were over, if something followed. */
  #stop: number | null = null;
  #part: (() => string) | null = null;
  /** When it was last heard of. */
  #partSeen = 0;
  /** Columns that the text has to fit into: as it moves it is cut, and at its end a second line takes the numbers. */
  #width = Number.POSITIVE_INFINITY;

  constructor(options: ProgressOptions) {
    this.#options = options;
    const { title } = options;
    if (isLive() && title) tell(process.stderr, `${title}\n`);
    const prefix = isLive() || !title ? '' : `${title}: `;
    this.#line = new StatusLine(() => prefix + (this.#part?.() ?? this.#render()));
  }

  update(done: number, logs: Logs): void {
    if (this.#part !== null) {
      // It came before the first step: the steps began when it was done.
      [this.#part, this.#start, this.#stop] = [null, this.#partSeen, null];
    }
    this.#done = done;
    this.#logs = logs;
    this.#line.update();
  }

  part(title: string, total: number): Pick<Progress, 'update'> {
    const start = performance.now();
    this.#stop ??= start;
    this.#partSeen = start;
    let done = 0;
    this.#part = () =>
      `${title} ${drawBar(done, total)} ${describeTime(done, total, (performance.now() - start) / 1000)}`;
    return {
      update: (count) => {
        done = count;
        this.#partSeen = performance.now();
        this.#line.update();
      },
    };
  }

  end(logs: Logs): void {
    this.#logs = logs;
    this.#part = null;
    if (isLive()) this.#width = process.stderr.columns;
    this.#line.end();
  }

  #render(): string {
    const seconds = ((this.#stop ?? performance.now()) - this.#start) / 1000;
    return render(this.#options, this.#done, seconds, this.#logs, this.#width);
  }
}
