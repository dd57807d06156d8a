/**
 * Requests to stop: Ctrl-C, SIGTERM, and SIGHUP when a terminal closes. The first one ends training after the step that
 * is under way, so that everything can be saved; a second one, or one while nothing would be lost, ends the process at
 * once.
 */
import { constants as fileConstants, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { basename } from 'node:path';
import { tell } from '../core/console.node.ts';
import type { Callback, Training } from '../training/callback.ts';
import { leaveStatusLine } from '../training/status_line.ts';

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** What a shell expects of a process that a signal ended: 128 + its number. */
export function exitCodeAfter(signal: StopSignal): number {
  return 128 + constants.signals[signal];
}

/** `timeout` and service managers send a signal to a process and again to its group: that is one request. */
const sameRequestMs = 1000;

/** Hears signals until it is disposed. */
export class StopSignals implements Disposable {
  readonly #onFirst: (signal: StopSignal) => void;
  readonly #onAgain: (signal: StopSignal) => void;
  readonly #signals: readonly StopSignal[];
  #first: number | null = null;

  /** `onAgain` hears of a second Ctrl-C, and of any other signal that comes a second time later on. */
  constructor(onFirst: (signal: StopSignal) => void, onAgain: (signal: StopSignal) => void) {
    this.#onFirst = onFirst;
    this.#onAgain = onAgain;
    this.#signals = hangupIsIgnored() ? ['SIGINT', 'SIGTERM'] : ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of this.#signals) process.on(signal, this.#onSignal);
  }

  readonly #onSignal = (name: NodeJS.Signals) => {
    const signal = name as StopSignal;
    const now = performance.now();
    if (this.#first === null) {
      this.#first = now;
      this.#onFirst(signal);
    } else if (signal === 'SIGINT' || now - this.#first > sameRequestMs) this.#onAgain(signal);
  };

  [Symbol.dispose](): void {
    for (const signal of this.#signals) process.off(signal, this.#onSignal);
  }
}

/** Ends the process at once, with a last word. */
export function exitAt(signal: StopSignal, message: string): never {
  leaveStatusLine();
  tell(process.stderr, `\n${message}\n`);
  process.exit(exitCodeAfter(signal));
}

/** How to stop for good, after a first request. */
export const onceMore = 'Ctrl-C once more stops at once.';

export class Interrupt implements Disposable {
  /** Has to be among the callbacks of the training. */
  readonly callback: Callback;
  readonly #signals: StopSignals;
  #signal: StopSignal | null = null;
  #training: Training | null = null;

  /** `idleMessage` is said when the process ends at once because nothing is under way. */
  constructor(idleMessage: () => string) {
    this.callback = {
      name: 'interrupt',
      onTrainBegin: (training) => {
        this.#training = training;
      },
      // Each phase of a fine-tuning is a training of its own; a stop that came between them is for the next one.
      onEpochBegin: (_epoch, training) => {
        this.#training = training;
        if (this.#signal !== null) training.stop('step');
      },
      onTrainEnd: () => {
        this.#training = null;
      },
    };
    this.#signals = new StopSignals(
      (signal) => {
        if (this.#training === null) exitAt(signal, idleMessage());
        this.#signal = signal;
        this.#training.stop('step');
        leaveStatusLine();
        tell(process.stderr, `Stopping after this step, then saving. ${onceMore}\n`);
      },
      (signal) => exitAt(signal, 'Stopped at once.'),
    );
  }

  /** What asked for a stop, if something did. */
  get signal(): StopSignal | null {
    return this.#signal;
  }

  [Symbol.dispose](): void {
    this.#signals[Symbol.dispose]();
  }
}

let ignored: boolean | null = null;

/** Keeps the process from ending when its terminal closes, where it was started so. */
export function keepThroughHangup(): void {
  if (hangupIsIgnored()) process.on('SIGHUP', () => undefined);
}

/**
 * Whether the process was started to outlive its terminal, as by `nohup`. Node sets signals that it inherited as
 * ignored back to their defaults before any JavaScript runs, so other signs have to tell: the process that started this
 * one ignores hangups, the shell's `_` names nohup, or standard input can only be written to, which is what GNU's nohup
 * replaces a terminal by.
 */
function hangupIsIgnored(): boolean {
  ignored ??= ignoresHangup(process.ppid) || basename(process.env['_'] ?? '') === 'nohup' || isOnlyWritten(0);
  return ignored;
}

function ignoresHangup(pid: number): boolean {
  const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readSystemFile(`/proc/${pid}/status`))?.[1] ?? '0';
  return (BigInt(`0x${mask}`) & (1n << BigInt(constants.signals.SIGHUP - 1))) !== 0n;
}

function isOnlyWritten(descriptor: number): boolean {
  const flags = /^flags:\s*([0-7]+)$/m.exec(readSystemFile(`/proc/self/fdinfo/${descriptor}`))?.[1] ?? '0';
  return (Number.parseInt(flags, 8) & 3) === fileConstants.O_WRONLY;
}

/** Empty where the system has no such file. */
function readSystemFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
