/** Files that belong to layers and lie next to a saved model: the ONNX file of a foreign backbone. */
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fail, messageOf } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { byteLimits, readRegularFile } from '../core/regular_file.node.ts';
import type { Network } from '../models/network.ts';

/** Writes files that layers need, next to the model; one that is there already is the same, by its name. */
export async function saveAssets(path: string, network: Network): Promise<void> {
  for (const layer of network.leaves()) {
    for (const [name, bytes] of layer.assets) {
      const file = join(dirname(path), name);
      const size = await stat(file).then(
        ({ size }) => size,
        () => null,
      );
      if (size !== bytes.byteLength) await writeAtomically(file, bytes);
    }
  }
}

/** Gives layers the files that were saved next to a model. Throws `file` if one is not there. */
export async function loadAssets(path: string, network: Network): Promise<void> {
  for (const layer of network.leaves()) {
    await layer.loadAssets(async (name) => {
      const file = join(dirname(path), name);
      try {
        return await readRegularFile(file, { limit: byteLimits.weights, kind: 'a backbone' });
      } catch (error) {
        return fail(
          'file',
          `${path} needs ${name} beside it, which cannot be read: ${messageOf(error)}`,
          error,
        );
      }
    });
  }
}
