import { existsSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import { SharedMemory } from '../../src/runtime/shared.node.ts';
import { type Message, receive, send } from '../../src/runtime/wire.node.ts';

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
