/** Measures a training as it goes: time by phase, and the memory of this process and of the engines'. */
import { readFile } from 'node:fs/promises';
import type { Callback } from '../training/callback.ts';
import type { Model } from '../training/model.ts';
import type { Memory, Phase, PhaseName } from './run_folder.ts';

/** How often memory is looked at, in milliseconds: the frozen part's engine ends before training begins. */
const interval = 1000;

export class Meter implements Disposable {
  /** Adds the learning rate after each epoch to its logs, as keras.callbacks.TensorBoard does. */
  readonly callback: Callback;
  /** Pictures trained. */
  images = 0;
  readonly #epochs: { main: number; engine: number | null }[] = [];
  readonly #phases = new Map<PhaseName, { seconds: number; memory: number }>();
  #phase: PhaseName = 'loading';
  #mark = performance.now();
  #model: Model | null = null;
  #enginePeak: number | null = null;
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => void this.#lookAt(), interval).unref();
    this.callback = {
      name: 'meter',
      stepwise: false,
      onFeaturesBegin: () => this.enter('features'),
      onTrainBegin: () => this.enter('training'),
      onEpochBegin: () => this.enter('training'),
      onTrainBatchEnd: (batch, _logs, { batchSize, samples, stepsPerEpoch }) => {
        this.images += Math.min(batchSize, samples - batch * batchSize);
        if (batch + 1 === stepsPerEpoch) this.enter('validation');
      },
      onEpochEnd: async (_epoch, _logs, { learningRate }) => {
        this.enter('saving');
        this.#epochs.push({ main: process.memoryUsage.rss(), engine: await this.#lookAt() });
        return { learningRate };
      },
    };
  }

  /** Ends the phase that is under way and begins another, or the same anew. */
  enter(phase: PhaseName): void {
    void this.#lookAt();
    const now = performance.now();
    this.#entry().seconds += (now - this.#mark) / 1000;
    this.#mark = now;
    this.#phase = phase;
  }

  /** From now on with the memory of a model's engines. */
  watch(model: Model): void {
    this.#model = model;
  }

  /** Time and largest memory of each phase up to now, in order. */
  phases(): Phase[] {
    this.enter(this.#phase);
    return [...this.#phases].map(([name, measured]) => ({ name, ...measured }));
  }

  /** Call it while the engine runs. `before` is what an earlier session of the run measured. */
  async memory(before: Memory | null): Promise<Memory> {
    await this.#lookAt();
    const peak = this.#enginePeak;
    return {
      mainPeak: Math.max(process.resourceUsage().maxRSS * 1024, before?.mainPeak ?? 0),
      enginePeak: peak === null ? null : Math.max(peak, before?.enginePeak ?? 0),
      epochs: [...(before?.epochs ?? []), ...this.#epochs],
    };
  }

  #entry(): { seconds: number; memory: number } {
    const entry = this.#phases.get(this.#phase) ?? { seconds: 0, memory: 0 };
    this.#phases.set(this.#phase, entry);
    return entry;
  }

  /** What the engines hold together now; the most that one of them held, or all of them at a time, is kept. */
  async #lookAt(): Promise<number | null> {
    const entry = this.#entry();
    const main = process.memoryUsage.rss();
    const sizes = await Promise.all((this.#model?.enginePids ?? []).map(memoryOf));
    const known = sizes.filter((size) => size !== null);
    const now = known.reduce((total, { now }) => total + now, 0);
    entry.memory = Math.max(entry.memory, main + now);
    if (known.length === 0) return null;
    this.#enginePeak = Math.max(this.#enginePeak ?? 0, now, ...known.map(({ peak }) => peak));
    return now;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** Resident memory of a process in bytes. Linux tells; elsewhere, and of a process that ended, it is null. */
async function memoryOf(pid: number): Promise<{ readonly now: number; readonly peak: number } | null> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(text)?.[1]) * 1024;
  const [now, peak] = [field('VmRSS'), field('VmHWM')];
  return Number.isNaN(now) ? null : { now, peak };
}
