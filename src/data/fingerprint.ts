/**
 * A short name for the content of tensors, so that caches notice a change. It is not cryptographic: files
 * that come from outside are checked by SHA-256 (see `verify.node.ts`).
 */
import { bytesOf, formatShape, type Tensor } from '../core/tensor.ts';

/** 64 bits, as 16 hexadecimal digits, of the dtypes, shapes and bytes of some tensors, in order. */
export function fingerprintOf(...tensors: readonly Tensor[]): string {
  const lanes = new Int32Array([0x2f0b4c47, 0x6d1e93a5]);
  for (const { dtype, shape } of tensors) {
    absorb(lanes, new TextEncoder().encode(`${dtype}${formatShape(shape)};`));
  }
  for (const item of tensors) absorb(lanes, bytesOf(item));
  return [...lanes].map((lane) => (finish(lane) >>> 0).toString(16).padStart(8, '0')).join('');
}

/** MurmurHash3 (Appleby) over 32-bit words, in two lanes with different multipliers. */
function absorb(lanes: Int32Array, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole = bytes.length & ~3;
  let a = lanes[0]!;
  let b = lanes[1]!;
  for (let i = 0; i < whole; i += 4) {
    const word = view.getInt32(i, true);
    a = mix(a, word, 0xcc9e2d51, 0x1b873593);
    b = mix(b, word, 0x239b961b, 0xab0e9789);
  }
  let tail = 0;
  for (let i = whole; i < bytes.length; i++) tail |= bytes[i]! << (8 * (i - whole));
  lanes[0] = mix(a, tail, 0xcc9e2d51, 0x1b873593) ^ bytes.length;
  lanes[1] = mix(b, tail, 0x239b961b, 0xab0e9789) ^ bytes.length;
}

// The rotations matter: without them, flipping the sign bits of two floats would cancel.
function mix(state: number, word: number, first: number, second: number): number {
  const scrambled = Math.imul(rotateLeft(Math.imul(word, first), 15), second);
  return (Math.imul(rotateLeft(state ^ scrambled, 13), 5) + 0xe6546b64) | 0;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function finish(state: number): number {
  let h = state ^ (state >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
