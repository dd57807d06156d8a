/**
 * Writes a folded graph as an ONNX model whose units run on integers: `QLinearConv` and its relatives, channels-last,
 * on uint8 maps. Between units and float32 operations stand `QuantizeLinear` and `DequantizeLinear`.
 */
import { fail } from '../core/errors.ts';
import { float32, tensor } from '../core/tensor.ts';
import type { Node, NodeOf } from '../graph/node.ts';
import { emitModel } from '../onnx/emit.ts';
import type { Emitter } from '../onnx/emitter.ts';
import type { Splice } from '../onnx/foreign.ts';
import { emitForeign } from '../onnx/rules.ts';
import { clipped, type Quantization, quantizationOf, quantizeKernel } from './arithmetic.ts';
import { blockChannels, overBlocks } from './blocks.ts';
import type { ValueRange } from './ranges.ts';
import { withZeroPoints } from './tiles.ts';
import { type AddUnit, type Clip, type ConvUnit, type MoveUnit, type Unit, unbounded } from './units.ts';

/** Operations of the runtime itself; ONNX's own know channels-first only, or no integers. */
export const runtimeDomain = 'com.microsoft';

/** What a graph with integers is written from. */
export interface IntegerGraph {
  readonly outputs: Readonly<Record<string, Node>>;
  /** Parts of the graph that are to run on integers. */
  readonly units: ReadonlyMap<Node, Unit>;
  readonly ranges: ReadonlyMap<Node, ValueRange>;
  /** What is written in place of foreign parts. */
  readonly foreign?: ReadonlyMap<Node, Splice>;
  /** True for a processor that multiplies tiles of integers. */
  readonly tiles: boolean;
}

/** The bytes of a model with integers. */
export function emitQuantized({ outputs, foreign = new Map(), ...graph }: IntegerGraph): Uint8Array {
  const integers = new IntegerEmission(graph);
  const instead = (e: Emitter, node: Node): boolean => {
    if (node.op !== 'foreign') return integers.emit(e, node);
    emitForeign(e, node, foreign.get(node));
    return true;
  };
  return emitModel(outputs, { instead });
}

/** A uint8 map of the model. */
interface Integers extends Quantization {
  readonly name: string;
}

class IntegerEmission {
  readonly #units: ReadonlyMap<Node, Unit>;
  readonly #ranges: ReadonlyMap<Node, ValueRange>;
  readonly #tiles: boolean;
  readonly #inside: ReadonlySet<Node>;
  readonly #maps = new Map<Node, Integers>();

  constructor({ units, ranges, tiles }: Pick<IntegerGraph, 'units' | 'ranges' | 'tiles'>) {
    this.#units = units;
    this.#ranges = ranges;
    this.#tiles = tiles;
    this.#inside = new Set([...units.values()].flatMap(({ inside }) => inside));
  }

  /** True if the node is part of a unit. */
  emit(e: Emitter, node: Node): boolean {
    const unit = this.#units.get(node);
    if (unit === undefined) return this.#inside.has(node);
    const map = this.#unit(e, unit);
    this.#maps.set(node, map);
    // For float32 operations and outputs; without any it is not part of the model.
    e.define(node, e.node('DequantizeLinear', [map.name, ...parameters(e, map)]));
    return true;
  }

