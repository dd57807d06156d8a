/** Foreign ONNX files that are damaged or meant badly, and the words that changed between operator sets. */
import { spawnSync } from 'node:child_process';
import { cp, link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GraftError } from '../../src/core/errors.ts';
import { checkModel, decodeForeign } from '../../src/onnx/check.ts';
import { foreignTensors, imageInput, partUpTo } from '../../src/onnx/inspect.ts';
import { upgraded } from '../../src/onnx/opsets.ts';
import { decodeModel, encodeModel, type GraphProto, type ModelProto } from '../../src/onnx/proto.ts';
import { readOnnx } from '../../src/onnx/read.node.ts';
import { foreignFile } from '../support/foreign.ts';

let folder: string;
let plain: Uint8Array;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-onnx-'));
  plain = await readFile(foreignFile('plain.onnx'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Everything that happens to a file before the runtime sees it. */
function take(bytes: Uint8Array): Uint8Array {
  const model = checkModel('x.onnx', decodeForeign('x.onnx', bytes));
  const input = imageInput(model);
  const tensors = foreignTensors(model, input);
  const part = partUpTo(model, tensors.at(-1)!.name);
  expect(part.splice.graph.node.length).toBeGreaterThan(0);
  return part.bytes;
}

function changed(change: (model: ModelProto) => void): Uint8Array {
  const model = decodeModel(plain);
  change(model);
  return encodeModel(model);
}

function errorOf(work: () => unknown): GraftError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(GraftError);
    return error as GraftError;
  }
  return expect.fail('it was taken');
}

describe('a damaged file', () => {
  it('is taken, or refused with an error of Graft, whatever its bytes', () => {
    const mutation = fc.record({ at: fc.nat(plain.length - 1), value: fc.nat(255) });
    let refused = 0;
    fc.assert(
      fc.property(
        fc.array(mutation, { minLength: 1, maxLength: 8 }),
        fc.option(fc.nat(plain.length)),
        (list, end) => {
          const bytes = Uint8Array.from(plain);
          for (const { at, value } of list) bytes[at] = value;
          try {
            take(bytes.subarray(0, end ?? bytes.length));
          } catch (error) {
            if (!(error instanceof GraftError)) throw error;
            expect(error.message).toContain('x.onnx');
            refused++;
          }
        },
      ),
      { numRuns: 1500, seed: 1 },
    );
    expect(refused).toBeGreaterThan(300);
  });

  it.each(['', 'GIF89a', '{"not": "onnx"}', '\x08\x08'])('is no model: %j', (text) => {
    expect(errorOf(() => take(new TextEncoder().encode(text)))).toMatchObject({ code: 'file' });
  });

  it('goes in a circle', () => {
    const bytes = changed(({ graph: { node } }) => {
      node[0]!.input[0] = 'map';
    });
    expect(errorOf(() => take(bytes)).message).toMatch(
      /^x\.onnx: The graph goes in a circle at a node of type \w+/,
    );
  });

  it('takes what nothing computes', () => {
    const bytes = changed(({ graph: { node } }) => {
      node[2]!.input[0] = 'nowhere';
    });
    expect(errorOf(() => take(bytes)).message).toContain('takes "nowhere", which nothing computes');
  });

  it('gives two values one name', () => {
    const bytes = changed(({ graph: { node } }) => {
      node[2]!.output[0] = 'conv';
    });
    expect(errorOf(() => take(bytes)).message).toContain('Two values of the graph are named "conv"');
  });

  it('declares weights that it does not have', () => {
    const bytes = changed(({ graph: { initializer } }) => {
      initializer[0]!.dims = [1_000_000, 1_000_000, 3, 3];
    });
    expect(errorOf(() => take(bytes)).message).toBe(
      'x.onnx: The values of "w1" should be 36000000000000 bytes for shape [1000000,1000000,3,3], but there are 864.',
    );
  });

  it('has functions of its own, or an operator set from before time', () => {
    const functions = changed((model) => {
      model.functions = [{ name: 'own' }];
    });
    expect(errorOf(() => take(functions)).message).toContain('inline_local_functions');
    const old = changed(({ opsetImport }) => {
      opsetImport[0]!.version = 6;
    });
    expect(errorOf(() => take(old)).message).toContain('operator set 6; Graft reads sets from 7 on');
  });

  it('has pictures of another kind', () => {
    const four = changed(({ graph: { input } }) => {
      input[0]!.type.tensorType.shape!.dim[1] = { dimValue: 4 };
    });
    expect(errorOf(() => take(four)).message).toContain('have 4 channels');
    const integers = changed(({ graph: { input } }) => {
      input[0]!.type.tensorType.elemType = 6;
    });
    expect(errorOf(() => take(integers)).message).toContain('"image" is of type 6');
  });
});

