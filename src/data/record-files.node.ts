/**
 * Random access to the pictures of unpacked CIFAR files. Only what is asked for is in memory: each read opens
 * the files it needs and closes them, so that a data set holds nothing that wants closing.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { fail } from '../core/errors.ts';
import { tensor } from '../core/tensor.ts';
import { pixels, type RecordFile, side } from './cifar-binary.node.ts';
import { checkIndices, type Dataset } from './dataset.ts';

/** Neighbouring records are read at once, up to this many (a megabyte). */
const longestRun = 340;
/** Reads on their way to the disk at a time. */
const lanes = 4;

/** Records that lie next to each other in one file and go next to each other into the result. */
interface Run {
  readonly file: number;
  readonly record: number;
  readonly row: number;
  readonly count: number;
}

/**
 * The records of some files, one after the other, as uint8 [n, 32, 32, 3] and int32 [n].
 *
 * @param about.labelBytes label bytes that open a record; `about.label` is the one that counts
 */
export function recordDataset(
  folder: string,
  files: readonly RecordFile[],
  about: Pick<Dataset, 'name' | 'classNames' | 'fingerprint'> & {
    readonly labelBytes: number;
    readonly label: number;
  },
): Dataset {
  const { name, classNames, fingerprint, labelBytes, label } = about;
  const length = files.reduce((sum, { records }) => sum + records, 0);
  const width = labelBytes + 3 * pixels;
  return {
    name,
    shape: [length, side, side, 3],
    dtype: 'uint8',
    classNames,
    fingerprint,
    async read(indices) {
      checkIndices(indices, length, name);
      const x = tensor('uint8', [indices.length, side, side, 3]);
      const y = tensor('int32', [indices.length]);
      const runs = runsOf(indices, files);
      const handles = await openAll(runs, files, folder);
      let next = 0;
      const lane = async () => {
        for (let run = runs[next++]; run !== undefined; run = runs[next++]) {
          const bytes = new Uint8Array(run.count * width);
          await readFully(handles.get(run.file)!, bytes, run.record * width, files[run.file]!.file);
          for (let i = 0; i < run.count; i++) {
            y.data[run.row + i] = bytes[i * width + label]!;
            interleave(bytes, i * width + labelBytes, x.data, (run.row + i) * 3 * pixels);
          }
        }
      };
      try {
        // Settled, not raced: no lane may still read when the files are closed.
        const ends = await Promise.allSettled(Array.from({ length: Math.min(lanes, runs.length) }, lane));
        for (const end of ends) if (end.status === 'rejected') throw end.reason;
      } finally {
        for (const handle of handles.values()) await handle.close();
      }
      return { x, y };
    },
  };
}

function runsOf(indices: ArrayLike<number>, files: readonly RecordFile[]): Run[] {
  const runs: Run[] = [];
  for (let row = 0; row < indices.length; ) {
    let file = 0;
    let record = indices[row]!;
    while (record >= files[file]!.records) record -= files[file++]!.records;
    const most = Math.min(longestRun, files[file]!.records - record, indices.length - row);
    let count = 1;
    while (count < most && indices[row + count] === indices[row]! + count) count++;
    runs.push({ file, record, row, count });
    row += count;
  }
  return runs;
}

async function openAll(
  runs: readonly Run[],
  files: readonly RecordFile[],
  folder: string,
): Promise<Map<number, FileHandle>> {
  const handles = new Map<number, FileHandle>();
  try {
    for (const { file } of runs) {
      if (!handles.has(file)) handles.set(file, await open(join(folder, files[file]!.file), 'r'));
    }
  } catch (error) {
    for (const handle of handles.values()) await handle.close();
    fail('file', `A file of ${folder} cannot be opened any more; load the data set again.`, error);
  }
  return handles;
}

async function readFully(
  handle: FileHandle,
  into: Uint8Array,
  position: number,
  name: string,
): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) fail('file', `${name} became shorter while in use; load the data set again.`);
    done += bytesRead;
  }
}

/** Planes of red, green and blue to pixels of three bytes. */
function interleave(from: Uint8Array, start: number, to: Uint8Array, at: number): void {
  for (let i = 0; i < pixels; i++) {
    to[at + 3 * i] = from[start + i]!;
    to[at + 3 * i + 1] = from[start + pixels + i]!;
    to[at + 3 * i + 2] = from[start + 2 * pixels + i]!;
  }
}
