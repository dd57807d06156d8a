/**
 * Damaged and hostile files, in every format that is read: whatever the bytes, the answer is a model that can be used
 * or a `GraftError`, soon and in little memory. GRAFT_FUZZ multiplies the runs.
 */
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { exportModel } from '../../src/compile/export.ts';
import { GraftError } from '../../src/core/errors.ts';
import { interpret } from '../../src/core/json.ts';
import { networkFromConfig } from '../../src/models/config.ts';
import { Network } from '../../src/models/network.ts';
import { readArchive, writeArchive } from '../../src/saving/keras_archive.node.ts';
import { load } from '../../src/training/build.ts';
import { goldenPath } from '../support/golden.ts';

const runs = Number(process.env['GRAFT_FUZZ'] ?? 1);
const names = ['keras3.keras', 'keras2.h5', 'keras3.weights.h5', 'keras2_weights.h5', 'own.safetensors'];

let folder: string;
const temporary = process.env['TMPDIR'];
let config: unknown;
const files = new Map<string, Buffer>();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-damage-'));
  // What archives are unpacked into can then be told from that of other processes.
  process.env['TMPDIR'] = folder;
  const model = await load(goldenPath('formats/keras3.keras'), { compile: false });
  await model.saveWeights(join(folder, 'own.safetensors'));
  for (const name of names) {
    files.set(
      name,
      await readFile(name.startsWith('own') ? join(folder, name) : goldenPath(`formats/${name}`)),
    );
  }
  config = await readArchive(goldenPath('formats/keras3.keras'), async (archive) => archive.config);
  // The library reports that it got no memory for an absurd size on the console, past its own error stack.
  vi.spyOn(console, 'error').mockImplementation(() => undefined);
}, 60_000);
afterAll(async () => {
  vi.restoreAllMocks();
  if (temporary === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = temporary;
  await rm(folder, { recursive: true });
});

/** Passes the expected kind of error on as `null`. */
async function graftErrorOr<T>(attempt: Promise<T>): Promise<T | null> {
  return attempt.catch((error: unknown) => {
    expect(error).toBeInstanceOf(GraftError);
    return null;
  });
}

/** A model that was read can be written, or the reason is told. */
async function usable(network: Network): Promise<void> {
  await graftErrorOr((async () => exportModel(network))());
}

/** Opens a file as what its name says it is. */
async function use(name: string, bytes: Uint8Array): Promise<void> {
  const path = join(folder, `damaged-${name}`);
  await writeFile(path, bytes);
  if (name === 'keras3.keras' || name === 'keras2.h5') {
    const model = await graftErrorOr(load(path, { compile: false }));
    if (model !== null) await usable(model);
  } else {
    const stem = name.startsWith('keras2') ? 'keras2' : 'keras3';
    const model = await load(goldenPath(`formats/${stem}.keras`), { compile: false });
    const before = model.getWeights();
    const done = await graftErrorOr(model.loadWeights(path).then(() => true));
    if (done === null) expect(model.getWeights()).toEqual(before);
  }
}

const anyName = fc.constantFrom(...names);
/** Most structure of HDF5 lies in the first kilobytes, that of a zip at its end. */
const place = fc.oneof(
  fc.double({ min: 0, max: 0.05 }),
  fc.double({ min: 0, max: 1 }),
  fc.double({ min: 0.95, max: 1 }),
);
const byte = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));

