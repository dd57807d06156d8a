/** Maps in the layout of `blocked.ts` that are thinned out, and back: what strides of 1x1 convolutions become. */
import type { Node, NodeOf } from '../graph/node.ts';
import type { Emitter } from './emitter.ts';
import { constantVector, depthwise } from './fused.ts';

/** Writes every n-th position from the first on as a strided convolution; true if that is what a slice is. */
export function blockedSlice(e: Emitter, node: NodeOf<'slice'> & Node): boolean {
  const { starts, steps } = node.attributes;
  const x = node.inputs[0]!;
  if (!e.blocked.has(x) || !e.blocked.fits(node)) return false;
  const strides = steps.slice(1, 3);
  const thinned = [1, 2, 3].every(
    (axis) => starts[axis] === 0 && node.shape[axis] === Math.ceil(x.shape[axis]! / steps[axis]!),
  );
  if (!thinned || steps[3] !== 1) return false;
  const channels = node.shape[3]!;
  const ones = constantVector(e, channels, 1);
  e.blocked.defineMap(node, depthwise(e, e.blocked.name(x), ones, channels, [], { strides }));
  return true;
}

/** Writes zeros behind each value of a map; true if that is what a padding is. */
export function blockedPad(e: Emitter, node: NodeOf<'pad'> & Node): boolean {
  const { before, after, interior, value } = node.attributes;
  const x = node.inputs[0]!;
  const spread = [0, 1, 2, 3].every((axis) => before[axis] === 0 && after[axis] === interior[axis]);
  if (!e.blocked.has(x) || !e.blocked.fits(node) || !spread || interior[3] !== 0 || value !== 0) return false;
  const [, height, width] = x.shape as readonly [number, number, number, number];
  const cells = e.reshape(e.blocked.name(x), [-1, height, 1, width, 1, e.blocked.block]);
  const gaps = e.int64([0, 0, 0, 0, 0, 0, 0, 0, interior[1]!, 0, interior[2]!, 0]);
  const [, rows, columns, channels] = node.shape as readonly [number, number, number, number];
  const spreadMap = e.node('Pad', [cells, gaps, e.scalar(0)]);
  e.blocked.defineMap(node, e.reshape(spreadMap, [-1, channels, rows, columns]));
  return true;
}
