import { describe, expect, it } from 'vitest';
import { float32 } from '../../src/core/tensor.ts';
import type { Node } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { evaluate, toValue } from '../../src/graph/reference.ts';
import { foldFrozen } from '../../src/quantize/fold.ts';
import { convWindow, poolWindow } from '../support/operation_cases.ts';
import { batchNorm, countOperations, drawn, drawnConstant } from './support.ts';

const same = convWindow({ pads: [1, 1, 1, 1] });
const x = o.input('x', [-1, 9, 9, 3]);
const conv = (from: Node, filters: number, purpose: string, size = 3, window = same) =>
  o.conv2d(from, drawnConstant([size, size, from.shape[3]! / window.groups, filters], purpose), window);
const pooled = poolWindow([3, 3], { strides: [2, 2] });

/** Largest difference after folding, relative to the largest value, in float64. */
function change(outputs: readonly Node[]): number {
  const feeds = { x: toValue(drawn([2, 9, 9, 3], 'pictures')) };
  const before = evaluate(outputs, feeds, 2);
  const after = evaluate(foldFrozen(outputs), feeds, 2);
  const worst = before.map(({ shape, data }, i) => {
    expect(after[i]!.shape).toEqual(shape);
    const scale = Math.max(...data.map(Math.abs));
    return Math.max(...data.map((value, j) => Math.abs(value - after[i]!.data[j]!))) / scale;
  });
  return Math.max(...worst);
}

/** Constants are rounded to float32 once, so a sum of products differs by some 1e-7. */
const rounding = 5e-7;

describe('folding', () => {
  it('makes a convolution and its batch norm one convolution with a bias', () => {
    const y = o.relu(batchNorm(conv(x, 5, 'kernel'), 'norm'));
    expect(countOperations(foldFrozen([y]))).toEqual({ input: 1, conv2d: 1, add: 1, relu: 1 });
    expect(change([y])).toBeLessThan(rounding);
  });

  it('is exact where the constants are', () => {
    const whole = (shape: number[], purpose: string) =>
      o.constant(float32(shape, drawn(shape, purpose).data.map(Math.round)));
    const y = o.sub(
      o.mul(o.add(o.conv2d(x, whole([3, 3, 3, 4], 'kernel'), same), whole([4], 'bias')), whole([4], 'scale')),
      whole([1, 1, 1, 4], 'shift'),
    );
    const feeds = { x: toValue(float32([1, 9, 9, 3], drawn([1, 9, 9, 3], 'pictures').data.map(Math.round))) };
    expect(evaluate(foldFrozen([y]), feeds)).toEqual(evaluate([y], feeds));
  });

  it('multiplies before it rounds', () => {
    // 1/3 · 3 is 1 in float64 and stays it; in float32 steps it would be 1.0000000298.
    const third = o.div(o.scalar(1), 3);
    const y = o.mul(o.mul(o.conv2d(x, o.constant(float32([1, 1, 3, 1], [1, 1, 1])), convWindow()), third), 3);
    const [folded] = foldFrozen([y]);
    const kernel = folded!.inputs[1]!;
    expect(kernel.op === 'constant' && [...kernel.attributes.value.data]).toEqual([1, 1, 1]);
  });

  it('keeps a residual network what it is', () => {
    const first = o.relu(batchNorm(conv(x, 4, 'first'), 'one'));
    const second = batchNorm(conv(first, 4, 'second'), 'two');
    const y = o.relu(o.add(second, first));
    expect(countOperations(foldFrozen([y]))).toEqual({ input: 1, conv2d: 2, add: 3, relu: 2 });
    expect(change([y])).toBeLessThan(rounding);
  });

  it('leaves a scale behind a convolution that something else uses too', () => {
    const map = conv(x, 4, 'kernel');
    const y = o.add(batchNorm(map, 'norm'), o.relu(map));
    expect(countOperations(foldFrozen([y]))['mul']).toBe(1);
    expect(countOperations(foldFrozen([batchNorm(map, 'norm'), map]))['mul']).toBe(1);
    expect(change([y])).toBeLessThan(rounding);
  });

  it('leaves what differs between positions', () => {
    const y = o.add(conv(x, 4, 'kernel'), drawnConstant([1, 9, 9, 1], 'positions'));
    expect(change([y])).toBeLessThan(rounding);
    expect(foldFrozen([y])[0]!.inputs[1]).toBe(y.inputs[1]);
  });

  it('divides a depthwise convolution, whose kernel is a reshaped one', () => {
    const kernel = o.reshape(drawnConstant([3, 3, 3, 2], 'kernel'), [3, 3, 1, 6]);
    const y = batchNorm(o.conv2d(x, kernel, convWindow({ groups: 3 })), 'norm');
    const divided = o.div(y, drawnConstant([6], 'divisor'));
    expect(countOperations(foldFrozen([divided]))).toEqual({ input: 1, conv2d: 1, add: 1 });
    expect(change([divided])).toBeLessThan(rounding);
  });

  it('makes zeros around a map the padding of the convolution', () => {
    const padded = o.pad(x, [0, 3, 2, 0], [0, 0, 1, 0]);
    const y = conv(padded, 4, 'kernel', 3, convWindow({ strides: [2, 2], pads: [0, 0, 1, 0] }));
    const [folded] = foldFrozen([y]);
    expect(countOperations([folded!])).toEqual({ input: 1, conv2d: 1 });
    expect(folded!.op === 'conv2d' && folded!.attributes.pads).toEqual([3, 2, 1, 1]);
    expect(change([y])).toBeLessThan(rounding);
  });

  it('leaves padding that is not zero, or that is of channels', () => {
    for (const padded of [
      o.pad(x, [0, 1, 1, 0], [0, 1, 1, 0], { value: 1 }),
      o.pad(x, [0, 0, 0, 1], [0, 0, 0, 0]),
    ]) {
      const y = conv(padded, 4, `kernel of ${padded.shape}`);
      expect(countOperations(foldFrozen([y]))['pad']).toBe(1);
      expect(change([y])).toBeLessThan(rounding);
    }
  });

  it('makes zeros the padding of a maximum over values that are not negative, and only there', () => {
    const padded = (from: Node) => o.maxPool(o.pad(from, [0, 1, 1, 0], [0, 1, 1, 0]), pooled);
    const rectified = padded(o.relu(conv(x, 4, 'kernel')));
    const signed = padded(conv(x, 4, 'kernel'));
    expect(countOperations(foldFrozen([rectified]))['pad']).toBeUndefined();
    expect(countOperations(foldFrozen([signed]))['pad']).toBe(1);
    expect(change([rectified, signed])).toBeLessThan(rounding);
  });

  it('leaves zeros where a window of a maximum would see nothing else', () => {
    const wide = o.maxPool(o.pad(o.relu(x), [0, 3, 3, 0], [0, 3, 3, 0]), pooled);
    expect(countOperations(foldFrozen([wide]))['pad']).toBe(1);
    expect(change([wide])).toBe(0);
  });
});

