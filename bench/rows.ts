/** The work that is measured: the reference job's parts, and training from scratch. */
import { EventEmitter, once } from 'node:events';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { preprocessing } from '../src/applications/index.ts';
import { resnet50 } from '../src/applications/resnet.ts';
import { buildProgram, initialSlots, type Program } from '../src/compile/program.ts';
import { partOf } from '../src/compile/slabs.ts';
import { Random } from '../src/core/random.ts';
import { float32, sizeOf, type Tensor, tensor } from '../src/core/tensor.ts';
import * as layers from '../src/layers/index.ts';
import type { Layer, SymbolicTensor } from '../src/layers/layer.ts';
import { categoricalCrossentropy } from '../src/losses/index.ts';
import { accuracy } from '../src/metrics/index.ts';
import * as optimizers from '../src/optimizers/index.ts';
import { Engine, type Session } from '../src/runtime/engine.node.ts';
import { hasIntegerTiles } from '../src/runtime/tiles.node.ts';
import { model, sequential } from '../src/training/build.ts';
import type { Callback } from '../src/training/callback.ts';
import { stackFeeds } from '../src/training/feeds.ts';
import type { Model } from '../src/training/model.ts';
import { peakMemory, type Row } from './measure.ts';

const image = [32, 32, 3] as const;

/** The reference job's network with a pooled head; weights do not matter for time. */
async function reference(size: number, unfreezeFrom: string | null, head: readonly Layer[]): Promise<Model> {
  const base = await resnet50({ weights: null, includeTop: false, inputShape: [size, size, 3] });
  if (unfreezeFrom !== null) base.freezeUntil(unfreezeFrom);
  const resize = layers.resizing({ height: size, width: size });
  const network = sequential([layers.input({ shape: image }), preprocessing('caffe'), resize, base, ...head]);
  network.initialize(0);
  return network;
}

const pooledHead = () => [
  layers.globalAveragePooling2d(),
  layers.dense({ units: 10, activation: 'softmax' }),
];

function program(network: Model, optimizer: optimizers.Optimizer): Program {
  return buildProgram({
    network,
    optimizer,
    loss: categoricalCrossentropy(),
    metrics: [accuracy()],
    trains: true,
    imageDType: 'uint8',
    labels: 'ids',
    featureDType: 'float32',
  });
}

/** Random values of a graph's inputs for a batch. */
function feedsOf({ features, step, noises }: Program, batch: number): Record<string, Tensor> {
  const random = new Random(1, 'bench');
  const all: Record<string, Tensor> = {
    y: tensor(
      'int32',
      [batch],
      Int32Array.from({ length: batch }, (_, i) => i % 10),
    ),
    sampleWeight: float32([batch], new Float32Array(batch).fill(1)),
    learningRate: float32([], [1e-4]),
  };
  for (const { name, shape, dtype } of features) {
    const size = batch * sizeOf(shape);
    all[name] =
      dtype === 'uint8'
        ? tensor('uint8', [batch, ...shape], pixels(size))
        : float32([batch, ...shape], random.fillUniform(new Float32Array(size)));
  }
  for (const { name, shape } of noises) {
    const dims = [batch, ...shape.slice(1)];
    all[name] = float32(dims, random.fillUniform(new Float32Array(sizeOf(dims))));
  }
  return Object.fromEntries(step.feeds.map((name) => [name, all[name]!]));
}

interface StepRow {
  readonly name: string;
  readonly network: Model;
  readonly optimizer: optimizers.Optimizer;
  readonly batch: number;
  /** Steps in a run: as many as `fit` hands over at once, which is what takes five seconds (`Pace`). */
  readonly steps: number;
  readonly gflopPerImage: number | null;
  readonly target: string;
}

/** Training steps as `fit` runs them, the batches' way to the engine included. */
async function stepRow(row: StepRow): Promise<Row> {
  const { name, network, optimizer, batch, steps, gflopPerImage, target } = row;
  const built = program(network, optimizer);
  const engine = Engine.start();
  const weights = [...built.weights].map(([key, slab]) => [
    key,
    tensor('float32', slab.shape, partOf(slab, slab.variable.values)),
  ]);
  await engine.write({ ...Object.fromEntries(weights), ...initialSlots(built) });
  const block = await engine.channelBlock();
  const session = await engine.load(built.step.model({ blocking: { block, batch }, steps: true }), {
    ...built.step,
    inPlace: true,
  });
  const feeds = feedsOf(built, batch);
  const all = stackFeeds(Array.from({ length: steps }, () => feeds));
  return {
    name,
    run: () => session.run(all),
    units: steps,
    gflop: gflopPerImage === null ? null : gflopPerImage * batch,
    images: batch,
    target,
    memory: () => peakMemory(engine.pid!)!,
    close: () => engine.close(),
  };
}

/** ResNet50's conv1 … conv4 on pictures of 224 px: 3.1 G multiply-adds an image. */
export async function frozenRow(precision: 'float32' | 'int8' = 'float32'): Promise<Row> {
  const network = await reference(224, 'conv5_block1_1_conv', pooledHead());
  const built = program(network, optimizers.rmsprop());
  const engine = Engine.start();
  const images = tensor('uint8', [16, ...image], pixels(16 * sizeOf(image)));
  const float = await engine.load(built.frozen!.model(), built.frozen!);
  const session = precision === 'int8' ? await integers(built, engine, images) : float;
  return {
    name: `frozen ResNet50 to conv4, 224 px, ${precision}, batch 16`,
    run: () => session.run({ image: images }),
    gflop: 16 * 2 * 3.13,
    images: 16,
    target: precision === 'int8' ? '3.0 times float32' : '1.0 of the yardstick',
    ...(precision === 'int8' ? { against: () => float.run({ image: images }) } : {}),
    close: () => engine.close(),
  };
}

