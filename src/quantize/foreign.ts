/**
 * Quantizes part of a foreign ONNX model in its own words: what `calibration.ts` and `emit.ts` do for Graft's own
 * graphs. Values that need a range are put out beside the result; then units become integer operations, channels-first
 * as they were (the runtime finds its own layout).
 */
import { fail } from '../core/errors.ts';
import { float32, type Tensor, tensor } from '../core/tensor.ts';
import type { Splice } from '../onnx/foreign.ts';
import { attributeOf, type GraphProto, type NodeProto } from '../onnx/proto.ts';
import { Writer } from '../onnx/writer.ts';
import { clipped, type Quantization, quantizationOf, quantizeKernel } from './arithmetic.ts';
import { sampledPositions } from './calibration.ts';
import { runtimeDomain } from './emit.ts';
import { ForeignGraph } from './foreign_graph.ts';
import {
  type ForeignConv,
  type ForeignJoin,
  type ForeignMatrix,
  type ForeignMove,
  type ForeignUnit,
  findForeignUnits,
} from './foreign_units.ts';
import type { ValueRange } from './ranges.ts';
import { withZeroPoints } from './tiles.ts';

export class ForeignQuantization {
  readonly #splice: Splice;
  readonly #units: ReadonlyMap<string, ForeignUnit>;
  /** Values that need a range. */
  readonly values: readonly string[];

