/**
 * Which parts of a foreign ONNX graph run on integers: as `units.ts` for Graft's own graphs, and matrix products
 * besides. Everything else stays in float32.
 */
import { float32, type Tensor, tensor } from '../core/tensor.ts';
import { attributeOf, type NodeProto } from '../onnx/proto.ts';
import type { ForeignGraph } from './foreign_graph.ts';
import { type Clip, unbounded, worthwhileProducts } from './units.ts';

interface Common {
  /** What it computes: the first output of its last node. */
  readonly output: string;
  readonly nodes: readonly NodeProto[];
}

/** A convolution with the batch norm and the rectifier behind it. */
export interface ForeignConv extends Common {
  readonly kind: 'conv';
  readonly x: string;
  /** HWIO, batch norm included. */
  readonly kernel: Tensor<'float32'>;
  readonly bias: Float32Array;
  readonly clip: Clip;
}

/**
 * A matrix product with a bias, as classifiers of feature maps end in; its result is float32. The MatMul of transformers
 * stays float32: what integers would cost there is not measured.
 */
export interface ForeignMatrix extends Common {
  readonly kind: 'matrix';
  readonly x: string;
  /** [inputs, outputs] */
  readonly weights: Tensor<'float32'>;
  readonly bias: Float32Array;
}

/** The sum or the concatenation of maps that are integers already. */
export interface ForeignJoin extends Common {
  readonly kind: 'add' | 'concat';
  readonly inputs: readonly string[];
  readonly clip: Clip;
}

/** Moves or compares integers, which keep their scale. */
export interface ForeignMove extends Common {
  readonly kind: 'move';
  readonly x: string;
}

export type ForeignUnit = ForeignConv | ForeignMatrix | ForeignJoin | ForeignMove;

/** The units of a graph in its order, by what they compute. */
export function findForeignUnits(foreign: ForeignGraph): Map<string, ForeignUnit> {
  const units = new Map<string, ForeignUnit>();
  const integral = (name: string) => (units.get(name)?.kind ?? 'matrix') !== 'matrix';
  const isMap = (name: string): boolean => {
    const unit = units.get(name);
    if (unit?.kind !== 'move') return unit !== undefined && unit.kind !== 'matrix';
    return keepingMaps.has(unit.nodes[0]!.opType) && isMap(unit.x);
  };
  const taken = new Set<NodeProto>();
  for (const node of foreign.graph.node) {
    if (taken.has(node) || (node.domain ?? '') !== '') continue;
    const unit =
      convUnit(node, foreign) ??
      matrixUnit(node, foreign) ??
      joinUnit(node, foreign, isMap) ??
      moveUnit(node, foreign, integral);
    if (unit === null) continue;
    units.set(unit.output, unit);
    for (const each of unit.nodes) taken.add(each);
  }
  return units;
}

