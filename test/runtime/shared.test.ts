import { execFile } from 'node:child_process';
import { existsSync, fstatSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import * as o from '../../src/graph/ops.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { SharedMemory } from '../../src/runtime/shared.node.ts';
import { type Message, receive, send } from '../../src/runtime/wire.node.ts';
import { mayUnshare, unshare } from '../support/namespaces.ts';

const there = existsSync('/dev/shm');

/** 40,000 bytes: enough to go through shared memory. */
const message = (first: number): Message => ({
  body: { first },
  tensors: {
    x: tensor(
      'int32',
      [2, 4000],
      Int32Array.from({ length: 8000 }, (_, i) => first + i * 7),
    ),
    small: tensor('uint8', [3], Uint8Array.of(first, 2, 3)),
  },
  bytes: Uint8Array.from({ length: 8000 }, (_, i) => (first + i) % 251),
});

describe.runIf(there)('shared memory', () => {
  it('carries large messages, whole and in order, beside the stream', () => {
    const shared = SharedMemory.open()!;
    const stream = new PassThrough({ highWaterMark: 2 ** 20 });
    const places = [1, 2, 3].map((first) => send(stream, message(first), shared));
    // The third finds both places taken.
    expect(places).toEqual([0, 1, null]);
    expect(stream.readableLength).toBeLessThan(41_000);
    const received: Message[] = [];
    receive(stream, (arrived) => received.push(arrived), shared.fd);
    stream.resume();
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      expect(received).toEqual([message(1), message(2), message(3)]);
      shared.close();
    });
  });

  it('uses a place again once it is released', () => {
    const shared = SharedMemory.open()!;
    const part = new Uint8Array(2 ** 15);
    expect([shared.put([part]), shared.put([part]), shared.put([part])]).toEqual([0, 1, null]);
    shared.release(0);
    expect(shared.put([part])).toBe(0);
    shared.close();
  });

  it('leaves small and very large messages to the stream', () => {
    const shared = SharedMemory.open()!;
    expect(shared.put([new Uint8Array(2 ** 15 - 1)])).toBeNull();
    expect(shared.put([new Uint8Array(2 ** 26 + 1)])).toBeNull();
    shared.close();
  });
});

describe.runIf(there)('where shared memory cannot be written to, messages take the stream', () => {
  const engine = fileURLToPath(new URL('../../dist/runtime/engine.node.js', import.meta.url));
  const doubling = emitModel({ y: o.mul(o.input('x', [-1, 2]), 2) });
  /** Three messages of 8 MB, two of them at once; shared memory would take all. */
  const script = `
    import { Engine } from ${JSON.stringify(engine)};
    const engine = Engine.start({ threads: 1 });
    const model = Buffer.from('${Buffer.from(doubling).toString('base64')}', 'base64');
    const session = await engine.load(new Uint8Array(model));
    const twice = async (value) => {
      const x = { dtype: 'float32', shape: [1e6, 2], data: new Float32Array(2e6).fill(value) };
      return (await session.run({ x })).y.data.every((element) => element === 2 * value);
    };
    console.log(await twice(1), ...(await Promise.all([twice(2), twice(3)])));
    await engine.close();`;
  const runIn = async (shell: string) => {
    const node = `exec "${process.execPath}" --input-type=module --eval "$SCRIPT"`;
    const [program, ...args] = shell.startsWith('mount')
      ? [...unshare('--mount'), 'sh', '-c', `${shell} && ${node}`]
      : ['sh', '-c', `${shell}; ${node}`];
    const run = promisify(execFile)(program!, args, { env: { ...process.env, SCRIPT: script } });
    return (await run).stdout.trim();
  };

  it('under a limit of file sizes', async () => {
    expect(await runIn('ulimit -f 100')).toBe('true true true');
  });

  describe.runIf(mayUnshare('--mount'))('in a file system', () => {
    it.each([
      ['that is read-only', '-o ro'],
      ['without inodes', '-o nr_inodes=1'],
      ['that is full', '-o size=1m'],
    ])('%s', async (_, options) => {
      expect(await runIn(`mount -t tmpfs ${options} none /dev/shm`)).toBe('true true true');
    });
  });

  it('and what was written before is given back', () => {
    const shared = SharedMemory.open()!;
    const part = new Uint8Array(2 ** 20);
    expect(shared.put([part])).toBe(0);
    const { size } = fstatSync(shared.fd);
    // A part that cannot be written, as if the file system were full.
    expect(shared.put([part, { byteLength: 1 } as Uint8Array])).toBeNull();
    expect(fstatSync(shared.fd).size).toBeGreaterThanOrEqual(size);
    shared.release(0);
    expect(fstatSync(shared.fd).size).toBe(0);
    expect(shared.put([part]), 'it is not tried again').toBeNull();
    shared.close();
  });
});
