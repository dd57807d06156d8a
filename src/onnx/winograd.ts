/**
 * 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray 2016, "Fast Algorithms for
 * Convolutional Neural Networks"): tiles of 4x4 outputs take 36 products for each pair of channels where the
 * definition takes 144. Kernel, input and output pass through small constant matrices, and in between there are 36
 * matrix products:
 *
 *     y = Aᵀ [ (Bᵀ x B) · (G k Gᵀ) ] A      forward, · over the channels
 *     ∂x = B [ (A ∂y Aᵀ) · (G k Gᵀ)ᵀ ] Bᵀ   input gradient
 *     ∂k = Gᵀ [ (Bᵀ x B)ᵀ · (A ∂y Aᵀ) ] G   kernel gradient
 *
 * The interpolation points 0, ±3/4, ±3/2, ∞ make float32 errors as small as those of a plain product.
 */
import { float32 } from '../core/tensor.ts';
import type { Node } from '../graph/node.ts';
import type { Emitter } from './emitter.ts';

/** Outputs of a tile, inputs of a tile, along one axis. */
const outputs = 4;
const points = 6;

const finite = [0, 0.75, -0.75, 1.5, -1.5];

type Matrix = readonly (readonly number[])[];

/** Coefficients of Π (x − root), lowest power first. */
function polynomial([root, ...others]: readonly number[]): number[] {
  if (root === undefined) return [1];
  const c = polynomial(others);
  return Array.from({ length: c.length + 1 }, (_, i) => (c[i - 1] ?? 0) - root * (c[i] ?? 0));
}

/** Aᵀ: what each point adds to each output. */
const A: Matrix = Array.from({ length: outputs }, (_, i) => [
  ...finite.map((p) => p ** i),
  i === outputs - 1 ? 1 : 0,
]);
/** G: the values of the kernel, as a polynomial, at the points. */
const G: Matrix = [
  ...finite.map((p) => {
    const scale = finite.filter((q) => q !== p).reduce((product, q) => product * (p - q), 1);
    return [1 / scale, p / scale, p ** 2 / scale];
  }),
  [0, 0, 1],
];
/** Bᵀ: the interpolation, transposed. */
const B: Matrix = [
  ...finite.map((p) => [...polynomial(finite.filter((q) => q !== p)), 0]),
  polynomial(finite),
];

/** One spatial axis of the convolution. */
interface Axis {
  readonly input: number;
  readonly output: number;
  readonly padBefore: number;
}

interface Shape {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly pads: readonly number[];
}

function axesOf({ x, y, pads }: Shape): readonly [Axis, Axis] {
  return [
    { input: x[1]!, output: y[1]!, padBefore: pads[0]! },
    { input: x[2]!, output: y[2]!, padBefore: pads[1]! },
  ];
}

const tilesAlong = (size: number) => Math.ceil(size / outputs);
const tilesOf = ({ output }: Axis) => tilesAlong(output);

/** Products for an image and each pair of channels; the definition has 9 for each position. */
export function winogradProducts([, height, width]: readonly number[]): number {
  return points ** 2 * tilesAlong(height!) * tilesAlong(width!);
}

/** Bᵀ for all tiles of an axis, [points · tiles, input]. Rows that see padding are cut short. */
function interpolation(axis: Axis): Matrix {
  return B.flatMap((row) =>
    Array.from({ length: tilesOf(axis) }, (_, tile) => {
      const line = new Array<number>(axis.input).fill(0);
      row.forEach((value, i) => {
        const at = tile * outputs + i - axis.padBefore;
        if (at >= 0 && at < axis.input) line[at] = value;
      });
      return line;
    }),
  );
}

/** A for all tiles of an axis, [points · tiles, output]. */
function evaluation(axis: Axis): Matrix {
  return Array.from({ length: points }, (_, point) => point).flatMap((point) =>
    Array.from({ length: tilesOf(axis) }, (_, tile) => {
      const line = new Array<number>(axis.output).fill(0);
      A.forEach((row, i) => {
        const at = tile * outputs + i;
        if (at < axis.output) line[at] = row[point]!;
      });
      return line;
    }),
  );
}

