/** Hostile `.keras` archives: each is refused by what is wrong with it, quickly and with nothing left behind. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ZipFile } from 'yazl';
import { readArchive } from '../../src/saving/keras_archive.node.ts';
import { load } from '../../src/training/build.ts';
import { goldenPath } from '../support/golden.ts';

let folder: string;
let parts: Readonly<Record<string, Buffer>>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-archive-'));
  parts = await readArchive(
    goldenPath('formats/keras3.keras'),
    async ({ metadata, config, weightsPath }) => ({
      'metadata.json': Buffer.from(JSON.stringify(metadata)),
      'config.json': Buffer.from(JSON.stringify(config)),
      'model.weights.h5': await readFile(weightsPath),
    }),
  );
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

type Parts = readonly (readonly [name: string, content: Uint8Array])[];

async function zipOf(entries: Parts, compress = false): Promise<Buffer> {
  const zip = new ZipFile();
  for (const [name, content] of entries) zip.addBuffer(Buffer.from(content), name, { compress });
  zip.end();
  return buffer(zip.outputStream);
}

async function loadBytes(bytes: Uint8Array) {
  const path = join(folder, 'made.keras');
  await writeFile(path, bytes);
  return load(path, { compile: false });
}

async function refused(bytes: Uint8Array, message: RegExp): Promise<void> {
  const loading = loadBytes(bytes);
  await expect(loading).rejects.toMatchObject({ code: 'file' });
  await expect(loading).rejects.toThrow(message);
  await expect(loading).rejects.toThrow('made.keras');
}

/** Replaces a name in an archive by one of the same length, in both places where it stands. */
function renamed(bytes: Buffer, from: string, to: string): Buffer {
  return Buffer.from(bytes.toString('latin1').replaceAll(from, to), 'latin1');
}

describe('an archive', () => {
  it('that somebody else has compressed is read', async () => {
    const model = await loadBytes(await zipOf(Object.entries(parts), true));
    expect(model.name).toBe('nested');
  });

  it('that lacks a part, or has one twice, is refused', async () => {
    const all = Object.entries(parts);
    await refused(
      await zipOf(all.slice(0, 2)),
      /lacks model\.weights\.h5; a \.keras file holds metadata\.json/,
    );
    await refused(await zipOf([...all, all[1]!]), /holds config\.json twice/);
  });

  it('with paths that lead elsewhere is refused', async () => {
    const whole = await zipOf([...Object.entries(parts), ['assets/a/b/file.txt', Buffer.from('x')]]);
    await refused(renamed(whole, 'assets/a/b/file.txt', '/etc/a/b/passwd.txt'), /absolute path/);
    await refused(renamed(whole, 'assets/a/b/file.txt', '../../../../file.tx'), /invalid relative path/);
  });

  it('that would become far larger is refused before it is unpacked', async () => {
    const bomb = Buffer.alloc(64 << 20);
    const entries: Parts = [...Object.entries(parts).slice(0, 2), ['model.weights.h5', bomb]];
    await refused(
      await zipOf(entries, true),
      /declares 67108864 bytes for model\.weights\.h5; at most \d+ are read/,
    );
  });

  it('that lies about the size of a part is refused when it has become too large', async () => {
    const bomb = Buffer.alloc(8 << 20);
    const entries: Parts = [...Object.entries(parts).slice(0, 2), ['model.weights.h5', bomb]];
    const bytes = await zipOf(entries, true);
    const declared = Buffer.alloc(4);
    declared.writeUInt32LE(bomb.length);
    const small = Buffer.alloc(4);
    small.writeUInt32LE(1000);
    await refused(
      renamed(bytes, declared.toString('latin1'), small.toString('latin1')),
      /too many bytes in the stream/,
    );
  });

  it('whose bytes were changed is refused by its checksum', async () => {
    const bytes = await zipOf(Object.entries(parts));
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    await refused(bytes, /the checksum of model\.weights\.h5 does not match/);
  });

  it('with a description that is no JSON, says a thing twice, or nests without end is refused', async () => {
    const withConfig = (text: string) =>
      zipOf(Object.entries({ ...parts, 'config.json': Buffer.from(text) }));
    await refused(await withConfig('{'), /config\.json in .* is not valid JSON/);
    await refused(
      await withConfig('{"class_name": "A", "class_name": "B"}'),
      /the key "class_name" comes twice/,
    );
    await refused(await withConfig(`${'['.repeat(1e6)}${']'.repeat(1e6)}`), /it nests deeper than 200/);
    await refused(await withConfig('null'), /made\.keras.*Expected a layer as Keras describes it/);
  });

  it('that is none is refused', async () => {
    await refused(Buffer.from('PK\x03\x04 and more'), /is damaged or not a \.keras file/);
    await refused(Buffer.alloc(0), /is empty; expected a model in a \.keras or \.h5 file/);
    await expect(load(join(folder, 'missing.keras'))).rejects.toThrow(
      /Cannot read .*missing\.keras: there is no such file\./,
    );
    await expect(load(`${folder}/.keras`)).rejects.toMatchObject({ code: 'file' });
  });
});
