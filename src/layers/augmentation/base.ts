/**
 * What layers that change pictures at random share: they do so in training steps only, and their randomness is an
 * input of the step. It owns how noise becomes a range of numbers, and how Keras's factors are read.
 */
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

/** The value range of pictures, low end first. */
export function valueRangeOf(valueRange: Range = [0, 255]): Range {
  const [low, high] = valueRange;
  if (valueRange.length !== 2 || !(low < high)) {
    fail(
      'argument',
      `valueRange must be two numbers, the lower one first, got ${JSON.stringify(valueRange)}.`,
    );
  }
  return [low, high];
}

/** Keeps values within a range. */
export function clip(x: Node, [low, high]: Range): Node {
  return o.min(o.max(x, low), high);
}
