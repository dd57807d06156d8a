/**
 * The frozen part on integers (`precision: 'int8'`): which pictures its ranges come from, and the session that runs
 * it. Ranges are computed again in each process that needs them, always the same ones.
 */
import { createHash } from 'node:crypto';
import type { Executable, FrozenPart, IntegerFrozen } from '../compile/program.ts';
import { fail } from '../core/errors.ts';
import { type Dataset, lengthOf } from '../data/dataset.ts';
import { quantizationVersion, type ValueRange } from '../quantize/index.ts';
import type { Device, Session } from '../runtime/engine.node.ts';
import { hasIntegerTiles } from '../runtime/tiles.node.ts';
import { only, pictureNoise } from './feeds.ts';

export const precisions = ['float32', 'int8'] as const;

/** What the frozen part computes with. */
export type Precision = (typeof precisions)[number];

/** Pictures that are looked at, at most. */
const pictures = 256;
const batch = 16;

/** Throws where integers cannot be had. */
export function checkPrecision(precision: Precision, device: Device): Precision {
  if (precision === 'int8' && device !== 'cpu') {
    fail(
      'unsupported',
      `Precision int8 runs on the device cpu, not on ${device}; use precision float32 there.`,
    );
  }
  return precision;
}

/** Hears how many of the pictures that ranges come from have been looked at. */
export type CalibrationWatcher = (done: number, total: number) => void;

export class Integers {
  readonly #dataset: Dataset;
  readonly #seed: number;
  /** By what is computed. */
  readonly #ranges = new Map<string, Promise<readonly ValueRange[]>>();

  /**
   * Ranges will come from pictures spread evenly over a data set: a folder of images is sorted by class. The seed
   * decides what random layers in front of the frozen part do to them.
   */
  constructor(dataset: Dataset, seed: number) {
    this.#dataset = dataset;
    this.#seed = seed;
  }

  get fingerprint(): string {
    return this.#dataset.fingerprint;
  }

  /** Identifies what the frozen part computes on integers. */
  digest({ digest }: FrozenPart): string {
    const all = [quantizationVersion, pictures, digest, this.fingerprint];
    return createHash('sha256').update(JSON.stringify(all)).digest('hex');
  }

  /** The frozen part on integers, after its ranges have been found if they are not known, which `watch` hears of. */
  async load(
    part: FrozenPart,
    load: (graph: Executable) => Promise<Session>,
    watch: CalibrationWatcher | null,
  ): Promise<Session> {
    const integers = part.integers();
    let ranges = this.#ranges.get(part.digest);
    if (ranges === undefined) {
      ranges = this.#calibrate(integers, part, load, watch);
      this.#ranges.set(part.digest, ranges);
      ranges.catch(() => this.#ranges.delete(part.digest));
    }
    return load(integers.frozen(await ranges, hasIntegerTiles()));
  }

  async #calibrate(
    integers: IntegerFrozen,
    { noises }: FrozenPart,
    load: (graph: Executable) => Promise<Session>,
    watch: CalibrationWatcher | null,
  ): Promise<readonly ValueRange[]> {
    const session = await load(integers.observation);
    try {
      const length = lengthOf(this.#dataset);
      const count = Math.min(pictures, length);
      watch?.(0, count);
      for (let start = 0; start < count; start += batch) {
        const size = Math.min(batch, count - start);
        const indices = Array.from({ length: size }, (_, i) => Math.floor(((start + i) * length) / count));
        const { x } = await this.#dataset.read(indices);
        const drawn = pictureNoise(noises, this.#seed, { view: 0, rows: indices });
        const feeds = { image: x, ...drawn };
        integers.observe(await session.run(only(feeds, integers.observation)));
        watch?.(start + size, count);
      }
    } finally {
      await session.release();
    }
    return integers.ranges();
  }
}

export const nothingFrozen =
  'Precision int8 is for the frozen part of a model, but this model has none worth keeping apart; freeze layers ' +
  "(model.freeze(), layer.trainable = false) or compile with precision 'float32'. Random layers in front that treat a " +
  'batch alike or mix its pictures (RandomCrop, RandAugment, MixUp, CutMix; --augment crop, randaugment, mixup, ' +
  'cutmix) keep all that follows in the training step, where nothing is frozen.';

export const nothingSeen =
  'Precision int8 takes its ranges from training pictures, and none have been seen yet; call model.fit first, or ' +
  'model.calibrate(data).';
