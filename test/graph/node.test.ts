import { describe, expect, it } from 'vitest';
import { type Node, resolveShape, topologicalOrder } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';

describe('the topological order', () => {
  const x = o.input('x', [2]);
  const square = o.mul(x, x);
  const root = o.sqrt(square);
  const total = o.add(root, square);

  it('lists each node once, after its inputs', () => {
    expect(topologicalOrder([total])).toEqual([x, square, root, total]);
  });

  it('serves several outputs, one of them inside the other', () => {
    expect(topologicalOrder([root, total, root])).toEqual([x, square, root, total]);
  });

  it('leaves out what no output needs', () => {
    expect(topologicalOrder([square])).toEqual([x, square]);
  });

  it('does not enter the inputs of a node where it shall stop, but lists it', () => {
    expect(topologicalOrder([root], (node) => node === square)).toEqual([square, root]);
  });

  it('still lists an input of a stopped node that is needed elsewhere', () => {
    expect(topologicalOrder([o.add(square, x)], (node) => node === square).slice(0, 2)).toEqual([square, x]);
  });

  it('is not limited by depth, nor by how often paths meet', () => {
    let node: Node = x;
    // 2 to the power of 50,000 paths lead back to x.
    for (let i = 0; i < 50_000; i++) node = o.add(node, node);
    expect(topologicalOrder([node])).toHaveLength(50_001);
  });
});

describe('a node', () => {
  it('cannot be changed', () => {
    expect(Object.isFrozen(o.input('x', [2]))).toBe(true);
  });

  it('is not written where it would change nothing', () => {
    const x = o.input('x', [-1, 4, 4, 3]);
    expect(o.reshape(x, [-1, 4, 4, 3])).toBe(x);
    expect(o.transpose(x, [0, 1, 2, 3])).toBe(x);
    expect(o.cast(x, 'float32')).toBe(x);
    expect(o.slice(x, [{ axis: 1, start: 0, end: 4 }])).toBe(x);
    expect(o.pad(x, [0, 0, 0, 0], [0, 0, 0, 0])).toBe(x);
    expect(o.resize(x, [4, 4], 'bilinear')).toBe(x);
    expect(o.concat([x], 3)).toBe(x);
    expect(o.sum(x, [])).toBe(x);
    expect(o.reduceMax(x, [])).toBe(x);
  });
});

it('a shape becomes concrete with a batch', () => {
  expect(resolveShape([-1, 7, -49, 1], 3)).toEqual([3, 7, 147, 1]);
});