  constructor(splice: Splice) {
    this.#splice = splice;
    this.#units = findForeignUnits(new ForeignGraph(splice.graph));
    this.values = valuesToObserve(this.#units);
  }

  /** The graph in float32; beside its output it puts out samples of each value, in order. */
  get observation(): Splice {
    const { graph } = this.#splice;
    const made = this.values.map((value) => this.#sampled(value));
    const output = made.map(({ sample }) => ({ name: sample }) as GraphProto['output'][number]);
    return {
      ...this.#splice,
      graph: {
        ...graph,
        node: [...graph.node, ...made.flatMap(({ nodes }) => nodes)],
        output: [...graph.output, ...output],
      },
    };
  }

  /** Every n-th position along each axis of a map, or every n-th row that goes into a matrix, and the last. */
  #sampled(value: string): { readonly sample: string; readonly nodes: readonly NodeProto[] } {
    const write = new Writer(`${value}/sample`);
    const matrix = [...this.#units.values()].find((unit) => unit.kind === 'matrix' && unit.x === value);
    const isMap = this.#units.has(value) || matrix === undefined;
    const rows = () => write.int64([0, -1, (matrix as ForeignMatrix).weights.shape[0]!]);
    const along = (x: string, axis: number): string => {
      const size = write.node('Gather', [write.node('Shape', [x]), write.int64([axis])]);
      const share = write.node('Div', [
        size,
        write.int64([isMap ? sampledPositions : sampledPositions ** 2]),
      ]);
      const step = write.node('Max', [share, write.int64([1])]);
      const [axes, end] = [write.int64([axis]), write.int64([-1])];
      const most = write.node('Slice', [x, write.int64([0]), end, axes, step]);
      return write.node('Concat', [most, write.node('Slice', [x, end, size, axes])], { axis });
    };
    if (!isMap) return { sample: along(write.node('Reshape', [value, rows()]), 1), nodes: write.nodes };
    const sample = write.node('Transpose', [along(along(value, 2), 3)], { perm: [0, 2, 3, 1] });
    return { sample, nodes: write.nodes };
  }

  /** The graph with its units on integers, for a processor that multiplies tiles of them or not. */
  quantized(ranges: readonly ValueRange[], tiles: boolean): Splice {
    const byValue = new Map(this.values.map((value, i) => [value, ranges[i]!]));
    const emission = new ForeignEmission(this.#units, byValue, tiles);
    return { ...this.#splice, graph: emission.rewritten(this.#splice.graph) };
  }
}

/** Results of arithmetic, and what enters from float32. */
function valuesToObserve(units: ReadonlyMap<string, ForeignUnit>): string[] {
  const values = new Set<string>();
  for (const unit of units.values()) {
    if (unit.kind === 'conv' || unit.kind === 'matrix') values.add(unit.x);
    if (unit.kind !== 'matrix' && unit.kind !== 'move') values.add(unit.output);
  }
  return [...values];
}

/** A uint8 value of the graph. */
interface Integers extends Quantization {
  readonly name: string;
}

class ForeignEmission {
  readonly #units: ReadonlyMap<string, ForeignUnit>;
  readonly #ranges: ReadonlyMap<string, ValueRange>;
  readonly #tiles: boolean;
  readonly #integers = new Map<string, Integers>();

  constructor(
    units: ReadonlyMap<string, ForeignUnit>,
    ranges: ReadonlyMap<string, ValueRange>,
    tiles: boolean,
  ) {
    this.#units = units;
    this.#ranges = ranges;
    this.#tiles = tiles;
  }

  rewritten(graph: GraphProto): GraphProto {
    const inside = new Set([...this.#units.values()].flatMap(({ nodes }) => nodes));
    const node = graph.node.flatMap((each) => {
      const unit = this.#units.get(each.output[0]!);
      if (unit !== undefined) return this.#unit(unit);
      return inside.has(each) ? [] : [each];
    });
    return { ...graph, node };
  }

  #unit(unit: ForeignUnit): readonly NodeProto[] {
    const write = new Writer(`${unit.output}/int8`);
    if (unit.kind === 'matrix') this.#matrix(write, unit);
    else {
      const result = this.#written(write, unit);
      this.#integers.set(unit.output, result);
      // For float32 operations and outputs; without any it is not part of the model.
      write.node(
        'DequantizeLinear',
        [result.name, ...parameters(write, result)],
        {},
        { output: unit.output },
      );
    }
    return write.nodes;
  }

  #written(write: Writer, unit: ForeignConv | ForeignJoin | ForeignMove): Integers {
    if (unit.kind === 'conv') return this.#conv(write, unit);
    return unit.kind === 'move' ? this.#move(write, unit) : this.#join(write, unit);
  }

  #conv(write: Writer, { nodes, x, kernel, bias, clip, output }: ForeignConv): Integers {
    const source = this.#integersOf(write, x);
    const result = quantizationOf(clipped(this.#range(output), clip));
    const groups = attributeOf(nodes[0]!, 'group')?.i ?? 1;
    const quantized = quantizeKernel(kernel, bias, {
      ...{ scale: source.scale, groups, means: this.#range(x).means },
    });
    const { weights, zeroPoints } = withZeroPoints(quantized.weights, { groups, tiles: this.#tiles });
    const filters = quantized.scales.length;
    const inputs = [
      ...[source.name, ...parameters(write, source)],
      ...[write.constant(weights), write.constant(float32([filters], quantized.scales))],
      ...[write.constant(zeroPoints), ...parameters(write, result)],
      write.constant(tensor('int32', [filters], quantized.bias)),
    ];
    return { name: write.node('QLinearConv', inputs, nodes[0]!.attribute), ...result };
  }

  #matrix(write: Writer, { x, weights, bias, output }: ForeignMatrix): void {
    const source = this.#integersOf(write, x);
    const [inputs, columns] = weights.shape as [number, number];
    const kernel = float32([1, 1, inputs, columns], weights.data);
    const quantized = quantizeKernel(kernel, bias, {
      ...{ scale: source.scale, means: this.#range(x).means },
    });
    const [scale, zeroPoint] = parameters(write, source) as [string, string];
    const operands = [
      ...[source.name, write.constant(transposed(quantized.weights, columns, inputs)), scale],
      ...[write.constant(float32([columns], quantized.scales)), zeroPoint],
      write.constant(tensor('int8', [columns])),
      write.constant(float32([columns], quantized.correctedBias)),
    ];
    write.node('MatMulIntegerToFloat', operands, {}, { domain: runtimeDomain, output });
  }

  #join(write: Writer, { kind, nodes, inputs, clip, output }: ForeignJoin): Integers {
    const result = quantizationOf(clipped(this.#range(output), clip));
    const operands = inputs.flatMap((input) => {
      const integers = this.#integersOf(write, input);
      return [integers.name, ...parameters(write, integers)];
    });
    const own = parameters(write, result);
    const name =
      kind === 'add'
        ? write.node('QLinearAdd', [...operands, ...own], {}, { domain: runtimeDomain })
        : write.node('QLinearConcat', [...own, ...operands], nodes[0]!.attribute, { domain: runtimeDomain });
    return { name, ...result };
  }

  #move(write: Writer, { nodes, x }: ForeignMove): Integers {
    const source = this.#integersOf(write, x);
    const [{ opType, input, attribute }] = nodes as [NodeProto];
    const rest = input.slice(1);
    if (opType === 'AveragePool') {
      const same = parameters(write, source);
      const inputs = [source.name, ...same, ...same];
      const kept = attribute.filter(({ name }) => name !== 'dilations');
      return { ...source, name: write.node('QLinearAveragePool', inputs, kept, { domain: runtimeDomain }) };
    }
    if (opType === 'Pad') rest[1] = parameters(write, source)[1]!;
    return { ...source, name: write.node(opType, [source.name, ...rest], attribute) };
  }

  /** The integers of a value, which is rounded here if it was float32 so far. */
  #integersOf(write: Writer, value: string): Integers {
    const known = this.#integers.get(value);
    if (known !== undefined) return known;
    const quantization = quantizationOf(this.#range(value));
    const name = write.node('QuantizeLinear', [value, ...parameters(write, quantization)]);
    const integers = { name, ...quantization };
    this.#integers.set(value, integers);
    return integers;
  }

  #range(value: string): ValueRange {
    return this.#ranges.get(value) ?? fail('state', `The value "${value}" has no range.`);
  }
}

/** The inputs `scale, zero point` that follow a value. */
function parameters(write: Writer, { scale, zeroPoint }: Quantization): string[] {
  return [
    write.constant(float32([], [scale])),
    write.constant(tensor('uint8', [], Uint8Array.of(zeroPoint))),
  ];
}

function transposed({ data }: Tensor<'int8'>, rows: number, columns: number): Tensor<'int8'> {
  const turned = new Int8Array(data.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) turned[c * rows + r] = data[r * columns + c]!;
  }
  return tensor('int8', [columns, rows], turned);
}
