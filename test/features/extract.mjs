// A process that extracts features and says what it did: see `startChild` in support.ts.
import { setTimeout as delay } from 'node:timers/promises';
import { keepFeatures, Plan } from '../../dist/features/index.js';

const order = JSON.parse(process.argv[2]);
const { folder, rows, width } = order;
const valueAt = (row, element) => ((row * 31 + element * 7) % 509) / 8;
let computed = 0;

const plan = new Plan({
  source: { name: 'things', shape: [rows] },
  columns: [{ name: 'feature0', shape: [width], dtype: 'float32', encoding: 'plain' }],
  origin: { frozen: 'abc' },
  shardBytes: order.shardBytes,
  async compute(indices) {
    if (order.delay) await delay(order.delay);
    computed += indices.length;
    process.stdout.write(`computed ${computed}\n`);
    const data = new Float32Array(indices.length * width);
    indices.forEach((row, i) => {
      for (let j = 0; j < width; j++) data[i * width + j] = valueAt(row, j);
    });
    return { feature0: { dtype: 'float32', shape: [indices.length, width], data } };
  },
});
const ignore = () => undefined;
const watcher = { onBegin: ignore, onRows: ignore, onEnd: ignore, note: ignore };
const features = await keepFeatures(plan, { mode: 'disk', folder, watcher });

let wrong = 0;
for (let start = 0; order.read && start < rows; start += 64) {
  // 7919 is prime, so every row has its turn.
  const indices = Array.from({ length: Math.min(64, rows - start) }, (_, i) => ((start + i) * 7919) % rows);
  const { feature0 } = (await features.read(indices)).features;
  indices.forEach((row, i) => {
    for (let j = 0; j < width; j += 97) if (feature0.data[i * width + j] !== valueAt(row, j)) wrong++;
  });
}
const { maxRSS } = process.resourceUsage();
process.stdout.write(`${JSON.stringify({ computed, wrong, key: plan.key, maxRss: maxRSS / 1024 })}\n`);
