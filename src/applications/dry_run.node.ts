/**
 * Runs graphs that somebody else made to see what they do. They may loop for ever or want more memory than there is, so
 * the engine that tries them has limits that no model of images meets.
 */
import { readFile } from 'node:fs/promises';
import { GraftError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import { Engine } from '../runtime/engine.node.ts';

/** What a trial may take. */
export interface Limits {
  readonly seconds: number;
  /** Resident bytes of the engine, where the system tells. */
  readonly bytes: number;
}

/**
 * A model of some size takes seconds for two images; this is some thirty times what large ones took on two cores. Three
 * times its weights are there while it is loaded.
 */
export function usualLimits(modelBytes: number): Limits {
  const bytes = Math.min(4 * 2 ** 30 + 4 * modelBytes, 0.9 * process.availableMemory());
  return { seconds: 60 + modelBytes / 2 ** 24, bytes };
}

const lookEveryMs = 50;

/**
 * Loads a graph and runs it with each of these inputs.
 *
 * @throws `unsupported` if it passes a limit; what the engine throws otherwise
 */
export async function dryRun(
  model: Uint8Array,
  feeds: readonly Readonly<Record<string, Tensor>>[],
  {
    optimize,
    limits = usualLimits(model.byteLength),
  }: { readonly optimize: boolean; readonly limits?: Limits },
): Promise<Readonly<Record<string, Tensor>>[]> {
  const engine = Engine.start();
  const watch = limited(engine, limits);
  try {
    const session = await engine.load(model, { optimize });
    const results: Readonly<Record<string, Tensor>>[] = [];
    for (const each of feeds) results.push(await session.run(each));
    return results;
  } finally {
    watch.end();
    await engine.close();
  }
}

/** Ends an engine that takes too long or too much, until it is told that all is over. */
function limited(engine: Engine, { seconds, bytes }: Limits) {
  const refuse = (problem: string) => engine.kill(new TrialError(problem));
  const clock = setTimeout(() => {
    void refuse(`It was tried with one or two images and was not done after ${Math.round(seconds)} seconds.`);
  }, 1000 * seconds);
  const look = async () => {
    const resident = await residentBytes(engine.pid);
    if (resident <= bytes) return;
    const gigabytes = (value: number) => (value / 1e9).toFixed(1);
    await refuse(`It was tried with one or two images and took more than ${gigabytes(bytes)} GB of memory.`);
  };
  const scale = setInterval(() => void look(), lookEveryMs);
  return {
    end: () => {
      clearTimeout(clock);
      clearInterval(scale);
    },
  };
}

/** A trial that passed a limit. */
export class TrialError extends GraftError {
  constructor(message: string) {
    super('unsupported', message);
  }
}

/** Of a process; 0 where the system does not tell. */
async function residentBytes(pid: number | undefined): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? 0);
}