  #unit(e: Emitter, unit: Unit): Integers {
    if (unit.kind === 'conv') return this.#conv(e, unit);
    if (unit.kind === 'add') return this.#add(e, unit);
    return unit.kind === 'concat' ? this.#concat(e, unit) : this.#move(e, unit);
  }

  #conv(e: Emitter, { node, conv, x, kernel, bias, clip }: ConvUnit): Integers {
    const source = this.#integersOf(e, x);
    const result = this.#quantization(node, clip);
    const {
      weights,
      scales,
      bias: units,
    } = quantizeKernel(kernel, bias, {
      ...{ scale: source.scale, groups: conv.attributes.groups, means: this.#rangeOf(x).means },
    });
    const filters = scales.length;
    const blocks = overBlocks(conv, weights);
    const { strides, pads } = blocks === null ? conv.attributes : { strides: [1, 1], pads: blocks.pads };
    const { groups } = conv.attributes;
    const integers = withZeroPoints(blocks?.weights ?? weights, { groups, tiles: this.#tiles });
    const name = e.node(
      'QLinearConv',
      [
        ...[blocks === null ? source.name : inBlocks(e, source, x), ...parameters(e, source)],
        ...[e.initializer(integers.weights), e.initializer(float32([filters], scales))],
        ...[e.initializer(integers.zeroPoints), ...parameters(e, result)],
        e.initializer(tensor('int32', [filters], units)),
      ],
      {
        ...{ kernel_shape: integers.weights.shape.slice(2), strides, pads },
        ...{ dilations: conv.attributes.dilations, group: groups, channels_last: 1 },
      },
      runtimeDomain,
    );
    return { name, ...result };
  }

  #add(e: Emitter, { node, a, b, clip }: AddUnit): Integers {
    const result = this.#quantization(node, clip);
    const inputs = [a, b].map((input) => this.#integersOf(e, input));
    const operands = inputs.flatMap((input) => [input.name, ...parameters(e, input)]);
    return {
      name: e.node('QLinearAdd', [...operands, ...parameters(e, result)], {}, runtimeDomain),
      ...result,
    };
  }

  #concat(e: Emitter, { node }: MoveUnit): Integers {
    const result = this.#quantization(node);
    const inputs = node.inputs.map((input) => this.#integersOf(e, input));
    const operands = inputs.flatMap((input) => [input.name, ...parameters(e, input)]);
    const name = e.node('QLinearConcat', [...parameters(e, result), ...operands], { axis: 3 }, runtimeDomain);
    return { name, ...result };
  }

  #move(e: Emitter, { node }: MoveUnit): Integers {
    const source = this.#integersOf(e, node.inputs[0]!);
    return { ...source, name: moved(e, node, source) };
  }

  /** The integers of a value, which is rounded here if it was float32 so far. */
  #integersOf(e: Emitter, node: Node): Integers {
    const known = this.#maps.get(node);
    if (known !== undefined) return known;
    const quantization = this.#quantization(node);
    const name = e.node('QuantizeLinear', [e.value(node), ...parameters(e, quantization)]);
    const map = { name, ...quantization };
    this.#maps.set(node, map);
    return map;
  }

  #quantization(node: Node, clip: Clip = unbounded): Quantization {
    return quantizationOf(clipped(this.#rangeOf(node), clip));
  }

  #rangeOf(node: Node): ValueRange {
    return this.#ranges.get(node) ?? fail('state', `Node ${node.id} has no range.`);
  }
}

/** The inputs `scale, zero point` that follow a map. */
function parameters(e: Emitter, { scale, zeroPoint }: Quantization): string[] {
  return [e.scalar(scale), e.initializer(tensor('uint8', [], Uint8Array.of(zeroPoint)))];
}

/** (batch, height, width, channels) as (batch, height / 2, width / 2, 16), the channels filled up with zeros. */
function inBlocks(e: Emitter, { name, zeroPoint }: Integers, { shape }: Node): string {
  const planes = e.node('Transpose', [name], { perm: [0, 3, 1, 2] });
  const missing = blockChannels - shape[3]!;
  const zero = e.initializer(tensor('uint8', [], Uint8Array.of(zeroPoint)));
  const padded =
    missing === 0 ? planes : e.node('Pad', [planes, e.int64([0, 0, 0, 0, 0, missing, 0, 0]), zero]);
  const blocks = e.node('SpaceToDepth', [padded], { blocksize: 2 });
  return e.node('Transpose', [blocks], { perm: [0, 2, 3, 1] });
}

function moved(e: Emitter, node: Node, source: Integers): string {
  switch (node.op) {
    case 'maxPool': {
      const { size, strides, pads, dilations } = node.attributes;
      const window = { kernel_shape: size, strides, pads, dilations };
      return e.node('NhwcMaxPool', [source.name], window, runtimeDomain);
    }
    case 'averagePool': {
      const { size, strides, pads } = node.attributes;
      const same = parameters(e, source);
      const window = { kernel_shape: size, strides, pads, channels_last: 1 };
      return e.node('QLinearAveragePool', [source.name, ...same, ...same], window, runtimeDomain);
    }
    case 'slice':
      return slicePositions(e, node, source);
    case 'pad': {
      const { before, after } = node.attributes;
      const zero = e.initializer(tensor('uint8', [], Uint8Array.of(source.zeroPoint)));
      return e.node('Pad', [source.name, e.int64([...before, ...after]), zero]);
    }
    default:
      return fail('state', `${node.op} is no operation that moves values.`);
  }
}

function slicePositions(e: Emitter, { attributes, shape }: NodeOf<'slice'>, source: Integers): string {
  const axes = shape.flatMap((dim, axis) => (dim < 0 ? [] : [axis]));
  const of = (values: readonly number[]) => e.int64(axes.map((axis) => values[axis]!));
  const { starts, ends, steps } = attributes;
  return e.node('Slice', [source.name, of(starts), of(ends), e.int64(axes), of(steps)]);
}
