/**
 * The safetensors format: u64 length of a header, the header as JSON, then the data without holes. It owns the
 * rules of the format and works on bytes alone; `safetensors.node.ts` adds files.
 */
import { fail, messageOf } from '../core/errors.ts';
import { parseStrictly } from '../core/json.ts';
import { isRecord } from '../core/records.ts';
import {
  bytesOf,
  bytesPerElement,
  type DataOf,
  type DType,
  formatShape,
  type Tensor,
  tensor,
} from '../core/tensor.ts';
import type { NamedTensor } from './tensors.ts';

/** Element types that Graft reads; the format knows more. BF16 and F64 become float32. */
export type SafetensorsDType = 'F32' | 'F16' | 'BF16' | 'F64' | 'I64' | 'I32' | 'U8' | 'I8' | 'BOOL';

/** Where one tensor lies: bytes `begin` (inclusive) to `end` (exclusive), counted from the end of the header. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** A header that keeps all rules of the format: its entries cover the data without holes or overlaps. */
export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Offset in the file at which the data starts. */
  readonly dataStart: number;
}

/** A parsed file; a tensor is decoded (and copied) when it is asked for. */
export interface Safetensors extends SafetensorsHeader {
  /** Throws `weights`, with the names there are, if there is no such tensor. */
  get(name: string): Tensor;
}

/** Longest header that the format allows. */
export const HEADER_LIMIT = 100_000_000;

/** Bytes of one element; `bool` is one byte, 0 or 1. */
const widths: { readonly [D in SafetensorsDType]: number } = {
  F32: 4,
  F16: 2,
  BF16: 2,
  F64: 8,
  I64: 8,
  I32: 4,
  U8: 1,
  I8: 1,
  BOOL: 1,
};

const names: { readonly [D in DType]: SafetensorsDType } = {
  float32: 'F32',
  float16: 'F16',
  int32: 'I32',
  int64: 'I64',
  uint8: 'U8',
  int8: 'I8',
  bool: 'BOOL',
};

const dtypes: { readonly [D in Exclude<SafetensorsDType, 'BF16' | 'F64'>]: DType } = {
  F32: 'float32',
  F16: 'float16',
  I64: 'int64',
  I32: 'int32',
  U8: 'uint8',
  I8: 'int8',
  BOOL: 'bool',
};

/**
 * Parses a whole file in memory. Throws `file`, naming `source`, when a rule of the format is broken, and
 * `unsupported` for an element type that Graft does not have.
 */
export function parseSafetensors(bytes: Uint8Array, source = 'The safetensors data'): Safetensors {
  const dataStart = headerEnd(bytes.subarray(0, 8), bytes.length, source);
  const header = parseHeader(bytes.subarray(8, dataStart), bytes.length - dataStart, source);
  const get = (name: string): Tensor => {
    const entry = entryOf(header, name, source);
    return decodeTensor(entry, bytes.slice(dataStart + entry.begin, dataStart + entry.end));
  };
  return { ...header, get };
}

/** Offset at which the header ends and the data starts, from the first eight bytes. */
export function headerEnd(start: Uint8Array, fileBytes: number, source: string): number {
  if (start.length < 8)
    return broken(source, 'it is shorter than the 8 bytes that every such file starts with');
  const length = new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(HEADER_LIMIT)) {
    return broken(source, `its header would have ${length} bytes, more than the ${HEADER_LIMIT} allowed`);
  }
  const end = 8 + Number(length);
  if (end > fileBytes) {
    return broken(source, `its header should end at byte ${end}, but there are only ${fileBytes} bytes`);
  }
  return end;
}

/** Parses the JSON of a header and checks it against the number of data bytes that follow it. */
export function parseHeader(json: Uint8Array, dataBytes: number, source: string): SafetensorsHeader {
  const parsed = parseJson(json, source);
  if (!isRecord(parsed)) return broken(source, 'its header is not a JSON object');
  const metadata = new Map<string, string>();
  const entries: SafetensorsEntry[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    if (name !== '__metadata__') {
      entries.push(parseEntry(name, value, source));
      continue;
    }
    if (!isRecord(value)) return broken(source, '"__metadata__" is not a JSON object');
    for (const [key, text] of Object.entries(value)) {
      if (typeof text !== 'string') return broken(source, `"__metadata__" holds "${key}", which is not text`);
      metadata.set(key, text);
    }
  }
  checkCoverage(entries, dataBytes, source);
  return {
    entries: new Map(entries.map((entry) => [entry.name, entry])),
    metadata,
    dataStart: 8 + json.length,
  };
}

function parseJson(json: Uint8Array, source: string): unknown {
  if (json[0] !== 0x7b) return broken(source, 'its header does not start with "{"');
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
    return parseStrictly(text);
  } catch (error) {
    return broken(source, `its header is not valid: ${messageOf(error)}`, error);
  }
}

