/**
 * How the three convolutions become ONNX. With a constant kernel (a frozen layer) it is `Conv` in the
 * runtime's blocked layout. With a trainable kernel there are four formulations, and measurements decide:
 *
 * - **blocks** (`blocked_convolution.ts`): the runtime's own kernels, for models of one batch on a CPU that has them. It
 *   wins everywhere but for 3x3 windows between many channels.
 * - **tiles** (`winograd.ts`): 3x3 windows of stride 1, with a third of the products.
 * - **matrices** (`taps.ts`): the map is a matrix [batch · positions, taps · channels] (each tap a shifted slice) and
 *   the HWIO kernel is a matrix already. Its weight gradient is one product. It moves taps times the map, so it
 *   wins where maps are small and channels many.
 * - **windows**: `Conv` forward, `ConvTranspose` for the input, one product for each tap for the kernel. It wins
 *   where maps are large.
 */
import { type Tensor, tensor } from '../core/tensor.ts';
import type { ConvAttributes, Node, NodeOf, Pair } from '../graph/node.ts';
import { blockedConv2d, canBlock } from './blocked_convolution.ts';
import { blockedInputGradient } from './blocked_input_gradient.ts';
import { blockedKernelGradient } from './blocked_kernel_gradient.ts';
import type { Emitter } from './emitter.ts';
import { type Geometry, seesEachPosition } from './geometry.ts';
import { kernelMatrix, patches, rowsOf, sumPatches, tapProduct, tapsOf, tapView } from './taps.ts';
import { winograd, winogradInputGradient, winogradKernelGradient, winogradProducts } from './winograd.ts';

/** Above this many output positions of an image, moving taps times the map costs more than `Conv` does. */
const matrixPositions = 14 * 14;

export function emitConv2d(e: Emitter, node: NodeOf<'conv2d'> & Node): void {
  const [x, kernel] = node.inputs as [Node, Node];
  const geometry = { x: x.shape, y: node.shape, kernel: kernel.shape, attributes: node.attributes };
  if (kernel.op === 'constant') {
    const weights = e.initializer(toFiltersFirst(kernel.attributes.value as Tensor<'float32'>));
    const strided = stridedSource(geometry, x);
    const source = strided?.source ?? x;
    const window = convAttributes(node.attributes, kernel.shape);
    const attributes = strided ? { ...window, strides: strided.steps } : window;
    e.defineChannelsFirst(node, e.node('Conv', [e.channelsFirst(source), weights], attributes));
  } else if (usesBlocks(e, geometry)) {
    blockedConv2d(e, node);
  } else if (usesWinograd(geometry)) {
    winograd(e, node, x, kernel, node.attributes.pads);
  } else if (usesMatrices(geometry)) {
    const product = e.node('MatMul', [patches(e, x, geometry), kernelMatrix(e, kernel)]);
    e.define(node, e.reshape(product, node.shape));
  } else {
    const weights = filtersFirst(e, kernel);
    const attributes = convAttributes(node.attributes, kernel.shape);
    e.defineChannelsFirst(node, e.node('Conv', [e.channelsFirst(x), weights], attributes));
  }
}

export function emitConv2dInputGradient(e: Emitter, node: NodeOf<'conv2dInputGradient'> & Node): void {
  const [g, kernel] = node.inputs as [Node, Node];
  const geometry = { x: node.shape, y: g.shape, kernel: kernel.shape, attributes: node.attributes };
  if (usesBlocks(e, geometry) && kernel.shape[2]! % e.blocked.block === 0) {
    blockedInputGradient(e, node, geometry);
    return;
  }
  if (usesWinograd(geometry)) {
    winogradInputGradient(e, node, g, kernel, node.attributes.pads);
    return;
  }
  if (usesMatrices(geometry)) {
    const columns = e.node('Gemm', [rowsOf(e, g), kernelMatrix(e, kernel)], { transB: 1 });
    e.define(node, sumPatches(e, columns, geometry));
    return;
  }
  // A transposed convolution reaches so far; what the strides left over is the output padding.
  const { strides, pads, dilations, groups } = node.attributes;
  const leftOver = ([0, 1] as const).map((axis) => {
    const reach = (g.shape[axis + 1]! - 1) * strides[axis] + (kernel.shape[axis]! - 1) * dilations[axis] + 1;
    return node.shape[axis + 1]! - (reach - pads[axis] - pads[axis + 2]!);
  });
  const window = {
    kernel_shape: kernel.shape.slice(0, 2),
    strides,
    pads,
    dilations,
    group: groups,
    output_padding: leftOver,
  };
  const parts = depthwiseParts(e, geometry, e.channelsFirst(g), filtersFirst(e, kernel));
  const gradients = parts.map((part) => e.node('ConvTranspose', part, window));
  e.defineChannelsFirst(
    node,
    gradients.reduce((total, part) => e.node('Add', [total, part])),
  );
}

/**
 * The operands of a transposed convolution. With several filters for each single channel they are taken apart
 * into depthwise ones, since the runtime's WebGPU provider (1.30) computes ConvTranspose wrongly where a group
 * has one output and an even number of inputs.
 */
