/** Foreign ONNX models as backbones: the same features as ONNX Runtime gets from the file without Graft. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { fromOnnx, inspectOnnx, type OnnxOptions } from '../../src/applications/from_onnx.node.ts';
import { exportModel } from '../../src/compile/export.ts';
import { traceModel, weightConstants } from '../../src/compile/trace.ts';
import { GraftError } from '../../src/core/errors.ts';
import { tensor } from '../../src/core/tensor.ts';
import { substitute } from '../../src/graph/simplify.ts';
import * as layers from '../../src/layers/index.ts';
import { summary } from '../../src/models/summary.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import {
  decodeModel,
  encodeModel,
  type GraphProto,
  type NodeProto,
  type ValueInfoProto,
} from '../../src/onnx/proto.ts';
import { adam } from '../../src/optimizers/index.ts';
import { load, sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { apart, channelsFirst, foreignFile, pictures, type Run, runForeign } from '../support/foreign.ts';
import { ort } from '../support/ort.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-foreign-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const open: Model[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

function keep(made: Model): Model {
  open.push(made);
  return made;
}

/** file, picture size, where it is cut, shape of the features, the original that tells them */
interface Case extends Run {
  readonly file: string;
  readonly what: string;
  readonly size?: number;
  readonly output: string;
  readonly asked?: string;
  readonly shape: readonly number[];
  readonly original?: string;
  readonly options?: OnnxOptions;
}

const cases: readonly Case[] = [
  { file: 'plain.onnx', what: 'at its last feature map', size: 20, output: 'map', shape: [10, 10, 8] },
  {
    ...{ file: 'plain.onnx', what: 'at a vector that is asked for', size: 20, output: 'embedding' },
    ...{ asked: 'embedding', shape: [8] },
  },
  { file: 'newest.onnx', what: 'in the newest operator set', size: 20, output: 'map', shape: [10, 10, 8] },
  {
    ...{ file: 'external.onnx', what: 'with weights in another file', size: 20, output: 'map' },
    shape: [10, 10, 8],
  },
  {
    ...{ file: 'half.onnx', what: 'in float16, computed in float32', size: 20, output: 'map' },
    ...{ shape: [10, 10, 8], original: 'plain.onnx' },
  },
  { file: 'changes9.onnx', what: 'of operator set 9', output: 'features', shape: [17, 24, 4] },
  { file: 'changes16.onnx', what: 'of operator set 16', size: 12, output: 'features', shape: [6, 5, 4] },
  {
    ...{ file: 'channels_last.onnx', what: 'of channels-last pictures, normalised as its metadata say' },
    ...{ size: 14, output: 'features', shape: [7, 7, 8], layout: 'NHWC' as const },
    ...{ mean: [0.5, 0.25, 0.125], std: [0.25, 0.5, 1], options: {} },
  },
  {
    ...{ file: 'torch9_fixed.onnx', what: 'exported by PyTorch for batches of one, at its map' },
    ...{ output: '/AveragePool_output_0', shape: [2, 2, 12] },
  },
  {
    ...{ file: 'torch9_fixed.onnx', what: 'exported by PyTorch for batches of one, behind a reshape' },
    ...{ output: '/Reshape_output_0', asked: '/Reshape_output_0', shape: [48] },
  },
  { file: 'transformer.onnx', what: 'of a transformer, at its class token', output: 'select', shape: [16] },
  {
    ...{ file: 'transformer_fixed.onnx', what: 'exported for batches of one, class token and all' },
    ...{ output: 'select', shape: [16] },
  },
];

describe('a foreign model computes what ONNX Runtime computes from its file', () => {
  it.each(cases)('$file $what', async (each) => {
    const { file, size = 16, output, asked, shape, original = file, options, layout } = each;
    const x = pictures(3, size);
    const expected = await runForeign(foreignFile(original), x, output, each);
    const inputShape = [size, size, 3] as const;
    const preprocessing = options === undefined ? ({ preprocessing: 'torch' } as const) : {};
    const made = await fromOnnx(foreignFile(file), {
      ...preprocessing,
      inputShape,
      ...(asked === undefined ? {} : { output: asked }),
    });
    keep(made);
    const features = await made.predict(x, { batchSize: 2 });
    expect(features.shape).toEqual([3, ...shape]);
    const largest = Math.max(...expected.data.map(Math.abs));
    expect(largest).toBeGreaterThan(0.1);
    const values = layout === 'NHWC' ? [...features.data] : channelsFirst(features);
    expect(apart(values, expected.data) / largest).toBeLessThan(1e-5);
  });
});

