/** Opening HDF5 files to read them, and writing them whole or not at all. What is in them is others' business. */
import { fail } from '../core/errors.ts';
import { kindOf, refuseKind } from '../core/file_kind.node.ts';
import { writeAtomically } from '../core/files.node.ts';
import { byteLimits, withRegularFile } from '../core/regular_file.node.ts';
import { endlessHeap } from './hdf5_heaps.node.ts';
import { withHdf5 } from './hdf5_library.node.ts';
import { Hdf5Reader } from './hdf5_reader.node.ts';
import { Hdf5Writer } from './hdf5_writer.node.ts';

/**
 * Hands an HDF5 file to a synchronous function. Throws `file`, calling the file `shownAs`, when it is missing,
 * damaged, or of another format.
 */
export async function readHdf5<T>(path: string, use: (file: Hdf5Reader) => T, shownAs = path): Promise<T> {
  const bytes = await checkFile(path, shownAs);
  return await withHdf5(path, 'read', (hdf5, file) => use(new Hdf5Reader(hdf5, file, bytes)), shownAs);
}

/** Writes an HDF5 file, atomically. Throws `file` when writing fails. */
export async function writeHdf5(path: string, fill: (file: Hdf5Writer) => void): Promise<void> {
  await writeAtomically(path, (temp) => fillHdf5(temp, fill, path));
}

/** Writes an HDF5 file that is part of another one, `shownAs`. */
export async function fillHdf5(
  path: string,
  fill: (file: Hdf5Writer) => void,
  shownAs: string,
): Promise<void> {
  await withHdf5(path, 'write', (hdf5, file) => fill(new Hdf5Writer(hdf5, file)), shownAs);
}

/** Checks that a file is HDF5 that the library can read to its end. Returns its size in bytes. */
async function checkFile(path: string, shownAs: string): Promise<number> {
  const kind = await kindOf(path, shownAs);
  if (kind !== 'hdf5') refuseKind(shownAs, kind, 'an .h5 file written by Keras or Graft');
  return withRegularFile(path, { limit: byteLimits.weights, kind: 'weights', shownAs }, async (file) => {
    const heap = await endlessHeap(file.handle);
    if (heap !== null) {
      fail('file', `${shownAs} is damaged or not a Keras .h5 file: its texts at byte ${heap} have no end.`);
    }
    return file.bytes;
  });
}
