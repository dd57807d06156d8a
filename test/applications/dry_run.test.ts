/** Models that would compute for ever, or take more memory than there is, are tried within limits. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { dryRun, usualLimits } from '../../src/applications/dry_run.node.ts';
import { pictureNotes } from '../../src/applications/onnx_metadata.node.ts';
import { float32 } from '../../src/core/tensor.ts';
import { decodeModel } from '../../src/onnx/proto.ts';

/** A Loop of 2^62 turns, and a ConstantOfShape of 2·10⁹ float32, which take a (1, 3, 32, 32) image. */
const fixture = (name: string) =>
  readFile(fileURLToPath(new URL(`../onnx/fixtures/${name}.onnx`, import.meta.url)));

const feedsOf = (bytes: Uint8Array) => {
  const { name, type } = decodeModel(bytes).graph.input[0]!;
  const shape = type.tensorType.shape!.dim.map(({ dimValue }) => Number(dimValue) || 1);
  return [{ [name]: float32(shape, new Float32Array(shape.reduce((size, dim) => size * dim, 1))) }];
};

describe('a model that is tried', () => {
  it('is ended after some time', async () => {
    const bytes = await fixture('loop_forever');
    const limits = { seconds: 4, bytes: 8e9 };
    const start = performance.now();
    await expect(dryRun(bytes, feedsOf(bytes), { optimize: false, limits })).rejects.toMatchObject({
      code: 'unsupported',
      message: 'It was tried with one or two images and was not done after 4 seconds.',
    });
    expect(performance.now() - start).toBeLessThan(20_000);
  }, 30_000);

  it.skipIf(process.platform !== 'linux')(
    'is ended when it takes too much memory',
    async () => {
      const bytes = await fixture('cos_8GB');
      const limits = { seconds: 60, bytes: 0.5e9 };
      await expect(dryRun(bytes, feedsOf(bytes), { optimize: false, limits })).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringContaining('took more than 0.5 GB of memory'),
      });
    },
    60_000,
  );

  it('may take what large models take', () => {
    // ResNet152 has 241 MB of weights.
    const { seconds, bytes } = usualLimits(241e6);
    expect(seconds).toBeGreaterThan(70);
    expect(bytes).toBeGreaterThan(Math.min(5e9, 0.8 * process.availableMemory()));
  });
});

describe('metadata', () => {
  const notes = (value: string) => {
    const model = { metadataProps: [{ key: 'description', value }] };
    return pictureNotes('/nowhere/x.onnx', model as never, { bytes: false } as never);
  };
  it('of any length are looked through once', async () => {
    // 200 kB of beginnings: a search that starts anew at each of them took 40 s.
    for (const begin of ['mean ', 'mean: 1, ', 'mean [', 'std 1 1 ', 'mean: '.padEnd(60, '1. ')]) {
      const start = performance.now();
      expect((await notes(begin.repeat(Math.ceil(200_000 / begin.length)))).normalization).toBeNull();
      expect(performance.now() - start, begin).toBeLessThan(1500);
    }
  });
  it('may say the numbers after some other words', async () => {
    const text = 'The mean accuracy is high.\nmean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]';
    expect((await notes(text)).normalization).toEqual({
      mean: [0.485, 0.456, 0.406],
      std: [0.229, 0.224, 0.225],
    });
  });
});
