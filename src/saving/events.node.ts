/**
 * TensorBoard's event files: records of `Event` messages with scalars, histograms and images in the form of
 * tf.summary (version 2). It owns framing, checksums and messages; what is written when is the callback's.
 */
import { appendFile, mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs/light.js';

/** The fields that are written of tensorflow/core/util/event.proto and framework/{summary,tensor,tensor_shape}.proto. */
const eventType = protobuf.Root.fromJSON({
  nested: {
    Event: {
      fields: {
        wallTime: { type: 'double', id: 1 },
        step: { type: 'int64', id: 2 },
        fileVersion: { type: 'string', id: 3 },
        summary: { type: 'Summary', id: 5 },
      },
    },
    Summary: { fields: { value: { rule: 'repeated', type: 'Value', id: 1 } } },
    Value: {
      fields: {
        tag: { type: 'string', id: 1 },
        tensor: { type: 'TensorProto', id: 8 },
        metadata: { type: 'SummaryMetadata', id: 9 },
      },
    },
    SummaryMetadata: { fields: { pluginData: { type: 'PluginData', id: 1 } } },
    PluginData: { fields: { pluginName: { type: 'string', id: 1 } } },
    TensorProto: {
      fields: {
        dtype: { type: 'int32', id: 1 },
        tensorShape: { type: 'TensorShapeProto', id: 2 },
        tensorContent: { type: 'bytes', id: 4 },
        floatVal: { rule: 'repeated', type: 'float', id: 5 },
        stringVal: { rule: 'repeated', type: 'bytes', id: 8 },
      },
    },
    TensorShapeProto: { fields: { dim: { rule: 'repeated', type: 'Dim', id: 2 } } },
    Dim: { fields: { size: { type: 'int64', id: 1 } } },
  },
}).lookupType('Event');

/** tensorflow.DataType */
const types = { float: 1, double: 2, string: 7 } as const;

/** One `Summary.Value`. */
export type Summary = Readonly<Record<string, unknown>>;

export function scalarSummary(tag: string, value: number): Summary {
  const tensor = { dtype: types.float, tensorShape: {}, floatVal: [value] };
  return { tag, tensor, metadata: metadata('scalars') };
}

/** Buckets of a histogram, as tf.summary.histogram has them. */
const bucketCount = 30;

/**
 * Rows of (left, right, count) over equal parts of the range of values; where all values are the same, all of them are
 * in the last row. There must be a value.
 */
export function histogramSummary(tag: string, values: Float32Array): Summary {
  const rows = new Float64Array(3 * bucketCount);
  const low = values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  const high = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const width = (high - low) / bucketCount;
  const edge = (i: number) => (i === bucketCount ? high : low + i * width);
  for (let i = 0; i < bucketCount; i++) rows.set([edge(i), edge(i + 1), 0], 3 * i);
  for (const value of values) {
    const bucket = width === 0 ? bucketCount - 1 : Math.floor((value - low) / width);
    rows[3 * Math.min(bucket, bucketCount - 1) + 2]!++;
  }
  const tensor = {
    dtype: types.double,
    tensorShape: { dim: [{ size: bucketCount }, { size: 3 }] },
    tensorContent: new Uint8Array(rows.buffer),
  };
  return { tag, tensor, metadata: metadata('histograms') };
}

/** 8-bit pixels of one size, row by row. */
export interface EventImages {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3 | 4;
  readonly pixels: readonly Uint8Array[];
}

export async function imageSummary(tag: string, { pixels, ...raw }: EventImages): Promise<Summary> {
  const { default: sharp } = await import('sharp');
  const files = await Promise.all(pixels.map((data) => sharp(data, { raw }).png().toBuffer()));
  const text = (value: number) => Buffer.from(String(value));
  const stringVal = [text(raw.width), text(raw.height), ...files];
  const tensor = { dtype: types.string, tensorShape: { dim: [{ size: stringVal.length }] }, stringVal };
  return { tag, tensor, metadata: metadata('images') };
}

function metadata(pluginName: string): object {
  return { pluginData: { pluginName } };
}

/** Times are seconds since 1970. */
export function versionRecord(wallTime: number): Uint8Array {
  return record({ wallTime, fileVersion: 'brain.Event:2' });
}

export function summaryRecord(wallTime: number, step: number, value: readonly Summary[]): Uint8Array {
  return record({ wallTime, step, summary: { value } });
}

/** u64 length, u32 masked CRC of it, data, u32 masked CRC of that: a TFRecord. */
function record(event: Readonly<Record<string, unknown>>): Uint8Array {
  const data = eventType.encode(eventType.fromObject(event)).finish();
  const bytes = Buffer.alloc(data.length + 16);
  bytes.writeBigUInt64LE(BigInt(data.length));
  bytes.writeUInt32LE(maskedCrc(bytes.subarray(0, 8)), 8);
  bytes.set(data, 12);
  bytes.writeUInt32LE(maskedCrc(data), data.length + 12);
  return bytes;
}

/** CRC-32C (Castagnoli) of each byte; zlib has the other polynomial. */
const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Turned right by 15 bits, plus a constant: a CRC over data that holds CRCs would be weak. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

let written = 0;

/** Appends to a file of its own in a folder, as tf.summary.create_file_writer names it. */
export class EventFile {
  readonly path: string;
  readonly #folder: string;
  #begun = false;

  constructor(folder: string) {
    const seconds = Math.floor(Date.now() / 1000);
    this.#folder = folder;
    this.path = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${written++}.v2`);
  }

  async write(step: number, summaries: readonly Summary[]): Promise<void> {
    const now = Date.now() / 1000;
    const records = [summaryRecord(now, step, summaries)];
    if (!this.#begun) {
      await mkdir(this.#folder, { recursive: true });
      records.unshift(versionRecord(now));
      this.#begun = true;
    }
    await appendFile(this.path, Buffer.concat(records));
  }
}
