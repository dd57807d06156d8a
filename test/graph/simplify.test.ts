/** What graphs are rewritten to. That the numbers stay is seen in every comparison with the float64 reference. */
import { describe, expect, it } from 'vitest';
import { float32 } from '../../src/core/tensor.ts';
import type { Node } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue } from '../../src/graph/reference.ts';
import { simplify } from '../../src/graph/simplify.ts';

/** The gradient of a kernel [inputs, units] over a batch. */
function kernelGradient(inputs: number, units: number): Node {
  return o.matmul(o.input('x', [-1, inputs]), o.input('g', [-1, units]), { transposeA: true });
}

const operations = (node: Node) => [node, ...node.inputs].map(({ op }) => op);

describe('a number that scales a product of matrices', () => {
  it('scales the smaller factor instead', () => {
    const [scaled] = simplify([o.mul(kernelGradient(512, 300), 0.5)]) as [Node];
    expect(operations(scaled)).toEqual(['matmul', 'input', 'mul']);
    const [other] = simplify([o.mul(kernelGradient(300, 512), 0.5)]) as [Node];
    expect(operations(other)).toEqual(['matmul', 'mul', 'input']);
  });

  it('with the same result', () => {
    const feeds = { x: float32([2, 64], ramp(128)), g: float32([2, 512], ramp(1024)) };
    const values = Object.fromEntries(Object.entries(feeds).map(([name, fed]) => [name, toValue(fed)]));
    const node = o.mul(kernelGradient(64, 512), 0.5);
    const [before, after] = evaluate([node, ...simplify([node])], values, 2);
    // ½ (1 · 1 + 65 · 513) and ½ (64 · 512 + 128 · 1024), by hand: exact in both.
    expect([after!.data[0], after!.data.at(-1)]).toEqual([16_673, 81_920]);
    expect(after!.data).toEqual(before!.data);
  });

  it('stays where the product serves something else too, or both factors are as large', () => {
    const gradient = kernelGradient(512, 300);
    const [scaled] = simplify([o.mul(gradient, 0.5), o.sqrt(gradient)]) as [Node];
    expect(operations(scaled)).toEqual(['mul', 'matmul', 'constant']);
    const [kept] = simplify([o.mul(gradient, 0.5), gradient]) as [Node];
    expect(kept.op, 'where it is an output').toBe('mul');
    const [small] = simplify([o.mul(kernelGradient(200, 200), 0.5)]) as [Node];
    expect(small.op, '64 x 200 is more than a quarter of 200 x 200').toBe('mul');
  });
});

function ramp(length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => i + 1);
}
