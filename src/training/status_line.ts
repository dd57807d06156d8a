/**
 * One line on standard error that says how far something is. On a terminal it is written over in place, and once a
 * second even if nothing came; elsewhere, and in CI, it is a few plain lines.
 */
import { overwrite, tell } from '../core/console.node.ts';

/** Milliseconds between two drawings on a terminal, and between two lines in a log. */
const drawEvery = 100;
const logEvery = 10_000;

/** Whether a line can be written over: a terminal that nobody records. */
export function isLive(): boolean {
  return process.stderr.isTTY && !process.env['CI'] && process.env['TERM'] !== 'dumb';
}

let open: StatusLine | null = null;

/** Ends a line that is being drawn, so that something else can be said below it. */
export function leaveStatusLine(): void {
  open?.leave();
}

export class StatusLine {
  readonly #text: () => string;
  readonly #live = isLive();
  readonly #timer: NodeJS.Timeout | null;
  #last: number;

  /** `text` is asked when the line is drawn; until its end it is cut where a terminal would wrap it. */
  constructor(text: () => string) {
    this.#text = text;
    this.#last = this.#live ? 0 : performance.now();
    this.#timer = this.#live ? setInterval(() => this.#draw(), 1000).unref() : null;
    if (!this.#live) return;
    leaveStatusLine();
    open = this;
    this.#draw();
  }

  /** Something changed: draws, or writes a line, if the last time is long enough ago. */
  update(): void {
    if (performance.now() - this.#last < (this.#live ? drawEvery : logEvery)) return;
    this.#draw();
  }

  /** Draws the text as it is now a last time; below what was said meanwhile, if something was. */
  end(): void {
    if (this.#live && open !== this) tell(process.stderr, `${this.#text()}\n`);
    else this.#draw(Number.POSITIVE_INFINITY);
    this.leave();
  }

  leave(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (open !== this) return;
    tell(process.stderr, '\n');
    open = null;
  }

  #draw(width = (process.stderr.columns ?? 80) - 1): void {
    this.#last = performance.now();
    const text = this.#text();
    if (!this.#live) tell(process.stderr, `${text}\n`);
    // Written over and then cut, never cleared first: a cleared line flickers.
    else if (open === this) overwrite(process.stderr, text.slice(0, width));
  }
}

/** What takes less time is not worth a line. */
const patienceMs = 700;

/** Shows that something is under way whose length nobody knows, if it takes long: `Writing the report 3s`. */
export async function whileWaiting<T>(title: string, verbose: boolean, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  let line: StatusLine | null = null;
  const text = () => `${title} ${Math.round((performance.now() - start) / 1000)}s`;
  const timer = setTimeout(() => {
    line = new StatusLine(text);
  }, patienceMs);
  if (!verbose) clearTimeout(timer);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
    (line as StatusLine | null)?.end();
  }
}
