/** Measures a training as it goes: speed, and the memory of this process and of the engine's. */
import { readFile } from 'node:fs/promises';
import type { Callback } from '../training/callbacks.ts';
import type { Model } from '../training/model.ts';
import type { Memory } from './run_folder.ts';

export class Meter {
  readonly callback: Callback;
  /** Pictures trained and the time it took, without validation. */
  images = 0;
  seconds = 0;
  /** From the making of the meter to the first step. */
  preparationSeconds = 0;
  readonly #epochs: { main: number; engine: number | null }[] = [];
  readonly #created = performance.now();

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
        const engine = await engineMemory(model, 'VmRSS');
        this.#epochs.push({ main: process.memoryUsage.rss(), engine });
        return undefined;
      },
    };
  }

  /** Call it while the engine runs. `before` is what an earlier session of the run measured. */
  async memory(model: Model, before: Memory | null): Promise<Memory> {
    const engine = await engineMemory(model, 'VmHWM');
    return {
      mainPeak: Math.max(process.resourceUsage().maxRSS * 1024, before?.mainPeak ?? 0),
      enginePeak: engine === null ? null : Math.max(engine, before?.enginePeak ?? 0),
      epochs: [...(before?.epochs ?? []), ...this.#epochs],
    };
  }
}

/** Linux tells the memory of other processes; elsewhere it is null. */
async function engineMemory({ enginePid }: Model, field: 'VmRSS' | 'VmHWM'): Promise<number | null> {
  if (enginePid === undefined) return null;
  const text = await readFile(`/proc/${enginePid}/status`, 'utf8').catch(() => '');
  const found = new RegExp(`^${field}:\\s*(\\d+) kB`, 'm').exec(text);
  return found === null ? null : Number(found[1]) * 1024;
}