/** What is known of a convolution's value along its channels: `conv · scale + shift`; float64 until it is written. */
interface Affine {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

function convUnit(node: NodeProto, foreign: ForeignGraph): ForeignConv | null {
  if (node.opType !== 'Conv') return null;
  const weights = foreign.constant(node.input[1]);
  const bias = node.input[2] ? foreign.constant(node.input[2]) : tensor('float32', [weights?.shape[0] ?? 0]);
  if (weights?.shape.length !== 4 || bias === null) return null;
  const [filters, ...inner] = weights.shape as [number, ...number[]];
  const products = inner.reduce((total, dim) => total * dim, 1);
  if ((attributeOf(node, 'group')?.i ?? 1) === 1 && products < worthwhileProducts) return null;
  const nodes = [node];
  let affine: Affine = { scale: new Float64Array(filters).fill(1), shift: Float64Array.from(bias.data) };
  for (;;) {
    const after = foreign.next(nodes.at(-1)!.output[0]!);
    const followed = after && follow(affine, after, nodes.at(-1)!.output[0]!, foreign);
    if (!followed) break;
    affine = followed;
    nodes.push(after);
  }
  const clip = takeRectifiers(nodes, foreign);
  return {
    ...{ kind: 'conv', output: nodes.at(-1)!.output[0]!, nodes, x: node.input[0]!, clip },
    kernel: scaledKernel(weights, affine.scale),
    bias: Float32Array.from(affine.shift),
  };
}

/** What a node that works along the channels makes of it; null if it does something else. */
function follow(
  { scale, shift }: Affine,
  node: NodeProto,
  value: string,
  foreign: ForeignGraph,
): Affine | null {
  if (node.opType === 'BatchNormalization') {
    const [gamma, beta, mean, variance] = node.input.slice(1).map((name) => foreign.constant(name)?.data);
    if (!gamma || !beta || !mean || !variance) return null;
    const epsilon = attributeOf(node, 'epsilon')?.f ?? 1e-5;
    const factor = scale.map((_, c) => gamma[c]! / Math.sqrt(variance[c]! + epsilon));
    return {
      scale: scale.map((each, c) => each * factor[c]!),
      shift: shift.map((each, c) => (each - mean[c]!) * factor[c]! + beta[c]!),
    };
  }
  if (node.opType !== 'Mul' && node.opType !== 'Add') return null;
  const operand = alongChannels(foreign.constant(node.input.find((name) => name !== value)), scale.length);
  if (operand === null) return null;
  const factor = (c: number) => (node.opType === 'Mul' ? operand(c) : 1);
  const addend = (c: number) => (node.opType === 'Add' ? operand(c) : 0);
  return {
    scale: scale.map((each, c) => each * factor(c)),
    shift: shift.map((each, c) => each * factor(c) + addend(c)),
  };
}

/** The number of a channel: of a single number, or of [channels, 1, 1]. */
function alongChannels(value: Tensor<'float32'> | null, channels: number): ((c: number) => number) | null {
  if (value === null) return null;
  if (value.data.length === 1) return () => value.data[0]!;
  const [last, before, axis, ...rest] = value.shape.toReversed();
  const fits = last === 1 && before === 1 && axis === channels && value.data.length === channels;
  return fits && rest.every((dim) => dim === 1) ? (c) => value.data[c]! : null;
}

/** OIHW to HWIO, each filter times its factor. */
function scaledKernel({ shape, data }: Tensor<'float32'>, scale: Float64Array): Tensor<'float32'> {
  const [filters, channels, height, width] = shape as [number, number, number, number];
  const positions = height * width;
  const kernel = new Float32Array(data.length);
  for (let f = 0, i = 0; f < filters; f++)
    for (let c = 0; c < channels; c++)
      for (let p = 0; p < positions; p++, i++)
        kernel[(p * channels + c) * filters + f] = data[i]! * scale[f]!;
  return float32([height, width, channels, filters], kernel);
}

/** Appends rectifiers (Relu, Clip) to a chain of nodes, and says what they leave. */
function takeRectifiers(nodes: NodeProto[], foreign: ForeignGraph): Clip {
  let clip: Clip = unbounded;
  for (;;) {
    const after = foreign.next(nodes.at(-1)!.output[0]!);
    const leaves = after && rectifier(after, foreign);
    // Zero is always one of the integers.
    if (!leaves || leaves.low > 0 || leaves.high < 0) return clip;
    clip = { low: Math.max(clip.low, leaves.low), high: Math.min(clip.high, leaves.high) };
    nodes.push(after);
  }
}

function rectifier(node: NodeProto, foreign: ForeignGraph): Clip | null {
  if (node.opType === 'Relu') return { ...unbounded, low: 0 };
  if (node.opType !== 'Clip') return null;
  const bound = (name: string | undefined, none: number) =>
    name ? (foreign.constant(name)?.data[0] ?? Number.NaN) : none;
  const [, low, high] = node.input;
  const clip = { low: bound(low, unbounded.low), high: bound(high, unbounded.high) };
  return Number.isNaN(clip.low) || Number.isNaN(clip.high) ? null : clip;
}

function matrixUnit(node: NodeProto, foreign: ForeignGraph): ForeignMatrix | null {
  const { opType, input, output } = node;
  if (opType !== 'Gemm' || !input[2]) return null;
  const flag = (name: string) => attributeOf(node, name)?.i ?? 0;
  const factors = ['alpha', 'beta'].map((name) => attributeOf(node, name)?.f ?? 1);
  const weights = foreign.constant(input[1], flag('transB') === 1);
  const plain = flag('transA') === 0 && factors.every((factor) => factor === 1);
  if (!plain || weights?.shape.length !== 2 || weights.shape[0]! < worthwhileProducts) return null;
  const given = foreign.constant(input[2]);
  const [, columns] = weights.shape;
  if (given === null || (given.data.length !== 1 && given.data.length !== columns)) return null;
  const bias = Float32Array.from({ length: columns! }, (_, i) => given.data[i] ?? given.data[0]!);
  return { kind: 'matrix', output: output[0]!, nodes: [node], x: input[0]!, weights, bias };
}

function joinUnit(
  node: NodeProto,
  foreign: ForeignGraph,
  isMap: (name: string) => boolean,
): ForeignJoin | null {
  const { opType, input } = node;
  if ((opType !== 'Add' && opType !== 'Concat') || !input.every(isMap)) return null;
  const nodes = [node];
  const clip = opType === 'Add' ? takeRectifiers(nodes, foreign) : unbounded;
  const kind = opType === 'Add' ? 'add' : 'concat';
  return { kind, output: nodes.at(-1)!.output[0]!, nodes, inputs: input, clip };
}

/** Operations that make maps of maps. */
const keepingMaps: ReadonlySet<string> = new Set(['MaxPool', 'AveragePool', 'Pad', 'Slice', 'Identity']);
const moving: ReadonlySet<string> = new Set([
  ...[...keepingMaps, 'Reshape', 'Flatten', 'Transpose', 'Squeeze', 'Unsqueeze'],
]);

function moveUnit(
  node: NodeProto,
  foreign: ForeignGraph,
  integral: (name: string) => boolean,
): ForeignMove | null {
  const { opType, input, output } = node;
  if (!moving.has(opType) || !integral(input[0]!) || output.length !== 1) return null;
  if (opType === 'AveragePool' && attributeOf(node, 'dilations')?.ints?.some((step) => step !== 1))
    return null;
  if (opType === 'Pad') {
    const mode = new TextDecoder().decode(attributeOf(node, 'mode')?.s ?? new Uint8Array());
    const zeros = !input[2] || foreign.constant(input[2])?.data[0] === 0;
    if ((mode !== '' && mode !== 'constant') || !zeros) return null;
  }
  return { kind: 'move', output: output[0]!, nodes: [node], x: input[0]! };
}