describe('weights in another file', () => {
  const external = async (change: (entries: Record<string, string>) => void) => {
    const model = decodeModel(await readFile(foreignFile('external.onnx')));
    for (const tensor of model.graph.initializer as { externalData?: { key: string; value: string }[] }[]) {
      const entries = Object.fromEntries((tensor.externalData ?? []).map(({ key, value }) => [key, value]));
      change(entries);
      tensor.externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
    }
    const path = join(folder, 'external.onnx');
    await writeFile(path, encodeModel(model));
    await cp(foreignFile('external.bin'), join(folder, 'external.bin'));
    return readOnnx(path);
  };

  it('are read as if they lay inside', async () => {
    const model = await external(() => undefined);
    const inside = checkModel('plain.onnx', decodeModel(plain));
    expect(model.graph.initializer).toEqual(
      inside.graph.initializer.map((value) => ({ ...value, rawData: expect.anything() })),
    );
    model.graph.initializer.forEach(({ rawData }, i) => {
      expect(Buffer.from(rawData)).toEqual(Buffer.from(inside.graph.initializer[i]!.rawData));
    });
  });

  it.each(['/etc/passwd', '../secret', 'a/../../b', 'C:\\weights', '\\\\server\\share', ''])(
    'are not fetched from %j',
    async (location) => {
      await expect(
        external((entries) => {
          entries['location'] = location;
        }),
      ).rejects.toMatchObject({
        code: 'file',
        message: expect.stringContaining(`lie in "${location}", outside of`),
      });
    },
  );

  it('have to be there, all of them', async () => {
    await expect(
      external((entries) => {
        entries['location'] = 'gone.bin';
      }),
    ).rejects.toMatchObject({ code: 'file', message: expect.stringContaining('which cannot be read') });
    await expect(
      external((entries) => {
        entries['offset'] = '9007199254740000';
      }),
    ).rejects.toMatchObject({
      code: 'file',
      message: expect.stringContaining('external.bin, which has 1204'),
    });
  });
});

