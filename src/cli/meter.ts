/** Measures a training as it goes: speed, and the memory of this process and of the engines'. */
import { readFile } from 'node:fs/promises';
import type { Callback } from '../training/callback.ts';
import type { Model } from '../training/model.ts';
import type { Memory } from './run_folder.ts';

/** How often the engines' memory is looked at, in milliseconds: the frozen part's ends before training begins. */
const interval = 1000;

export class Meter implements Disposable {
  readonly callback: Callback;
  /** Pictures trained and the time it took, without validation. */
  images = 0;
  seconds = 0;
  /** From the making of the meter to the first step. */
  preparationSeconds = 0;
  readonly #epochs: { main: number; engine: number | null }[] = [];
  readonly #created = performance.now();
  #enginePeak: number | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor() {
    let mark = 0;
    this.callback = {
      name: 'meter',
      onTrainBegin: () => {
        mark = performance.now();
        this.preparationSeconds = (mark - this.#created) / 1000;
      },
      onEpochBegin: () => {
        mark = performance.now();
      },
      onTrainBatchEnd: (batch, _logs, { batchSize, samples }) => {
        this.images += Math.min(batchSize, samples - batch * batchSize);
        this.seconds += (performance.now() - mark) / 1000;
        mark = performance.now();
      },
      onEpochEnd: async (_epoch, _logs, { model }) => {
        this.#epochs.push({ main: process.memoryUsage.rss(), engine: await this.#lookAt(model) });
        return undefined;
      },
    };
  }

  /** Begins to look at the memory of a model's engines. */
  watch(model: Model): void {
    this.#timer = setInterval(() => void this.#lookAt(model), interval).unref();
  }

  /** Call it while the engine runs. `before` is what an earlier session of the run measured. */
  async memory(model: Model, before: Memory | null): Promise<Memory> {
    await this.#lookAt(model);
    const peak = this.#enginePeak;
    return {
      mainPeak: Math.max(process.resourceUsage().maxRSS * 1024, before?.mainPeak ?? 0),
      enginePeak: peak === null ? null : Math.max(peak, before?.enginePeak ?? 0),
      epochs: [...(before?.epochs ?? []), ...this.#epochs],
    };
  }

  /** What the engines hold together now; the most that one of them held, or all of them at a time, is kept. */
  async #lookAt({ enginePids }: Model): Promise<number | null> {
    const sizes = await Promise.all(enginePids.map(memoryOf));
    const known = sizes.filter((size) => size !== null);
    if (known.length === 0) return null;
    const now = known.reduce((total, { now }) => total + now, 0);
    this.#enginePeak = Math.max(this.#enginePeak ?? 0, now, ...known.map(({ peak }) => peak));
    return now;
  }

  [Symbol.dispose](): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }
}

/** Resident memory of a process in bytes. Linux tells; elsewhere, and of a process that ended, it is null. */
async function memoryOf(pid: number): Promise<{ readonly now: number; readonly peak: number } | null> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(text)?.[1]) * 1024;
  const [now, peak] = [field('VmRSS'), field('VmHWM')];
  return Number.isNaN(now) ? null : { now, peak };
}
