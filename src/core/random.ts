/**
 * Randomness that can be replayed: every number is a pure function of (seed, purpose, counter), so a run can
 * stop anywhere and go on bit for bit, and every device draws the same.
 *
 * The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
 */

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** High 32 bits of the product of two unsigned 32-bit integers. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + Math.floor((aLow * bLow) / 0x10000);
  const carry = (middle % 0x10000) + aLow * bHigh;
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/** One Philox4x32-10 block: writes four unsigned 32-bit words for a counter and a key into `out`. */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
  out: Uint32Array,
): void {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(M0, c0 >>> 0);
    const low0 = Math.imul(M0, c0) >>> 0;
    const high1 = mulHigh(M1, c2 >>> 0);
    const low1 = Math.imul(M1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** FNV-1a hash of a purpose ("shuffle", "dropout/dropout_1"): the second half of the key. */
function hash(purpose: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < purpose.length; i++) {
    value = Math.imul(value ^ purpose.charCodeAt(i), 0x01000193);
  }
  return value >>> 0;
}

/** A stream of numbers for one (seed, purpose, step). Draws are sequential within the stream. */
export class Random {
  readonly #key: readonly [number, number];
  readonly #step: number;
  readonly #words = new Uint32Array(4);
  #block = 0;
  #used = 4;

  constructor(seed: number, purpose: string, step = 0) {
    this.#key = [seed >>> 0, hash(purpose)];
    this.#step = step;
  }

  /** A uniform unsigned 32-bit integer. */
  uint32(): number {
    if (this.#used === 4) {
      const highStep = Math.floor(this.#step / 0x1_0000_0000);
      philox([this.#block++, 0, this.#step >>> 0, highStep], this.#key, this.#words);
      this.#used = 0;
    }
    return this.#words[this.#used++]!;
  }

  /** A uniform number in [0, 1) with 24 random bits, so that it is exact in float32. */
  uniform(): number {
    return (this.uint32() >>> 8) / 0x100_0000;
  }

  /** A uniform integer in [0, bound), without modulo bias. */
  below(bound: number): number {
    const limit = 0x1_0000_0000 - (0x1_0000_0000 % bound);
    let draw = this.uint32();
    while (draw >= limit) draw = this.uint32();
    return draw % bound;
  }

  /** A standard normal number (Box-Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A standard normal number redrawn until it lies within two standard deviations, as Keras truncates. */
  truncatedNormal(): number {
    let draw = this.normal();
    while (Math.abs(draw) > 2) draw = this.normal();
    return draw;
  }

  /** A Beta(a, b) number: X / (X + Y) with X of Gamma(a), Y of Gamma(b), in logarithms: both may be below 1e-300. */
  beta(a: number, b: number): number {
    const x = this.#logGamma(a);
    return 1 / (1 + Math.exp(this.#logGamma(b) - x));
  }

  /** The logarithm of a Gamma(shape) number (Marsaglia & Tsang 2000); below 1, Gamma(shape + 1) · U^(1/shape). */
  #logGamma(shape: number): number {
    if (shape < 1) return this.#logGamma(shape + 1) + Math.log(1 - this.uniform()) / shape;
    const d = shape - 1 / 3;
    for (;;) {
      const x = this.normal();
      const v = (1 + x / Math.sqrt(9 * d)) ** 3;
      if (v > 0 && Math.log(1 - this.uniform()) < x ** 2 / 2 + d - d * v + d * Math.log(v)) {
        return Math.log(d * v);
      }
    }
  }

  /** Fills an array with uniform numbers in [0, 1). */
  fillUniform(out: Float32Array): Float32Array {
    for (let i = 0; i < out.length; i++) out[i] = this.uniform();
    return out;
  }

  /** The integers 0 … size-1 in random order (Fisher-Yates). */
  permutation(size: number): Int32Array {
    const order = new Int32Array(size);
    for (let i = 0; i < size; i++) order[i] = i;
    for (let i = size - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const swap = order[i]!;
      order[i] = order[j]!;
      order[j] = swap;
    }
    return order;
  }
}