function parseEntry(name: string, value: unknown, source: string): SafetensorsEntry {
  if (!isRecord(value)) return broken(source, `the entry of "${name}" is not a JSON object`);
  const { dtype, shape, data_offsets: offsets, ...rest } = value;
  const extra = Object.keys(rest)[0];
  if (extra !== undefined) return broken(source, `the entry of "${name}" has an unknown field "${extra}"`);
  if (typeof dtype !== 'string') return broken(source, `the entry of "${name}" has no dtype`);
  if (!Object.hasOwn(widths, dtype)) {
    const known = Object.keys(widths).join(', ');
    return fail('unsupported', `${source} stores "${name}" as ${dtype}; Graft reads ${known}.`);
  }
  if (!isCounts(shape)) return broken(source, `the shape of "${name}" is not a list of whole numbers`);
  if (!isCounts(offsets) || offsets.length !== 2) {
    return broken(source, `the data_offsets of "${name}" are not two whole numbers`);
  }
  const [begin, end] = offsets as [number, number];
  const known = dtype as SafetensorsDType;
  // BigInt, since the product of a hostile shape overflows a double to a plausible number.
  const bytes = shape.reduce((product, dim) => product * BigInt(dim), BigInt(widths[known]));
  if (BigInt(end) - BigInt(begin) !== bytes) {
    return broken(
      source,
      `"${name}" of shape ${formatShape(shape)} needs ${bytes} bytes, but its data_offsets are ${begin} to ${end}`,
    );
  }
  return { name, dtype: known, shape, begin, end };
}

/** Checks that the tensors, in order of their offsets, follow one another from 0 to the end of the data. */
function checkCoverage(entries: readonly SafetensorsEntry[], dataBytes: number, source: string): void {
  let at = 0;
  for (const entry of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== at) {
      const what = entry.begin > at ? 'there is a hole' : 'tensors overlap';
      broken(source, `${what} before "${entry.name}": it starts at ${entry.begin}, expected ${at}`);
    }
    at = entry.end;
  }
  if (at !== dataBytes)
    broken(source, `its tensors end at byte ${at} of the data, which has ${dataBytes} bytes`);
}

/** The entry of a tensor. Throws `weights`, with some of the names there are, if there is none. */
export function entryOf(header: SafetensorsHeader, name: string, source: string): SafetensorsEntry {
  const entry = header.entries.get(name);
  if (entry) return entry;
  const some = [...header.entries.keys()].slice(0, 5).join(', ');
  const more = header.entries.size > 5 ? `, ... (${header.entries.size} in all)` : '';
  return fail('weights', `${source} has no tensor "${name}"; it has: ${some || 'none'}${more}.`);
}

/** The tensor of an entry, from exactly its bytes, which it takes over where no conversion is needed. */
export function decodeTensor(entry: SafetensorsEntry, bytes: Uint8Array): Tensor {
  // A view into the middle of another buffer may not lie on a multiple of the element's size.
  const { buffer, byteOffset, length } = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  if (entry.dtype === 'BF16') return tensor('float32', entry.shape, fromBfloat16(bytes));
  if (entry.dtype === 'F64') {
    return tensor(
      'float32',
      entry.shape,
      Float32Array.from(new Float64Array(buffer, byteOffset, length / 8)),
    );
  }
  const dtype = dtypes[entry.dtype];
  return tensor(
    dtype,
    entry.shape,
    views[dtype](buffer as ArrayBuffer, byteOffset, length / widths[entry.dtype]),
  );
}

const views: { readonly [D in DType]: (buffer: ArrayBuffer, at: number, size: number) => DataOf[D] } = {
  float32: (buffer, at, size) => new Float32Array(buffer, at, size),
  float16: (buffer, at, size) => new Uint16Array(buffer, at, size),
  int32: (buffer, at, size) => new Int32Array(buffer, at, size),
  int64: (buffer, at, size) => new BigInt64Array(buffer, at, size),
  uint8: (buffer, at, size) => new Uint8Array(buffer, at, size),
  int8: (buffer, at, size) => new Int8Array(buffer, at, size),
  bool: (buffer, at, size) => new Uint8Array(buffer, at, size),
};

/** bfloat16 is the upper half of a float32. */
function fromBfloat16(bytes: Uint8Array): Float32Array {
  const out = new Uint32Array(bytes.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = ((bytes[2 * i + 1]! << 24) | (bytes[2 * i]! << 16)) >>> 0;
  return new Float32Array(out.buffer);
}

/**
 * The start of a file (length and header, padded to a multiple of 8 bytes) and the tensors in the order in which
 * their bytes must follow it: wide elements first, so that each lies on a multiple of its size.
 * Throws `argument` for two tensors of one name.
 */
export function encodeHeader(
  tensors: readonly NamedTensor[],
  metadata: { readonly [key: string]: string } = {},
): { readonly start: Uint8Array; readonly order: readonly NamedTensor[] } {
  const width = (each: NamedTensor) => bytesPerElement(each.tensor.dtype);
  const order = [...tensors].sort((a, b) => width(b) - width(a));
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set('__metadata__', metadata);
  let at = 0;
  for (const { name, tensor: values } of order) {
    if (header.has(name) || name === '__metadata__') {
      fail(
        'argument',
        `A safetensors file cannot hold two tensors called "${name}", or one called __metadata__.`,
      );
    }
    const end = at + bytesOf(values).length;
    header.set(name, { dtype: names[values.dtype], shape: values.shape, data_offsets: [at, end] });
    at = end;
  }
  // Built by hand, because an object would lose the key "__proto__" and reorder keys like "0".
  const fields = [...header].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
  const json = new TextEncoder().encode(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > HEADER_LIMIT)
    fail('argument', `The header has ${padded} bytes, more than ${HEADER_LIMIT} allowed.`);
  const start = new Uint8Array(8 + padded).fill(0x20);
  new DataView(start.buffer).setBigUint64(0, BigInt(padded), true);
  start.set(json, 8);
  return { start, order };
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && each >= 0);
}

function broken(source: string, reason: string, cause?: unknown): never {
  return fail('file', `${source} is not a valid safetensors file: ${reason}.`, cause);
}