describe('weights in another file that a link leads to', () => {
  /** A model whose weights are said to lie at a place, in a folder of its own. */
  const modelAt = async (place: string, location: string) => {
    const model = decodeModel(await readFile(foreignFile('external.onnx')));
    for (const tensor of model.graph.initializer as { externalData?: { key: string; value: string }[] }[]) {
      for (const entry of tensor.externalData ?? []) if (entry.key === 'location') entry.value = location;
    }
    await mkdir(dirname(place), { recursive: true });
    await writeFile(place, encodeModel(model));
    return place;
  };
  const secret = async () => {
    const path = join(folder, 'elsewhere', 'secret.bin');
    await mkdir(dirname(path), { recursive: true });
    await cp(foreignFile('external.bin'), path);
    return path;
  };
  const outside = { code: 'file', message: expect.stringContaining("outside of the model's folder") };

  it('are not read if they lie elsewhere: a link, a linked folder, a link to a link', async () => {
    await secret();
    const path = await modelAt(join(folder, 'links', 'a.onnx'), 'weights.bin');
    await symlink('../elsewhere/secret.bin', join(folder, 'links', 'weights.bin'));
    await expect(readOnnx(path)).rejects.toMatchObject(outside);
    await symlink('../elsewhere', join(folder, 'links', 'sub'));
    const inner = await modelAt(join(folder, 'links', 'b.onnx'), 'sub/secret.bin');
    await expect(readOnnx(inner)).rejects.toMatchObject(outside);
    await symlink('weights.bin', join(folder, 'links', 'twice.bin'));
    const twice = await modelAt(join(folder, 'links', 'c.onnx'), 'twice.bin');
    await expect(readOnnx(twice)).rejects.toMatchObject(outside);
    // A neighbour whose name begins as the folder's does is no part of it.
    await mkdir(join(folder, 'links-too'));
    await cp(foreignFile('external.bin'), join(folder, 'links-too', 'w.bin'));
    await symlink('../links-too/w.bin', join(folder, 'links', 'w.bin'));
    await expect(readOnnx(await modelAt(join(folder, 'links', 'd.onnx'), 'w.bin'))).rejects.toMatchObject(
      outside,
    );
  });

  it('are read if the link stays in the folder', async () => {
    const path = await modelAt(join(folder, 'inside', 'a.onnx'), 'weights.bin');
    await mkdir(join(folder, 'inside', 'data'));
    await cp(foreignFile('external.bin'), join(folder, 'inside', 'data', 'w.bin'));
    await symlink('data/w.bin', join(folder, 'inside', 'weights.bin'));
    expect((await readOnnx(path)).graph.initializer.length).toBeGreaterThan(0);
  });

  it('are not read if the file has a second name, which may be one of elsewhere', async () => {
    const path = await modelAt(join(folder, 'hard', 'a.onnx'), 'weights.bin');
    await link(await secret(), join(folder, 'hard', 'weights.bin'));
    await expect(readOnnx(path)).rejects.toMatchObject({
      code: 'file',
      message: expect.stringMatching(/has hard links.* replace it by a copy/),
    });
  });

  it("are read from the blobs of the same repository, as in Hugging Face's cache, and from no others", async () => {
    const hub = join(folder, 'hub');
    const store = join(hub, 'models--org--name');
    const snapshot = join(store, 'snapshots', '0123abc', 'onnx');
    const blobs = join(store, 'blobs');
    await mkdir(blobs, { recursive: true });
    await modelAt(join(blobs, 'aaaa'), 'model.onnx_data');
    await cp(foreignFile('external.bin'), join(blobs, 'bbbb'));
    await mkdir(snapshot, { recursive: true });
    await symlink('../../../blobs/aaaa', join(snapshot, 'model.onnx'));
    const data = join(snapshot, 'model.onnx_data');
    await symlink('../../../blobs/bbbb', data);
    expect((await readOnnx(join(snapshot, 'model.onnx'))).graph.initializer.length).toBeGreaterThan(0);
    const other = join(hub, 'models--evil--twin', 'blobs');
    await mkdir(other, { recursive: true });
    await cp(foreignFile('external.bin'), join(other, 'bbbb'));
    for (const target of [join(other, 'bbbb'), await secret(), join(store, 'snapshots', 'x', 'y')]) {
      await rm(data);
      await mkdir(dirname(target), { recursive: true });
      await cp(foreignFile('external.bin'), target);
      await symlink(target, data);
      await expect(readOnnx(join(snapshot, 'model.onnx')), target).rejects.toMatchObject(outside);
    }
    // A folder that only calls its parts so is no such cache.
    const fake = join(folder, 'fake', 'snapshots', 'x');
    await mkdir(join(folder, 'fake', 'blobs'), { recursive: true });
    await cp(foreignFile('external.bin'), join(folder, 'fake', 'blobs', 'b'));
    const path = await modelAt(join(fake, 'a.onnx'), 'w');
    await symlink('../../blobs/b', join(fake, 'w'));
    await expect(readOnnx(path)).rejects.toMatchObject(outside);
  });

  it('have to be regular files', async () => {
    const path = await modelAt(join(folder, 'odd', 'a.onnx'), 'weights.bin');
    await mkdir(join(folder, 'odd', 'weights.bin'));
    await expect(readOnnx(path)).rejects.toMatchObject({
      code: 'file',
      message: expect.stringContaining('a folder'),
    });
    await rm(join(folder, 'odd', 'weights.bin'), { recursive: true });
    if (spawnSync('mkfifo', [join(folder, 'odd', 'weights.bin')]).status !== 0) return;
    await expect(readOnnx(path)).rejects.toMatchObject({
      code: 'file',
      message: expect.stringContaining('a pipe'),
    });
  });
});

