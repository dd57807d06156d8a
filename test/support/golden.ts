/** Reads the golden files (`test/golden`): numbers that real Keras computed, and how far ours are from them. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, expect } from 'vitest';
import type { Tensor } from '../../src/core/tensor.ts';
import { toValue } from '../../src/graph/reference.ts';
import { readSafetensors } from '../../src/saving/safetensors.node.ts';

export interface Golden<T> {
  readonly json: T;
  has(name: string): boolean;
  /** A tensor by name. Throws if the file lacks it: a golden that is not there compares nothing. */
  tensor(name: string): Tensor;
  /** The names that begin with a prefix, without it. */
  under(prefix: string): string[];
}

export function goldenPath(file: string): string {
  return fileURLToPath(new URL(`../golden/${file}`, import.meta.url));
}

/** Long ones are packed. */
export async function goldenJson<T>(file: string): Promise<T> {
  const packed = goldenPath(`${file}.gz`);
  const text = existsSync(packed)
    ? gunzipSync(await readFile(packed)).toString()
    : await readFile(goldenPath(file), 'utf8');
  return JSON.parse(text) as T;
}

export async function readGolden<T>(stem: string): Promise<Golden<T>> {
  const [json, tensors] = await Promise.all([
    goldenJson<T>(`${stem}.json`),
    readSafetensors(goldenPath(`${stem}.safetensors`)),
  ]);
  return {
    json,
    has: (name) => tensors.has(name),
    tensor(name) {
      const found = tensors.get(name);
      if (found === undefined) throw new Error(`${stem}.safetensors has no ${name}.`);
      return found;
    },
    under: (prefix) =>
      [...tensors.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
  };
}

/** A tensor, or an array with a shape. */
interface Numbers {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number | bigint>;
}

/** The largest difference, as a share of the largest expected magnitude; infinite if something is not a number. */
export function deviation(got: Numbers, expected: Tensor): number {
  const wanted = toValue(expected).data;
  let scale = 0;
  let worst = 0;
  for (const value of wanted) scale = Math.max(scale, Math.abs(value));
  for (let i = 0; i < wanted.length; i++) {
    const error = Math.abs(Number(got.data[i]) - wanted[i]!);
    worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
  }
  return worst === 0 ? 0 : worst / Math.max(scale, 1e-6);
}

/** The largest deviations that were seen, by group: `GRAFT_DEVIATIONS=1` prints them at the end of a file. */
const worst = new Map<string, { readonly value: number; readonly name: string }>();
if (process.env['GRAFT_DEVIATIONS']) {
  afterAll(() => {
    for (const [group, { value, name }] of worst) {
      process.stderr.write(`deviation of ${group}: ${value.toExponential(2)} (${name})\n`);
    }
  });
}

/** Compares shapes and numbers; `tolerance` is relative to the largest expected magnitude. */
export function expectNear(
  group: string,
  name: string,
  got: Numbers,
  expected: Tensor,
  tolerance: number,
): void {
  expect(got.shape, `shape of ${name}`).toEqual(expected.shape);
  const value = deviation(got, expected);
  if (value >= (worst.get(group)?.value ?? 0)) worst.set(group, { value, name });
  expect(value, `${name}: deviation from Keras`).toBeLessThanOrEqual(tolerance);
}

/** Compares single numbers absolutely. */
export function expectNumbers(
  group: string,
  name: string,
  got: readonly number[],
  expected: readonly number[],
  tolerance: number,
): void {
  expect(got.length, `length of ${name}`).toBe(expected.length);
  const errors = got.map((value, i) => Math.abs(value - expected[i]!));
  const value = errors.some(Number.isNaN) ? Number.POSITIVE_INFINITY : Math.max(...errors);
  if (value >= (worst.get(group)?.value ?? 0)) worst.set(group, { value, name });
  expect(value, `${name}: ${got} beside Keras's ${expected}`).toBeLessThanOrEqual(tolerance);
}
