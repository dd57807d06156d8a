/**
 * Runs the frozen part of a model, in an engine of its own: while a step trains on one batch, the features of the next
 * are computed in another process; and when all features are there, it ends and its memory is free.
 */
import type { Executable, FrozenPart, Program } from '../compile/program.ts';
import { fail } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Dataset } from '../data/dataset.ts';
import { type Device, Engine, type Session, type Tensors } from '../runtime/engine.node.ts';
import { pictureNoise, type Views } from './feeds.ts';
import { type CalibrationWatcher, Integers, nothingSeen, type Precision } from './integers.ts';

export interface ExtractorOptions {
  readonly seed: number;
  readonly device: Device;
  readonly threads: number | undefined;
  /** What the frozen part computes with. */
  readonly precision: Precision;
}

export class Extractor {
  readonly #options: ExtractorOptions;
  readonly #sessions = new Map<FrozenPart, Promise<Session>>();
  #integers: Integers | null = null;
  /** Told how far the search for the ranges of integers is. */
  onCalibration: CalibrationWatcher | null = null;
  #engine: Engine | null = null;

  constructor(options: ExtractorOptions) {
    this.#options = options;
  }

  get enginePid(): number | undefined {
    return this.#engine?.pid;
  }

  /** Says which pictures the ranges of integers come from. Without `precision: 'int8'` it does nothing. */
  calibrateOn(dataset: Dataset): void {
    const { precision, seed } = this.#options;
    if (precision !== 'int8' || this.#integers?.fingerprint === dataset.fingerprint) return;
    this.#integers = new Integers(dataset, seed);
    this.forget([...this.#sessions.keys()]);
  }

  /** Takes over the ranges that another has found by the same pictures. */
  takeRanges(other: Extractor): void {
    const found = other.#integers;
    if (found !== null && found.fingerprint === this.#integers?.fingerprint) this.#integers = found;
  }

  /** Identifies what a part computes: its graph, its weights, its precision. */
  digest(part: FrozenPart): string {
    if (this.#options.precision === 'float32') return part.digest;
    return (this.#integers ?? fail('state', nothingSeen)).digest(part);
  }

  /** Features of pictures (batch, height, width, channels); of one view of them if random layers stand in front. */
  async run({ frozen, augmented }: Program, images: Tensor, views: Views | null): Promise<Tensors> {
    const part = views === null ? frozen : (augmented ?? frozen);
    if (part === null) return { image: images };
    const noise = views === null ? {} : pictureNoise(part.noises, this.#options.seed, views);
    return (await this.#session(part)).run({ image: images, ...noise });
  }

  /** Releases parts whose weights have changed. */
  forget(parts: readonly (FrozenPart | null)[]): void {
    for (const part of parts) {
      if (part === null) continue;
      const session = this.#sessions.get(part);
      this.#sessions.delete(part);
      session?.then((stale) => stale.release()).catch(() => undefined);
    }
  }

  #session(part: FrozenPart): Promise<Session> {
    const known = this.#sessions.get(part);
    if (known !== undefined) return known;
    const session = this.#load(part);
    this.#sessions.set(part, session);
    session.catch(() => this.#sessions.delete(part));
    return session;
  }

  async #load(part: FrozenPart): Promise<Session> {
    if (this.#options.precision === 'float32') return this.#open(part);
    const integers = this.#integers ?? fail('state', nothingSeen);
    return integers.load(part, (graph) => this.#open(graph), this.onCalibration);
  }

  #open({ model }: Executable): Promise<Session> {
    const { device, threads } = this.#options;
    this.#engine ??= Engine.start({
      device,
      ...(threads === undefined ? {} : { threads }),
      onDeath: () => {
        this.#engine = null;
        this.#sessions.clear();
        return '';
      },
    });
    return this.#engine.load(model());
  }

  /** Lets what is under way finish, then ends the engine; the next run starts another. */
  async close(): Promise<void> {
    const engine = this.#engine;
    this.#engine = null;
    this.#sessions.clear();
    await engine?.close();
  }
}
