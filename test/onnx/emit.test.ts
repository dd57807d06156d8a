/** What an emitted model looks like. Whether it computes the right thing is in `test/runtime/contract.test.ts`. */
import { describe, expect, it } from 'vitest';
import { float32, type Tensor, tensor } from '../../src/core/tensor.ts';
import { differentiate } from '../../src/graph/autodiff.ts';
import type { ConvAttributes, Node } from '../../src/graph/node.ts';
import * as o from '../../src/graph/ops.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { decodeModel, type ModelProto } from '../../src/onnx/proto.ts';
import { weightedSum } from '../support/loss.ts';
import { allCases, buildCase, convWindow, drawTensor, poolWindow } from '../support/operation_cases.ts';

const emitted = (outputs: Readonly<Record<string, Node>>): ModelProto => decodeModel(emitModel(outputs));
const count = ({ graph }: ModelProto, opType: string): number =>
  graph.node.filter((node) => node.opType === opType).length;
const only = ({ graph }: ModelProto, opType: string) => {
  const found = graph.node.filter((node) => node.opType === opType);
  expect(found, `one ${opType}`).toHaveLength(1);
  return found[0]!;
};
const drawn = (shape: readonly number[], purpose = 'weights'): Tensor<'float32'> =>
  drawTensor(shape, 'float32', 'normal', purpose) as Tensor<'float32'>;
const constant = (shape: readonly number[], purpose?: string): Node => o.constant(drawn(shape, purpose));
const same = convWindow({ pads: [1, 1, 1, 1] });

describe('a model', () => {
  const x = o.input('x', [-1, 4, 4, 3]);
  const model = emitted({ y: o.relu(x), positions: o.reshape(x, [-16, 3]), ids: o.argMax(x, 3) });

  it('says its operator set and its producer', () => {
    expect(model).toMatchObject({
      irVersion: 9,
      producerName: 'graft',
      // The domain is the empty one, which protobuf leaves out.
      opsetImport: [{ version: 20 }],
    });
  });

  it('has the inputs and outputs of the graph, with the batch as a symbol', () => {
    const shapes = (values: ModelProto['graph']['input']) =>
      values.map(({ name, type: { tensorType } }) => [
        name,
        tensorType.elemType,
        tensorType.shape!.dim.map(({ dimValue, dimParam }) => dimParam || dimValue),
      ]);
    expect(shapes(model.graph.input)).toEqual([['x', 1, ['batch', 4, 4, 3]]]);
    expect(shapes(model.graph.output)).toEqual([
      ['y', 1, ['batch', 4, 4, 3]],
      ['positions', 1, ['16*batch', 3]],
      ['ids', 6, ['batch', 4, 4]],
    ]);
  });

  it('carries metadata', () => {
    const bytes = emitModel(
      { y: o.relu(x) },
      { metadata: { classes: '["cat","dog"]', preprocessing: 'caffe' } },
    );
    expect(decodeModel(bytes).metadataProps).toEqual([
      { key: 'classes', value: '["cat","dog"]' },
      { key: 'preprocessing', value: 'caffe' },
    ]);
  });

  it('may give an input back as an output', () => {
    expect(only(emitted({ y: x }), 'Identity')).toMatchObject({ input: ['x'], output: ['y'] });
  });

  it('tells its own names from those of inputs and outputs', () => {
    const names = ['v0', 'v1', 'c0', 'c1', 'v2'];
    const total = names.map((name) => o.input(name, [2])).reduce((sum, node) => o.add(o.mul(sum, 2), node));
    const { graph } = emitted({ v3: total, c2: o.neg(total) });
    const defined = [...graph.input, ...graph.initializer].map(({ name }) => name!);
    defined.push(...graph.node.flatMap(({ output }) => output));
    expect(new Set(defined).size).toBe(defined.length);
  });

  it('refuses two values of one name', () => {
    const message = 'Two inputs or outputs of the graph are named "x"; give each a name of its own.';
    expect(() => emitModel({ y: o.add(o.input('x', [2]), o.input('x', [2])) })).toThrow(
      expect.objectContaining({ code: 'argument', message }),
    );
    expect(() => emitModel({ x: o.neg(o.input('x', [2])) })).toThrow(message);
  });

  it('refuses shapes with a batch that no input has', () => {
    expect(() => emitModel({ y: o.expand(o.scalar(1), [-1, 2]) })).toThrow(
      expect.objectContaining({
        code: 'state',
        message: 'A graph whose shapes contain the batch needs an input with it.',
      }),
    );
  });
});

