/** Two files of one model are the same, whenever and wherever they are written. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import * as layers from '../../src/layers/index.ts';
import { sequential } from '../../src/training/build.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-identical-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function made() {
  const model = sequential([layers.input({ shape: [2], name: 'i' }), layers.dense({ units: 3, name: 'd' })], {
    name: 'm',
  });
  model.compile({ optimizer: 'adam', loss: 'sparseCategoricalCrossentropy', seed: 1 });
  return model;
}

it.each(['a.h5', 'a.keras', 'a.weights.h5', 'a.safetensors', 'a.onnx'])('%s', async (name) => {
  const write = async (path: string) => {
    const model = made();
    if (name.endsWith('.onnx')) await model.export(path);
    else if (/weights|safetensors/.test(name)) await model.saveWeights(path);
    else await model.save(path);
    return readFile(path);
  };
  const first = await write(join(folder, name));
  // HDF5 counts in seconds, zip in twos of them.
  await wait(2100);
  const second = await write(join(folder, `second-${name}`));
  expect(second.equals(first)).toBe(true);
});

it('an .h5 and a .keras are the same in another time zone', async () => {
  const build = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
  const script = `
    const { layers, sequential } = await import(${JSON.stringify(build)});
    const model = sequential([layers.input({ shape: [2], name: 'i' }), layers.dense({ units: 3, name: 'd' })], { name: 'm' });
    model.compile({ optimizer: 'adam', loss: 'sparseCategoricalCrossentropy', seed: 1 });
    await model.save(process.argv[1] + '.h5');
    await model.save(process.argv[1] + '.keras');`;
  const [here, there] = ['UTC', 'Asia/Tokyo'].map((zone) => {
    const path = join(folder, zone.replace('/', '-'));
    const env = { ...process.env, TZ: zone };
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script, path], {
      env,
      encoding: 'utf8',
    });
    expect(status, stderr).toBe(0);
    return path;
  });
  for (const ending of ['.h5', '.keras'])
    expect((await readFile(`${here}${ending}`)).equals(await readFile(`${there}${ending}`)), ending).toBe(
      true,
    );
}, 60_000);
