/**
 * The input gradient in the layout of `blocked.ts`. With strides s, what goes back to row h' of x is
 *
 *     ∂x[h'] = Σ over taps i with s | h' + p − i of k[i] · g[(h' + p − i) / s]        (p: padding before)
 *
 * so rows of one remainder modulo s, a phase, see g through the same few taps. All phases of rows and columns together
 * are one plain convolution of g, with channels for each phase, which are interleaved afterwards. Without strides it is
 * the convolution with the kernel turned round.
 */
import type { Node, NodeOf } from '../graph/node.ts';
import type { Emitter } from './emitter.ts';
import { blockedDomain, convolve } from './fused.ts';
import type { Geometry } from './geometry.ts';

/** How all phases of one axis see g: a window of `size`, after padding g. */
interface GradientWindow {
  readonly size: number;
  readonly before: number;
  readonly after: number;
  /** For each phase the tap of the kernel that each place of the window has; −1 for none. */
  readonly taps: readonly (readonly number[])[];
}

/** Along rows and along columns. */
export function windowsOnGradient({ x, y, kernel, attributes }: Geometry): [GradientWindow, GradientWindow] {
  const along = (axis: 0 | 1): GradientWindow => {
    const stride = attributes.strides[axis];
    const pad = attributes.pads[axis];
    const count = kernel[axis]!;
    // Of g, relative to x's place divided by the stride.
    const first = Math.ceil((pad - (count - 1)) / stride);
    const last = Math.floor((stride - 1 + pad) / stride);
    const size = last - first + 1;
    const taps = Array.from({ length: stride }, (_, phase) =>
      Array.from({ length: size }, (_, place) => {
        const tap = phase + pad - stride * (first + place);
        return tap >= 0 && tap < count ? tap : -1;
      }),
    );
    const after = Math.ceil(x[axis + 1]! / stride) + last - y[axis + 1]!;
    return { size, before: -first, after, taps };
  };
  return [along(0), along(1)];
}

export function blockedInputGradient(
  e: Emitter,
  node: NodeOf<'conv2dInputGradient'> & Node,
  geometry: Geometry,
): void {
  const [g, kernel] = node.inputs as [Node, Node];
  const [rows, columns] = windowsOnGradient(geometry);
  const taps = rows.taps.flatMap((inRow) =>
    columns.taps.map((inColumn) =>
      inRow.flatMap((i) => inColumn.map((j) => (i < 0 || j < 0 ? -1 : i * kernel.shape[1]! + j))),
    ),
  );
  const window = [rows.size, columns.size];
  const convolution = {
    inputs: [e.blocked.name(g), kernelOfPhases(e, kernel, taps, window)],
    attributes: {
      kernel_shape: window,
      pads: [rows.before, columns.before, rows.after, columns.after],
    },
  } as const;
  if (taps.length === 1) e.blocked.defineConvolution(node, convolution);
  else
    e.blocked.defineMap(node, interleaved(e, convolve(e, convolution.inputs, convolution.attributes), node));
}

/** Channels and filters swapped, [phases · channels / b, filters / b, window, b filters, b channels]. */
function kernelOfPhases(
  e: Emitter,
  kernel: Node,
  taps: readonly (readonly number[])[],
  window: readonly number[],
): string {
  const [height, width, channels, filters] = kernel.shape as readonly [number, number, number, number];
  const { block } = e.blocked;
  const count = height * width;
  const wanted = taps.flat();
  return e.once(`kernelOfPhases/${kernel.id}/${wanted}`, () => {
    // Each tap is a map of positions (filters), channels first: [taps, channels / b, filters, b channels].
    const map = e.reshape(e.value(kernel), [count, channels, filters, 1]);
    const byChannels = e.node('ReorderInput', [map], {}, blockedDomain);
    const shape = [taps.length * channels, filters, ...window];
    if (wanted.length === 1) return e.reshape(byChannels, shape);
    const nothing = e.int64([0, 0, 0, 0, 1, 0, 0, 0]);
    const known = wanted.includes(-1) ? e.node('Pad', [byChannels, nothing, e.scalar(0)]) : byChannels;
    const order = e.int64(wanted.map((tap) => (tap < 0 ? count : tap)));
    const cells = [taps.length, taps[0]!.length, channels / block, filters / block, block * block];
    const turned = e.reshape(e.node('Gather', [known, order], { axis: 0 }), cells);
    return e.reshape(e.transpose(turned, [0, 2, 3, 1, 4]), shape);
  });
}

/** A map whose channels are (phase, channel) as one that is larger by the strides, cut to the shape of x. */
function interleaved(
  e: Emitter,
  phases: string,
  { shape, attributes }: NodeOf<'conv2dInputGradient'>,
): string {
  const [, height, width, channels] = shape as readonly [number, number, number, number];
  const { block } = e.blocked;
  const { strides } = attributes;
  const [rows, columns] = [Math.ceil(height / strides[0]), Math.ceil(width / strides[1])];
  const cells = e.reshape(phases, [-1, ...strides, channels / block, rows, columns, block]);
  const lines = [-1, channels / block, rows * strides[0], columns * strides[1], block];
  const whole = e.reshape(e.transpose(cells, [0, 3, 4, 1, 5, 2, 6]), lines);
  const cut =
    lines[2] === height && lines[3] === width
      ? whole
      : e.node('Slice', [whole, e.int64([0, 0]), e.int64([height, width]), e.int64([2, 3])]);
  return e.reshape(cut, [-1, channels, height, width]);
}
