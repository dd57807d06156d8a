import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GraftError } from '../../src/core/errors.ts';
import {
  bytesOf,
  type DataOf,
  type DType,
  float32,
  sizeOf,
  type Tensor,
  tensor,
} from '../../src/core/tensor.ts';
import { openSafetensors, readSafetensors, writeSafetensors } from '../../src/saving/safetensors.node.ts';
import { encodeHeader, parseSafetensors } from '../../src/saving/safetensors.ts';
import { asFloat32, type NamedTensor } from '../../src/saving/tensors.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-safetensors-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** A file from a header as text and a number of data bytes, so that every rule can be broken. */
function file(header: string, dataBytes = 0): Uint8Array {
  const json = Buffer.from(header);
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const entry = (dtype: string, shape: readonly number[], begin: number, end: number) =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] });

const kinds: readonly DType[] = ['float32', 'float16', 'int32', 'int64', 'uint8', 'int8', 'bool'];
const anyTensor: fc.Arbitrary<Tensor> = fc
  .tuple(fc.constantFrom(...kinds), fc.array(fc.nat(4), { maxLength: 3 }), fc.nat(255))
  .map(([dtype, shape, fill]) => {
    const made = tensor(dtype, shape);
    bytesOf(made).fill(dtype === 'bool' ? fill % 2 : fill);
    return made;
  });
const anyTensors: fc.Arbitrary<NamedTensor[]> = fc.uniqueArray(
  fc.record({ name: fc.string({ maxLength: 8 }), tensor: anyTensor }),
  { selector: (each) => each.name, maxLength: 6 },
);