describe('an attribute of zero', () => {
  it('is zero where a file leaves it out, not what the operator would take without it', () => {
    const bytes = changed(({ graph }) => {
      const relu = graph.node.find(({ opType }) => opType === 'Relu')!;
      Object.assign(relu, { opType: 'Clip', attribute: [{ name: 'min', type: 1, f: 0 }] });
    });
    const { graph } = checkModel('x.onnx', decodeForeign('x.onnx', bytes));
    const clip = graph.node.find(({ opType }) => opType === 'Clip')!;
    expect(clip.attribute).toMatchObject([{ name: 'min', f: 0 }]);
    // Behind a constant of its lower bound, in the form of Graft's operator set.
    const { node } = upgraded({ ...graph, node: [clip] }, 9);
    expect(node.map(({ opType }) => opType)).toEqual(['Constant', 'Clip']);
  });
});

describe('a part', () => {
  const whole = () => checkModel('plain.onnx', decodeModel(plain));

  it('holds what it needs and nothing else', () => {
    const { bytes } = partUpTo(whole(), 'map');
    const { graph } = decodeModel(bytes);
    expect(graph.node.map(({ opType }) => opType)).toEqual(['Conv', 'BatchNormalization', 'Relu']);
    expect(graph.initializer).toHaveLength(6);
    expect(graph.output.map(({ name }) => name)).toEqual(['map']);
  });

  it('of a part is that part', () => {
    const part = partUpTo(whole(), 'map');
    const again = partUpTo(checkModel('part.onnx', decodeForeign('part.onnx', part.bytes)), 'map');
    expect(again.digest).toBe(part.digest);
    expect(Buffer.from(again.bytes)).toEqual(Buffer.from(part.bytes));
    expect(partUpTo(whole(), 'embedding').digest).not.toBe(part.digest);
  });
});

describe('operator sets', () => {
  const node = (opType: string, attribute: GraphProto['node'][0]['attribute']): GraphProto => ({
    ...{ name: 'g', initializer: [], input: [], output: [] },
    node: [{ opType, name: 'n', input: ['x'], output: ['y'], attribute }],
  });
  const axes = [{ name: 'axes', type: 7, ints: [1] }];

  it.each([
    ['ReduceSum', 12, 13],
    ['ReduceMean', 17, 18],
    ['Squeeze', 12, 13],
  ])('%s: axes are an attribute up to set %d', (opType, last, first) => {
    const before = upgraded(node(opType, axes), last).node;
    expect(before.map((each) => each.opType)).toEqual(['Constant', opType]);
    expect(before[1]).toMatchObject({ input: ['x', 'y/Constant_0'], attribute: [] });
    expect(upgraded(node(opType, axes), first).node).toMatchObject([
      { opType, input: ['x'], attribute: axes },
    ]);
  });

  it('what is newer than Graft stays as it is', () => {
    expect(upgraded(node('Softmax', []), 22).node).toMatchObject([{ opType: 'Softmax' }]);
  });
});
