/** What keeps a model from being written shows before it is trained. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const library = new URL('../../dist/index.js', import.meta.url).href;

/** Trains with a checkpoint at a path; prints what came first, the end of an epoch or an error. */
async function firstOf(path: string, { limit = 'unlimited', options = '' } = {}): Promise<string> {
  const script = `
    import { callbacks, layers, sequential, tensor } from ${JSON.stringify(library)};
    const model = sequential([layers.input({ shape: [4] }), layers.dense({ units: 2, activation: 'softmax' })]);
    model.compile({ loss: 'sparseCategoricalCrossentropy' });
    const epochs = { name: 'epochs', onEpochEnd: () => { throw new Error('an epoch has ended'); } };
    const data = { x: tensor('float32', [8, 4]), y: tensor('int32', [8]) };
    const checkpoint = callbacks.modelCheckpoint(${JSON.stringify(path)});
    await model
      .fit(data, { verbose: false, callbacks: [epochs, checkpoint] })
      .catch((error) => console.log(error.code ?? '', error.message));
    await model.close();`;
  const { stdout } = await promisify(execFile)(
    'sh',
    ['-c', `ulimit -v ${limit}; exec "${process.execPath}" ${options} --input-type=module --eval "$SCRIPT"`],
    { cwd: tmpdir(), env: { ...process.env, SCRIPT: script } },
  );
  return stdout.trim();
}

describe('before the first epoch modelCheckpoint says', () => {
  it('that its path has an ending that is not written', async () => {
    expect(await firstOf('model.txt')).toBe(
      'argument Graft saves models as .keras, .h5, .hdf5; got "model.txt".',
    );
  });

  describe.runIf(existsSync('/proc/self/limits'))('under a limit of address space', () => {
    it.each(['model.h5', 'model.keras'])('what %s needs', async (path) => {
      expect(await firstOf(path, { limit: '6000000' })).toBe(
        'state The HDF5 library, which reads and writes .h5 and .keras, cannot start: as WebAssembly it needs 10 GB of ' +
          'address space (not of memory) beside what is taken, and the limit (ulimit -v) is 6.1 GB. Raise it, or set ' +
          'NODE_OPTIONS=--disable-wasm-trap-handler, which needs no more than the memory. ' +
          'Weights in .safetensors and models in .onnx need no HDF5.',
      );
    });

    it('nothing for .onnx, and nothing where its advice is followed', async () => {
      expect(await firstOf('model.onnx', { limit: '6000000' })).toBe('an epoch has ended');
      const options = '--disable-wasm-trap-handler';
      expect(await firstOf('model.h5', { limit: '6000000', options })).toBe('an epoch has ended');
    });
  });
});
