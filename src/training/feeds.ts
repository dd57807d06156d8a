/** Between batches and the tensors that a graph takes and gives, and the noise that random layers take. */
import type { Executable, Feature } from '../compile/program.ts';
import { type Noise, noiseShape } from '../compile/trace.ts';
import { draw } from '../core/distributions.ts';
import { fail } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import { float32, sizeOf, stack, type Tensor } from '../core/tensor.ts';
import type { Session, Tensors } from '../runtime/engine.node.ts';
import type { KeptBatch } from './steady_rows.ts';

/** Sums over one batch: `loss` is the mean loss, metrics are totals. */
export type BatchResult = Readonly<Record<string, number>>;

/** Batches, usually one, that the engine has been sent to train on together. */
export interface SentSteps {
  /** One after the other. */
  readonly results: Promise<readonly BatchResult[]>;
  /** Pictures of each. */
  readonly size: number;
  readonly steps: number;
}

/** A batch behind the cut. */
export interface FeatureBatch {
  readonly features: Tensors;
  readonly y: Tensor<'int32' | 'float32'>;
  readonly sampleWeight: Float32Array;
  /** Where the pictures are in their data set, for messages. */
  readonly indices?: ArrayLike<number>;
  /** Where the engine keeps the features, if it does: then they need not be here. */
  readonly kept?: KeptBatch;
}

export function labelled({ features, y, sampleWeight }: FeatureBatch): Record<string, Tensor> {
  return { ...features, y, sampleWeight: float32([sampleWeight.length], sampleWeight) };
}

/** A class id that the model has no output for would count as a loss of zero. Throws `shape` or `data`. */
export function checkLabels({ y, indices }: FeatureBatch, classes: number): void {
  if (y.dtype === 'float32') {
    if (y.shape[1] === classes) return;
    fail('shape', `The model predicts ${classes} classes, but the labels have ${y.shape[1]} columns.`);
  }
  y.data.forEach((label, i) => {
    if (label >= 0 && label < classes) return;
    fail(
      'data',
      `Example ${indices?.[i] ?? i} has label ${label}; the model predicts ${classes} classes, 0 … ${classes - 1}.`,
    );
  });
}

/** The feeds that a graph takes; the simplified graph of a model may not use all. */
export function only(feeds: Tensors, graph: Executable): Tensors {
  return Object.fromEntries(
    graph.feeds.map((name) => [name, feeds[name] ?? fail('state', `No feed for ${name}.`)]),
  );
}

/** The features of a batch that the engine has already. */
export function keptFeatures({ features, kept }: FeatureBatch, all: readonly Feature[]): string[] {
  return kept === undefined ? [] : all.map(({ name }) => name).filter((name) => !(name in features));
}

/** Runs a graph on batches, one for each of its steps, whose features the engine may have already. */
export async function runOn(
  session: Session,
  graph: Executable,
  feeds: Tensors,
  batches: readonly FeatureBatch[],
  features: readonly Feature[],
): Promise<BatchResult[]> {
  const steps = batches.length;
  const kept = batches.flatMap(({ kept }) => kept ?? []);
  const [first] = kept;
  if (first === undefined) return numbers(await session.run(only(feeds, graph)), steps);
  const inputs = features.map(({ name }) => name).filter((name) => graph.feeds.includes(name));
  const fed = graph.feeds.filter((name) => name in feeds || !inputs.includes(name));
  const { set, length } = first;
  const indices = kept.flatMap((each) => each.indices);
  const results = await session.run(only(feeds, { ...graph, feeds: fed }), {
    ...{ set, length, indices, steps, inputs },
  });
  for (const { sent } of kept) sent();
  return numbers(results, steps);
}

function numbers(results: Tensors, steps: number): BatchResult[] {
  const step = (i: number) =>
    Object.entries(results).map(([name, { data }]) => [name, Number(data[i])] as const);
  return Array.from({ length: steps }, (_, i) => Object.fromEntries(step(i)));
}

/** The feeds of several steps, for a graph that has the axis for it; those of one as they are. */
export function stackFeeds(steps: readonly Tensors[]): Tensors {
  const [first = {}, ...others] = steps;
  if (others.length === 0) return first;
  const names = Object.keys(first);
  return Object.fromEntries(names.map((name) => [name, stack(steps.map((feeds) => feeds[name]!))]));
}

/** Bytes of the features that are sent with a batch. */
export function bytesSent({ features }: FeatureBatch): number {
  return Object.values(features).reduce((total, { data }) => total + data.byteLength, 0);
}

/** True if both can be steps of one run: of one size, with features of the same kind, none that the engine is to keep. */
export function fitTogether(a: FeatureBatch, b: FeatureBatch): boolean {
  if (a.sampleWeight.length !== b.sampleWeight.length) return false;
  if (a.kept === undefined) return b.kept === undefined;
  return b.kept?.set === a.kept.set && [a, b].every(({ features }) => Object.keys(features).length === 0);
}

/** The noise of a step, for a batch of this size. */
export function stepNoise(noises: readonly Noise[], seed: number, step: number, size: number): Tensors {
  return Object.fromEntries(
    noises.map((noise) => [
      noise.name,
      draw(new Random(seed, noise.name, step), noise.distribution, noiseShape(noise, size)),
    ]),
  );
}

/** Which version of which pictures: every view of a picture is drawn anew, and always the same. */
export interface Views {
  readonly view: number;
  /** Where the pictures are in their data set. */
  readonly rows: ArrayLike<number>;
}

/** The noise of random layers in front of the frozen part: each picture has its own, whatever its batch. */
export function pictureNoise(noises: readonly Noise[], seed: number, { view, rows }: Views): Tensors {
  return Object.fromEntries(
    noises.map((noise) => {
      const shape = noiseShape(noise, 1);
      const width = sizeOf(shape);
      const values = new Float32Array(rows.length * width);
      for (let i = 0; i < rows.length; i++) {
        const random = new Random(seed, `${noise.name}/view ${view}`, rows[i]!);
        values.set(draw(random, noise.distribution, shape).data as Float32Array, i * width);
      }
      return [noise.name, float32([rows.length, ...shape.slice(1)], values)];
    }),
  );
}