describe('every operation and its gradients', () => {
  it('use each value after it is defined, define it once, and leave nothing unused', () => {
    for (const { op, operationCase } of allCases) {
      const { inputs, value } = buildCase(op, operationCase);
      const refused = operationCase.refused !== undefined;
      const targets = refused ? [] : inputs.filter(({ dtype }) => dtype === 'float32');
      const gradients = differentiate(weightedSum(value), targets);
      const { graph } = emitted(Object.fromEntries([value, ...gradients].map((node, i) => [`y${i}`, node])));
      const defined = new Set([...graph.input, ...graph.initializer].map(({ name }) => name!));
      const used = new Set(graph.output.map(({ name }) => name));
      const title = `${op} ${operationCase.name}`;
      expect(defined.size, title).toBe(graph.input.length + graph.initializer.length);
      for (const { name, input, output } of graph.node) {
        for (const from of input.filter((from) => from !== '')) {
          expect(defined.has(from), `${title}: ${name} uses ${from}`).toBe(true);
          used.add(from);
        }
        for (const to of output) {
          expect(defined.has(to), `${title}: ${to} is defined twice`).toBe(false);
          defined.add(to);
        }
      }
      for (const { name } of graph.input) used.add(name);
      expect(
        [...defined].filter((name) => !used.has(name)),
        title,
      ).toEqual([]);
    }
  });
});

describe('frozen feature maps stay channels-first', () => {
  const x = o.input('x', [-1, 16, 16, 5]);
  const conv = (from: Node, purpose: string, channels = 6) =>
    o.conv2d(from, constant([3, 3, from.shape[3]!, channels], purpose), same);
  const scaled = (from: Node) => o.relu(o.add(o.mul(from, constant([6], 'scale')), constant([6], 'shift')));
  const pooled = (from: Node) => o.maxPool(from, poolWindow([2, 2], { strides: [2, 2] }));

  it('from the first convolution to the last pooling', () => {
    const model = emitted({ y: pooled(conv(scaled(conv(x, 'first')), 'second')) });
    expect(count(model, 'Conv')).toBe(2);
    expect(count(model, 'Transpose'), 'one at each end').toBe(2);
  });

  it('through additions, concatenation, slices, padding and a mean over positions', () => {
    const first = scaled(conv(x, 'first'));
    const block = o.relu(o.add(first, scaled(conv(first, 'second'))));
    const joined = o.concat([block, conv(block, 'third', 3)], 3);
    const cropped = o.slice(joined, [{ axis: 1, start: 0, end: 15 }]);
    const padded = o.pad(cropped, [0, 0, 1, 0], [0, 1, 0, 0]);
    const model = emitted({ y: o.mean(pooled(padded), [1, 2]) });
    expect(count(model, 'Transpose'), 'at the input only').toBe(1);
  });

  it('with scale and shift along the channels, as the runtime folds them into a convolution', () => {
    const { graph } = emitted({ y: scaled(conv(x, 'first')) });
    const dims = graph.initializer.map((initializer) => initializer.dims);
    expect(dims.filter((shape) => shape.length === 3)).toEqual([
      [6, 1, 1],
      [6, 1, 1],
    ]);
  });

  it('and a strided 1x1 convolution strides by itself', () => {
    const sampled = o.conv2d(x, constant([1, 1, 5, 6]), convWindow({ strides: [2, 2] }));
    const model = emitted({ y: sampled });
    expect(count(model, 'Slice')).toBe(0);
    expect(only(model, 'Conv').attribute.find(({ name }) => name === 'strides')!.ints).toEqual([2, 2]);
  });

  it('and a channels-last map is transposed once for all convolutions of it', () => {
    const model = emitted({ y: o.sum(o.mul(conv(x, 'first'), conv(x, 'second'))) });
    expect(count(model, 'Conv')).toBe(2);
    expect(count(model, 'Transpose')).toBe(1);
  });

  it('and are transposed once for each side that needs channels-last', () => {
    const map = conv(x, 'first');
    const model = emitted({ y: o.reshape(map, [-1, 1536]), z: o.sum(map, [3]), w: o.argMax(map, 3) });
    expect(count(model, 'Transpose')).toBe(2);
  });
});

