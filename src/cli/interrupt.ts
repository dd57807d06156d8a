/**
 * Ctrl-C: the first one ends training after the step that is under way, so that everything can be saved; a second
 * one, or one while nothing would be lost, ends the process at once.
 */
import type { Callback, Training } from '../training/callback.ts';
import { leaveStatusLine } from '../training/status_line.ts';

/** What a shell expects of a process that Ctrl-C ended: 128 + SIGINT. */
export const interruptedExit = 130;

export class Interrupt implements Disposable {
  /** Has to be among the callbacks of the training. */
  readonly callback: Callback;
  readonly #idleMessage: () => string;
  #requested = false;
  #training: Training | null = null;

  /** `idleMessage` is said when the process ends at once because nothing is under way. */
  constructor(idleMessage: () => string) {
    this.#idleMessage = idleMessage;
    this.callback = {
      name: 'interrupt',
      onTrainBegin: (training) => {
        this.#training = training;
      },
      // Each phase of a fine-tuning is a training of its own; a stop that came between them is for the next one.
      onEpochBegin: (_epoch, training) => {
        this.#training = training;
        if (this.#requested) training.stop('step');
      },
      onTrainEnd: () => {
        this.#training = null;
      },
    };
    process.on('SIGINT', this.#onSignal);
  }

  get requested(): boolean {
    return this.#requested;
  }

  readonly #onSignal = () => {
    if (this.#requested) this.#exit('Stopped at once.');
    if (this.#training === null) this.#exit(this.#idleMessage());
    this.#requested = true;
    this.#training!.stop('step');
    leaveStatusLine();
    process.stderr.write('Stopping after this step, then saving. Ctrl-C once more stops at once.\n');
  };

  #exit(message: string): never {
    leaveStatusLine();
    process.stderr.write(`\n${message}\n`);
    process.exit(interruptedExit);
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#onSignal);
  }
}
