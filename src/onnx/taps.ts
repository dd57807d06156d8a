/**
 * Convolutions as matrices: a map is [batch · positions, taps · channels], each tap a shifted slice of it, and an HWIO
 * kernel is [taps · channels, filters] as it lies.
 */
import { symbolicSize } from '../graph/dimensions.ts';
import type { Node, Pair } from '../graph/node.ts';
import { columnSums } from './columns.ts';
import type { Emitter } from './emitter.ts';
import { type Geometry, seesEachPosition } from './geometry.ts';

/** One tap's part of the kernel gradient: xᵀ g over all positions, [channels / groups, filters]. */
export function tapProduct(
  e: Emitter,
  seen: string,
  g: Node,
  { x, kernel, attributes: { groups } }: Geometry,
): string {
  const filters = kernel[3]!;
  if (groups === 1) return e.node('Gemm', [seen, rowsOf(e, g)], { transA: 1 });
  const perGroup = x[3]! / groups;
  // Depthwise, each column of x meets one of g: up to 5 times faster than a product for each channel.
  if (perGroup === 1 && filters === groups) {
    const rows = symbolicSize(g.shape.slice(0, 3));
    return columnSums(e, e.node('Mul', [seen, rowsOf(e, g)]), rows, g.shape[3]!);
  }
  const left = e.transpose(e.reshape(seen, [-1, groups, perGroup]), [1, 2, 0]);
  const right = e.once(`groups/${g.id}`, () =>
    e.transpose(e.reshape(e.value(g), [-1, groups, filters / groups]), [1, 0, 2]),
  );
  const product = e.node('MatMul', [left, right]); // [groups, channels / groups, filters / groups]
  return e.reshape(e.transpose(product, [1, 0, 2]), [perGroup, filters]);
}

interface Tap {
  readonly i: number;
  readonly j: number;
}

export function tapsOf({ kernel }: Geometry): Tap[] {
  const [height, width] = kernel as [number, number];
  return Array.from({ length: height * width }, (_, k) => ({ i: Math.floor(k / width), j: k % width }));
}

/** The slice of the padded map that one tap of the window sees: [batch, outHeight, outWidth, channels]. */
export function tapView(e: Emitter, x: Node, { y, attributes }: Geometry, { i, j }: Tap): string {
  const { strides, pads, dilations } = attributes;
  const [top, left, bottom, right] = pads;
  const padded = pads.some((amount) => amount > 0)
    ? e.once(`padded/${x.id}/${pads}`, () =>
        e.node('Pad', [e.value(x), e.int64([0, top, left, 0, 0, bottom, right, 0]), e.scalar(0)]),
      )
    : e.value(x);
  const start = [i * dilations[0], j * dilations[1]];
  const end = start.map((from, axis) => from + (y[axis + 1]! - 1) * strides[axis as 0 | 1] + 1);
  const inputs = [padded, e.int64(start), e.int64(end), e.int64([1, 2]), e.int64(strides)];
  return e.once(`tap/${inputs}`, () => e.node('Slice', inputs));
}

/** The matrix [batch · positions, taps · channels] of everything that the window sees. */
export function patches(e: Emitter, x: Node, geometry: Geometry): string {
  const { kernel } = geometry;
  const columns = kernel[0]! * kernel[1]! * x.shape[3]!;
  if (seesEachPosition(geometry)) return rowsOf(e, x);
  // The views have one name for each place that they look at, so they tell whether these patches exist already.
  const views = tapsOf(geometry).map((tap) => tapView(e, x, geometry, tap));
  return e.once(`patches/${views}`, () =>
    e.reshape(views.length === 1 ? views[0]! : e.node('Concat', views, { axis: 3 }), [-1, columns]),
  );
}

/** The transpose of `patches`: adds each tap's columns back to where they came from. */
export function sumPatches(e: Emitter, columns: string, geometry: Geometry): string {
  const { x, y, attributes } = geometry;
  const { strides, pads, dilations } = attributes;
  const channels = x[3]!;
  const taps = tapsOf(geometry);
  if (seesEachPosition(geometry)) return e.reshape(columns, x);
  const map = e.reshape(columns, [-1, y[1]!, y[2]!, taps.length * channels]);
  const parts = taps.map(({ i, j }, k) => {
    const range = [e.int64([k * channels]), e.int64([(k + 1) * channels]), e.int64([3])];
    const part = taps.length === 1 ? map : e.node('Slice', [map, ...range]);
    const before = [i * dilations[0] - pads[0], j * dilations[1] - pads[1]] as const;
    return placeTap(e, part, { from: [y[1]!, y[2]!], to: [x[1]!, x[2]!], strides, before, channels });
  });
  return parts.reduce((total, part) => e.node('Add', [total, part]));
}

interface Placement {
  readonly from: Pair;
  readonly to: Pair;
  readonly strides: Pair;
  readonly before: Pair;
  readonly channels: number;
}

/** Spreads a map by the strides and shifts it into a larger one; negative padding crops what hangs over. */
function placeTap(e: Emitter, part: string, { from, to, strides, before, channels }: Placement): string {
  let spread = part;
  const dilated = [from[0] * strides[0], from[1] * strides[1]] as const;
  if (strides[0] > 1 || strides[1] > 1) {
    const cells = e.reshape(part, [-1, from[0], 1, from[1], 1, channels]);
    const gaps = e.int64([0, 0, 0, 0, 0, 0, 0, 0, strides[0] - 1, 0, strides[1] - 1, 0]);
    spread = e.reshape(e.node('Pad', [cells, gaps, e.scalar(0)]), [-1, dilated[0], dilated[1], channels]);
  }
  const after = [to[0] - before[0] - dilated[0], to[1] - before[1] - dilated[1]] as const;
  if (before[0] === 0 && before[1] === 0 && after[0] === 0 && after[1] === 0) return spread;
  return e.node('Pad', [
    spread,
    e.int64([0, before[0], before[1], 0, 0, after[0], after[1], 0]),
    e.scalar(0),
  ]);
}

/** A feature map as the matrix [batch · positions, channels]. */
export function rowsOf(e: Emitter, map: Node): string {
  return e.once(`rows/${map.id}`, () => e.reshape(e.value(map), [-1, map.shape[3]!]));
}

/** The HWIO kernel as the matrix [taps · channels, filters]. */
export function kernelMatrix(e: Emitter, kernel: Node): string {
  const [height, width, channels, filters] = kernel.shape as [number, number, number, number];
  return e.once(`kernelMatrix/${kernel.id}`, () =>
    e.reshape(e.value(kernel), [height * width * channels, filters]),
  );
}
