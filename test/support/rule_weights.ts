/** Weights that a rule fills, the same here and in Keras: `golden/resnet50.json` and `golden/applications.json`. */
import { sizeOf } from '../../src/core/tensor.ts';
import type { Network } from '../../src/models/network.ts';

/** `u` for the first values of the weight at position k. */
export function hashed(k: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => {
    let h = (Math.imul(i, 0x9e3779b1) + Math.imul(k + 1, 0x85ebca77)) >>> 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
    return ((h ^ (h >>> 16)) >>> 0) / 2 ** 31 - 1;
  });
}

const plain: Record<string, (u: number) => number> = {
  bias: (u) => 0.1 * u,
  gamma: (u) => 1 + 0.1 * u,
  beta: (u) => 0.1 * u,
  mean: (u) => 0.1 * u,
  variance: (u) => 1 + 0.5 * Math.abs(u),
  moving_mean: (u) => 0.1 * u,
  moving_variance: (u) => 1 + 0.5 * Math.abs(u),
  variable: (u) => 0.5 + 0.1 * u,
  count: () => 7,
};

/** `period`: after as many values they begin anew. `firstScale`: of the first kernel, where pixels are large. */
export function fillByRule(
  network: Network,
  { period = Number.POSITIVE_INFINITY, firstScale = 1 / 64, gain = 1 } = {},
): void {
  network.variables.forEach((variable, k) => {
    const { name, shape, size } = variable;
    const depthwise = shape.length === 4 && shape.at(-1) === 1;
    const fanIn = sizeOf(depthwise ? shape.slice(0, 2) : shape.slice(0, -1));
    const scale = gain * Math.sqrt(6 / fanIn) * (k === 0 ? firstScale : 1);
    const rule = name.endsWith('kernel') ? (u: number) => scale * u : plain[name]!;
    const start = Float32Array.from(hashed(k, Math.min(size, period)), rule);
    const values = new Float32Array(size);
    for (let from = 0; from < size; from += start.length) values.set(start.subarray(0, size - from), from);
    variable.assign(values);
  });
}
