/**
 * Files that Keras 2 and 3 wrote mean what they meant to the version that wrote them: predictions, losses of further
 * steps and predictions after them are that version's own (fixtures/make_keras_models.py).
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import { networkFromConfig } from '../../src/models/config.ts';
import { Network } from '../../src/models/network.ts';
import { load } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';

const fixture = (name: string) => new URL(`fixtures/keras_models/${name}`, import.meta.url).pathname;
const expected = JSON.parse(readFileSync(fixture('expected.json'), 'utf8')) as Record<
  string,
  { readonly before: number[]; readonly losses: number[]; readonly after: number[] }
>;
const bytes = readFileSync(fixture('images.f32'));
const pixels = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const size = 8 * 8 * 3;
const images = (from: number) =>
  tensor('float32', [4, 8, 8, 3], pixels.slice(from * size, (from + 4) * size));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-meanings-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const options = (name: string) => (name.includes('open_size') ? { inputShape: [8, 8, 3] } : {});

function labels(name: string, from: number) {
  const ids = Int32Array.from({ length: 4 }, (_, i) => ((from + i) * 7) % 5);
  if (!name.includes('_categorical')) return tensor('int32', [4], ids);
  const rows = new Float32Array(20);
  ids.forEach((id, i) => {
    rows[i * 5 + id] = 1;
  });
  return tensor('float32', [4, 5], rows);
}

const farthest = (a: ArrayLike<number>, b: readonly number[]) =>
  b.reduce((most, value, i) => Math.max(most, Math.abs(value - a[i]!)), 0);

/** Keras's three steps; within 1 % of what they changed. */
async function continues(name: string, model: Model): Promise<void> {
  const { before, losses, after } = expected[name]!;
  expect(farthest((await model.predict(images(0))).data, before)).toBeLessThan(2e-6);
  for (const [i, loss] of losses.entries()) {
    const logs = await model.trainOnBatch(images(4 * i), labels(name, 4 * i));
    expect(Math.abs(logs['loss']! - loss) / Math.max(1, loss)).toBeLessThan(1e-5);
  }
  const moved = farthest(after, before);
  expect(moved).toBeGreaterThan(1e-5);
  expect(farthest((await model.predict(images(0))).data, after)).toBeLessThan(0.01 * moved + 4e-7);
}

describe('a file of Keras continues as it would there, and so does what Graft writes of it:', () => {
  it.each(Object.keys(expected))('%s', { timeout: 120_000 }, async (name) => {
    const told = vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
    const first = await load(fixture(name), options(name));
    const written = join(folder, name.replace(/\.h5$/, '.again.h5').replace(/\.keras$/, '.again.keras'));
    await first.save(written);
    await continues(name, first);
    await first.close();
    const again = await load(written);
    await continues(name, again);
    await again.close();
    const said = told.mock.calls.join('');
    told.mockRestore();
    expect(said.includes('ends in softmax')).toBe(name.includes('from_logits'));
  });
});

describe('a description', () => {
  const make = (...[kind, parts]: ConstructorParameters<typeof Network>) => new Network(kind, parts);
  const layer = (class_name: string, config: object) => ({ class_name, config });

  it('of a Sequential model is a list of layers in Keras up to 2.2.2', () => {
    const list = [
      layer('Conv2D', { name: 'conv', batch_input_shape: [null, 6, 6, 3], filters: 2, kernel_size: [3, 3] }),
      layer('Flatten', { name: 'flat' }),
    ];
    const network = networkFromConfig({ class_name: 'Sequential', config: list }, make, { keras: 2 });
    expect(network.layers.map(({ name }) => name)).toEqual(['conv', 'flat']);
    expect(network.input.shape).toEqual([6, 6, 3]);
    expect(network.result.shape).toEqual([4 * 4 * 2]);
  });

  it('with value_range on RandomRotation is that of Keras 3.3 to 3.5', () => {
    const list = [
      layer('InputLayer', { name: 'image', batch_shape: [null, 6, 6, 3] }),
      layer('RandomRotation', { name: 'turn', factor: [-0.1, 0.1], value_range: [0, 255] }),
    ];
    const config = { name: 'all', layers: list };
    expect(networkFromConfig({ class_name: 'Sequential', config }, make).layers[0]!.name).toBe('turn');
  });

  it('whose calls say training=True is refused in files of Keras 2, where it changes predictions', () => {
    const config = {
      name: 'noisy',
      layers: [
        { ...layer('InputLayer', { name: 'image', batch_input_shape: [null, 4] }), inbound_nodes: [] },
        {
          ...layer('Dropout', { name: 'drop', rate: 0.5 }),
          inbound_nodes: [[['image', 0, 0, { training: true }]]],
        },
      ],
      input_layers: [['image', 0, 0]],
      output_layers: [['drop', 0, 0]],
    };
    const description = { class_name: 'Functional', config };
    expect(() => networkFromConfig(description, make, { keras: 2 })).toThrow(/drop.*training=True/);
    expect(networkFromConfig(description, make).layers).toHaveLength(2);
  });

  it('with another input shape than is asked for is an error that says both', async () => {
    const known = load(fixture('keras3_preprocess_tf.keras'), { inputShape: [9, 9, 3] });
    await expect(known).rejects.toThrow('Input image has shape (8, 8, 3), got inputShape (9, 9, 3)');
    await expect(load(fixture('keras3_open_size.keras'))).rejects.toThrow('got (None, None, 3)');
  });
});