describe('a constant', () => {
  it('of a convolution is in the model once, in the layout of the runtime', () => {
    const { graph } = emitted({ y: o.conv2d(o.input('x', [-1, 8, 8, 5]), constant([3, 3, 5, 8]), same) });
    const dims = graph.initializer.filter(({ dataType }) => dataType === 1).map((kernel) => kernel.dims);
    expect(dims).toEqual([[8, 5, 3, 3]]);
  });

  it('that is small is in the model once, however often it is written', () => {
    const x = o.input('x', [3]);
    const { graph } = emitted({ y: o.add(o.mul(o.add(o.mul(x, 0.5), 0.5), 0.25), 0.5) });
    expect(graph.initializer).toHaveLength(2);
  });

  it('that is large is in the model once for each memory', () => {
    const shared = drawn([40]);
    const x = o.input('x', [40]);
    const y = o.add(o.mul(x, o.constant(shared)), o.constant(shared));
    expect(emitted({ y }).graph.initializer).toHaveLength(1);
    expect(emitted({ y: o.add(y, constant([40])) }).graph.initializer).toHaveLength(2);
  });

  it('is told from one of equal bytes and another dtype or shape', () => {
    const zero = (dtype: 'float32' | 'int32', shape: number[]) =>
      o.cast(o.constant(tensor(dtype, shape)), 'float32');
    const total = o.add(o.add(zero('float32', [2]), zero('int32', [2])), zero('float32', [1, 2]));
    expect(emitted({ y: o.add(total, o.input('x', [2])) }).graph.initializer).toHaveLength(3);
  });

  it('minus zero is not zero', () => {
    const x = o.input('x', [1]);
    const y = o.add(o.div(x, o.constant(float32([1], [0]))), o.div(x, o.constant(float32([1], [-0]))));
    expect(emitted({ y }).graph.initializer).toHaveLength(2);
  });
});

describe('a trained convolution', () => {
  const training = (size: number, kernelShape: readonly number[], window: ConvAttributes) => {
    const x = o.input('x', [-1, size, size, kernelShape[2]! * window.groups]);
    const kernel = o.input('kernel', kernelShape);
    const y = o.conv2d(x, kernel, window);
    const [dx, dKernel] = differentiate(o.sum(o.square(y)), [x, kernel]);
    return emitted({ y, dx: dx!, dKernel: dKernel! });
  };

  it('of a small map is matrices, and its patches serve forward and kernel gradient', () => {
    const model = training(14, [3, 3, 6, 4], same);
    expect(['Conv', 'ConvTranspose'].map((opType) => count(model, opType))).toEqual([0, 0]);
    expect(['MatMul', 'Gemm'].map((opType) => count(model, opType))).toEqual([1, 2]);
    const gathered = model.graph.node.filter(
      ({ opType, input }) => opType === 'Concat' && input.length === 9,
    );
    expect(gathered, 'the nine views of the map are put together once').toHaveLength(1);
    expect(count(model, 'Slice'), 'nine views and nine column blocks').toBe(18);
  });

  it('of a large map is windows', () => {
    const model = training(15, [3, 3, 6, 4], same);
    expect(count(model, 'Conv')).toBe(1);
    expect(count(model, 'ConvTranspose')).toBe(1);
    expect(count(model, 'Gemm'), 'one product for each tap').toBe(9);
    expect(count(model, 'MatMul')).toBe(0);
  });

  it('of a large map with few channels is matrices', () => {
    expect(count(training(32, [3, 3, 4, 8], same), 'Conv')).toBe(0);
    expect(count(training(32, [3, 3, 5, 8], same), 'Conv')).toBe(1);
  });

  it('of 1x1 is one matrix product, without slices, padding or transposes', () => {
    const model = training(32, [1, 1, 6, 4], convWindow());
    expect(['Conv', 'Slice', 'Pad', 'Transpose'].map((opType) => count(model, opType))).toEqual([0, 0, 0, 0]);
    expect(['MatMul', 'Gemm'].map((opType) => count(model, opType))).toEqual([1, 2]);
  });

  it('of groups is windows, however small', () => {
    expect(count(training(7, [3, 3, 1, 6], convWindow({ groups: 6, pads: [1, 1, 1, 1] })), 'Conv')).toBe(1);
  });
});
