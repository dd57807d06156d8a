/** Damaged files: whatever the bytes, the answer is a file's content or a `GraftError`, and no file stays open. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { GraftError } from '../../src/core/errors.ts';
import { withHdf5 } from '../../src/saving/hdf5_library.node.ts';
import { readKerasH5 } from '../../src/saving/keras_h5.node.ts';

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const names = ['keras2_weights.h5', 'keras3_model.h5', 'dtypes.h5'];

let folder: string;
const files: Buffer[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-damage-'));
  for (const name of names) files.push(await readFile(fixture(name)));
  // The library reports that it got no memory for an absurd size on the console, past its own error stack.
  vi.spyOn(console, 'error').mockImplementation(() => undefined);
});
afterAll(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true });
});

/** Files this process has open, where the system tells. */
async function openFiles(): Promise<number> {
  return existsSync('/proc/self/fd') ? (await readdir('/proc/self/fd')).length : 0;
}

async function contentOrGraftError(bytes: Uint8Array): Promise<void> {
  const path = join(folder, 'damaged.h5');
  await writeFile(path, bytes);
  await readKerasH5(path).catch((error: unknown) => {
    expect(error).toBeInstanceOf(GraftError);
    expect((error as GraftError).message).toContain(path);
  });
}

describe('a damaged .h5 file', () => {
  // Most structure of these files lies in the first kilobytes, so half of the damage goes there.
  const position = fc.oneof(fc.nat(2047), fc.nat(60_000));
  const value = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
  const damage = fc.array(fc.tuple(position, value), { minLength: 1, maxLength: 8 });

  it('with changed bytes is read or refused', async () => {
    const before = await openFiles();
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names.keys()), damage, async (which, changes) => {
        const bytes = Buffer.from(files[which]!);
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        await contentOrGraftError(bytes);
      }),
      { numRuns: 400 },
    );
    expect(await openFiles()).toBe(before);
  });

  it('whose texts have no end is refused at once', async () => {
    // What is left of a heap of texts is its object 0. One that takes no room, and one that takes more than there is.
    const whole = files[names.indexOf('keras3_model.h5')]!;
    const heap = whole.indexOf('GCOL');
    let free = heap + 16;
    while (whole.readUInt16LE(free) !== 0)
      free += 16 + 8 * Math.ceil(Number(whole.readBigUInt64LE(free + 8)) / 8);
    for (const size of [0n, 2n ** 40n]) {
      const bytes = Buffer.from(whole);
      bytes.writeBigUInt64LE(size, free + 8);
      const path = join(folder, 'endless.h5');
      await writeFile(path, bytes);
      await expect(readKerasH5(path)).rejects.toThrow(
        `${path} is damaged or not a Keras .h5 file: its texts at byte ${heap} have no end.`,
      );
    }
  });

  it('that is cut off is refused', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names.keys()),
        fc.double({ min: 0, max: 0.999 }),
        async (which, part) => {
          const whole = files[which]!;
          const path = join(folder, 'cut.h5');
          await writeFile(path, whole.subarray(0, Math.floor(whole.length * part)));
          await expect(readKerasH5(path)).rejects.toMatchObject({
            code: 'file',
            message: expect.not.stringContaining('refers to another file'),
          });
        },
      ),
      { numRuns: 60 },
    );
  });

  it('does no harm to the next file when the library breaks off', async () => {
    const before = await openFiles();
    const trap = Object.assign(new Error('unreachable'), { name: 'RuntimeError' });
    const broken = withHdf5(fixture('dtypes.h5'), 'read', () => {
      throw trap;
    });
    await expect(broken).rejects.toThrow(
      'dtypes.h5 is damaged or not a Keras .h5 file: the HDF5 library broke off',
    );
    expect(await openFiles()).toBe(before);
    expect((await readKerasH5(fixture('dtypes.h5'))).layers).toHaveLength(1);
  });
});