/** G ⊗ G, [points · points, 9]. */
const kernelPoints: Matrix = G.flatMap((a) => G.map((b) => a.flatMap((u) => b.map((v) => u * v))));

function transposed(matrix: Matrix): Matrix {
  return matrix[0]!.map((_, column) => matrix.map((row) => row[column]!));
}

function constant(e: Emitter, key: string, matrix: () => Matrix): string {
  return e.once(`winograd/${key}`, () => {
    const rows = matrix();
    return e.initializer(float32([rows.length, rows[0]!.length], Float32Array.from(rows.flat())));
  });
}

type Transform = (axis: Axis) => Matrix;

/** On maps of so few positions one product with both axes' transforms costs less than moving their results. */
const fewPositions = 64;

/** True where positions lie outermost, and tiles in front of the batch. */
function takesBothAxes({ x, y }: Shape): boolean {
  return Math.max(x[1]! * x[2]!, y[1]! * y[2]!) <= fewPositions;
}

/** The transforms of both axes as one, [points · points · tiles, positions]. */
function bothAxes(e: Emitter, transform: Transform, shape: Shape, transpose = false): string {
  const [rows, columns] = axesOf(shape);
  const key = `${transform.name}/${Object.values(rows)}/${Object.values(columns)}/${transpose}`;
  return constant(e, key, () => {
    const [down, across] = [transform(rows), transform(columns)];
    const lines = (matrix: Matrix, axis: Axis, point: number) =>
      matrix.slice(point * tilesOf(axis), (point + 1) * tilesOf(axis));
    const matrix = G.flatMap((_, i) =>
      G.flatMap((_, j) =>
        lines(down, rows, i).flatMap((a) =>
          lines(across, columns, j).map((b) => a.flatMap((u) => b.map((v) => u * v))),
        ),
      ),
    );
    return transpose ? transposed(matrix) : matrix;
  });
}

/** A map as [positions, batch · channels]. */
function positionsFirst(e: Emitter, map: Node): string {
  const [, height, width, channels] = map.shape as readonly [number, number, number, number];
  return e.once(`positionsFirst/${map.id}`, () => {
    const { block } = e.blocked;
    const moved = e.blocked.has(map)
      ? e.transpose(
          e.reshape(e.blocked.name(map), [-1, channels / block, height * width, block]),
          [2, 0, 1, 3],
        )
      : e.transpose(e.reshape(e.value(map), [-1, height * width, channels]), [1, 0, 2]);
    return e.reshape(moved, [height * width, -1]);
  });
}

/** Defines a map by [positions, batch · channels], in the runtime's own layout where it has that. */
function definePositions(e: Emitter, map: Node, values: string): void {
  const [, height, width, channels] = map.shape as readonly [number, number, number, number];
  if (e.blocked.fits(map)) {
    const { block } = e.blocked;
    const cells = e.reshape(values, [height * width, -1, channels / block, block]);
    e.blocked.defineMap(map, e.reshape(e.transpose(cells, [1, 2, 0, 3]), [-1, channels, height, width]));
  } else {
    const cells = e.reshape(values, [height * width, -1, channels]);
    e.define(map, e.reshape(e.transpose(cells, [1, 0, 2]), [-1, height, width, channels]));
  }
}

/** A map [batch, height, width, channels] at the points: [36, batch · tiles, channels]. */
function toPoints(e: Emitter, map: Node, shape: Shape, transform: Transform): string {
  const axes = axesOf(shape);
  const key = `winograd/${transform.name}/${map.id}/${axes.map((axis) => Object.values(axis))}`;
  if (takesBothAxes(shape)) {
    const product = () => e.node('MatMul', [bothAxes(e, transform, shape), positionsFirst(e, map)]);
    return e.reshape(e.once(key, product), [points * points, -1, map.shape[3]!]);
  }
  return e.once(key, () => {
    const [, height, width, channels] = map.shape as readonly [number, number, number, number];
    const [rows, columns] = axes;
    const down = e.node('MatMul', [
      matrixOf(e, transform, rows),
      e.reshape(e.value(map), [-1, height, width * channels]),
    ]);
    const across = e.node('MatMul', [
      matrixOf(e, transform, columns),
      e.reshape(down, [-1, width, channels]),
    ]);
    // Points come first in the rows of a transform, so that whole lines of tiles move.
    const cells = e.reshape(across, [-1, points, tilesOf(rows), points, tilesOf(columns) * channels]);
    return e.reshape(e.transpose(cells, [1, 3, 0, 2, 4]), [points * points, -1, channels]);
  });
}

