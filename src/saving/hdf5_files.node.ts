/** Opening HDF5 files to read them, and writing them whole or not at all. What is in them is others' business. */
import { fail } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { byteLimits, withRegularFile } from '../core/regular_file.node.ts';
import { endlessHeap } from './hdf5_heaps.node.ts';
import { withHdf5 } from './hdf5_library.node.ts';
import { Hdf5Reader } from './hdf5_reader.node.ts';
import { Hdf5Writer } from './hdf5_writer.node.ts';

const SIGNATURE = Buffer.from('\x89HDF\r\n\x1a\n', 'latin1');

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
function checkFile(path: string, shownAs: string): Promise<number> {
  const options = { limit: byteLimits.weights, kind: 'weights', shownAs };
  return withRegularFile(path, options, async (file) => {
    const start = await file.read(0, Math.min(SIGNATURE.length, file.bytes));
    if (!start.equals(SIGNATURE)) {
      const isZip = start.toString('latin1', 0, 2) === 'PK';
      const found = isZip ? ' but a zip archive, perhaps a .keras file' : '';
      fail('file', `${shownAs} is not an HDF5 file${found}; expected a .h5 file written by Keras or Graft.`);
    }
    const heap = await endlessHeap(file.handle);
    if (heap !== null) {
      fail('file', `${shownAs} is damaged or not a Keras .h5 file: its texts at byte ${heap} have no end.`);
    }
    return file.bytes;
  });
}