describe('a model with a foreign backbone', () => {
  const x = pictures(12, 20);
  const y = tensor(
    'int32',
    [12],
    Int32Array.from({ length: 12 }, (_, i) => i % 3),
  );

  async function classifier(file = foreignFile('plain.onnx'), output?: string): Promise<Model> {
    const trunk = await fromOnnx(file, {
      ...{ preprocessing: 'torch', inputShape: [20, 20, 3] as const },
      ...(output === undefined ? {} : { output }),
    });
    const reduce = output === undefined ? [layers.globalAveragePooling2d()] : [];
    return keep(
      sequential([
        layers.input({ shape: [20, 20, 3] }),
        trunk,
        ...reduce,
        layers.dense({ units: 3, activation: 'softmax' }),
      ]),
    );
  }

  it('trains its head as the head alone trains on its features', async () => {
    const made = await classifier();
    const trunk = await fromOnnx(foreignFile('plain.onnx'), {
      ...{ preprocessing: 'torch', inputShape: [20, 20, 3] as const },
    });
    const maps = await keep(trunk).predict(x);
    const head = keep(
      sequential([
        layers.input({ shape: [10, 10, 8] }),
        layers.globalAveragePooling2d(),
        layers.dense({ units: 3, activation: 'softmax' }),
      ]),
    );
    const losses: (number | undefined)[][] = [];
    for (const [model, pixels] of [
      [made, x],
      [head, maps],
    ] as const) {
      const cache = { mode: 'memory', precision: 'float32' } as const;
      model.compile({ loss: 'sparseCategoricalCrossentropy', optimizer: adam({ learningRate: 0.1 }), cache });
      const { epochs } = await model.fit({ x: pixels, y }, { epochs: 8, batchSize: 4, verbose: false });
      losses.push(epochs.map((logs) => logs['loss']));
    }
    expect(losses[0]).toHaveLength(8);
    for (const [epoch, loss] of losses[0]!.entries()) expect(loss).toBeCloseTo(losses[1]![epoch]!, 4);
    expect(losses[0]![7]).toBeLessThan(losses[0]![0]!);
  });

  it('counts the parameters of the part that is used', async () => {
    // Convolution 3·3·3·8 + 8, batch norm 4·8; dense 8·3 + 3.
    const made = await classifier();
    expect(made.countParams()).toBe(216 + 8 + 32 + 27);
    const text = summary(made, { expandNested: true, showTrainable: true });
    expect(text).toMatch(/└ onnx_backbone_part +│ \(None, 10, 10, 8\) +│ +256 │ +N/);
    expect(text).toContain('Total params: 283 (1.11 KB)');
    expect(text).toContain('Non-trainable params: 256 (1.00 KB)');
  });

  it('is saved with the file beside it, and loaded without the original', async () => {
    const original = join(folder, 'here.onnx');
    await cp(foreignFile('plain.onnx'), original);
    const made = await classifier(original);
    made.compile({ loss: 'sparseCategoricalCrossentropy' });
    await made.fit({ x, y }, { epochs: 1, verbose: false });
    const expected = await made.predict(x);
    await made.save(join(folder, 'saved/model.h5'));
    await rm(original);
    await cp(join(folder, 'saved'), join(folder, 'moved'), { recursive: true });
    await rm(join(folder, 'saved'), { recursive: true });
    const loaded = keep(await load(join(folder, 'moved/model.h5')));
    expect(await loaded.predict(x)).toEqual(expected);
    await loaded.fit({ x, y }, { epochs: 1, verbose: false });
  });

  it('says so when the file beside it is another one, or gone', async () => {
    const made = await classifier();
    made.compile({ loss: 'sparseCategoricalCrossentropy' });
    await made.save(join(folder, 'damaged/model.h5'));
    const [name] = (await readdir(join(folder, 'damaged'))).filter((each) => each.endsWith('.onnx'));
    const file = join(folder, 'damaged', name!);
    const bytes = await readFile(file);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(file, bytes);
    await expect(load(join(folder, 'damaged/model.h5'))).rejects.toMatchObject({
      code: 'checksum',
      message: expect.stringContaining(`${name} is not the file that the model was saved with`),
    });
    await rm(file);
    await expect(load(join(folder, 'damaged/model.h5'))).rejects.toMatchObject({
      code: 'file',
      message: expect.stringContaining(`model.h5 needs ${name} beside it`),
    });
  });

  it('is told apart in the feature cache by weights, cut and preprocessing', async () => {
    const digests: string[] = [];
    const digest = async (made: Model) => {
      made.compile({ loss: 'sparseCategoricalCrossentropy' });
      digests.push(
        made.compiled.executor.frozenDigest(
          { imageDType: 'uint8', labels: 'ids', featureDType: 'float32' },
          false,
        ),
      );
      return digests.at(-1);
    };
    const whole = await digest(await classifier());
    expect(await digest(await classifier())).toBe(whole);
    await digest(await classifier(undefined, 'embedding'));
    await digest(await classifier(foreignFile('half.onnx')));
    const other = await fromOnnx(foreignFile('plain.onnx'), {
      ...{ preprocessing: 'tf', inputShape: [20, 20, 3] as const },
    });
    await digest(keep(sequential([other, layers.globalAveragePooling2d(), layers.dense({ units: 3 })])));
    expect(new Set(digests).size).toBe(4);
  });

  it('becomes one ONNX file with its preprocessing and its head', async () => {
    const made = await classifier();
    made.compile({ loss: 'sparseCategoricalCrossentropy' });
    const trace = traceModel(made, 'float32');
    const { image, inference } = trace;
    const [output] = substitute([inference.output], weightConstants(trace));
    expect(image.op).toBe('input');
    const path = join(folder, 'merged.onnx');
    await writeFile(path, emitModel({ output: output! }));
    const session = await ort.InferenceSession.create(path);
    const feed = new ort.Tensor('float32', Float32Array.from(x.data), x.shape);
    const { data } = (await session.run({ image: feed }))['output']!;
    expect(apart([...(data as Float32Array)], [...(await made.predict(x)).data])).toBeLessThan(1e-6);
    const { metadataProps } = decodeModel(exportModel(made));
    const preparation = metadataProps.find(({ key }) => key === 'graft.preprocessing')!.value;
    expect(JSON.parse(preparation)).toMatchObject([{ class_name: 'Rescaling' }]);
  });

  it('trains nothing in front of it', async () => {
    const trunk = await fromOnnx(foreignFile('plain.onnx'), {
      preprocessing: 'unit',
      inputShape: [20, 20, 3],
    });
    const colours = layers.conv2d({ filters: 3, kernelSize: 1 });
    const head = [layers.globalAveragePooling2d(), layers.dense({ units: 3, activation: 'softmax' })];
    const made = keep(sequential([layers.input({ shape: [20, 20, 3] }), colours, trunk, ...head]));
    made.compile({ loss: 'sparseCategoricalCrossentropy' });
    await expect(made.fit({ x, y }, { verbose: false })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('Nothing before a foreign ONNX model can be trained or explained'),
    });
  });

  it('learns on integers nearly what it learns in float32', async () => {
    const results: Float32Array[] = [];
    for (const precision of ['float32', 'int8'] as const) {
      const made = await classifier();
      made.initialize(1);
      made.compile({ loss: 'sparseCategoricalCrossentropy', precision, cache: 'memory' });
      await made.fit({ x, y }, { epochs: 2, verbose: false });
      results.push((await made.predict(x)).data);
    }
    const largest = apart([...results[0]!], [...results[1]!]);
    expect(largest).toBeLessThan(1e-2);
    expect(largest, 'it is no float32').toBeGreaterThan(1e-6);
  });
});