/** The transpose of `toPoints`: defines the map from [36, batch · tiles, channels]. */
function fromPoints(e: Emitter, values: string, map: Node, shape: Shape, transform: Transform): void {
  if (takesBothAxes(shape)) {
    const tiles = axesOf(shape).reduce((product, axis) => product * tilesOf(axis), 1);
    const lines = e.reshape(values, [points * points * tiles, -1]);
    definePositions(e, map, e.node('MatMul', [bothAxes(e, transform, shape, true), lines]));
    return;
  }
  const [rows, columns] = axesOf(shape);
  const [, height, width, channels] = map.shape as readonly [number, number, number, number];
  const cells = e.reshape(values, [points, points, -1, tilesOf(rows), tilesOf(columns) * channels]);
  const lines = e.reshape(e.transpose(cells, [2, 0, 3, 1, 4]), [-1, points * tilesOf(columns), channels]);
  const across = e.node('MatMul', [matrixOf(e, transform, columns, true), lines]);
  const down = e.node('MatMul', [
    matrixOf(e, transform, rows, true),
    e.reshape(across, [-1, points * tilesOf(rows), width * channels]),
  ]);
  e.define(map, e.reshape(down, [-1, height, width, channels]));
}

function matrixOf(e: Emitter, transform: Transform, axis: Axis, transpose = false): string {
  const key = `${transform.name}/${Object.values(axis)}/${transpose}`;
  return constant(e, key, () => (transpose ? transposed(transform(axis)) : transform(axis)));
}

/** The kernel at the points: [36, channels, filters]. */
function kernelAtPoints(e: Emitter, kernel: Node): string {
  const [, , channels, filters] = kernel.shape as readonly [number, number, number, number];
  return e.once(`winograd/kernel/${kernel.id}`, () => {
    const taps = e.reshape(e.value(kernel), [9, channels * filters]);
    const values = e.node('MatMul', [constant(e, 'G', () => kernelPoints), taps]);
    return e.reshape(values, [points * points, channels, filters]);
  });
}

export function winograd(e: Emitter, y: Node, x: Node, kernel: Node, pads: readonly number[]): void {
  const shape = { x: x.shape, y: y.shape, pads };
  const product = e.node('MatMul', [toPoints(e, x, shape, interpolation), kernelAtPoints(e, kernel)]);
  fromPoints(e, product, y, shape, evaluation);
}

export function winogradInputGradient(
  e: Emitter,
  dx: Node,
  g: Node,
  kernel: Node,
  pads: readonly number[],
): void {
  const shape = { x: dx.shape, y: g.shape, pads };
  const weights = e.transpose(kernelAtPoints(e, kernel), [0, 2, 1]);
  const product = e.node('MatMul', [toPoints(e, g, shape, evaluation), weights]);
  fromPoints(e, product, dx, shape, interpolation);
}

export function winogradKernelGradient(
  e: Emitter,
  dk: Node,
  x: Node,
  g: Node,
  pads: readonly number[],
): string {
  const shape = { x: x.shape, y: g.shape, pads };
  const seen = e.transpose(toPoints(e, x, shape, interpolation), [0, 2, 1]);
  const product = e.node('MatMul', [seen, toPoints(e, g, shape, evaluation)]); // [36, channels, filters]
  const values = e.reshape(product, [points * points, -1]);
  return e.reshape(e.node('MatMul', [constant(e, 'Gᵀ', () => transposed(kernelPoints)), values]), dk.shape);
}
