/** Emission rules of what moves values without computing: padding, slicing, gathering, joining. */
import { fail } from '../core/errors.ts';
import { float32, tensor } from '../core/tensor.ts';
import type { GraphDType, Node, NodeOf } from '../graph/node.ts';
import { blockedPad, blockedSlice } from './blocked_views.ts';
import type { Emitter } from './emitter.ts';

/** Where a channels-last axis of a feature map lies when it is channels-first. */
export const axisInChannelsFirst = [0, 2, 3, 1];

/** Work channels-first if that is the layout in which some feature map has come. */
export function followsChannelsFirst(e: Emitter, inputs: readonly Node[]): boolean {
  const maps = inputs.filter(({ shape }) => shape.length === 4);
  return (
    maps.some((map) => e.isChannelsFirst(map)) &&
    inputs.every(({ shape }) => [0, 1, 4].includes(shape.length))
  );
}

function paddingValue(e: Emitter, dtype: GraphDType, value: number): string {
  if (dtype === 'float32') return e.scalar(value);
  if (dtype === 'uint8') return e.initializer(tensor('uint8', [], Uint8Array.of(value)));
  return fail('unsupported', `pad works on float32 and uint8, got ${dtype}.`);
}

export function emitPad(e: Emitter, node: NodeOf<'pad'> & Node): void {
  if (blockedPad(e, node)) return;
  const { before, after, interior, value } = node.attributes;
  const x = node.inputs[0]!;
  const fill = paddingValue(e, node.dtype, value);
  if (interior.every((amount) => amount === 0)) {
    const first = followsChannelsFirst(e, [x]);
    const order = first ? [0, 3, 1, 2] : before.map((_, axis) => axis);
    const pads = [...order.map((axis) => before[axis]!), ...order.map((axis) => after[axis]!)];
    const padded = e.node('Pad', [first ? e.channelsFirst(x) : e.value(x), e.int64(pads), fill]);
    if (first) e.defineChannelsFirst(node, padded);
    else e.define(node, padded);
    return;
  }
  // Interior padding: each value becomes a cell of its own axis, the cell is padded, the axes merge again;
  // the last cell's padding is taken off by the outer padding.
  const cells = x.shape.flatMap((dim) => [dim, 1]);
  const gaps = [...cells.map(() => 0), ...cells.map((_, i) => (i % 2 === 1 ? interior[(i - 1) / 2]! : 0))];
  const spread = e.node('Pad', [e.reshape(e.value(x), cells), e.int64(gaps), fill]);
  const merged = x.shape.map((dim, axis) => dim * (interior[axis]! + 1));
  const rest = after.map((amount, axis) => amount - interior[axis]!);
  const outer = [...before, ...rest];
  const whole = e.reshape(spread, merged);
  const nothing = outer.every((amount) => amount === 0);
  e.define(node, nothing ? whole : e.node('Pad', [whole, e.int64(outer), fill]));
}

export function emitSlice(e: Emitter, node: NodeOf<'slice'> & Node): void {
  if (blockedSlice(e, node)) return;
  const { starts, ends, steps } = node.attributes;
  const x = node.inputs[0]!;
  const first = followsChannelsFirst(e, [x]);
  const axes = x.shape.flatMap((dim, axis) => {
    const whole = dim < 0 || (starts[axis] === 0 && ends[axis] === dim && steps[axis] === 1);
    return whole ? [] : [axis];
  });
  const sliced = e.node('Slice', [
    first ? e.channelsFirst(x) : e.value(x),
    e.int64(axes.map((axis) => starts[axis]!)),
    e.int64(axes.map((axis) => ends[axis]!)),
    e.int64(first ? axes.map((axis) => axisInChannelsFirst[axis]!) : axes),
    e.int64(axes.map((axis) => steps[axis]!)),
  ]);
  if (first) e.defineChannelsFirst(node, sliced);
  else e.define(node, sliced);
}

export function emitGather(e: Emitter, node: NodeOf<'gather'> & Node): void {
  const [x, indices] = node.inputs as [Node, Node];
  const { axis } = node.attributes;
  if (followsChannelsFirst(e, [x])) {
    const attributes = { axis: axisInChannelsFirst[axis]! };
    e.defineChannelsFirst(node, e.node('Gather', [e.channelsFirst(x), e.value(indices)], attributes));
  } else e.define(node, e.node('Gather', [e.value(x), e.value(indices)], { axis }));
}

/** ONNX measures positions from −1 to 1, from edge to edge: x in pixels is (2x + 1) / width − 1. */
export function emitGridSample(e: Emitter, node: NodeOf<'gridSample'> & Node): void {
  const [x, positions] = node.inputs as [Node, Node];
  const { interpolation, padding } = node.attributes;
  const size = [x.shape[2]!, x.shape[1]!];
  const scale = e.initializer(
    float32(
      [2],
      size.map((length) => 2 / length),
    ),
  );
  const offset = e.initializer(
    float32(
      [2],
      size.map((length) => 1 / length - 1),
    ),
  );
  const grid = e.node('Add', [e.node('Mul', [e.value(positions), scale]), offset]);
  const sampled = e.node('GridSample', [e.channelsFirst(x), grid], {
    mode: interpolation === 'bilinear' ? 'linear' : 'nearest',
    padding_mode: padding,
    align_corners: 0,
  });
  e.defineChannelsFirst(node, sampled);
}

export function emitConcat(e: Emitter, node: NodeOf<'concat'> & Node): void {
  const { axis } = node.attributes;
  if (followsChannelsFirst(e, node.inputs)) {
    const parts = node.inputs.map((part) => e.channelsFirst(part));
    e.defineChannelsFirst(node, e.node('Concat', parts, { axis: axisInChannelsFirst[axis]! }));
  } else {
    e.define(
      node,
      e.node(
        'Concat',
        node.inputs.map((part) => e.value(part)),
        { axis },
      ),
    );
  }
}
