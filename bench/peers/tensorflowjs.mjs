/**
 * The rows of `npm run bench` in TensorFlow.js: same models, batches, precision and data.
 *
 *     mkdir peers && npm install --prefix peers @tensorflow/tfjs @tensorflow/tfjs-backend-wasm
 *     NODE_PATH=peers/node_modules node bench/peers/tensorflowjs.mjs [ROUNDS] [ROW...]
 *
 * Prints JSON lines like the bench. With `@tensorflow/tfjs-node` installed beside them it runs on that, else on
 * WebAssembly, with one thread, since in Node its threads are not to be had. A row that TensorFlow.js cannot compute
 * has an `error` in place of times. The yardstick is its own: eight 2048-cube products in a chain.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';

const require = createRequire(import.meta.url);
const [rounds, ...chosen] = [Number(process.argv[2] ?? 5), ...process.argv.slice(3)];
const tf = await load();

async function load() {
  try {
    return require('@tensorflow/tfjs-node');
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
  }
  const library = require('@tensorflow/tfjs');
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  const folder = `${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`;
  // Node's fetch does not read files.
  const { fetch } = globalThis;
  globalThis.fetch = (path, ...rest) =>
    String(path).startsWith('/')
      ? Promise.resolve(new Response(readFileSync(path), { headers: { 'content-type': 'application/wasm' } }))
      : fetch(path, ...rest);
  wasm.setWasmPaths(folder);
  await library.setBackend('wasm');
  return library;
}

const { layers } = tf;

/** ResNet-50 v1: the stride is in the first 1x1 convolution, as in Keras. */
function bottleneck(x, filters, strides, project) {
  const norm = (y) => layers.batchNormalization().apply(y);
  const relu = (y) => layers.reLU().apply(y);
  const conv = (y, count, kernelSize, step = 1) =>
    norm(layers.conv2d({ filters: count, kernelSize, strides: step, padding: 'same' }).apply(y));
  const shortcut = project ? conv(x, 4 * filters, 1, strides) : x;
  const inner = relu(conv(relu(conv(x, filters, 1, strides)), filters, 3));
  return relu(layers.add().apply([shortcut, conv(inner, 4 * filters, 1)]));
}

function stage(x, filters, blocks, strides) {
  let y = x;
  for (let i = 0; i < blocks; i++) y = bottleneck(y, filters, i === 0 ? strides : 1, i === 0);
  return y;
}

function frozenPart(image) {
  let x = layers.conv2d({ filters: 64, kernelSize: 7, strides: 2, padding: 'same' }).apply(image);
  x = layers.reLU().apply(layers.batchNormalization().apply(x));
  x = layers.maxPooling2d({ poolSize: 3, strides: 2, padding: 'same' }).apply(x);
  return stage(stage(stage(x, 64, 3, 1), 128, 4, 2), 256, 6, 2);
}

const head = (x) =>
  layers.dense({ units: 10, activation: 'softmax' }).apply(layers.globalAveragePooling2d({}).apply(x));

/** uint8 pictures of 32 px to what ResNet50 takes at 224 px. */
function preprocess(images) {
  const bgr = tf.sub(tf.reverse(tf.cast(images, 'float32'), 3), [103.939, 116.779, 123.68]);
  return tf.image.resizeBilinear(bgr, [224, 224], false, true);
}

function resnet20() {
  const conv = (x, filters, strides) =>
    layers
      .batchNormalization()
      .apply(layers.conv2d({ filters, kernelSize: 3, strides, padding: 'same', useBias: false }).apply(x));
  const relu = (x) => layers.reLU().apply(x);
  const image = tf.input({ shape: [32, 32, 3] });
  let x = relu(conv(image, 16, 1));
  for (const [i, filters] of [16, 32, 64].entries()) {
    for (let block = 0; block < 3; block++) {
      const strides = i > 0 && block === 0 ? 2 : 1;
      const projection = layers.conv2d({ filters, kernelSize: 1, strides, useBias: false });
      const shortcut = strides === 1 ? x : layers.batchNormalization().apply(projection.apply(x));
      x = relu(layers.add().apply([shortcut, conv(relu(conv(x, filters, strides)), filters, 1)]));
    }
  }
  return tf.model({ inputs: image, outputs: head(x) });
}

