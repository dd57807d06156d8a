/**
 * What layers that change pictures at random share: they do so in training steps only, and their randomness is an
 * input of the step. It owns how noise becomes a range of numbers, and how Keras's factors are read.
 */
import * as v from 'valibot';
import type { Distribution } from '../../core/distributions.ts';
import { fail } from '../../core/errors.ts';
import { describeShape } from '../../graph/dimensions.ts';
import type { Node } from '../../graph/node.ts';
import * as o from '../../graph/ops.ts';
import { type CallContext, ConfiguredLayer } from '../layer.ts';

/** One number for ± itself (or 0 to itself, where nothing lies below 0), or the two ends of a range. */
export type Factor = number | readonly [number, number];

export type Range = readonly [low: number, high: number];

/** Where a transformation takes its randomness from. Shapes begin with the batch, −1, or leave it out. */
export interface NoiseSource {
  uniform(shape: readonly number[], range?: Range): Node;
  draw(shape: readonly number[], distribution: Distribution): Node;
}

/** What becomes of the pictures of a step, once its randomness is drawn. */
export type Transformation = (pictures: Node) => Node;

/** A layer over pictures (batch, height, width, channels) that leaves them alone at inference. */
export abstract class AugmentationLayer<Options extends object> extends ConfiguredLayer<Options> {
  override config(): Record<string, unknown> {
    return { ...super.config(), data_format: 'channels_last' };
  }

  /** Draws, in Keras's order, what this layer does to pictures like `x`. */
  abstract transformation(x: Node, noise: NoiseSource, context?: CallContext): Transformation;

  /** What comes out where nothing is trained. */
  protected atInference(x: Node): Node {
    return x;
  }

  override call([x]: readonly Node[], context: CallContext): Node {
    if (x!.shape.length !== 4) {
      fail(
        'shape',
        `${this.name} takes pictures (batch, height, width, channels), got ${describeShape(x!.shape)}.`,
      );
    }
    if (!context.training) return this.atInference(x!);
    return this.transformation(x!, this.#noise(context), context)(x!);
  }

  #noise(context: CallContext): NoiseSource {
    return {
      uniform: (shape, [low, high] = [0, 1]) => between(context.uniform(this, shape), low, high),
      draw: (shape, distribution) => context.draw(this, shape, distribution),
    };
  }
}

/** low + noise · (high − low) */
function between(noise: Node, low: number, high: number): Node {
  const scaled = high - low === 1 ? noise : o.mul(noise, high - low);
  return low === 0 ? scaled : o.add(scaled, low);
}

/** Keras's reading of a factor within bounds. Throws `argument` where it does not fit. */
export function rangeOf(name: string, factor: Factor, [least, most]: Range): Range {
  const [a, b] = typeof factor === 'number' ? [-Math.abs(factor), Math.abs(factor)] : factor;
  const low = typeof factor === 'number' ? Math.max(a, least) : Math.min(a, b);
  const high = Math.max(a, b);
  if (!(low >= least && high <= most) || (typeof factor !== 'number' && factor.length !== 2)) {
    fail(
      'argument',
      `${name} must be a number or two numbers from ${least} to ${most}, got ${JSON.stringify(factor)}.`,
    );
  }
  return [low, high];
}

/** A factor that fits within bounds, as it was given. */
export function factorSchema(least: number, most: number) {
  return v.custom<Factor>(
    (value) => isFactor(value, least, most),
    `a number or two numbers from ${least} to ${most}`,
  );
}

/** The same as the range that it means. */
export function rangeSchema(least: number, most: number) {
  return v.pipe(
    factorSchema(least, most),
    v.transform((factor): Range => rangeOf('factor', factor, [least, most])),
  );
}

function isFactor(value: unknown, least: number, most: number): boolean {
  if (Array.isArray(value)) {
    return value.length === 2 && value.every((end) => Number.isFinite(end) && end >= least && end <= most);
  }
  return Number.isFinite(value) && Math.abs(value as number) >= least && Math.abs(value as number) <= most;
}

/** Lowest and highest value of the images. */
export const valueRangeSchema = v.custom<Range>(
  (value) =>
    Array.isArray(value) && value.length === 2 && value.every(Number.isFinite) && value[0] < value[1],
  'two numbers, the lower one first',
);

/** What most layers here take for images of bytes. */
export const byteRange: Range = [0, 255];

/** Keeps values within a range. */
export function clip(x: Node, [low, high]: Range): Node {
  return o.min(o.max(x, low), high);
}
