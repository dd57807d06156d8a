/**
 * Elementwise operations on maps in blocks of channels, collected so that few passes write them:
 *
 *     relu(convolution + Σ scaleᵢ · xᵢ + bias)
 *
 * A convolution takes bias, a map to add and ReLU along; each further scale is a depthwise convolution of one tap.
 */
import { float32 } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import type { Emitter } from './emitter.ts';
import type { AttributeValue } from './proto.ts';

/** The runtime's operations on this layout. */
export const blockedDomain = 'com.microsoft.nchwc';

/** A convolution that has not been written, so that what is added to it can go along. */
export interface Convolution {
  readonly inputs: readonly [x: string, weights: string];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

export interface Term {
  readonly map: string;
  /** A vector over the channels; null for 1. */
  readonly scale: string | null;
  /** True if others need the map too. */
  readonly shared: boolean;
}

export interface Sum {
  readonly kind: 'sum';
  readonly convolution: Convolution | null;
  readonly terms: readonly Term[];
  readonly bias: string | null;
  readonly relu: boolean;
}

/** A map times a map; as a sum over positions it needs no map of its own. */
export interface Product {
  readonly kind: 'product';
  readonly factors: readonly [string, string];
}

/** Where a map is above 0. */
interface Indicator {
  readonly kind: 'indicator';
  readonly map: string;
}

export type Expression = Sum | Product | Indicator;

/** Writes what was collected as the map of `node`. */
export function write(e: Emitter, expression: Expression, node: Node): string {
  const channels = node.shape[3]!;
  switch (expression.kind) {
    case 'product':
      return e.node('Mul', expression.factors);
    case 'indicator':
      return node.dtype === 'bool'
        ? e.node('Greater', [expression.map, e.scalar(0)])
        : indicator(e, expression.map, channels);
    case 'sum': {
      const { convolution, terms, bias, relu } = expression;
      if (convolution === null) return weighted(e, terms, bias, relu, channels);
      const addend = terms.length === 0 ? '' : weighted(e, terms, null, false, channels);
      const { inputs, attributes } = convolution;
      return convolve(e, [...inputs, bias ?? '', addend], { ...attributes, ...(relu ? withRelu : {}) });
    }
  }
}

const withRelu = { activation: 'Relu' };

/** 1 where a map is above 0, in one pass: min(max(2¹²⁷ x, 0), 1). */
function indicator(e: Emitter, map: string, channels: number): string {
  const attributes = { activation: 'HardSigmoid', activation_params: Float32Array.of(2 ** 127, 0) };
  return depthwise(e, map, constantVector(e, channels, 1), channels, [], attributes);
}

/** relu(Σ scale · map + bias), a pass for each term with a scale. */
function weighted(
  e: Emitter,
  terms: readonly Term[],
  bias: string | null,
  relu: boolean,
  channels: number,
): string {
  const plain = terms.filter(({ scale }) => scale === null);
  const scaled = terms.filter(({ scale }) => scale !== null);
  // A pass writes over the map that it adds to. One that others need would be copied first, by a single thread.
  const lone = plain.length === 1 && plain[0]!.shared;
  if (scaled.length === 0 ? bias !== null : lone) {
    scaled.push({ ...plain.pop()!, scale: constantVector(e, channels, 1) });
  }
  let total =
    plain.length === 0 ? '' : plain.map(({ map }) => map).reduce((sum, map) => e.node('Add', [sum, map]));
  if (scaled.length === 0) return relu ? e.node('Relu', [total]) : total;
  for (const [i, { map, scale }] of scaled.entries()) {
    const rest = [i === 0 ? (bias ?? '') : '', total];
    total = depthwise(e, map, scale!, channels, rest, relu && i === scaled.length - 1 ? withRelu : {});
  }
  return total;
}

/** scale · map + rest, which are a bias and a map to add. */
export function depthwise(
  e: Emitter,
  map: string,
  scale: string,
  channels: number,
  rest: readonly string[],
  attributes: Convolution['attributes'],
): string {
  const weights = e.once(`depthwise/${scale}`, () => e.reshape(scale, [channels, 1, 1, 1]));
  return convolve(e, [map, weights, ...rest], { kernel_shape: [1, 1], group: channels, ...attributes });
}

/** The runtime's convolution of x, weights, bias and a map to add; the last two may be '' or left out. */
export function convolve(
  e: Emitter,
  inputs: readonly string[],
  attributes: Convolution['attributes'],
): string {
  const given = inputs.slice(0, inputs.findLastIndex((name) => name !== '') + 1);
  return e.node('Conv', given, attributes, blockedDomain);
}

export function constantVector(e: Emitter, channels: number, value: number): string {
  return e.once(`vector/${channels}/${value}`, () =>
    e.initializer(float32([channels], new Float32Array(channels).fill(value))),
  );
}
