/**
 * Messages with tensors over a byte stream: a header length, a JSON header, then the tensors' bytes, unless these
 * are in shared memory. Large payloads are read straight into the memory where they will be used.
 */
import type { Duplex } from 'node:stream';
import { bytesOf, type DType, type Tensor, tensor } from '../core/tensor.ts';
import { type SharedMemory, take } from './shared.node.ts';

/** What travels: plain data, tensors by name, and raw bytes. */
export interface Message {
  readonly body: unknown;
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly bytes: Uint8Array | null;
}

interface Header {
  readonly body: unknown;
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: DType;
    readonly shape: readonly number[];
  }[];
  readonly bytes: number | null;
  /** Where in shared memory the payload is; `null` if it follows. */
  readonly place: number | null;
}

/**
 * Writes a message. Its memory must not change until the stream has taken it. Answers the place in shared memory,
 * to be released once the message has been read, or `null`.
 */
export function send(
  stream: Duplex,
  { body, tensors, bytes }: Message,
  shared: SharedMemory | null = null,
): number | null {
  const entries = Object.entries(tensors);
  const payload = [...entries.map(([, value]) => bytesOf(value)), ...(bytes === null ? [] : [bytes])].filter(
    ({ byteLength }) => byteLength > 0,
  );
  const place = shared?.put(payload) ?? null;
  const header: Header = {
    body,
    tensors: entries.map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    bytes: bytes === null ? null : bytes.byteLength,
    place,
  };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.byteLength);
  stream.cork();
  stream.write(length);
  stream.write(json);
  if (place === null) for (const part of payload) stream.write(part);
  stream.uncork();
  return place;
}

/** Calls `deliver` with each message that arrives. `shared` is the descriptor of the sender's shared memory. */
export function receive(
  stream: Duplex,
  deliver: (message: Message) => void,
  shared: number | null = null,
): void {
  const targets: Uint8Array[] = [];
  let header: Header | null = null;
  let values: Record<string, Tensor> = {};
  let raw: Uint8Array | null = null;
  let length = new Uint8Array(4);
  let stage: 'length' | 'header' | 'payload' = 'length';
  let current: Uint8Array = length;
  let filled = 0;

  const advance = (): void => {
    // Called whenever `current` is full.
    if (stage === 'length') {
      stage = 'header';
      current = new Uint8Array(new DataView(length.buffer).getUint32(0, true));
    } else if (stage === 'header') {
      header = JSON.parse(Buffer.from(current).toString()) as Header;
      values = {};
      for (const { name, dtype, shape } of header.tensors) {
        values[name] = tensor(dtype, shape);
        if (values[name].data.length > 0) targets.push(bytesOf(values[name]));
      }
      raw = header.bytes === null ? null : new Uint8Array(header.bytes);
      if (raw !== null && raw.byteLength > 0) targets.push(raw);
      if (header.place !== null) take(shared!, header.place, targets.splice(0));
      stage = 'payload';
      next();
    } else next();
  };
  const next = (): void => {
    const target = targets.shift();
    if (target !== undefined) {
      current = target;
      return;
    }
    deliver({ body: header!.body, tensors: values, bytes: raw });
    stage = 'length';
    length = new Uint8Array(4);
    current = length;
  };

  stream.on('data', (chunk: Buffer) => {
    let at = 0;
    while (at < chunk.byteLength) {
      const count = Math.min(chunk.byteLength - at, current.byteLength - filled);
      current.set(chunk.subarray(at, at + count), filled);
      at += count;
      filled += count;
      if (filled === current.byteLength) {
        filled = 0;
        advance();
      }
    }
  });
}