function depthwiseParts(
  e: Emitter,
  { kernel, attributes: { groups } }: Geometry,
  g: string,
  weights: string,
): string[][] {
  const multiplier = kernel[3]! / groups;
  if (groups === 1 || kernel[2] !== 1 || multiplier === 1) return [[g, weights]];
  const every = (x: string, axis: number, start: number) =>
    e.node('Slice', [x, e.int64([start]), e.int64([kernel[3]!]), e.int64([axis]), e.int64([multiplier])]);
  return Array.from({ length: multiplier }, (_, i) => [every(g, 1, i), every(weights, 0, i)]);
}

export function emitConv2dKernelGradient(e: Emitter, node: NodeOf<'conv2dKernelGradient'> & Node): void {
  const [x, g] = node.inputs as [Node, Node];
  const geometry = { x: x.shape, y: g.shape, kernel: node.shape, attributes: node.attributes };
  if (usesBlocks(e, geometry)) {
    blockedKernelGradient(e, node, geometry);
    return;
  }
  if (usesWinograd(geometry)) {
    e.define(node, winogradKernelGradient(e, node, x, g, node.attributes.pads));
    return;
  }
  if (usesMatrices(geometry)) {
    e.define(
      node,
      e.reshape(e.node('Gemm', [patches(e, x, geometry), rowsOf(e, g)], { transA: 1 }), node.shape),
    );
    return;
  }
  const taps = tapsOf(geometry).map((tap) => {
    const seen = e.reshape(tapView(e, x, geometry, tap), [-1, x.shape[3]!]);
    return e.reshape(tapProduct(e, seen, g, geometry), [1, node.shape[2]!, node.shape[3]!]);
  });
  const stacked = taps.length === 1 ? taps[0]! : e.node('Concat', taps, { axis: 0 });
  e.define(node, e.reshape(stacked, node.shape));
}

/** From so many channels on Winograd's fewer products save more than its passage to the points and back costs. */
const winogradPrevails = 256;

function usesBlocks(e: Emitter, geometry: Geometry): boolean {
  const [, , channels, filters] = geometry.kernel as readonly [number, number, number, number];
  const products = channels * filters;
  return canBlock(e, geometry) && !(products >= winogradPrevails ** 2 && usesWinograd(geometry));
}

/** With fewer channels the passage to Winograd's points costs as much as its fewer products save. */
const winogradChannels = 16;

function usesWinograd({ y, kernel, attributes: { strides, dilations, groups } }: Geometry): boolean {
  const [height, width, channels, filters] = kernel as [number, number, number, number];
  const plain = groups === 1 && [...strides, ...dilations].every((step) => step === 1);
  if (!plain || height !== 3 || width !== 3 || Math.min(channels, filters) < winogradChannels) return false;
  return winogradProducts(y) * 2 <= 9 * y[1]! * y[2]!;
}

/** Small maps and ungrouped kernels go as matrices, and so does every 1x1 convolution. */
function usesMatrices({ y, kernel, attributes }: Geometry): boolean {
  if (attributes.groups > 1) return false;
  const [height, width, channels] = kernel as [number, number, number, number];
  if (height === 1 && width === 1) return true;
  // A first layer of three channels has few columns whatever its window, and `Conv` gains nothing from them.
  return y[1]! * y[2]! <= matrixPositions || channels <= 4;
}

/** A trainable HWIO kernel as ONNX's OIHW. */
function filtersFirst(e: Emitter, kernel: Node): string {
  return e.once(`filtersFirst/${kernel.id}`, () => e.transpose(e.value(kernel), [3, 2, 0, 1]));
}

function convAttributes({ strides, pads, dilations, groups }: ConvAttributes, kernel: readonly number[]) {
  return { kernel_shape: kernel.slice(0, 2), strides, pads, dilations, group: groups };
}

/** A constant HWIO kernel as ONNX's OIHW. */
function toFiltersFirst({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const [height, width, channels, filters] = shape as [number, number, number, number];
  const result = tensor('float32', [filters, channels, height, width]);
  const positions = height * width;
  for (let p = 0; p < positions; p++)
    for (let c = 0; c < channels; c++)
      for (let f = 0; f < filters; f++) {
        result.data[(f * channels + c) * positions + p] = data[(p * channels + c) * filters + f]!;
      }
  return result;
}

/** If a map is every n-th position of another one, a frozen 1x1 convolution can stride over that itself. */
function stridedSource(geometry: Geometry, x: Node): { source: Node; steps: Pair } | null {
  if (x.op !== 'slice' || !seesEachPosition(geometry)) return null;
  const { starts, ends, steps } = x.attributes;
  const source = x.inputs[0]!;
  const whole = [1, 2, 3].every((axis) => starts[axis] === 0 && ends[axis] === source.shape[axis]);
  return whole && steps[3] === 1 ? { source, steps: [steps[1]!, steps[2]!] } : null;
}
