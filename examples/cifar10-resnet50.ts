/**
 * The reference job: ResNet50 from ImageNet, everything frozen but its last block, CIFAR-10 enlarged to 224x224
 * inside the model, a dense head with batch normalization and dropout, RMSprop at 2e-5, the best epoch kept.
 *
 * All of it takes many hours on a CPU. A small version:
 *
 *   SIZE=64 IMAGES=512 TEST_IMAGES=128 EPOCHS=2 npm run example
 */
import { applications, callbacks, datasets, layers, limit, models, optimizers, sequential } from 'graft-ml';

const setting = (name: string, usual: number) => Number(process.env[name] ?? usual);
const size = setting('SIZE', 224);
const images = setting('IMAGES', 50_000);
const testImages = setting('TEST_IMAGES', 10_000);
const epochs = setting('EPOCHS', 10);
const learningRate = setting('LEARNING_RATE', 2e-5);
const batchSize = 32;
const file = process.env['OUT'] ?? 'cifar10.h5';

// Pictures: (50000, 32, 32, 3) and (10000, 32, 32, 3), eight bits; labels: 0 … 9.
const { train, test } = await datasets.cifar10.load();

// The backbone. Its first layers know edges and textures already; only the last block learns.
const resnet = await applications.resnet50({
  weights: 'imagenet',
  includeTop: false,
  inputShape: [size, size, 3],
});
resnet.freezeUntil('conv5_block1_1_conv');

const model = sequential([
  layers.input({ shape: [32, 32, 3] }),
  applications.preprocessing('caffe'),
  layers.resizing({ height: size, width: size }),
  resnet,
  layers.flatten(),
  layers.batchNormalization(),
  layers.dense({ units: 256, activation: 'relu' }),
  layers.dropout({ rate: 0.5 }),
  layers.batchNormalization(),
  layers.dense({ units: 128, activation: 'relu' }),
  layers.dropout({ rate: 0.5 }),
  layers.batchNormalization(),
  layers.dense({ units: 64, activation: 'relu' }),
  layers.dropout({ rate: 0.5 }),
  layers.batchNormalization(),
  layers.dense({ units: 10, activation: 'softmax' }),
]);
model.summary();

model.compile({
  optimizer: optimizers.rmsprop({ learningRate }),
  loss: 'sparseCategoricalCrossentropy',
  metrics: ['accuracy'],
});
await model.fit(limit(train, images), {
  batchSize,
  epochs,
  validationData: limit(test, testImages),
  callbacks: [callbacks.modelCheckpoint(file, { monitor: 'valAccuracy', saveBestOnly: true })],
});
await model.close();

// What was kept is a file like any other: read it, measure it, use it.
const best = await models.load(file);
const { accuracy } = await best.evaluate(limit(test, testImages));
console.log(`${file}: ${(100 * accuracy!).toFixed(2)} % of ${testImages} test pictures are right.`);

const { x, y } = await test.read([0, 1, 2]);
const { data } = await best.predict(x);
for (const row of [0, 1, 2]) {
  const probabilities = data.subarray(10 * row, 10 * (row + 1));
  const guess = probabilities.indexOf(Math.max(...probabilities));
  console.log(`A ${train.classNames?.[y.data[row]!]} looks like a ${train.classNames?.[guess]}.`);
}
await best.close();
