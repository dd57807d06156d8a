/** Progress on the terminal: Keras's bar with time left; plain lines where nobody can see a bar move. */
import type { Logs } from './callback.ts';

export interface ProgressOptions {
  /** Printed above the bar; empty for none. */
  readonly title: string;
  readonly total: number;
  readonly unit: 'step' | 'image' | 'epoch';
  /** Images of a step, to say images/s. */
  readonly images?: number;
}

export interface Progress {
  update(done: number, logs: Logs): void;
  end(logs: Logs): void;
}

const silent: Progress = { update: () => undefined, end: () => undefined };

/** A progress that writes to standard error, or one that does nothing. */
export function progressFor(verbose: boolean, options: ProgressOptions): Progress {
  if (!verbose) return silent;
  return process.stderr.isTTY ? bar(options) : lines(options);
}

/** `313/313 ━━━━━━━━━━━━━━━━━━━━ 12s 38ms/step · 830 images/s - accuracy: 0.9312 - loss: 0.2011` */
function render({ total, unit, images }: ProgressOptions, done: number, seconds: number, logs: Logs): string {
  const width = 20;
  const filled = total === 0 ? width : Math.floor((width * done) / total);
  const each = seconds / Math.max(done, 1);
  const left = each * (total - done);
  const digits = String(total).length;
  const rate = unit === 'image' ? done / seconds : images ? (done * images) / seconds : 0;
  const parts = [
    `${String(done).padStart(digits)}/${total}`,
    '━'.repeat(filled) + '─'.repeat(width - filled),
    done < total ? `${duration(left)} left` : duration(seconds),
    ...(unit === 'step' ? [`${(each * 1000).toFixed(each < 0.01 ? 1 : 0)}ms/step`] : []),
    ...(rate > 0 && Number.isFinite(rate) ? [`${rate.toFixed(rate < 10 ? 1 : 0)} images/s`] : []),
  ];
  const numbers = Object.entries(logs).map(([name, value]) => ` - ${name}: ${formatNumber(value)}`);
  return parts.join(' ') + numbers.join('');
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

function bar(options: ProgressOptions): Progress {
  const start = performance.now();
  let last = 0;
  if (options.title) process.stderr.write(`${options.title}\n`);
  const draw = (done: number, logs: Logs) => {
    const line = render(options, done, (performance.now() - start) / 1000, logs);
    // One line only: a wrapped line would not be overwritten.
    process.stderr.write(`\r\x1b[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  };
  let done = 0;
  return {
    update(count, logs) {
      done = count;
      const now = performance.now();
      if (now - last < 80 && count < options.total) return;
      last = now;
      draw(count, logs);
    },
    end(logs) {
      const line = render(options, done, (performance.now() - start) / 1000, logs);
      process.stderr.write(`\r\x1b[2K${line}\n`);
    },
  };
}

/** Without a terminal: a line at the end, and one every ten seconds so that a log shows life. */
function lines(options: ProgressOptions): Progress {
  const start = performance.now();
  let last = start;
  let done = 0;
  const line = (logs: Logs) => {
    const text = render(options, done, (performance.now() - start) / 1000, logs);
    process.stderr.write(`${options.title ? `${options.title}: ` : ''}${text}\n`);
  };
  return {
    update(count, logs) {
      done = count;
      if (performance.now() - last < 10_000 || count >= options.total) return;
      last = performance.now();
      line(logs);
    },
    end: line,
  };
}