const labels = (count) => tf.oneHot(tf.tensor1d(Int32Array.from({ length: count }, (_, i) => i % 10)), 10);

function step(model, optimizer, x, count, prepare = (images) => images) {
  const y = labels(count);
  model.compile({ optimizer, loss: 'categoricalCrossentropy' });
  return async () => {
    const prepared = tf.tidy(() => prepare(x));
    await model.trainOnBatch(prepared, y);
    if (prepared !== x) prepared.dispose();
  };
}

/** [one unit of work, images in it, its GFLOP]. */
const rows = {
  frozen() {
    const image = tf.input({ shape: [224, 224, 3] });
    const model = tf.model({ inputs: image, outputs: frozenPart(image) });
    const x = tf.randomUniform([16, 32, 32, 3], 0, 256, 'int32');
    const run = async () => {
      const features = tf.tidy(() => model.predictOnBatch(preprocess(x)));
      await features.data();
      features.dispose();
    };
    return [run, 16, 16 * 2 * 3.13];
  },
  conv5() {
    const features = tf.input({ shape: [14, 14, 1024] });
    const model = tf.model({ inputs: features, outputs: head(stage(features, 512, 3, 2)) });
    const x = tf.randomUniform([32, 14, 14, 1024]);
    return [step(model, tf.train.rmsprop(2e-5), x, 32), 32, 32 * 2 * (3 * 0.732 - 0.128)];
  },
  full() {
    const image = tf.input({ shape: [224, 224, 3] });
    const model = tf.model({ inputs: image, outputs: head(stage(frozenPart(image), 512, 3, 2)) });
    const x = tf.randomUniform([16, 32, 32, 3], 0, 256, 'int32');
    return [step(model, tf.train.momentum(1e-3, 0.9), x, 16, preprocess), 16, 16 * 2 * 3 * 3.86];
  },
  scratch() {
    const x = tf.randomUniform([128, 32, 32, 3], -1, 1);
    const optimizer = tf.train.momentum(0.1, 0.9, true);
    return [step(resnet20(), optimizer, x, 128), 128, 128 * 2 * 3 * 0.0409];
  },
  head() {
    const model = tf.sequential({
      layers: [layers.dense({ inputShape: [2048], units: 10, activation: 'softmax' })],
    });
    model.compile({ optimizer: tf.train.adam(1e-3), loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
    const [x, y] = [tf.randomUniform([50_000, 2048]), labels(50_000)];
    return [() => model.fit(x, y, { batchSize: 256, epochs: 1, verbose: 0 }), 50_000, null];
  },
};

async function timed(run) {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

const median = (times) => times.toSorted((a, b) => a - b)[times.length >> 1];

const a = tf.fill([2048, 2048], 1 / 2048);
const yardstick = async () => {
  const sum = tf.tidy(() => {
    let product = a;
    for (let i = 0; i < 8; i++) product = tf.matMul(product, a);
    return tf.sum(product);
  });
  await sum.data();
  sum.dispose();
};
const gflop = (8 * 2 * 2048 ** 3) / 1e9;

console.log(
  JSON.stringify({ peer: 'TensorFlow.js', version: tf.version.tfjs, backend: tf.getBackend(), rounds }),
);
await yardstick();
for (const [row, make] of Object.entries(rows)) {
  if (chosen.length > 0 && !chosen.includes(row)) continue;
  try {
    const [run, images, work] = make();
    await run();
    const [yard, own] = [[], []];
    for (let round = 0; round < rounds; round++) {
      yard.push(await timed(yardstick));
      own.push(await timed(run));
    }
    const ms = { median: median(own), low: Math.min(...own), high: Math.max(...own) };
    console.log(
      JSON.stringify({
        row,
        ms,
        imagesPerSecond: (images / ms.median) * 1000,
        gflops: work && (work / ms.median) * 1000,
        yardstick: (gflop / median(yard)) * 1000,
      }),
    );
  } catch (error) {
    console.log(JSON.stringify({ row, error: String(error.message).split('\n')[0] }));
  }
  tf.disposeVariables();
}