describe('a foreign model that cannot be a backbone says why', () => {
  const refused = async (file: string, options: OnnxOptions = { preprocessing: 'torch' }) => {
    const error: unknown = await fromOnnx(file, options).then(
      () => expect.fail('it was taken'),
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(GraftError);
    return error as GraftError;
  };

  it('nobody knows how its pictures are normalised', async () => {
    const error = await refused(foreignFile('plain.onnx'), { inputShape: [20, 20, 3] });
    expect(error.code).toBe('argument');
    expect(error.message).toContain('plain.onnx does not say how its pictures are normalised');
    expect(error.message).toContain('caffe, tf, torch, unit, none, or MEAN/STD');
  });

  it('there is no such tensor', async () => {
    const error = await refused(foreignFile('plain.onnx'), {
      ...{ preprocessing: 'torch', inputShape: [20, 20, 3], output: 'mpa' },
    });
    expect(error.code).toBe('argument');
    expect(error.message).toContain('no tensor "mpa" on the way to its output. The last ones: ');
    expect(error.message).toContain('map, pool, embedding, logits');
  });

  it('it takes pictures of another size', async () => {
    const error = await refused(foreignFile('transformer.onnx'), {
      ...{ preprocessing: 'torch', inputShape: [24, 24, 3] },
    });
    expect(error.code).toBe('unsupported');
    expect(error.message).toContain('It was exported for pictures of 16x16; use that size.');
  });

  const float = (name: string, dims: (number | string)[]): ValueInfoProto => ({
    name,
    type: {
      tensorType: {
        elemType: 1,
        shape: { dim: dims.map((dim) => (typeof dim === 'number' ? { dimValue: dim } : { dimParam: dim })) },
      },
    },
  });
  const make = async (name: string, node: Partial<NodeProto>[], batch: number | string, opset = 17) => {
    const path = join(folder, name);
    const bytes = encodeModel({
      ...{ irVersion: 8, producerName: 'test', metadataProps: [] },
      opsetImport: [{ domain: '', version: opset }],
      graph: {
        ...{ name: 'test', initializer: [], output: [float('y', ['n', 3, 8, 8])] },
        input: [float('image', [batch, 3, 8, 8])],
        node: node.map((each) => ({
          ...{ name: '', opType: '', input: [], output: [], attribute: [] },
          ...each,
        })),
      },
    });
    await writeFile(path, bytes);
    return path;
  };
  const axes = (values: number[]) => [{ name: 'axes', type: 7, ints: values }];

  it('its features depend on the neighbours in a batch', async () => {
    const path = await make(
      'neighbours.onnx',
      [
        { opType: 'ReduceMean', input: ['image'], output: ['mean'], attribute: axes([0]) },
        { opType: 'Sub', input: ['image', 'mean'], output: ['y'] },
      ],
      'n',
    );
    const error = await refused(path);
    expect(error.code).toBe('unsupported');
    expect(error.message).toContain(
      'neighbours.onnx: Its features (8, 8, 3) of a picture depend on the other',
    );
  });

  const advice = 'It was exported for batches of 1 and cannot take others; export it with a free batch';
  const reshaped = (name: string, to: readonly bigint[]) => {
    const shape = { name: 'value', type: 4, t: { dims: [4], dataType: 7, rawData: new Uint8Array(32) } };
    new BigInt64Array(shape.t.rawData.buffer).set(to);
    return make(
      name,
      [
        { opType: 'Constant', output: ['shape'], attribute: [shape] },
        { opType: 'Identity', input: ['shape'], output: ['same'] },
        { opType: 'Reshape', input: ['image', 'same'], output: ['y'] },
      ],
      1,
    );
  };

  it('it works for one batch size only', async () => {
    const error = await refused(await reshaped('fixed.onnx', [1n, 3n, 8n, 8n]));
    expect(error.code).toBe('unsupported');
    expect(error.message).toContain(`fixed.onnx: ONNX Runtime cannot run it. ${advice}`);
  });

  it('it makes one row of all pictures', async () => {
    const error = await refused(await reshaped('joined.onnx', [1n, -1n, 8n, 8n]));
    expect(error.code).toBe('unsupported');
    expect(error.message).toContain(`joined.onnx: Its tensor "y" has no row for each picture. ${advice}`);
  });

  it('ONNX Runtime does not know an operation', async () => {
    const path = await make('custom.onnx', [{ opType: 'Wonder', input: ['image'], output: ['y'] }], 1);
    const error = await refused(path);
    expect(error.code).toBe('unsupported');
    expect(error.message).toMatch(/custom\.onnx: ONNX Runtime cannot run it\. It says: .*Wonder/s);
    expect(error.message).not.toContain('batches of 1');
  });

  it('its operator set is too new', async () => {
    const path = await make('future.onnx', [{ opType: 'Relu', input: ['image'], output: ['y'] }], 1, 99);
    expect((await refused(path)).message).toMatch(/ONNX Runtime cannot run it\. It says: .*99/s);
  });
});

describe('looking at a foreign model', () => {
  it('finds shapes, cuts and the usual one', async () => {
    const { input, inputShape, tensors, suggested } = await inspectOnnx(foreignFile('transformer.onnx'));
    expect(input).toMatchObject({ name: 'x', batch: null, height: 16, width: 16, layout: 'channelsFirst' });
    expect(inputShape).toEqual([16, 16, 3]);
    expect(suggested).toMatchObject({ name: 'select', shape: [16], opType: 'Gather' });
    // The residual goes past the attention but not past the sum behind it.
    expect(tensors.filter(({ separates }) => separates).map(({ name }) => name)).toEqual([
      ...[
        'conv2d',
        'view',
        'transpose',
        'cat',
        'add',
        'add_1',
        'add_2',
        'layer_norm_2',
        'select',
        'linear_4',
      ],
    ]);
    expect(tensors.find(({ opType }) => opType === 'Softmax')).toMatchObject({ shape: [2, 17, 17] });
  });

  const anything: ValueInfoProto['type'] = { tensorType: { elemType: 1 } };
  const rewritten = async (name: string, change: (graph: GraphProto) => GraphProto) => {
    const model = decodeModel(await readFile(foreignFile('transformer.onnx')));
    const path = join(folder, name);
    await writeFile(path, encodeModel({ ...model, graph: change(model.graph) }));
    return path;
  };

  it.each([
    ['tokens', 'layer_norm_2', [17, 16]],
    ['one vector', 'select', [16]],
  ])('a transformer without a classifier, which puts out %s, is taken whole', async (what, output, shape) => {
    const path = await rewritten(`${what}.onnx`, (graph) => ({
      ...graph,
      output: [{ name: output, type: anything }],
    }));
    const { suggested } = await inspectOnnx(path);
    expect(suggested).toMatchObject({ name: output, shape });
  });

  it('takes the output of a picture alone from a model of pictures and texts', async () => {
    const text: ValueInfoProto = {
      name: 'text',
      type: { tensorType: { elemType: 1, shape: { dim: [{}] } } },
    };
    const similar = {
      name: '',
      opType: 'Mul',
      input: ['linear_4', 'text'],
      output: ['similar'],
      attribute: [],
    };
    const both = (graph: GraphProto) => ({
      ...graph,
      input: [text, ...graph.input],
      node: [...graph.node, similar],
      output: [{ name: 'similar', type: anything }, { name: 'text', type: anything }, ...graph.output],
    });
    const { suggested, tensors } = await inspectOnnx(await rewritten('both.onnx', both));
    expect(suggested.name).toBe('select');
    expect(tensors.at(-1)!.name).toBe('linear_4');
    const joint = await rewritten('joint.onnx', (graph) => ({
      ...both(graph),
      output: [both(graph).output[0]!],
    }));
    await expect(inspectOnnx(joint)).rejects.toMatchObject({
      code: 'unsupported',
      message: `${joint}: None of its outputs ("similar") comes from the picture "x" alone; it has other inputs: text.`,
    });
  });

  it('reads a file of an IR version that is newer than the runtime, if its operator set is not', async () => {
    const model = decodeModel(await readFile(foreignFile('transformer.onnx')));
    const path = join(folder, 'ir.onnx');
    // What onnx 1.23 writes if nobody asks for less.
    await writeFile(path, encodeModel({ ...model, irVersion: 14 }));
    expect((await inspectOnnx(path)).model.irVersion).toBe(14);
    await expect(ort.InferenceSession.create(path)).rejects.toThrow('IR version: 14');
    const made = keep(await fromOnnx(path, { preprocessing: 'torch' }));
    const same = keep(await fromOnnx(foreignFile('transformer.onnx'), { preprocessing: 'torch' }));
    const images = pictures(2, 16);
    expect((await made.predict(images)).data).toEqual((await same.predict(images)).data);
  });

  it('says which size was tried where a file fixes none', async () => {
    const path = await rewritten('sizes.onnx', (graph) => ({
      ...graph,
      input: graph.input.map(({ name, type: { tensorType } }) => ({
        name,
        type: { tensorType: { ...tensorType, shape: { dim: [{}, {}, {}, {}] } } },
      })),
    }));
    await expect(inspectOnnx(path)).rejects.toThrow(
      'It was tried with pictures of 224x224; if it was made for others, say their size (--image-size',
    );
    expect((await inspectOnnx(path, [16, 16, 3])).suggested.name).toBe('select');
  });

  const config = async (name: string, content: object) => {
    const place = await mkdtemp(join(folder, 'notes-'));
    await cp(foreignFile('plain.onnx'), join(place, 'model.onnx'));
    await writeFile(join(place, name), JSON.stringify(content));
    return (await inspectOnnx(join(place, 'model.onnx'))).notes;
  };

  it('reads what Hugging Face writes beside it', async () => {
    const notes = await config('preprocessor_config.json', {
      ...{ do_normalize: true, do_rescale: true, image_mean: [0.5, 0.4, 0.3], image_std: [0.2, 0.3, 0.4] },
      size: { shortest_edge: 24 },
    });
    expect(notes).toMatchObject({
      normalization: { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] },
      size: [24, 24],
    });
  });

  it('reads what timm writes beside it', async () => {
    const notes = await config('config.json', {
      pretrained_cfg: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.5, 1], input_size: [3, 28, 28] },
    });
    expect(notes).toMatchObject({
      normalization: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.5, 1] },
      size: [28, 28],
    });
  });
});
