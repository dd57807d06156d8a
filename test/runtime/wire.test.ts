import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesPerElement, sizeOf, type Tensor, tensor } from '../../src/core/tensor.ts';
import { type Message, receive, send } from '../../src/runtime/wire.node.ts';

/** The bytes of messages, as one piece. */
function bytesFor(messages: readonly Message[]): Buffer {
  const stream = new PassThrough({ highWaterMark: 2 ** 20 });
  for (const message of messages) send(stream, message);
  return (stream.read() as Buffer | null) ?? Buffer.alloc(0);
}

/** What arrives when bytes come in pieces that end at `cuts`. */
async function receivedFrom(bytes: Buffer, cuts: readonly number[]): Promise<Message[]> {
  const stream = new PassThrough();
  const messages: Message[] = [];
  receive(stream, (message) => messages.push(message));
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let start = 0;
  for (const end of [...ends, bytes.length]) {
    if (end > start) stream.write(bytes.subarray(start, end));
    start = end;
  }
  stream.end();
  await new Promise((resolve) => stream.once('end', resolve));
  return messages;
}

const anyTensor: fc.Arbitrary<Tensor> = fc
  .record({
    dtype: fc.constantFrom('float32', 'float16', 'int32', 'int64', 'uint8', 'int8', 'bool'),
    shape: fc.array(fc.nat(3), { maxLength: 3 }),
    fill: fc.nat(255),
  })
  .map(({ dtype, shape, fill }) => {
    const bytes = new Uint8Array(sizeOf(shape) * bytesPerElement(dtype)).map((_, i) => (fill + i * 7) % 128);
    const value = tensor(dtype, shape);
    new Uint8Array(value.data.buffer).set(bytes);
    return value;
  });

const anyMessage: fc.Arbitrary<Message> = fc.record({
  body: fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown),
  tensors: fc
    .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z/é_]{1,8}$/), anyTensor), {
      selector: ([name]) => name,
      maxLength: 3,
    })
    .map((entries) => Object.fromEntries(entries)),
  bytes: fc.option(fc.uint8Array({ maxLength: 20 }), { nil: null }),
});

describe('messages on a byte stream', () => {
  it('arrive whole and in order, however the bytes are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyMessage, { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        async (messages, cuts) => {
          const received = await receivedFrom(bytesFor(messages), cuts);
          expect(received).toEqual(messages);
        },
      ),
    );
  });

  it('arrive when each byte comes alone', async () => {
    const message: Message = {
      body: { id: 1, text: 'größer' },
      tensors: { x: tensor('int32', [2], Int32Array.of(1, -1)), none: tensor('uint8', [0, 4]) },
      bytes: Uint8Array.of(9),
    };
    const bytes = bytesFor([message, message]);
    const everywhere = Array.from({ length: bytes.length }, (_, i) => i);
    expect(await receivedFrom(bytes, everywhere)).toEqual([message, message]);
  });

  it('do not arrive by half', async () => {
    const message: Message = { body: 1, tensors: {}, bytes: Uint8Array.of(1, 2, 3) };
    const bytes = bytesFor([message, message]);
    expect(await receivedFrom(bytes.subarray(0, -1), [])).toEqual([message]);
  });

  it('send of a view only what it shows', () => {
    const whole = new Float32Array(1000);
    const view: Tensor<'float32'> = { dtype: 'float32', shape: [2], data: whole.subarray(10, 12) };
    expect(bytesFor([{ body: null, tensors: { view }, bytes: null }]).length).toBeLessThan(200);
  });
});
