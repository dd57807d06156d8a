/**
 * Feature maps in blocks of channels, [batch, channels / b, height, width, b], the layout in which the runtime's own
 * convolutions work (`com.microsoft.nchwc`; formally the shape is channels-first). b is 16 with AVX-512 and 8 with
 * AVX2. A depthwise convolution of one tap there is x · scale + bias for each channel, with a sum and ReLU in the same
 * pass; so elementwise operations are collected, while only one node asks for them, and written together.
 *
 * This file owns which maps have this layout, the passage between layouts, and the algebra of elementwise operations;
 * what they are collected in and how that is written is in `fused.ts`, convolutions are in `blocked_convolution.ts`.
 */
import { sameShape } from '../core/tensor.ts';
import type { Node, NodeOf } from '../graph/node.ts';
import type { Emitter } from './emitter.ts';
import {
  blockedDomain,
  type Convolution,
  constantVector,
  convolve,
  type Expression,
  type Product,
  type Sum,
  write,
} from './fused.ts';

/** Positions that are summed into one number of float32 before those are summed. */
const longestSum = 1024;

export class BlockedMaps {
  /** Channels of a block; 0 if this layout is not to be used. */
  readonly block: number;
  readonly batch: number;
  readonly #e: Emitter;
  readonly #names = new Map<Node, string>();
  readonly #expressions = new Map<Node, Expression>();

  constructor(e: Emitter, block: number, batch: number) {
    this.#e = e;
    this.block = block;
    this.batch = batch;
  }

  /** True if a map exists in this layout, or is an expression in it. */
  has(node: Node): boolean {
    return this.#names.has(node) || this.#expressions.has(node);
  }

  /** True for maps that can have this layout. */
  fits({ shape }: Node): boolean {
    return this.block > 0 && shape.length === 4 && shape[0] === -1 && shape[3]! % this.block === 0;
  }

  /** The map itself in this layout. */
  name(node: Node): string {
    let name = this.#names.get(node);
    if (name === undefined) {
      const expression = this.#expressions.get(node);
      name = expression === undefined ? this.#reordered(node) : write(this.#e, expression, node);
      this.#names.set(node, name);
    }
    return name;
  }

  defineMap(node: Node, name: string): void {
    this.#names.set(node, name);
  }

  defineConvolution(node: Node, convolution: Convolution): void {
    this.#define(node, { kind: 'sum', convolution, terms: [], bias: null, relu: false });
  }

  /** Keeps an expression while only one node will ask for it. */
  #define(node: Node, expression: Expression): void {
    if (this.#e.uses(node) === 1) this.#expressions.set(node, expression);
    else this.#names.set(node, write(this.#e, expression, node));
  }

  /** The map channels-last. */
  channelsLast(node: Node): string {
    const [, height, width, channels] = node.shape as readonly [number, number, number, number];
    const name = this.name(node);
    if (channels === this.block) return this.#e.reshape(name, [-1, height, width, channels]);
    return this.#e.node('ReorderOutput', [name], { channels, channels_last: 1 }, blockedDomain);
  }

