/**
 * Values of at least zero in eight bits: value ≈ code · scale, with one scale for each channel (last axis), taken
 * from the channel's largest value in the shard. The error is at most half a scale.
 */
import { fail } from '../core/errors.ts';

/** Raises `largest` (one a channel) to what these values reach. Throws `data` for a value that cannot be kept. */
export function observe(values: Float32Array, largest: Float32Array, name: string): void {
  const channels = largest.length;
  for (let i = 0; i < values.length; i += channels) {
    for (let c = 0; c < channels; c++) {
      const value = values[i + c]!;
      // The negation also catches NaN.
      if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) refuse(value, name);
      if (value > largest[c]!) largest[c] = value;
    }
  }
}

function refuse(value: number, name: string): never {
  const expected = 'precision uint8 keeps finite features of at least 0, as after ReLU';
  fail('data', `Features of ${name}: got ${value}, but ${expected}. Choose float16 or float32.`);
}

/** The smallest float32 scales with 255 · scale ≥ largest, so that no code has to be clipped. */
export function scalesFor(largest: Float32Array): Float32Array {
  const scales = largest.map((value) => value / 255);
  const bits = new Uint32Array(scales.buffer);
  scales.forEach((scale, c) => {
    if (scale * 255 < largest[c]!) bits[c]!++;
  });
  return scales;
}

/** code = round(value / scale) */
export function encode(values: Float32Array, scales: Float32Array, codes: Uint8Array): void {
  const channels = scales.length;
  const steps = Float64Array.from(scales, (scale) => (scale === 0 ? 1 : scale));
  for (let i = 0; i < values.length; i += channels) {
    for (let c = 0; c < channels; c++) codes[i + c] = values[i + c]! / steps[c]! + 0.5;
  }
}

export function decode(codes: Uint8Array, scales: Float32Array, values: Float32Array): void {
  const channels = scales.length;
  for (let i = 0; i < codes.length; i += channels) {
    for (let c = 0; c < channels; c++) values[i + c] = codes[i + c]! * scales[c]!;
  }
}