async function integers(built: Program, engine: Engine, images: Tensor): Promise<Session> {
  const integer = built.frozen!.integers();
  const observation = await engine.load(integer.observation.model(), integer.observation);
  integer.observe(await observation.run({ image: images }));
  await observation.release();
  const frozen = integer.frozen(integer.ranges(), hasIntegerTiles());
  return engine.load(frozen.model(), frozen);
}

export const integerRow = () => frozenRow('int8');

function pixels(count: number): Uint8Array {
  const random = new Random(1, 'pixels');
  return Uint8Array.from({ length: count }, () => random.below(256));
}

/** conv5 on features at 7x7: 0.68 G multiply-adds forward, as much for each of the two gradients but the first. */
export async function lastBlockRow(): Promise<Row> {
  return stepRow({
    name: 'step of conv5, 224 px, batch 32, RMSprop',
    network: await reference(224, 'conv5_block1_1_conv', pooledHead()),
    optimizer: optimizers.rmsprop({ learningRate: 2e-5 }),
    batch: 32,
    steps: 8,
    gflopPerImage: 2 * (3 * 0.732 - 0.128),
    target: '0.75 of the yardstick',
  });
}

/** Every layer trains: 3.86 G multiply-adds forward, three times that with both gradients. */
export async function fullRow(): Promise<Row> {
  return stepRow({
    name: 'full fine-tuning of ResNet50, 224 px, batch 16, SGD',
    network: await reference(224, null, pooledHead()),
    optimizer: optimizers.sgd({ learningRate: 1e-3, momentum: 0.9 }),
    batch: 16,
    steps: 2,
    gflopPerImage: 2 * 3 * 3.86,
    target: '0.5 of the yardstick, under 8 GB',
  });
}

/** He et al. 2015, section 4.2: three stages of three blocks, 16, 32 and 64 filters, 0.27 M weights. */
export function resnet20(): Model {
  const input = layers.input({ shape: image });
  const conv = (x: SymbolicTensor, filters: number, strides: number) => {
    const layer = layers.conv2d({ filters, kernelSize: 3, strides, padding: 'same', useBias: false });
    return layers.batchNormalization().apply(layer.apply(x));
  };
  const relu = (x: SymbolicTensor) => layers.relu().apply(x);
  let x = relu(conv(layers.rescaling({ scale: 1 / 127.5, offset: -1 }).apply(input), 16, 1));
  for (const [stage, filters] of [16, 32, 64].entries()) {
    for (let block = 0; block < 3; block++) {
      const strides = stage > 0 && block === 0 ? 2 : 1;
      const projection = layers.conv2d({ filters, kernelSize: 1, strides, useBias: false });
      const shortcut = strides === 1 ? x : layers.batchNormalization().apply(projection.apply(x));
      const y = conv(relu(conv(x, filters, strides)), filters, 1);
      x = relu(layers.add().apply([shortcut, y]));
    }
  }
  const pooled = layers.globalAveragePooling2d().apply(x);
  const network = model({
    inputs: input,
    outputs: layers.dense({ units: 10, activation: 'softmax' }).apply(pooled),
  });
  network.initialize(0);
  return network;
}

export async function scratchRow(): Promise<Row> {
  return stepRow({
    name: 'training from scratch, ResNet-20, 32 px, batch 128, SGD',
    network: resnet20(),
    optimizer: optimizers.sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true }),
    batch: 128,
    steps: 16,
    gflopPerImage: 2 * 3 * 0.0409,
    target: 'faster than PyTorch',
  });
}

/**
 * A dense layer on pooled features of 50,000 pictures, held in memory, as `fit` trains it: epochs of one long training,
 * which go on when they are asked for. The first, in which the engine gets the features, is not among those timed.
 */
export async function headRow(): Promise<Row> {
  const network = sequential([
    layers.input({ shape: [2048] }),
    layers.dense({ units: 10, activation: 'softmax' }),
  ]);
  network.compile({ optimizer: 'adam', loss: 'sparse_categorical_crossentropy', metrics: ['accuracy'] });
  const count = 50_000;
  const x = float32([count, 2048], new Random(1, 'head').fillUniform(new Float32Array(count * 2048)));
  const y = tensor(
    'int32',
    [count],
    Int32Array.from({ length: count }, (_, i) => i % 10),
  );
  const epochs = new EventEmitter();
  let closing = false;
  const onRequest: Callback = {
    name: 'onRequest',
    async onEpochBegin(_epoch, training) {
      await once(epochs, 'begin');
      if (closing) training.stop('step');
    },
    onEpochEnd: () => void epochs.emit('end'),
  };
  const options = { epochs: Number.MAX_SAFE_INTEGER, batchSize: 256, verbose: false, callbacks: [onRequest] };
  const training = network.fit({ x, y }, options);
  while (epochs.listenerCount('begin') === 0) await setTimeout(10);
  return {
    name: 'head-only epoch, 50,000 pooled features, batch 256',
    async run() {
      const end = once(epochs, 'end');
      epochs.emit('begin');
      await end;
      while (epochs.listenerCount('begin') === 0) await setImmediate();
    },
    gflop: null,
    images: count,
    target: 'under 3 s',
    async close() {
      closing = true;
      epochs.emit('begin');
      await training;
      await network.close();
    },
  };
}