describe('a file', () => {
  it('with changed bytes is read or refused', async () => {
    const changes = fc.array(fc.tuple(place, byte), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(anyName, changes, async (name, list) => {
        const bytes = Buffer.from(files.get(name)!);
        for (const [at, value] of list) bytes[Math.floor(at * (bytes.length - 1))] = value;
        await use(name, bytes);
      }),
      { numRuns: 60 * runs, endOnFailure: true },
    );
  });

  it('that is cut off is refused', async () => {
    await fc.assert(
      fc.asyncProperty(anyName, fc.double({ min: 0, max: 0.999 }), async (name, part) => {
        const whole = files.get(name)!;
        await use(name, whole.subarray(0, Math.floor(whole.length * part)));
      }),
      { numRuns: 20 * runs, endOnFailure: true },
    );
  });

  it('with pieces moved, doubled or from another file is read or refused', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyName,
        anyName,
        place,
        place,
        fc.nat(4096),
        async (name, other, from, to, length) => {
          const [whole, donor] = [files.get(name)!, files.get(other)!];
          const start = Math.floor(from * donor.length);
          const at = Math.floor(to * whole.length);
          const piece = donor.subarray(start, start + length);
          await use(name, Buffer.concat([whole.subarray(0, at), piece, whole.subarray(at)]));
          await use(name, Buffer.concat([whole.subarray(0, at), piece, whole.subarray(at + piece.length)]));
        },
      ),
      { numRuns: 20 * runs, endOnFailure: true },
    );
  });
});

/** Every place in a JSON value, as keys from its root. */
function placesIn(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  const keys = Array.isArray(value)
    ? [...value.keys()]
    : value && typeof value === 'object'
      ? Object.keys(value)
      : [];
  const inside = keys.flatMap((key) => placesIn((value as Record<string, unknown>)[key], [...path, key]));
  return [path, ...inside];
}

/** The value with another one at a place; `undefined` removes what is there. */
function withChange(root: unknown, path: readonly (string | number)[], value: unknown): unknown {
  if (path.length === 0) return value;
  const copy = structuredClone(root);
  const parent = path.slice(0, -1).reduce((at, key) => (at as Record<string, unknown>)[key], copy) as Record<
    string,
    unknown
  >;
  const last = path.at(-1)!;
  if (value !== undefined) parent[last] = value;
  else if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else delete parent[last];
  return copy;
}

describe('the description of a model', () => {
  const strange = fc.oneof(
    fc.constantFrom(undefined, null, true, '', 'constructor', '__proto__', 'toString', 'same', [], {}, [[]]),
    fc.constantFrom(-1, 0, 1, 2, 0.5, 3, 1e9, 2 ** 53, 1e308, -1e308),
    fc.jsonValue({ maxDepth: 3 }),
  );

  it('with any part changed is a model or refused', async () => {
    const places = placesIn(config);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...places.keys()), strange, async (at, value) => {
        const changed = withChange(config, places[at]!, value);
        const make = (...parts: ConstructorParameters<typeof Network>) => new Network(...parts);
        const network = await graftErrorOr(
          (async () => interpret('the config', () => networkFromConfig(changed, make)))(),
        );
        if (network === null) return;
        for (const variable of network.variables) {
          if (variable.size > 1e6) return;
          variable.assign(new Float32Array(variable.size).fill(0.5));
        }
        await usable(network);
      }),
      { numRuns: 200 * runs, endOnFailure: true },
    );
  });

  it('in a file whose parts and weights do not fit is refused', async () => {
    const places = placesIn(config);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...places.keys()), strange, async (at, value) => {
        const path = join(folder, 'changed.keras');
        await readArchive(goldenPath('formats/keras3.keras'), ({ metadata, weightsPath }) =>
          writeArchive(path, {
            metadata,
            config: withChange(config, places[at]!, value) ?? null,
            writeWeights: (temp) => copyFile(weightsPath, temp),
          }),
        );
        const model = await graftErrorOr(load(path));
        await model?.close();
      }),
      { numRuns: 25 * runs, endOnFailure: true },
    );
  });
});

it('leaves no file open and nothing behind', async () => {
  const left = (await readdir(tmpdir())).filter((name) => name.startsWith('graft-keras-'));
  expect(left).toEqual([]);
  if (existsSync('/proc/self/fd')) expect((await readdir('/proc/self/fd')).length).toBeLessThan(60);
});