  #reordered(node: Node): string {
    const [, height, width, channels] = node.shape as readonly [number, number, number, number];
    if (this.#e.isChannelsFirst(node)) {
      return this.#e.node('ReorderInput', [this.#e.channelsFirst(node)], {}, blockedDomain);
    }
    const last = this.#e.value(node);
    if (channels === this.block) return this.#e.reshape(last, [-1, channels, height, width]);
    return this.#e.node('ReorderInput', [last], { channels_last: 1 }, blockedDomain);
  }

  /** Writes an elementwise operation if this is the layout for it. */
  elementwise(node: Node): boolean {
    if (!node.inputs.some((input) => this.has(input)) || !this.fits(node)) return false;
    const [a, b] = node.inputs as [Node, Node?];
    switch (node.op) {
      case 'relu':
        return this.#defined(node, { ...this.#sum(a), relu: true });
      case 'neg':
        return this.#defined(node, this.#scaled(a, constantVector(this.#e, a.shape[3]!, -1)));
      case 'add':
        return this.#binary(
          node,
          a,
          b!,
          (x, v) => this.#shifted(x, v),
          (x, y) => this.#merged(x, this.#sumAs(y, x)),
        );
      case 'sub':
        return this.#subtraction(node, a, b!);
      case 'mul':
        return this.#binary(
          node,
          a,
          b!,
          (x, v) => this.#scaled(x, v),
          (x, y) => ({ kind: 'product', factors: [this.name(x), this.#nameAs(y, x)] }),
        );
      case 'greater':
        if (b!.op !== 'constant' || b!.shape.length > 0 || b!.attributes.value.data[0] !== 0) return false;
        return this.#defined(node, { kind: 'indicator', map: this.name(a) });
      case 'cast': {
        const expression = this.#expressions.get(a);
        return expression?.kind === 'indicator' && node.dtype === 'float32'
          ? this.#defined(node, expression)
          : false;
      }
      default:
        return false;
    }
  }

  #defined(node: Node, expression: Expression): true {
    this.#define(node, expression);
    return true;
  }

  #binary(
    node: Node,
    a: Node,
    b: Node,
    withVector: (map: Node, vector: string) => Expression,
    withMap: (a: Node, b: Node) => Expression,
  ): boolean {
    const [map, other] = this.has(a) ? [a, b] : [b, a];
    const vector = this.#vector(other, map);
    if (vector !== null) return this.#defined(node, withVector(map, vector));
    return this.#isMap(other, map) && this.#defined(node, withMap(map, other));
  }

  #subtraction(node: Node, a: Node, b: Node): boolean {
    const minus = this.#vector(b, a);
    if (minus !== null) return this.#defined(node, this.#shifted(a, this.#e.node('Neg', [minus])));
    if (!this.#isMap(a, node) || !this.#isMap(b, node) || !sameShape(a.shape, b.shape)) return false;
    const negative = this.#scaled(b, constantVector(this.#e, b.shape[3]!, -1));
    return this.#defined(node, this.#merged(a, negative));
  }

  /** A vector over the channels of `map`, if that is what an operand is. */
  #vector(operand: Node, map: Node): string | null {
    const channels = map.shape[3]!;
    const { shape } = operand;
    if (shape.length === 0) {
      return this.#e.once(`channels/${operand.id}/${channels}`, () =>
        this.#e.node('Expand', [this.#e.value(operand), this.#e.int64([channels])]),
      );
    }
    if (shape.at(-1) !== channels || shape.slice(0, -1).some((dim) => dim !== 1)) return null;
    if (shape.length === 1) return this.#e.value(operand);
    return this.#e.once(`channels/${operand.id}`, () => this.#e.reshape(this.#e.value(operand), [channels]));
  }

  /** True for operands as large as `map`, or with one value for all positions of a picture. */
  #isMap(operand: Node, map: Node): boolean {
    if (!this.fits(operand) || operand.shape[3] !== map.shape[3]) return false;
    return sameShape(operand.shape, map.shape) || (operand.shape[1] === 1 && operand.shape[2] === 1);
  }

  #nameAs(operand: Node, map: Node): string {
    if (sameShape(operand.shape, map.shape)) return this.name(operand);
    const [, height, width, channels] = map.shape as readonly [number, number, number, number];
    return this.#e.once(`spread/${operand.id}/${height}/${width}`, () => {
      const values = this.#e.reshape(this.#e.value(operand), [-1, channels / this.block, 1, 1, this.block]);
      const spread = this.#e.node('Expand', [values, this.#e.int64([1, 1, height, width, 1])]);
      return this.#e.reshape(spread, [-1, channels, height, width]);
    });
  }

  #sumAs(operand: Node, map: Node): Sum {
    return sameShape(operand.shape, map.shape)
      ? this.#sum(operand)
      : this.#single(this.#nameAs(operand, map), operand);
  }

  #sum(node: Node): Sum {
    const expression = this.#expressions.get(node);
    return expression?.kind === 'sum' && !expression.relu ? expression : this.#single(this.name(node), node);
  }

  #single(map: string, node: Node): Sum {
    const shared = this.#e.uses(node) > 1;
    return { kind: 'sum', convolution: null, terms: [{ map, scale: null, shared }], bias: null, relu: false };
  }

  #shifted(node: Node, vector: string): Sum {
    const sum = this.#sum(node);
    return { ...sum, bias: sum.bias === null ? vector : this.#e.node('Add', [sum.bias, vector]) };
  }

  #scaled(node: Node, vector: string): Sum {
    let sum = this.#sum(node);
    if (sum.convolution !== null) sum = this.#single(this.name(node), node);
    const times = (scale: string | null) => (scale === null ? vector : this.#e.node('Mul', [scale, vector]));
    return {
      ...sum,
      terms: sum.terms.map((term) => ({ ...term, scale: times(term.scale) })),
      bias: sum.bias === null ? null : times(sum.bias),
    };
  }

  #merged(first: Node, b: Sum): Sum {
    const sum = this.#sum(first);
    // Only one convolution can wait.
    const both = sum.convolution !== null && b.convolution !== null;
    const a = both ? this.#single(this.name(first), first) : sum;
    const terms = [...a.terms];
    for (const term of b.terms) {
      const known = terms.findIndex(({ map }) => map === term.map);
      if (known < 0) terms.push(term);
      else {
        const scale = this.#addedScales(terms[known]!.scale, term.scale, first.shape[3]!);
        terms[known] = { ...term, scale };
      }
    }
    const biases = [a.bias, b.bias].filter((bias) => bias !== null);
    const bias = biases.length === 2 ? this.#e.node('Add', biases) : (biases[0] ?? null);
    return { kind: 'sum', convolution: a.convolution ?? b.convolution, terms, bias, relu: false };
  }

  /** Null stands for 1. */
  #addedScales(a: string | null, b: string | null, channels: number): string {
    if (a === null && b === null) return constantVector(this.#e, channels, 2);
    return this.#e.node('Add', [a ?? this.#e.scalar(1), b ?? this.#e.scalar(1)]);
  }

  /** Sums over positions, or over batch and positions, if this is the layout for them. */
  sum(node: NodeOf<'sum'> & Node): boolean {
    const x = node.inputs[0]!;
    const { axes } = node.attributes;
    if (!this.has(x) || axes.includes(3) || !axes.includes(1) || !axes.includes(2)) return false;
    const [, height, width, channels] = x.shape as readonly [number, number, number, number];
    const rows = largestRows(height, width, longestSum);
    const expression = this.#expressions.get(x);
    const dot = expression?.kind === 'product';
    const parts = dot ? this.#dot(expression, rows, x) : this.#means(this.name(x), rows, width);
    const pieces = this.#e.reshape(parts, [-1, channels / this.block, height / rows, this.block]);
    const along = this.#e.int64(axes.includes(0) ? [0, 2] : [2]);
    const total = this.#e.node('ReduceSum', [pieces, along], { keepdims: 0 });
    const sums = dot ? total : this.#e.node('Mul', [total, this.#e.scalar(rows * width)]);
    this.#e.define(node, this.#e.reshape(sums, node.shape));
    return true;
  }

  /** Each channel's products with those of another map: a depthwise convolution whose kernel is as large as the map. */
  #dot({ factors: [a, b] }: Product, rows: number, { shape }: Node): string {
    const [, height, width, channels] = shape as readonly [number, number, number, number];
    const group = this.batch * channels * (height / rows);
    const map = this.#e.reshape(a, [1, group, rows, width]);
    const kernel = this.#e.reshape(b, [group, 1, rows, width]);
    return convolve(this.#e, [map, kernel], { kernel_shape: [rows, width], group });
  }

  #means(map: string, rows: number, width: number): string {
    return this.#e.node('GlobalAveragePool', [this.#e.reshape(map, [1, -1, rows, width])], {}, blockedDomain);
  }
}

/** The largest part of a map's rows with no more than so many positions (or one row); it divides them. */
export function largestRows(height: number, width: number, positions: number): number {
  let rows = height;
  while (rows > 1 && (height % rows !== 0 || rows * width > positions)) rows--;
  return rows;
}