describe('positions that nobody uses', () => {
  const halved = (map: Node) => conv(map, 6, `halved ${map.shape}`, 1, convWindow({ strides: [2, 2] }));

  it('are not computed: a slice becomes the stride of the convolution in front', () => {
    const map = o.relu(batchNorm(conv(x, 4, 'kernel'), 'norm'));
    const y = halved(map);
    const folded = foldFrozen([y]);
    expect(countOperations(folded)['slice']).toBeUndefined();
    const first = folded[0]!.inputs[0]!.inputs[0]!.inputs[0]!;
    expect(first.op === 'conv2d' && first.attributes.strides).toEqual([2, 2]);
    expect(change([y])).toBeLessThan(rounding);
  });

  it('multiply the strides that a convolution has, each axis its own', () => {
    const map = conv(x, 4, 'kernel', 3, convWindow({ strides: [2, 1], pads: [1, 1, 1, 1] }));
    const y = o.slice(map, [{ axis: 2, start: 0, end: 9, step: 3 }]);
    const [folded] = foldFrozen([y]);
    expect(folded!.op === 'conv2d' && folded!.attributes.strides).toEqual([2, 3]);
    expect(change([y])).toBeLessThan(rounding);
  });

  it('are not computed in a residual block either, whose shortcut is sliced', () => {
    const map = o.relu(conv(x, 4, 'kernel'));
    const inner = o.relu(conv(map, 4, 'inner'));
    const block = o.relu(o.add(conv(inner, 4, 'outer', 1, convWindow()), map));
    const y = o.add(halved(block), 0);
    const folded = foldFrozen([y]);
    expect(countOperations(folded)['slice']).toBe(1);
    expect(change([y])).toBeLessThan(rounding);
  });

  it('are computed where something else needs them', () => {
    const map = o.relu(conv(x, 4, 'kernel'));
    const outputs = [halved(map), map];
    expect(countOperations(foldFrozen(outputs))['slice']).toBe(1);
    expect(change(outputs)).toBeLessThan(rounding);
  });
});
