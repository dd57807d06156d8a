/** How many steps are one run of the engine. */

/** Seconds after which numbers should come again, and Ctrl-C be heard. */
const longest = 5;
/** What a run costs beside its steps is little by then. */
const most = 16;

export class Pace {
  #seconds = 0;
  #steps = 0;
  #mark: number | null = null;

  /** Steps for the next run, by what steps have taken so far. */
  get steps(): number {
    if (this.#steps === 0) return 1;
    return Math.max(1, Math.min(most, Math.floor(longest / this.#each)));
  }

  /**
   * Runs that wait in the engine while one is under way, so that it never does. Behind a long one none: handing over is
   * nothing beside it, and a stop would wait for both.
   */
  get ahead(): number {
    return this.#steps > 0 && this.steps * this.#each < longest / 2 ? 1 : 0;
  }

  get #each(): number {
    return this.#seconds / this.#steps;
  }

  /** Other work than steps comes next. */
  pause(): void {
    this.#mark = null;
  }

  /** Notes that so many steps are done. They count from the ones before on: the first wait for graphs and data. */
  done(steps: number): void {
    const now = performance.now();
    if (this.#mark !== null) {
      this.#seconds += (now - this.#mark) / 1000;
      this.#steps += steps;
    }
    this.#mark = now;
  }
}