describe('safetensors in memory', () => {
  it('gives back every tensor bit for bit', () => {
    fc.assert(
      fc.property(anyTensors, (tensors) => {
        const { start, order } = encodeHeader(tensors, { format: 'pt' });
        const bytes = Buffer.concat([start, ...order.map((each) => bytesOf(each.tensor))]);
        const parsed = parseSafetensors(bytes);
        expect(parsed.metadata.get('format')).toBe('pt');
        expect([...parsed.entries.keys()].sort()).toEqual(tensors.map((each) => each.name).sort());
        for (const { name, tensor: values } of tensors) {
          const read = parsed.get(name);
          expect([read.dtype, read.shape]).toEqual([values.dtype, values.shape]);
          expect(bytesOf(read)).toEqual(bytesOf(values));
        }
      }),
    );
  });

  it('reads bfloat16 and float64 as float32, wherever they lie', () => {
    const header = `{"odd":${entry('U8', [1], 0, 1)},"b":${entry('BF16', [2], 1, 5)},"d":${entry('F64', [1], 5, 13)}}`;
    const bytes = file(header, 13);
    bytes.set([9, 0x80, 0x3f, 0x20, 0xc0], bytes.length - 13);
    new DataView(bytes.buffer).setFloat64(bytes.length - 8, -0.1, true);
    const parsed = parseSafetensors(bytes);
    expect(parsed.get('b')).toEqual(float32([2], [1, -2.5]));
    expect(parsed.get('d')).toEqual(float32([1], [-0.1]));
  });

  it('widens every element type to float32', () => {
    const values: { [D in DType]: DataOf[D] } = {
      float32: Float32Array.of(1.5),
      float16: Uint16Array.of(0x3e00),
      int32: Int32Array.of(-3),
      int64: BigInt64Array.of(-3n),
      uint8: Uint8Array.of(200),
      int8: Int8Array.of(-3),
      bool: Uint8Array.of(1),
    };
    const widened = kinds.map((dtype) => asFloat32(tensor(dtype, [1], values[dtype])).data[0]);
    expect(widened).toEqual([1.5, 1.5, -3, -3, 200, -3, 1]);
    expect(() => asFloat32(tensor('int64', [1], BigInt64Array.of(1n << 60n)))).toThrow(GraftError);
  });

  it('names the tensors there are when one is missing', () => {
    const parsed = parseSafetensors(file(`{"a":${entry('U8', [0], 0, 0)}}`), 'w.safetensors');
    expect(() => parsed.get('b')).toThrow('w.safetensors has no tensor "b"; it has: a.');
  });

  const rules: readonly (readonly [string, Uint8Array, string])[] = [
    ['eight bytes at least', new Uint8Array(7), 'shorter than the 8 bytes'],
    [
      'a header of 100 MB at most',
      Uint8Array.of(0, 0xe1, 0xf5, 0x06, 0, 0, 0, 0, 0x7b),
      'more than the 100000000',
    ],
    ['a header inside the file', Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 0x7b), 'should end at byte 17'],
    ['a header that starts with a brace', file(' {}'), 'does not start with "{"'],
    ['a header of valid JSON', file('{"a"}'), 'header is not valid'],
    ['a header of valid UTF-8', file('{}').fill(0xff, 9), 'header is not valid'],
    [
      'different names',
      file(`{"a":${entry('U8', [0], 0, 0)},"a":${entry('U8', [0], 0, 0)}}`),
      '"a" comes twice',
    ],
    [
      'different fields',
      file('{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
      'comes twice',
    ],
    [
      'no unknown fields',
      file('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"b":1}}'),
      'unknown field "b"',
    ],
    ['text as metadata', file('{"__metadata__":{"a":1}}'), 'holds "a", which is not text'],
    ['a known dtype', file(`{"a":${entry('C64', [0], 0, 0)}}`), 'stores "a" as C64'],
    ['whole dimensions', file(`{"a":${entry('U8', [-1], 0, 0)}}`), 'shape of "a"'],
    ['whole offsets', file(`{"a":${entry('U8', [1], 0.5, 1.5)}}`, 2), 'data_offsets of "a"'],
    ['sizes that agree', file(`{"a":${entry('F32', [2], 0, 4)}}`, 4), 'needs 8 bytes'],
    [
      'sizes that do not wrap',
      file(`{"a":${entry('F32', [2 ** 32, 2 ** 32], 0, 0)}}`),
      'needs 73786976294838206464',
    ],
    ['no hole at the start', file(`{"a":${entry('U8', [1], 1, 2)}}`, 2), 'there is a hole before "a"'],
    ['no hole', file(`{"a":${entry('U8', [1], 0, 1)},"b":${entry('U8', [1], 2, 3)}}`, 3), 'hole before "b"'],
    [
      'no overlap',
      file(`{"a":${entry('U8', [2], 0, 2)},"b":${entry('U8', [2], 1, 3)}}`, 3),
      'tensors overlap',
    ],
    ['no rest', file(`{"a":${entry('U8', [1], 0, 1)}}`, 2), 'end at byte 1 of the data, which has 2'],
    ['all data', file(`{"a":${entry('U8', [2], 0, 2)}}`, 1), 'end at byte 2 of the data, which has 1'],
  ];
  it.each(rules)('requires %s', (_, bytes, message) => {
    expect(() => parseSafetensors(bytes)).toThrow(message);
    expect(() => parseSafetensors(bytes)).toThrow(GraftError);
  });

  it('takes braces, quotes and escapes in names and metadata for what they are', () => {
    const names = ['{"a":1}', '\\', '"', '__proto__', '0', 'é'];
    const { start } = encodeHeader(
      names.map((name) => ({ name, tensor: tensor('uint8', [0]) })),
      { 'x":': '{"x":1,"x":2}', long: '\\"'.repeat(1_000_000) },
    );
    expect([...parseSafetensors(start).entries.keys()].sort()).toEqual([...names].sort());
  });

  it('refuses to write two tensors of one name', () => {
    const twice = { name: 'a', tensor: float32([], [1]) };
    expect(() => encodeHeader([twice, twice])).toThrow('two tensors called "a"');
  });

  it('answers any damage with a tensor or a GraftError', () => {
    const tensors = [
      { name: 'conv/kernel', tensor: float32([2, 3], [1, 2, 3, 4, 5, 6]) },
      { name: 'step', tensor: tensor('int64', [], BigInt64Array.of(7n)) },
    ];
    const { start, order } = encodeHeader(tensors);
    const bytes = Buffer.concat([start, ...order.map((each) => bytesOf(each.tensor))]);
    const flips = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(7)), { maxLength: 4 });
    fc.assert(
      fc.property(flips, fc.nat(bytes.length), (bits, length) => {
        const damaged = Buffer.from(bytes);
        for (const [at, bit] of bits) damaged[at]! ^= 1 << bit;
        try {
          const parsed = parseSafetensors(damaged.subarray(0, length));
          for (const name of parsed.entries.keys()) {
            const read = parsed.get(name);
            expect(read.data.length).toBe(sizeOf(read.shape));
          }
        } catch (error) {
          expect(error).toBeInstanceOf(GraftError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('safetensors files', () => {
  const tensors = [
    { name: 'flags', tensor: tensor('uint8', [3], Uint8Array.of(1, 2, 3)) },
    { name: 'kernel', tensor: float32([2, 2], [1, 2, 3, 4]) },
  ];

  it('reads one tensor or all of them', async () => {
    const path = join(folder, 'two.safetensors');
    await writeSafetensors(path, tensors, { format: 'graft' });
    expect(await readSafetensors(path, ['kernel'])).toEqual(new Map([['kernel', tensors[1]!.tensor]]));
    expect((await readSafetensors(path)).size).toBe(2);
    await using open = await openSafetensors(path);
    expect(open.metadata.get('format')).toBe('graft');
    expect(await open.read('flags')).toEqual(tensors[0]!.tensor);
    await expect(open.read('bias')).rejects.toMatchObject({ code: 'weights' });
    expect(await readdir(folder)).toEqual(['two.safetensors']);
  });

  it('writes what it parses in memory', async () => {
    const path = join(folder, 'same.safetensors');
    await writeSafetensors(path, tensors);
    const parsed = parseSafetensors(await readFile(path));
    expect(parsed.dataStart % 8).toBe(0);
    expect(parsed.get('kernel')).toEqual(tensors[1]!.tensor);
  });

  it('notices a file that is cut while it is open', async () => {
    const path = join(folder, 'cut.safetensors');
    await writeSafetensors(path, tensors);
    await using open = await openSafetensors(path);
    await truncate(path, open.dataStart);
    await expect(open.read('kernel')).rejects.toThrow('ended while it was read');
  });

  it('names the file in every error', async () => {
    const missing = join(folder, 'none.safetensors');
    await expect(openSafetensors(missing)).rejects.toThrow(`Cannot read ${missing}`);
    const bad = join(folder, 'bad.safetensors');
    await writeFile(bad, 'not at all');
    await expect(readSafetensors(bad)).rejects.toThrow(`${bad} is not a valid safetensors file`);
  });
});
