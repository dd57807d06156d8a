import { describe, expect, it } from 'vitest';
import { link } from '../../src/compile/executable.ts';
import * as o from '../../src/graph/ops.ts';

describe('an arena', () => {
  const isState = (name: string) => name.startsWith('w');
  /** Replaces w0 and w1, float32 of so many rows of 1 MB in all. */
  const step = (megabytes: number) => {
    const next = (name: string, rows: number) => o.mul(o.input(name, [rows, 2 ** 18]), 2);
    return link({ 'w0+': next('w0', megabytes - 1), 'w1+': next('w1', 1) }, isState);
  };

  it('is for steps whose state is small: with a large one each would hold all of it once more', () => {
    expect(step(255).arena).toBe(true);
    expect(step(256).arena).toBe(false);
  });

  it('is for what reads no state, and not for evaluation, which lies between steps', () => {
    const x = o.input('x', [-1, 4]);
    expect(link({ feature0: o.mul(x, 2) }, isState).arena).toBe(true);
    expect(link({ output: o.mul(x, o.input('w0', [4])) }, isState).arena).toBe(false);
  });
});
